"""What may a party's script ask of the world around it?

A protocol of several parties is a straight script: `say` leaves a message under a name and a number, `expect` waits for that of
another, and in which order they arrive does not matter. The scripts know no socket, no clock and no file; a node gives them
these ends in a worker process, a test gives all of them in one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Protocol, TypeVar

from pydantic import ValidationError

from node.errors import Malformed
from node.model.federated import Record
from node.model.value import Value
from node.pipeline.federated.ring import Words, pack, unpack

V = TypeVar("V", bound=Value)

VALUE_BYTES: Final = 64 * 1024


class Party(Protocol):
    """One party of a session, as its own script sees it."""

    @property
    def name(self) -> str:
        """Its name in the session."""

    def say(self, to: str, what: str, index: int, content: bytes) -> None:
        """Leaves a message for another party. One name and number is said once to each."""

    def expect(self, sender: str, what: str, index: int, *, patient: bool = False) -> bytes:
        """The message of that name and number, once it is there.

        A patient one has no deadline of its own: it waits for work of unknown length, and whoever watches the session ends it.

        Raises:
            DeadlineExceeded: it did not come in time; the text names the silent party and the step.
        """

    def trust(self, closing: Mapping[str, bytes], opening: Mapping[str, bytes]) -> None:
        """Gives the keys for words that a third node passes on: for those to each party, and for those of each."""

    def at(self, stage: str, step: int = 0) -> None:
        """Tells where the script is; failures name it."""

    def burn(self, step: int) -> None:
        """Returns once it is on the disk that masks of this epoch are used up below `step`."""

    def keep(self, step: int, content: bytes) -> None:
        """Puts what is needed to go on from `step` on the disk, beside what was kept before."""

    def kept(self) -> Mapping[tuple[int, int], bytes]:
        """What was kept, by the epoch that kept it and its step."""

    def record(self, record: Record) -> None:
        """Publishes a test of the model."""

    def seconds(self) -> float:
        """Seconds since the session was first started."""


def say_value(party: Party, to: Iterable[str], what: str, index: int, value: Value) -> None:
    """Says a small value to several parties."""
    content = value.model_dump_json().encode()
    for each in to:
        party.say(each, what, index, content)


def expect_value(party: Party, sender: str, what: str, index: int, kind: type[V], *, patient: bool = False) -> V:
    """Expects a small value.

    Raises:
        Malformed: it is none of that kind.
    """
    content = party.expect(sender, what, index, patient=patient)
    if len(content) > VALUE_BYTES:
        raise Malformed(f"party {sender} sent {what} {index} of {len(content)} bytes, at most {VALUE_BYTES}")
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise Malformed(f"party {sender} sent {what} {index} that is no {kind.__name__}") from error


def say_words(party: Party, to: str, what: str, index: int, words: Words) -> None:
    """Says words of the ring."""
    party.say(to, what, index, pack(words))


def expect_words(
    party: Party, sender: str, what: str, index: int, shape: tuple[int, ...], *, bits: int = 64, patient: bool = False
) -> Words:
    """Expects words of that shape, each below 2^`bits`; read-only.

    Raises:
        Malformed: something else came; the text names the sender.
    """
    content = party.expect(sender, what, index, patient=patient)
    try:
        return unpack(content, shape, bits)
    except Malformed as error:
        raise Malformed(f"party {sender} sent {what} {index}: {error.message}") from error
