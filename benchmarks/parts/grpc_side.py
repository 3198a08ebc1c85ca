"""grpc.aio with plain bytes as messages: no schema to pay for, and no security."""

from __future__ import annotations

import asyncio
import sys

import grpc
from side import SMALL, ask_many, obey_async

OPTIONS = [("grpc.max_receive_message_length", 16 << 20), ("grpc.max_send_message_length", 16 << 20)]


class _Service(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(self.answer)

    async def answer(self, body: bytes, _context) -> bytes:
        return body if len(body) == len(SMALL) else b"ok"


def serve(_variant: str) -> None:
    """Answers until its input ends."""
    asyncio.run(_serve())


async def _serve() -> None:
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((_Service(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0)


def ask(_variant: str, address: str) -> None:
    """Carries orders out."""
    asyncio.run(_ask(address))


async def _ask(address: str) -> None:
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        call = channel.unary_unary("/bench/ask")
        await obey_async(lambda case, seconds: ask_many(call, case, seconds))
