"""Where does a node keep what its parties must remember of a session: the spec, shares of the weights, blocks of models?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from node.errors import NotFound
from node.model.block import ModelBlock
from node.model.federated import Session

MODEL: Final = "model.json"  # as `pipeline.federated.script` calls it, which the main process does not load


class Memory:
    """A folder for each party of each session, readable by the node's user only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def place(self, session: str, party: str) -> Path:
        """The folder of a party; nobody has made it yet."""
        return self._folder / session / party

    async def model(self, session: str, party: str) -> Path:
        """A party's block of the model that a session has trained.

        Raises:
            NotFound: it has none.
        """
        path = self.place(session, party) / MODEL
        if not await asyncio.to_thread(path.is_file):
            raise NotFound(f"party {party} has no block of the model of session {session}")
        return path

    async def blocks(self, session: Session, node: str) -> tuple[ModelBlock, ...]:
        """The blocks of a session's model that lie here.

        Raises:
            NotFound: there is none.
        """
        found = await asyncio.to_thread(
            _read, [self.place(session.id, each.name) / MODEL for each in session.spec.of_node(node)]
        )
        if not found:
            raise NotFound(f"no block of the model of session {session.id} lies at {node}", hint="ask the node of its owner")
        return found


def _read(paths: Iterable[Path]) -> tuple[ModelBlock, ...]:
    return tuple(ModelBlock.model_validate_json(path.read_bytes()) for path in paths if path.is_file())
