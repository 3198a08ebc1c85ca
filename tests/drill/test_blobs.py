"""A blob comes in although its receiver is killed again and again: whole, and almost nothing of it is sent twice."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import random
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from blobs import CLOCK, id_of, parts
from peers import FAST, Scene

from node.roles.shared.blobs import BlobService
from node.storage.blobs import FolderBlobs
from node.transport.keys import Identity

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[2]
MIB = 2**20
SEED = 20_261_122
SENT_AGAIN = 0.05
PATIENCE_S = 240.0

RECEIVER = """
import asyncio, sys
from dataclasses import replace
from pathlib import Path
from peers import CLOCK, FAST
from node.model.cluster import Role
from node.roles.shared.blobs import BlobService
from node.storage.blobs import FolderBlobs
from node.transport.auth import Directory
from node.transport.base import Peer
from node.transport.keys import Identity
from node.transport.options import Dial
from node.transport.zmq import ZmqTransport

folder, address, server, id = sys.argv[1:]
mine = Identity(*sys.stdin.readline().split())

async def main():
    store = FolderBlobs(Path(folder), CLOCK)
    await store.start()
    known = Directory([(server, Peer("cloud-1", frozenset({Role.CLOUD}), ""))])
    transport = ZmqTransport(mine, known, [], [Dial(address, server)], CLOCK, replace(FAST, name="edge-1"))
    blobs = BlobService(store, CLOCK)
    blobs.register(transport)
    await transport.start()
    tell = lambda received, size: print(received, flush=True)
    await blobs.fetch(id, ["cloud-1"], deadline=CLOCK.monotonic() + 200, progress=tell)
    await blobs.stop()
    await transport.stop()
    await store.close()

asyncio.run(main())
"""


async def run_until(received: int | None, key: Identity, words: Sequence[str]) -> None:
    """Runs a receiver until it tells that it has so much, and kills it; None lets it come to its end."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
    receiver = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        RECEIVER,
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert receiver.stdin is not None
    assert receiver.stdout is not None
    receiver.stdin.write(f"{key.public} {key.secret}\n".encode())
    async with CLOCK.timeout(PATIENCE_S):
        async for line in receiver.stdout:
            if received is not None and line.endswith(b"\n") and int(line) >= received:
                receiver.send_signal(signal.SIGKILL)
                break
        assert await receiver.wait() == (0 if received is None else -signal.SIGKILL)
    receiver.stdin.close()


async def through_kills(scene: Scene, folder: Path, size: int, kills: int) -> float:
    """The fraction of a blob that was sent again on its way through so many kills of its receiver."""
    chance = random.Random(SEED)
    data = b"".join(chance.randbytes(MIB) for _ in range(size // MIB))
    store = FolderBlobs(folder / "cloud", CLOCK)
    await store.start()
    blobs = BlobService(store, CLOCK)
    await scene.open(options=FAST, register=blobs.register)

    id = (await store.put(parts(data, MIB))).id
    assert id == id_of(data)
    words = (str(folder / "edge"), scene.address, scene.key.public, id)
    for kill in range(kills):
        await run_until(int((kill + chance.uniform(0.2, 0.8)) * size / (kills + 1)), scene.keys["edge-1"], words)
    await run_until(None, scene.keys["edge-1"], words)
    arrived = hashlib.sha256((folder / "edge" / id[:2] / id[2:4] / id).read_bytes()).hexdigest()
    assert arrived == id
    assert list((folder / "edge" / "incoming").iterdir()) == []
    await store.close()
    log.info("%d MiB through %d kills: %.1f %% sent again", size // MIB, kills, (blobs.figures.served - size) / size * 100)
    return (blobs.figures.served - size) / size


@pytest.mark.drill
async def test_a_blob_of_256_mib_comes_through_ten_kills(scene: Scene, tmp_path: Path) -> None:
    assert await through_kills(scene, tmp_path, 256 * MIB, 10) <= SENT_AGAIN


@pytest.mark.drill_short
async def test_a_blob_of_32_mib_comes_through_three_kills(scene: Scene, tmp_path: Path) -> None:
    assert await through_kills(scene, tmp_path, 32 * MIB, 3) <= 3 / 32 + SENT_AGAIN, "a window is a larger part of less"
