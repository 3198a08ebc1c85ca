"""How is a shim made in two milliseconds?

A small process that has loaded all a shim needs and forks one for every request that comes over its socket: starting an
interpreter for each would cost ten times as much. It ends with the node; its shims do not.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
from typing import Final

from node.roles.shared.runner import shim

REQUEST_BYTES: Final = 256 * 1024


def main(descriptor: int) -> None:
    """Serves until the other end of the socket is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel takes them in: nobody here waits for a shim
    gc.freeze()
    gc.disable()  # a collection would write to every page that is shared
    with socket.socket(fileno=descriptor) as requests:
        while True:
            content, descriptors, _, _ = socket.recv_fds(requests, REQUEST_BYTES, 1)
            if not content or len(descriptors) != 1:
                return
            reply = descriptors[0]
            if os.fork() == 0:
                requests.close()
                shim.main(json.loads(content), reply)
            os.close(reply)


if __name__ == "__main__":
    main(int(sys.argv[1]))
