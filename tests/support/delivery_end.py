"""One end of durable traffic, a process that a test may kill: `python delivery_end.py FOLDER NAME ADDRESS PEERS_PUBLIC_KEY`.

It notes what was accepted in the file `accepted`, one number a line and none before its commit, sends until a file `quiet` lies
in its folder, and then says `drained` once nothing waits. What it took is in the table `noted` of its database.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from lossy import CREATE, NOTE, Note, note

from node.clock import SystemClock
from node.errors import EcnodeError
from node.model.cluster import Role
from node.roles.shared.delivery import Delivery
from node.storage import open_store
from node.transport.auth import Directory
from node.transport.base import Peer
from node.transport.keys import fingerprint, load_or_create
from node.transport.limits import MESSAGE_BYTES
from node.transport.options import Dial, LinkOptions
from node.transport.zmq import ZmqTransport

CLOCK = SystemClock()
ENDS = {"cloud-1": Role.CLOUD, "edge-1": Role.EDGE}
AT_ONCE = 16
WAITING_MOST = 512  # unacknowledged: what a storm leaves behind stays small enough to be drained in seconds
APART = 1000  # a new life leaves out the numbers that may be on the disk without having been noted


async def main(folder: Path, name: str, address: str, public: str) -> None:
    other = next(end for end in ENDS if end != name)
    store = await open_store("sqlite:///node.db", folder, CLOCK)
    await store.queries._database.write(lambda connection: connection.change(CREATE))
    boot = await store.cluster.next_boot()
    known = Directory([(public, Peer(other, frozenset({ENDS[other]}), fingerprint(public)))])
    options = LinkOptions(name, heartbeat=0.5, suspect_after=1.5, redial=0.1, redial_refused=0.2, boot=boot)
    listen, dials = ([address], []) if ENDS[name] is Role.CLOUD else ([], [Dial(address, public)])
    transport = ZmqTransport(load_or_create(folder / "key"), known, listen, dials, CLOCK, options)
    delivery = await Delivery.open(store, transport, CLOCK, boot, max_message=MESSAGE_BYTES)
    delivery.answer(NOTE, note)
    await transport.start()
    await traffic(delivery, folder, other)
    while delivery.waiting:
        await CLOCK.sleep(0.01)
    sys.stdout.write("drained\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await transport.stop()
    await delivery.stop()
    await store.close()


async def traffic(delivery: Delivery, folder: Path, other: str) -> None:
    accepted = os.open(folder / "accepted", os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)
    begun = folder / "begun"  # where each life began: one that was killed before it noted anything has used numbers too
    used = [int(line) for place in (folder / "accepted", begun) if place.exists() for line in place.read_text().split()]
    first = max(used, default=0) + APART
    with begun.open("a") as lives:
        lives.write(f"{first}\n")
    following = iter(range(first, 2**40))

    async def one(number: int) -> None:
        try:
            await delivery.send(other, NOTE, Note(number=number))
        except EcnodeError as error:
            sys.stderr.write(f"{error}\n")
        else:
            os.write(accepted, b"%d\n" % number)

    while not (folder / "quiet").exists():
        if delivery.waiting >= WAITING_MOST:
            await CLOCK.sleep(0.005)
        else:
            await asyncio.gather(*(one(next(following)) for _ in range(AT_ONCE)))
    os.close(accepted)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
