"""What is one verb of the wire, and who may use it?"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Generic, TypeAlias, TypeVar

from node.model.cluster import Role
from node.model.value import Value, Word

Q = TypeVar("Q", bound=Value)
R = TypeVar("R", bound=Value)


class Lane(StrEnum):
    """Which connection of a link carries a message: control never waits behind pictures and chunks."""

    CONTROL = "control"
    DATA = "data"


class Mark(Word):
    """What a key may be that is no member's; no set of roles has it, so a method is open to it only where it says so."""

    JOINER = "joiner"


Caller: TypeAlias = Role | Mark


@dataclass(frozen=True, slots=True)
class Method(Generic[Q, R]):
    """One verb of the wire: its name, the body of the request, the body of the reply, who may ask, and on which lane.

    A durable one must arrive: it is sent with `roles.shared.delivery`, saved before it is sent and applied once.
    """

    name: str
    request: type[Q]
    reply: type[R]
    callers: frozenset[Caller]
    lane: Lane = Lane.CONTROL
    durable: bool = False


COMPUTING: Final = frozenset({Role.CLOUD, Role.EDGE})
EVERY: Final = frozenset(Role)
