"""When is a durable message new, repeated, late, or from a memory that was copied or set back?

The sans-I/O core of delivery. A *stream* carries the durable messages of one node's memory (its database) to one peer, each
under a sequence that begins with 1. The sender repeats what is not acknowledged, one batch at a time; the receiver takes each
sequence once and in order. `judge` decides from what the receiver remembers of a stream.

- `low` is the mark up to which the sender has stored the acknowledgement. It never falls, unless its memory was set back.
- A `life` is one run of the sender's process, counted by its boot epoch; `turn` counts the batches of a life, so that a copy
  which was held up on the way is told from one that is meant.
- `reader` is the memory that the sender believes to be reading: a peer that began with an empty memory is told from one
  whose memory was set back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Annotated, Final, Self

from pydantic import Field, StringConstraints, model_validator

from node.errors import Stale
from node.model.value import Count, Items, Value

ENTRIES_MOST: Final = 64  # of one batch: one commit for as many, and 64 of the 512 blobs that a message may have

MemoryId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
NoMemoryId = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{32})?$")]
Verb = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_.]{1,63}$")]


class Batch(Value):
    """Durable messages in order, `first` being the sequence of the first one, `last` the newest of the stream, sent or not.

    Blobs: their bodies. Without any message it is a greeting.
    """

    stream: MemoryId
    boot: Count
    life: MemoryId
    turn: Count
    reader: NoMemoryId = ""
    low: Count
    last: Count
    first: Count
    methods: Annotated[Items[Verb], Field(max_length=ENTRIES_MOST)] = ()

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low < self.first <= self.last + 1 - len(self.methods):
            raise ValueError("a batch that does not lie between the marks of its stream")
        return self


class BatchReply(Value):
    """Where the stream stands: everything up to `taken` is on the receiver's disk.

    `fates` are those of the messages from `first` on, as far as they were taken: empty for a reply, else an error's code.
    Blobs: the replies, or message and hint of the errors. `halted` says why the next one was not taken; it is sent again.
    """

    memory: MemoryId
    boot: Count
    taken: Count
    first: Count
    fates: Annotated[Items[Annotated[str, StringConstraints(max_length=63)]], Field(max_length=ENTRIES_MOST)] = ()
    halted: Annotated[str, StringConstraints(max_length=500)] = ""


@dataclass(frozen=True, slots=True)
class Position:
    """What a receiver remembers of a stream."""

    boot: int
    life: str
    turn: int
    low: int
    taken: int


class Verdict(Enum):
    """What is to be done with a batch."""

    TAKE = auto()
    LATE = auto()  # a copy that was held up on the way; a later batch of the same life was here already
    OLD = auto()  # of a life of the sender that is over: a later one has been heard
    ADOPT = auto()  # the stream goes on here from its low-water mark: this memory is newer than the stream


def judge(batch: Batch, known: Position | None, memory: str) -> Verdict:
    """What the receiver whose own memory is `memory` does with `batch`.

    Raises:
        Stale: one of the two memories was copied or set back; the hint says how to go on.
    """
    newer_memory = batch.reader != memory
    if known is None:
        if batch.low and not newer_memory:
            raise _reader_set_back(f"stream {batch.stream[:8]} is unknown here")
        return Verdict.ADOPT
    if batch.boot < known.boot:
        return Verdict.OLD
    if batch.boot == known.boot and batch.life != known.life:
        raise Stale(f"two nodes run as boot epoch {batch.boot} of stream {batch.stream[:8]}", hint=COPY_HINT)
    if batch.boot == known.boot and batch.turn <= known.turn:
        return Verdict.LATE
    if batch.low < known.low or batch.last < known.taken:
        raise _sender_set_back(f"it stands at {batch.low} to {batch.last}, heard of before were {known.low} to {known.taken}")
    if batch.low > known.taken:
        if not newer_memory:
            raise _reader_set_back(f"{batch.low} was acknowledged and only {known.taken} is known")
        return Verdict.ADOPT
    return Verdict.TAKE


COPY_HINT: Final = (
    "a data directory has one holder: end the copy and give it an empty node.data_dir and a key of its own, or, where this one"
    " was restored from a backup, stop the node, run `ecnode outbox renew -c FILE`, and start it again"
)


def old_epoch(batch: Batch) -> Stale:
    """The refusal of a life that is over; a process that is still there to hear it holds a copy, or runs on one."""
    return Stale(f"boot epoch {batch.boot} of stream {batch.stream[:8]} is over, a later one was heard", hint=COPY_HINT)


def other_content(sequence: int) -> Stale:
    """The refusal of a sequence that was taken with another content."""
    return _sender_set_back(f"message {sequence} was taken before with another content")


def _sender_set_back(what: str) -> Stale:
    return Stale(f"the memory of the sender was copied or set back: {what}", hint=COPY_HINT)


def _reader_set_back(what: str) -> Stale:
    return Stale(
        f"the memory of the receiver was set back: {what}",
        hint="what it acknowledged and has lost cannot come again: put its newest database back, or, where there is none, stop"
        " the sender, run `ecnode outbox renew -c FILE` there, and start it again",
    )
