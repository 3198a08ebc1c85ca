"""How does a node carry what one of its parties says and hears in one epoch?

The script and its arithmetic run in a worker process; here its words are handed to the nodes of the others, and theirs to it.
Each word is a call: it arrives or the run fails, over a cloud and sealed where there is no direct link, and a slow party slows
the one that speaks. A few are under way at once, in any order, for the scripts wait for words by name.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from node.clock import Clock
from node.errors import ChildLost, EcnodeError, Internal, PeerUnreachable, from_wire
from node.model.federated import PartyProgress, PinnedParty, Record, SessionSpec
from node.model.wire.session import SESSION_SAY, SessionSay
from node.pipeline.federated.sealed import close_word
from node.roles.shared.channel import Header, Message
from node.roles.shared.processes import Child, Spawner
from node.roles.shared.tasks import begin, end
from node.transport.base import Blob, Transport

log = logging.getLogger(__name__)

MODULE: Final = "node.roles.federated.party_child"
SAY_TIMEOUT_S: Final = 30.0
LINK_WAIT_S: Final = 5.0
LINK_LOOK_S: Final = 0.1
UNDER_WAY: Final = 16  # words that wait for their receipt: × 1 MiB


@dataclass(frozen=True, slots=True)
class Outlet:
    """Whom a run tells of what its worker says: each is called on the loop, with the party."""

    burn: Callable[[str, int], Awaitable[None]]
    progress: Callable[[str, PartyProgress], None]
    record: Callable[[str, Record], Awaitable[None]]
    done: Callable[[str, tuple[str, ...]], Awaitable[None]]
    failed: Callable[[str, EcnodeError], Awaitable[None]]


class PartyRun:
    """One party in one epoch; made, started once, stopped."""

    def __init__(
        self, spec: SessionSpec, party: PinnedParty, epoch: int, *, outlet: Outlet, transport: Transport, clock: Clock
    ) -> None:
        self.epoch = epoch
        self.spec = spec
        self._party = party
        self._nodes = {each.name: each.node for each in spec.parties}
        self._outlet = outlet
        self._transport = transport
        self._clock = clock
        self._keys: dict[str, bytes] = {}
        self._child: Child | None = None
        self._room = asyncio.Semaphore(UNDER_WAY)
        self._saying: set[asyncio.Task[None]] = set()
        self._fault: EcnodeError | None = None
        self._following: asyncio.Task[None] | None = None

    async def start(self, spawner: Spawner, settings: Header) -> None:
        """Starts the worker process; from then on the outlet is told.

        Raises:
            ChildLost: it could not be started.
        """
        name = f"party {self._party.name} of {self.spec.session[:10]}"
        self._child = await spawner.spawn(MODULE, settings, name=name, descriptors={})
        self._following = begin(self._follow(self._child), name)

    async def stop(self) -> None:
        """Ends the worker process. Harmless when repeated."""
        await end(self._following, *self._saying)
        if self._child is not None:
            await self._child.stop()

    def speaks_for(self, node: str, party: str) -> bool:
        """Whether that node plays that party."""
        return self._nodes.get(party) == node

    def offer(self, word: SessionSay, content: Blob) -> bool:
        """Hands a word to the worker at once, where it keeps up; otherwise `take` waits for it.

        Raises:
            ChildLost: it has gone.
        """
        return self._child is not None and self._child.offer(_heard(word), [content])

    async def take(self, word: SessionSay, content: Blob) -> None:
        """Hands a word to the worker, which reads at once whatever it does.

        Raises:
            ChildLost: it has gone.
        """
        if self._child is None:
            raise ChildLost(f"party {self._party.name} has not begun")
        await self._child.send(_heard(word), [content])

    async def _follow(self, child: Child) -> None:
        ended = False
        try:
            while not ended:
                message = await child.receive()
                if message is None:
                    raise ChildLost(f"the worker process of {self.spec.title(self._party.name)} has gone")
                ended = await self._act(child, message)
        except EcnodeError as error:
            await self._outlet.failed(self._party.name, error)
        except asyncio.CancelledError:
            if self._fault is None:
                raise
            await self._outlet.failed(self._party.name, self._fault)

    async def _act(self, child: Child, message: Message) -> bool:
        """Does what the worker asks for; whether that was its last word."""
        header, name = cast(dict[str, Any], message.header), self._party.name
        match header["op"]:
            case "say":
                await self._say(header, message.blobs[0])
            case "trust":
                self._keys = {str(name): bytes.fromhex(key) for name, key in header["keys"].items()}
            case "burn":
                await self._outlet.burn(name, int(header["step"]))
                await child.send({"op": "burned", "step": header["step"]})
            case "progress":
                self._outlet.progress(name, PartyProgress.model_validate_json(header["progress"]))
            case "record":
                await self._outlet.record(name, Record.model_validate_json(header["record"]))
            case "done":
                await asyncio.gather(*self._saying)
                await self._outlet.done(name, tuple(header["outputs"]))
                return True
            case _:
                raise from_wire(str(header["code"]), str(header["message"]), str(header["hint"]))
        return False

    async def _say(self, header: Mapping[str, Any], content: bytes) -> None:
        to = str(header["to"])
        word = SessionSay(
            session=self.spec.session,
            epoch=self.epoch,
            sender=self._party.name,
            to=to,
            what=header["what"],
            index=header["index"],
            part=header["part"],
            parts=header["parts"],
        )
        await self._room.acquire()
        task = asyncio.create_task(
            self._deliver(self._nodes[to], word, content, self._keys.get(to)), name=f"{word.what} {word.index} to {to}"
        )
        self._saying.add(task)
        task.add_done_callback(self._delivered)

    async def _deliver(self, node: str, word: SessionSay, content: bytes, key: bytes | None) -> None:
        """`key` is what the worker had when it said the word: a hello comes before it, and is no secret."""
        until = self._clock.monotonic() + LINK_WAIT_S
        while True:
            try:
                said, blob = word, content
                if key is not None and node != self._party.node and not self._transport.linked(node):
                    said, blob = word.replace(sealed=True), close_word(key, word.title, content)
                await self._transport.call(node, SESSION_SAY, said, blobs=[blob], timeout=SAY_TIMEOUT_S)
            except PeerUnreachable:  # nodes that were started a moment ago are still dialling each other
                if self._clock.monotonic() >= until:
                    raise
                await self._clock.sleep(LINK_LOOK_S)
            else:
                return

    def _delivered(self, task: asyncio.Task[None]) -> None:
        self._saying.discard(task)
        self._room.release()
        if task.cancelled() or (error := task.exception()) is None:
            return
        if not isinstance(error, EcnodeError):
            log.error("a word was not delivered", extra={"word": task.get_name()}, exc_info=error)
        if self._fault is None and self._following is not None:
            self._fault = error if isinstance(error, EcnodeError) else Internal(f"a word was not delivered: {error}")
            self._following.cancel()


def _heard(word: SessionSay) -> Header:
    return {
        "op": "heard",
        "sender": word.sender,
        "what": word.what,
        "index": word.index,
        "part": word.part,
        "parts": word.parts,
        "sealed": word.sealed,
    }
