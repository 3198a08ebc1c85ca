"""Which durable messages have taken effect here, and what was answered?

A message's row, its effect and its reply are one transaction: either all of it happened or nothing. A message that comes
again is answered from its row; rows below the sender's low-water mark are forgotten, because it will not ask for them again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, cast

from peewee import fn

from node.errors import Busy, EcnodeError, Rejected, Unavailable
from node.model.delivery import ENTRIES_MOST, Batch, Position, Verdict, judge, other_content
from node.storage.connection import Reading, Writing
from node.storage.database import Database
from node.storage.rows import text
from node.storage.tables import InboxRow, InboxStreamRow, compiled, insertion, slot

KEPT_MOST: Final = 1024  # rows of one stream: a sender stores its acknowledgements at least every 512
STREAMS_MOST: Final = 8  # of one sender: a new one comes with a new memory only; the oldest is forgotten

_STREAM: Final = compiled(
    InboxStreamRow.select(
        InboxStreamRow.number,
        InboxStreamRow.boot,
        InboxStreamRow.life,
        InboxStreamRow.turn,
        InboxStreamRow.low,
        InboxStreamRow.taken,
    ).where(InboxStreamRow.sender == slot("sender"), InboxStreamRow.stream == slot("stream"))
)
_BEGIN: Final = insertion(InboxStreamRow, leave_out="number")
_SURPLUS: Final = compiled(
    InboxStreamRow.delete().where(
        InboxStreamRow.number.in_(
            InboxStreamRow.select(InboxStreamRow.number)
            .where(InboxStreamRow.sender == slot("sender"))
            .order_by(InboxStreamRow.number.desc())
            .limit(slot("all"))
            .offset(slot("most"))
        )
    )
)
_MOVE: Final = compiled(
    InboxStreamRow.update(
        {
            InboxStreamRow.boot: slot("boot"),
            InboxStreamRow.life: slot("life"),
            InboxStreamRow.turn: slot("turn"),
            InboxStreamRow.low: slot("low"),
            InboxStreamRow.taken: slot("taken"),
        }
    ).where(InboxStreamRow.number == slot("number"))
)
_FORGET: Final = compiled(InboxRow.delete().where(InboxRow.stream == slot("stream"), InboxRow.sequence <= slot("low")))
_ADD: Final = insertion(InboxRow)
_KEPT: Final = compiled(
    InboxRow.select(InboxRow.sequence, InboxRow.digest, InboxRow.fate, InboxRow.reply)
    .where(InboxRow.stream == slot("stream"), InboxRow.sequence >= slot("first"))
    .order_by(InboxRow.sequence)
    .limit(slot("limit"))
)
_COUNT: Final = compiled(InboxRow.select(fn.COUNT(InboxRow.sequence)))


@dataclass(frozen=True, slots=True)
class Fate:
    """How a message was answered: empty `code` and a reply, or an error's code and its text."""

    code: str
    reply: bytes


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message as it came. `effect` runs in the transaction and gives its value and its packed reply."""

    digest: bytes
    effect: Callable[[Writing], tuple[object, bytes]]


@dataclass(frozen=True, slots=True)
class Intaken:
    """What a batch has come to: `values` are those of the effects that took place now, by the place in the batch."""

    verdict: Verdict
    taken: int
    first: int
    fates: tuple[Fate, ...] = ()
    values: tuple[tuple[int, object], ...] = ()
    halted: Unavailable | None = None


class Inbox:
    """The durable messages that this node, whose memory is `memory`, has taken from others."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(
        self, memory: str, sender: str, batch: Batch, arrivals: Sequence[Arrival], refusal: Callable[[EcnodeError], bytes]
    ) -> Intaken:
        """What the batch has come to, once it is on the disk. An effect that raises `Rejected` is answered with that for good.

        Raises:
            Stale: the sender's memory or this one was copied or set back; nothing was taken.
            Busy: the sender does not store its acknowledgements.
            StorageFailed: nothing was taken.
            Exception: what an effect raised that is neither `Rejected` nor `Unavailable`; nothing was taken.
        """
        intake = _Intake(memory, sender, batch, arrivals, refusal)
        return await self._database.write(intake.run)

    async def rows(self) -> int:
        """How many messages are remembered."""
        return await self._database.read(lambda connection: connection.number(_COUNT))


class _Intake:
    """One batch inside its transaction."""

    def __init__(
        self, memory: str, sender: str, batch: Batch, arrivals: Sequence[Arrival], refusal: Callable[[EcnodeError], bytes]
    ) -> None:
        self._memory = memory
        self._sender = sender
        self._batch = batch
        self._arrivals = arrivals
        self._refusal = refusal
        self._fates: list[Fate] = []
        self._values: list[tuple[int, object]] = []

    def run(self, connection: Writing) -> Intaken:
        batch = self._batch
        number, known = self._known(connection)
        verdict = judge(batch, known, self._memory)
        if known is not None and verdict in {Verdict.LATE, Verdict.OLD}:
            return Intaken(verdict, known.taken, batch.first)
        taken = batch.low if known is None or verdict is Verdict.ADOPT else known.taken
        if known is None:
            number = self._begin(connection)
        connection.change(_FORGET, stream=number, low=batch.low)
        self._repeat(connection, number, taken)
        taken, halted = self._apply(connection, number, taken)
        connection.change(_MOVE, number=number, boot=batch.boot, life=batch.life, turn=batch.turn, low=batch.low, taken=taken)
        return Intaken(verdict, taken, batch.first, tuple(self._fates), tuple(self._values), halted)

    def _known(self, connection: Reading) -> tuple[int, Position | None]:
        row = connection.row(_STREAM, sender=self._sender, stream=self._batch.stream)
        if row is None:
            return 0, None
        number, boot, life, turn, low, taken = row
        return cast(int, number), Position(
            boot=cast(int, boot), life=cast(str, life), turn=cast(int, turn), low=cast(int, low), taken=cast(int, taken)
        )

    def _begin(self, connection: Writing) -> int:
        batch = self._batch
        connection.change(
            _BEGIN, sender=self._sender, stream=batch.stream, boot=batch.boot, life=batch.life, turn=0, low=0, taken=0
        )
        connection.change(_SURPLUS, sender=self._sender, all=-1, most=STREAMS_MOST)
        return self._known(connection)[0]

    def _repeat(self, connection: Reading, number: int, taken: int) -> None:
        """Answers what was taken before from its rows; a message with another content was sent by another memory."""
        repeated = min(len(self._arrivals), max(0, taken - self._batch.first + 1))
        rows = connection.rows(_KEPT, stream=number, first=self._batch.first, limit=repeated)
        for arrival, row in zip(self._arrivals[:repeated], rows, strict=False):
            if row[1] != arrival.digest:
                raise other_content(cast(int, row[0]))
            self._fates.append(Fate(text(row, 2), cast(bytes, row[3])))

    def _apply(self, connection: Writing, number: int, taken: int) -> tuple[int, Unavailable | None]:
        for place in range(taken - self._batch.first + 1, len(self._arrivals)):
            if place < 0:
                break  # a gap: the sender learns where the stream stands, and goes on from there
            if taken - self._batch.low >= KEPT_MOST:
                return taken, Busy(f"{KEPT_MOST} messages of '{self._sender}' are taken and not acknowledged")
            arrival = self._arrivals[place]
            try:
                fate = self._effect(connection, place, arrival)
            except Unavailable as error:
                return taken, error
            taken += 1
            connection.change(_ADD, stream=number, sequence=taken, digest=arrival.digest, fate=fate.code, reply=fate.reply)
            self._fates.append(fate)
        return taken, None

    def _effect(self, connection: Writing, place: int, arrival: Arrival) -> Fate:
        connection.change("SAVEPOINT message")
        try:
            value, reply = arrival.effect(connection)
        except EcnodeError as error:
            connection.change("ROLLBACK TO message")
            connection.change("RELEASE message")
            if not isinstance(error, Rejected):
                raise
            return Fate(error.code, self._refusal(error))
        connection.change("RELEASE message")
        self._values.append((place, value))
        return Fate("", reply)


assert KEPT_MOST > 2 * ENTRIES_MOST, "an honest sender is never told to wait"
