"""A link of so many Mbit/s with so much of a way, between two nodes that would be next to each other.

Whoever is to have a narrow link dials another loopback address; what comes there is passed on at the pace of the link, both
lanes together. Encryption, credit and heartbeats are the nodes' own: they see a slow peer, no shaper.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Sequence
from typing import Final

from node.clock import SystemClock

CLOCK: Final = SystemClock()
CHUNK: Final = 4096  # 40 ms of a link of 0.8 Mbit/s
WAITING: Final = 512  # chunks on their way at once: 2 MiB, more than 100 Mbit/s have in 60 ms
BUFFER: Final = 32 * 1024  # of a socket, so that a sender feels the link and not the memory of this machine


class NarrowLink:
    """From `here` to `there`, addresses of this machine, for each of `ports`. A context manager; one thread of its own."""

    def __init__(self, here: str, there: str, ports: Sequence[int], mbps: float, way_s: float) -> None:
        self.mbps = mbps
        self._here = here
        self._there = there
        self._ports = tuple(ports)
        self._way_s = way_s
        self._free_at = [0.0, 0.0]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="narrow link", daemon=True)
        self._servers: list[asyncio.Server] = []

    def __enter__(self) -> NarrowLink:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self) -> None:
        for port in self._ports:
            door = socket.socket()
            door.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind((self._here, port))
            self._servers.append(
                await asyncio.start_server(
                    lambda reader, writer, port=port: self._join(reader, writer, port), sock=door, limit=CHUNK
                )
            )

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        mine = asyncio.current_task()
        left = [task for task in asyncio.all_tasks() if task is not mine]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(self._there, port, limit=CHUNK)
        except OSError:  # the node there is away
            writer.close()
            return
        ends = [
            asyncio.create_task(self._pass_on(reader, far_writer, 0)),
            asyncio.create_task(self._pass_on(far_reader, writer, 1)),
        ]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
            writer.close()
            far_writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, side: int) -> None:
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(WAITING)
        arriving = asyncio.create_task(self._arrive(under_way, writer))
        try:
            while chunk := await reader.read(CHUNK):
                sent = max(self._free_at[side], CLOCK.monotonic()) + len(chunk) * 8 / (self.mbps * 1e6)
                self._free_at[side] = sent
                await CLOCK.sleep(sent - CLOCK.monotonic())
                await under_way.put((sent + self._way_s, chunk))
        except ConnectionError:
            return
        finally:
            arriving.cancel()

    @staticmethod
    async def _arrive(under_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        while True:
            at, chunk = await under_way.get()
            await CLOCK.sleep(at - CLOCK.monotonic())
            try:
                writer.write(chunk)
                await writer.drain()
            except ConnectionError:
                return
