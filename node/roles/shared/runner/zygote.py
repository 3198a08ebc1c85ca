"""How is a shim there before it is asked for?

A small process that has loaded all a shim needs and keeps a few of them forked and waiting at its socket: a request is taken by
one that is ready, and the next is made while the program runs. It ends with the node; its shims do not.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
from typing import Final

from node.roles.shared.runner import seccomp, shim
from node.roles.shared.runner.identity import boot_id

REQUEST_BYTES: Final = 256 * 1024
SPARE: Final = 4  # a request that finds none ready waits for a fork
LATER_MS: Final = 10  # the next is made when a short program is over: until then both cores have better things to do


def main(descriptor: int, cgroups: str) -> None:
    """Serves until the other end of the socket is closed; `cgroups` is the folder for cgroups, empty for none."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel takes them in: nobody here waits for a shim
    boot_id()  # these are made once for all of them
    if seccomp.supported():
        seccomp.program(network=False)
        seccomp.program(network=True)
    gc.freeze()
    gc.disable()  # a collection would write to every page that is shared
    with socket.socket(fileno=descriptor) as requests:
        poll = select.poll()
        poll.register(requests, 0)  # only its end: requests are the shims' to take
        spare = 0
        while True:
            if spare < SPARE // 2 or (spare < SPARE and not poll.poll(LATER_MS)):
                _spare(requests, poll, cgroups)
                spare += 1
                continue
            for ready, _ in poll.poll():
                if ready == descriptor or not _was_taken(ready):
                    return
                poll.unregister(ready)
                spare -= 1


def _spare(requests: socket.socket, poll: select.poll, cgroups: str) -> None:
    out, into = os.pipe()
    if os.fork() == 0:
        os.close(out)
        shim.main(requests, into, REQUEST_BYTES, cgroups)
    os.close(into)
    poll.register(out, select.POLLIN)


def _was_taken(pipe: int) -> bool:
    """Whether a shim found work; one that has gone without means trouble: the zygote ends, and the node makes another."""
    told = os.read(pipe, 1)
    os.close(pipe)
    return bool(told)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
