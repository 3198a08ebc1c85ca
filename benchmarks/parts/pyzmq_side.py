"""Plain pyzmq, as its guide shows it: blocking (`sync`) or `zmq.asyncio` (`async`), with CURVE where the variant says so."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from typing import Any

import zmq
import zmq.asyncio
from side import BODIES, IN_FLIGHT, SMALL, ask_many, figures, obey, obey_async, tell_many

# A pair for loopback on one machine: it keeps nothing secret.
PUBLIC, SECRET = zmq.curve_keypair() if "serve" in sys.argv else (b"", b"")


def _secure(socket: Any, variant: str, server_key: bytes) -> None:
    if "curve" not in variant:
        return
    if socket.type == zmq.ROUTER:
        socket.curve_server, socket.curve_secretkey = True, SECRET
    else:
        socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
        socket.curve_serverkey = server_key


def _answer(head: bytes, body: bytes, counted: list[int]) -> list[bytes] | None:
    if head == b"tell":
        counted[0] += 1
        return None
    if head == b"count":
        return [head, str(counted[0]).encode()]
    return [head, body if len(body) == len(SMALL) else b"ok"]


def serve(variant: str) -> None:
    """Answers until its input ends."""
    if "async" in variant:
        asyncio.run(_serve_async(variant))
        return
    socket = _open(zmq.Context.instance(), variant)
    counted = [0]
    while True:
        peer, head, body = socket.recv_multipart()
        answer = _answer(head, body, counted)
        if answer is not None:
            socket.send_multipart([peer, *answer])


def _open(context: Any, variant: str) -> Any:
    """The server's socket, whose address and key are printed; this process ends with its input."""
    socket = context.socket(zmq.ROUTER)
    _secure(socket, variant, b"")
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    print(f"tcp://127.0.0.1:{port}|{PUBLIC.decode()}", flush=True)
    threading.Thread(target=_end_with_input, daemon=True).start()
    return socket


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(0)


async def _serve_async(variant: str) -> None:
    socket = _open(zmq.asyncio.Context.instance(), variant)
    counted = [0]
    while True:
        peer, head, body = await socket.recv_multipart()
        answer = _answer(head, body, counted)
        if answer is not None:
            await socket.send_multipart([peer, *answer])


def ask(variant: str, address: str) -> None:
    """Carries orders out."""
    place, _, key = address.partition("|")
    if "async" in variant:
        asyncio.run(_ask_async(variant, place, key.encode()))
        return
    socket = zmq.Context.instance().socket(zmq.DEALER)
    _secure(socket, variant, key.encode())
    socket.connect(place)

    def carry_out(case: str, seconds: float) -> dict[str, float]:
        body, spent, sent = BODIES[case], [], []
        began = time.perf_counter()
        for _ in range(IN_FLIGHT[case]):
            sent.append(time.perf_counter())
            socket.send_multipart([b"ask", body])
        count = 0
        while True:
            socket.recv_multipart()
            now = time.perf_counter()
            spent.append(now - sent[count])  # answers come in order
            count += 1
            if now - began < seconds:
                sent.append(now)
                socket.send_multipart([b"ask", body])
            elif count == len(sent):
                return figures(count, now - began, spent)

    obey(carry_out)


async def _ask_async(variant: str, place: str, key: bytes) -> None:
    socket = zmq.asyncio.Context.instance().socket(zmq.DEALER)
    _secure(socket, variant, key)
    socket.connect(place)
    waiting: dict[bytes, asyncio.Future[bytes]] = {}
    numbers = iter(range(1 << 60))

    async def listen() -> None:
        while True:
            head, body = await socket.recv_multipart()
            waiting.pop(head).set_result(body)

    async def call(body: bytes) -> bytes:
        number = b"%d" % next(numbers)
        future = waiting[number] = asyncio.get_running_loop().create_future()
        await socket.send_multipart([number, body])
        return await future

    async def tell(count: int) -> None:
        for _ in range(count):
            await socket.send_multipart([b"tell", SMALL])

    async def counted() -> int:
        future = waiting[b"count"] = asyncio.get_running_loop().create_future()
        await socket.send_multipart([b"count", b""])
        return int(await future)

    async def carry_out(case: str, seconds: float) -> dict[str, float]:
        if case == "oneway":
            return await tell_many(tell, counted, seconds)
        return await ask_many(call, case, seconds)

    listener = asyncio.create_task(listen())
    await obey_async(carry_out)
    listener.cancel()
