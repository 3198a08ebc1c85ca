"""Which durable messages wait until their peer has acknowledged them?

A message is accepted by the commit that holds its row, and the row goes with the commit that holds the acknowledgement: between
both it survives anything but the disk. A full outbox refuses (`Busy`), it never drops.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar, cast

from peewee import fn

from node.errors import Busy
from node.model.delivery import ENTRIES_MOST
from node.storage.connection import Reading, Writing
from node.storage.database import Database
from node.storage.rows import text
from node.storage.tables import MarkRow, OutboxRow, OutboxStreamRow, compiled, insertion, slot

T = TypeVar("T")

ROWS_MOST: Final = 10_000  # of one peer: more than a quarter of an hour at ten rows a second
BYTES_MOST: Final = 64 * 2**20  # of one peer; the bodies of 10,000 usual rows are 20 MB
PEERS_MOST: Final = 4096  # × 64 MiB is the disk's worst case, and needs as many peers that are all away

_STREAM: Final = compiled(
    OutboxStreamRow.select(OutboxStreamRow.reader, OutboxStreamRow.low, OutboxStreamRow.last, OutboxStreamRow.bytes).where(
        OutboxStreamRow.peer == slot("peer")
    )
)
_STREAMS: Final = compiled(
    OutboxStreamRow.select(OutboxStreamRow.peer, OutboxStreamRow.reader, OutboxStreamRow.low, OutboxStreamRow.last)
    .order_by(OutboxStreamRow.peer)
    .limit(slot("limit"))
)
_PEERS: Final = compiled(OutboxStreamRow.select(fn.COUNT(OutboxStreamRow.peer)))
_BEGIN: Final = insertion(OutboxStreamRow)
_GROW: Final = compiled(
    OutboxStreamRow.update({OutboxStreamRow.last: slot("last"), OutboxStreamRow.bytes: slot("bytes")}).where(
        OutboxStreamRow.peer == slot("peer")
    )
)
_SETTLE: Final = compiled(
    OutboxStreamRow.update(
        {OutboxStreamRow.low: slot("low"), OutboxStreamRow.reader: slot("reader"), OutboxStreamRow.bytes: slot("bytes")}
    ).where(OutboxStreamRow.peer == slot("peer"))
)
_ADD: Final = insertion(OutboxRow)
_SIZES: Final = compiled(
    OutboxRow.select(OutboxRow.sequence, fn.LENGTH(OutboxRow.body))
    .where(OutboxRow.peer == slot("peer"), OutboxRow.sequence > slot("after"), OutboxRow.sequence <= slot("upto"))
    .order_by(OutboxRow.sequence)
    .limit(slot("limit"))
)
_BODIES: Final = compiled(
    OutboxRow.select(OutboxRow.sequence, OutboxRow.method, OutboxRow.body, OutboxRow.attempts)
    .where(OutboxRow.peer == slot("peer"), OutboxRow.sequence > slot("after"), OutboxRow.sequence <= slot("upto"))
    .order_by(OutboxRow.sequence)
)
_WEIGHT: Final = compiled(
    OutboxRow.select(fn.SUM(fn.LENGTH(OutboxRow.body))).where(
        OutboxRow.peer == slot("peer"), OutboxRow.sequence <= slot("upto")
    )
)
_DROP: Final = compiled(OutboxRow.delete().where(OutboxRow.peer == slot("peer"), OutboxRow.sequence <= slot("upto")))
_TRIED: Final = compiled(
    OutboxRow.update({OutboxRow.attempts: slot("attempts")}).where(
        OutboxRow.peer == slot("peer"), OutboxRow.sequence == slot("sequence")
    )
)
_NAME: Final = compiled(MarkRow.update({MarkRow.value: slot("value")}).where(MarkRow.name == slot("name")))
_SHIFT: Final = 'UPDATE "outbox" SET "sequence" = "sequence" - :low WHERE "peer" = :peer'
_RESTART: Final = compiled(
    OutboxStreamRow.update(
        {OutboxStreamRow.low: slot("low"), OutboxStreamRow.last: slot("last"), OutboxStreamRow.reader: slot("reader")}
    ).where(OutboxStreamRow.peer == slot("peer"))
)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message that is to be accepted: its body is packed and of a size that can be sent."""

    peer: str
    method: str
    body: bytes


@dataclass(frozen=True, slots=True)
class OutboxStream:
    """Where the stream to a peer stands: up to `low` it is acknowledged, by the memory `reader`."""

    peer: str
    reader: str = ""
    low: int = 0
    last: int = 0


@dataclass(frozen=True, slots=True)
class Span:
    """Which messages to read: behind `after`, none behind `upto`, so many and so many bytes at the most."""

    after: int
    upto: int
    most_bytes: int
    most: int = ENTRIES_MOST


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message that is not acknowledged."""

    sequence: int
    method: str
    body: bytes
    attempts: int


@dataclass(frozen=True, slots=True)
class Posted(Generic[T]):
    """What became of a message: its sequence, and what the operation gave that was committed with it."""

    sequence: int
    value: T


class Outbox:
    """The messages of this node that wait for an acknowledgement."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def post(self, message: Outgoing, boot: int, alongside: Callable[[Writing], T]) -> asyncio.Future[Posted[T]]:
        """Accepts a message in one transaction with `alongside`; the result comes after the commit.

        The future holds `Busy` where the outbox of that peer is full, and then nothing was kept of `alongside` either.

        Raises:
            Busy, StorageFailed: the store takes nothing.
        """
        return self._database.write(lambda it: Posted(_append(it, message, boot), alongside(it)))

    async def streams(self) -> tuple[OutboxStream, ...]:
        """Every stream that was ever used."""
        rows = await self._database.read(lambda connection: connection.rows(_STREAMS, limit=PEERS_MOST))
        return tuple(OutboxStream(text(row, 0), text(row, 1), cast(int, row[2]), cast(int, row[3])) for row in rows)

    async def waiting(self, peer: str, span: Span) -> tuple[Waiting, ...]:
        """The messages of a span, in order; one at least where there is any."""
        return await self._database.read(lambda connection: _waiting(connection, peer, span))

    async def settle(self, peer: str, upto: int, reader: str) -> None:
        """Forgets what the memory `reader` of the peer has acknowledged; harmless when repeated."""
        await self._database.write(lambda connection: _settle(connection, peer, upto, reader))

    async def tried(self, peer: str, messages: tuple[Waiting, ...]) -> None:
        """Counts one more attempt that came to nothing."""
        await self._database.write(lambda connection: _tried(connection, peer, messages))

    async def drop(self, peer: str) -> OutboxStream:
        """Forgets what waits for a peer that will not come back; where the stream stands now.

        Sequences go on where they were: whoever comes under that name takes the stream up from there, as after a new memory.
        """
        return await self._database.write(lambda connection: _drop(connection, peer))

    async def renew(self, memory: str, *, keep: bool) -> int:
        """Begins every stream anew under the id `memory`, for a node that is stopped; gives the number of messages dropped.

        Messages that wait are dropped, or kept and sent again: where the peer has taken some of them, these take effect twice.
        """
        return await self._database.write(lambda connection: _renew(connection, memory, keep))


def _append(connection: Writing, message: Outgoing, boot: int) -> int:
    row = connection.row(_STREAM, peer=message.peer)
    if row is None:
        if connection.number(_PEERS) >= PEERS_MOST:
            raise Busy(f"durable messages for {PEERS_MOST} peers are kept already", hint="revoke peers that will not come back")
        connection.change(_BEGIN, peer=message.peer, reader="", low=0, last=0, bytes=0)
        row = ("", 0, 0, 0)
    low, last, weight = cast(int, row[1]), cast(int, row[2]), cast(int, row[3])
    if last - low >= ROWS_MOST or weight + len(message.body) > BYTES_MOST:
        raise Busy(
            f"{last - low} messages of {weight} bytes wait for '{message.peer}' already",
            hint="they are sent when it is there; see `ecnode status`",
        )
    connection.change(
        _ADD, peer=message.peer, sequence=last + 1, boot=boot, method=message.method, body=message.body, attempts=0
    )
    connection.change(_GROW, peer=message.peer, last=last + 1, bytes=weight + len(message.body))
    return last + 1


def _waiting(connection: Reading, peer: str, span: Span) -> tuple[Waiting, ...]:
    until, room = span.after, span.most_bytes
    for sequence, size in connection.rows(_SIZES, peer=peer, after=span.after, upto=span.upto, limit=span.most):
        room -= cast(int, size)
        if room < 0 and until > span.after:
            break
        until = cast(int, sequence)
    rows = connection.rows(_BODIES, peer=peer, after=span.after, upto=until)
    return tuple(Waiting(cast(int, row[0]), text(row, 1), cast(bytes, row[2]), cast(int, row[3])) for row in rows)


def _settle(connection: Writing, peer: str, upto: int, reader: str) -> None:
    row = connection.row(_STREAM, peer=peer)
    if row is None or upto < cast(int, row[1]):
        return
    weight = cast(int, row[3]) - connection.number(_WEIGHT, peer=peer, upto=upto)
    connection.change(_DROP, peer=peer, upto=upto)
    connection.change(_SETTLE, peer=peer, low=upto, reader=reader, bytes=weight)


def _drop(connection: Writing, peer: str) -> OutboxStream:
    row = connection.row(_STREAM, peer=peer)
    if row is None:
        return OutboxStream(peer)
    last = cast(int, row[2])
    _settle(connection, peer, last, "")
    return OutboxStream(peer, "", last, last)


def _tried(connection: Writing, peer: str, messages: tuple[Waiting, ...]) -> None:
    for message in messages:
        connection.change(_TRIED, peer=peer, sequence=message.sequence, attempts=message.attempts + 1)


def _renew(connection: Writing, memory: str, keep: bool) -> int:
    dropped = 0
    for row in connection.rows(_STREAMS, limit=PEERS_MOST):
        peer, low, last = text(row, 0), cast(int, row[2]), cast(int, row[3])
        if not keep:
            dropped += connection.change(_DROP, peer=peer, upto=last)
            _settle(connection, peer, last, "")
            low = last
        connection.change(_SHIFT, peer=peer, low=low)
        connection.change(_RESTART, peer=peer, low=0, last=last - low, reader="")
    connection.change(_NAME, name="memory", value=memory)
    return dropped
