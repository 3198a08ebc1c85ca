"""What can be set on a transport, and whom does it dial?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from node.errors import Invalid, NotBuilt
from node.model.cluster import Role
from node.model.wire.method import Lane
from node.transport import limits

IPC_DATA: Final = "-data"  # behind the path of a control lane over ipc: the path of its data lane


@dataclass(frozen=True, slots=True)
class Dial:
    """A door to knock at: its address and the public key (Z85) that must answer there."""

    address: str
    public: str


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """How a node behaves on its links. `name` is its own name, `boot` counts its starts (0: not counted).

    With `roles` the node has a link to itself, on which it acts in these roles. With `relay` a cloud passes on what members
    without a link to each other ask, and a member asks and answers over its clouds.

    Spans are seconds. `redial` is the pause after a lost link (drawn between half of it and all of it, so that a thousand edges
    do not return in one instant), `redial_refused` the pause after the other side did not admit our key.
    """

    name: str
    security: Literal["curve", "null"] = "curve"
    heartbeat: float = 2.0
    suspect_after: float = 6.0
    max_message: int = limits.MESSAGE_BYTES
    max_in_flight: int = limits.IN_FLIGHT
    redial: float = 1.0
    redial_refused: float = 5.0
    boot: int = 0
    roles: frozenset[Role] = frozenset()
    relay: bool = True

    def most(self, lane: Lane) -> int:
        """The bytes that a message of that lane may have; no frame of it is larger."""
        return min(self.max_message, limits.CONTROL_BYTES) if lane is Lane.CONTROL else self.max_message

    def __post_init__(self) -> None:
        if self.security != "curve":
            raise NotBuilt(
                f"security '{self.security}' is not built: without CURVE nothing proves who a peer is",
                hint='leave transport.security at "curve"',
            )
        if not limits.MESSAGE_BYTES_LEAST <= self.max_message <= limits.MESSAGE_BYTES:
            raise Invalid(
                f"max_message is {self.max_message} bytes",
                hint=f"between {limits.MESSAGE_BYTES_LEAST} and {limits.MESSAGE_BYTES}",
            )
        if not 0 < self.heartbeat < self.suspect_after:
            raise Invalid(f"heartbeat {self.heartbeat} s must be above 0 and below suspect_after {self.suspect_after} s")
        if self.max_in_flight < 1:
            raise Invalid(f"max_in_flight is {self.max_in_flight}", hint="at least 1")
