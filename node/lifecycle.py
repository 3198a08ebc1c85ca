"""Which states may a record be in, and which event leads from which to which?

A life cycle is one table. The store's conditional update, the generated diagram and the tests all read it; nobody
assigns a state by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Generic, TypeVar

from node.errors import Conflict

S = TypeVar("S", bound=StrEnum)


class LifeCycle(Generic[S]):
    """A table (state, event) → state with one start state.

    A state that no row leaves is terminal.
    """

    def __init__(self, name: str, start: S, table: Mapping[tuple[S, str], S]) -> None:
        self.name = name
        self.start = start
        self.table = dict(table)
        states = {start} | {state for state, _ in table} | set(table.values())
        self.states = tuple(state for state in type(start) if state in states)
        self.terminal = frozenset(states - {state for state, _ in table})

    def after(self, state: S, event: str) -> S:
        """The state that `event` leads to.

        Raises:
            Conflict: the table has no such row.
        """
        try:
            return self.table[state, event]
        except KeyError:
            raise Conflict(
                f"a {self.name} that is {state} cannot take the event '{event}'",
                hint=f"events possible now: {', '.join(self.events(state)) or 'none, this state is final'}",
            ) from None

    def events(self, state: S) -> tuple[str, ...]:
        """The events that `state` answers to, in table order."""
        return tuple(event for origin, event in self.table if origin == state)

    def diagram(self) -> str:
        """The table as a Mermaid state diagram."""
        rows = [f"    [*] --> {self.start}"]
        rows += [f"    {origin} --> {target}: {event}" for (origin, event), target in self.table.items()]
        rows += [f"    {state} --> [*]" for state in self.states if state in self.terminal]
        return "\n".join(["stateDiagram-v2", *rows])
