"""How do two consoles speak where their nodes have a link, with no HTTP between them?

The same requests with the same signatures, as `console.ask`; a console's address is then `ecnode://NODE`. The link knows who is
at its other end, and still it is the signature that counts: it is the pinned key's word, whatever a roster says.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from node.errors import Malformed, NotFound
from node.model.wire.console import CONSOLE_ASK, ConsoleAsk, ConsoleReply
from node.pipeline.federated.signed_request import REPLY_SIGNATURE
from node.transport.base import Answer, Call, Transport
from node.transport.console_http import Reply

PeerDoor: TypeAlias = Callable[[str, str, Mapping[str, str], bytes], Awaitable[tuple[bytes, str]]]
"""Answers a request by method, path, headers and body: with the answer's body and its signature."""


class ConsoleLink:
    """Console requests over the links of this node."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._door: PeerDoor | None = None

    def register(self) -> None:
        """Answers what other nodes' consoles ask; only before the transport starts."""
        self._transport.answer(CONSOLE_ASK, self._answer)

    def serve(self, door: PeerDoor) -> None:
        """Who answers: what answers over HTTP too."""
        self._door = door

    async def send(
        self, node: str, method: str, path: str, headers: Mapping[str, str], *, body: bytes | None, timeout: float
    ) -> Reply:
        """What the console of a node answers.

        Raises:
            Unavailable: no link, or no answer in time.
            Rejected: it refuses.
        """
        ask = ConsoleAsk.model_validate({"method": method, "path": path, "headers": dict(headers)})
        answer = await self._transport.call(node, CONSOLE_ASK, ask, blobs=(body or b"",), timeout=timeout)
        if len(answer.blobs) != 1:
            raise Malformed(f"the console of {node} answers with {len(answer.blobs)} blobs")
        return Reply(200, {REPLY_SIGNATURE.lower(): answer.body.signature}, bytes(answer.blobs[0]))

    async def _answer(self, call: Call, asked: ConsoleAsk) -> Answer[ConsoleReply]:
        if self._door is None:
            raise NotFound("this node's console is not open yet")
        if len(call.blobs) != 1:
            raise Malformed(f"a request of a console with {len(call.blobs)} blobs")
        body, signature = await self._door(asked.method, asked.path, asked.headers, bytes(call.blobs[0]))
        return Answer(ConsoleReply(signature=signature), (body,))
