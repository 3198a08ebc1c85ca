"""By which rule does a node take part in a session that somebody else asked for?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from node.errors import Forbidden
from node.model.federated import PinnedParty, SessionSpec
from node.pipeline.federated.identity import knows_token


@dataclass(frozen=True, slots=True)
class Policy:
    """By which rule this node takes part: who is asked, which roles it plays, how few common ids it puts up with."""

    approve: str
    allow: frozenset[str]
    capabilities: frozenset[str]
    min_intersection: int
    token: str = ""

    def check(self, spec: SessionSpec, mine: Sequence[PinnedParty]) -> None:
        """Is content where this node may play its parties at all.

        Raises:
            Forbidden: it may not.
        """
        for party in mine:
            if party.role not in self.capabilities:
                raise Forbidden(f"this node does not play {party.role}", hint="federated.capabilities names what it plays")
        if spec.alignment is not None and spec.alignment.min_intersection < self.min_intersection:
            raise Forbidden(
                f"alignment.min_intersection is {spec.alignment.min_intersection}, this node wants"
                f" {self.min_intersection} at least",
                hint="raise it, or lower federated.min_intersection here",
            )

    def accepts(self, spec: SessionSpec, proof: str) -> bool:
        """Whether nobody has to be asked; `proof` is what whoever asked for the session shows of the parties' token."""
        match self.approve:
            case "auto":
                return True
            case "allow-list":
                return spec.coordinator in self.allow
            case "same-token":
                return knows_token(proof, self.token, spec.digest)
            case _:
                return False
