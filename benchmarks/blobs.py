"""How near does a blob between two nodes come to a file that is sent as plainly as the system can?

Ours: a process whose store holds the blob, a process that fetches it over CURVE, proves every chunk and the whole, and has it
durable under its id. Theirs: sendfile over a bare TCP connection, in the clear, to a process that hashes what it reads, writes
it, and ends with fsync. Both sides push the same bytes over loopback, in turns; the clock runs in the receiver.

`python benchmarks/blobs.py [--quick] [--json]`; the files lie in TMPDIR.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import uvloop
from parts.report import Bar, Row, ratio, row, show

from node.clock import SystemClock
from node.model.cluster import Role
from node.roles.shared.blobs import BlobService
from node.storage.blobs import FolderBlobs
from node.transport.auth import Directory
from node.transport.base import Peer
from node.transport.keys import Identity, fingerprint, new_identity
from node.transport.options import Dial, LinkOptions
from node.transport.zmq import ZmqTransport

CLOCK = SystemClock()
BLOCK = 2**20
FETCH_S = 120.0


# the sides as processes: one line in, one line out


async def serve(folder: Path, keys: Sequence[Identity], source: Path) -> None:
    """Our sender: takes the content in, tells its id and address, answers until its input ends."""
    store = FolderBlobs(folder, CLOCK)
    await store.start()
    info = await store.put(source)
    transport = ZmqTransport(keys[0], directory(keys), ["tcp://127.0.0.1:*"], [], CLOCK, LinkOptions("sender"))
    BlobService(store, CLOCK).register(transport)
    await transport.start()
    say(info.id, transport.endpoints[0])
    await asyncio.to_thread(sys.stdin.readline)
    await transport.stop()
    await store.close()


async def receive(folder: Path, keys: Sequence[Identity], address: str) -> None:
    """Our receiver: for each id it is told, fetches it and tells the seconds; then forgets it."""
    store = FolderBlobs(folder, CLOCK)
    await store.start()
    dial = [Dial(address, keys[0].public)]
    transport = ZmqTransport(keys[1], directory(keys), [], dial, CLOCK, LinkOptions("receiver"))
    blobs = BlobService(store, CLOCK)
    blobs.register(transport)
    linked = asyncio.Event()
    transport.watch(lambda _peer, up: linked.set() if up else None)
    await transport.start()
    await linked.wait()
    say("linked")
    while id := (await asyncio.to_thread(sys.stdin.readline)).strip():
        began = CLOCK.monotonic()
        await blobs.fetch(id, ["sender"], deadline=began + FETCH_S)
        say(CLOCK.monotonic() - began)
        await store.delete(id)
    await blobs.stop()
    await transport.stop()
    await store.close()


def directory(keys: Sequence[Identity]) -> Directory:
    """Both know each other."""
    return Directory(
        (key.public, Peer(name, frozenset({Role.EDGE}), fingerprint(key.public)))
        for key, name in zip(keys, ("sender", "receiver"), strict=True)
    )


def plain_serve(source: Path) -> None:
    """Their sender: the whole file to whoever connects."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        say(listener.getsockname()[1])
        while True:
            line, _ = listener.accept()
            with line, source.open("rb") as file:
                line.sendfile(file)


def plain_receive(folder: Path, port: int) -> None:
    """Their receiver: for each line reads all, hashes, writes and flushes, and tells the seconds and the digest."""
    buffer = memoryview(bytearray(BLOCK))
    path = folder / "received"
    while sys.stdin.readline():
        began = CLOCK.monotonic()
        digest = hashlib.sha256()
        with socket.create_connection(("127.0.0.1", port)) as line, path.open("wb", buffering=0) as file:
            while count := line.recv_into(buffer):
                digest.update(buffer[:count])
                file.write(buffer[:count])
            os.fsync(file.fileno())
        say(CLOCK.monotonic() - began, digest.hexdigest())
        path.unlink()


def say(*words: object) -> None:
    """One line to whoever started this process."""
    print(*words, flush=True)


class Side:
    """One of these processes."""

    def __init__(self, *words: object, given: str = "") -> None:
        command = [sys.executable, __file__, "--side", *map(str, words)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if given:
            self.tell(given)

    def tell(self, line: str) -> None:
        """Gives it a line."""
        write(self._process.stdin, line)

    def hear(self) -> list[str]:
        """The words of its next line."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().split()

    def end(self) -> None:
        """Closes its input, and ends it where it goes on."""
        try:
            self._process.communicate(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()


def write(pipe: IO[str] | None, line: str) -> None:
    """A line into a pipe."""
    assert pipe is not None
    print(line, file=pipe, flush=True)


def measure(folder: Path, mib: int, rounds: int) -> list[tuple[float, float]]:
    """(ours, theirs) in MB/s of every round."""
    source = folder / "content"
    with source.open("wb") as file:
        for _ in range(mib):
            file.write(os.urandom(BLOCK))
    secrets = json.dumps([(key.public, key.secret) for key in (new_identity(), new_identity())])
    sender, plain_sender = Side("serve", folder / "a", source, given=secrets), Side("plain-serve", source)
    id, address = sender.hear()
    receiver = Side("receive", folder / "b", address, given=secrets)
    plain_receiver = Side("plain-receive", folder, *plain_sender.hear())
    assert receiver.hear() == ["linked"]

    def ours() -> float:
        receiver.tell(id)
        return float(receiver.hear()[0])

    def theirs() -> float:
        plain_receiver.tell("go")
        seconds, digest = plain_receiver.hear()
        assert digest == id
        return float(seconds)

    try:
        size = mib * BLOCK / 1e6
        for warm_up in (ours, theirs):
            warm_up()
        return [paired(number, size, ours, theirs) for number in range(rounds)]
    finally:
        for side in (receiver, plain_receiver, sender, plain_sender):
            side.end()


def paired(number: int, size: float, ours: Callable[[], float], theirs: Callable[[], float]) -> tuple[float, float]:
    """One round, and who goes first changes."""
    if number % 2:
        second = theirs()
        return size / ours(), size / second
    return size / ours(), size / theirs()


def report(mib: int, rates: Sequence[tuple[float, float]]) -> tuple[list[Row], list[Bar]]:
    """Both sides, and the bar with what it was held against."""
    ours, theirs = [blob for blob, _ in rates], [plain for _, plain in rates]
    compared = ratio(ours, theirs)
    case = f"push {mib} MiB"
    rows = [row(case, "blob", ours, "MB/s", compared), row(case, "sendfile", theirs, "MB/s")]
    return rows, [Bar("blob_push_vs_sendfile", compared, ">= 0.4")]


def side(words: Sequence[str]) -> None:
    """What this process is when the benchmark starts it."""
    match words:
        case ["plain-serve", source]:
            plain_serve(Path(source))
        case ["plain-receive", folder, port]:
            plain_receive(Path(folder), int(port))
        case ["serve", folder, source]:
            uvloop.run(serve(Path(folder), given_keys(), Path(source)))
        case ["receive", folder, address]:
            uvloop.run(receive(Path(folder), given_keys(), address))


def given_keys() -> list[Identity]:
    """The keys of both, from the first line of the input: they do not belong among arguments."""
    return [Identity(public, secret) for public, secret in json.loads(sys.stdin.readline())]


def main() -> None:
    """Runs the benchmark; a missed bar is shown, it is no failure."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true")
    options.add_argument("--json", action="store_true")
    options.add_argument("--side", nargs="+", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.side:
        side(chosen.side)
        return
    mib, rounds = (128, 3) if chosen.quick else (256, 9)
    with tempfile.TemporaryDirectory() as folder:
        rows, bars = report(mib, measure(Path(folder), mib, rounds))
    show("blobs", rows, bars, as_json=chosen.json)


if __name__ == "__main__":
    main()
