"""A sender of durable messages that keeps nothing on a disk, for tests of who receives them."""

from __future__ import annotations

from node.errors import from_wire
from node.model.delivery import Batch
from node.model.value import Value
from node.model.wire.delivery import DELIVERY_TAKE
from node.model.wire.method import Method
from node.transport.base import Transport
from node.transport.frames import pack_body, unpack_body


class Sender:
    """One stream to one peer; a message is sent once and its answer waited for."""

    def __init__(self, transport: Transport, peer: str, stream: str = "5" * 32) -> None:
        self._transport = transport
        self._peer = peer
        self._stream = stream
        self._sequence = 0

    async def send(self, method: Method, body: Value) -> Value:
        self._sequence += 1
        batch = Batch(
            stream=self._stream,
            boot=1,
            life="a" * 32,
            turn=self._sequence,
            low=self._sequence - 1,
            last=self._sequence,
            first=self._sequence,
            methods=(method.name,),
        )
        answer = await self._transport.call(self._peer, DELIVERY_TAKE, batch, blobs=[pack_body(body.model_dump())], timeout=1.0)
        (code,), found = answer.body.fates, unpack_body(answer.blobs[0])
        if code:
            raise from_wire(code, *found)
        return method.reply.model_validate(found)
