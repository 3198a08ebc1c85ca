"""Which data sets has this node for sessions, and where on its disk do sessions read and write?

Everything lies below `federated.data_root`; a path that leads out of it, by dots or by a link, is refused. A file is looked at
in a worker process, and of its rows only their number leaves that process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from node.clock import Clock
from node.errors import ChildLost, Forbidden, Problem, from_wire
from node.model.federated import Dataset, DatasetRequest, PinnedParty
from node.roles.federated.party_run import MODULE
from node.roles.shared.processes import Spawner
from node.storage.datasets import Datasets

INSPECT_TIMEOUT_S: Final = 120.0
INSPECTIONS: Final = 1  # at once: a file of ten million rows takes gigabytes


class DataRoot:
    """The folder that sessions may read and write below."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, relative: str) -> Path:
        """A place below the root.

        Raises:
            Forbidden: it leads out.
        """
        found = (self._root / relative).resolve()
        if not found.is_relative_to(self._root):
            raise Forbidden(f"'{relative}' leads out of federated.data_root", hint="paths are relative to that folder")
        return found


class DatasetRegistry:
    """The data sets of this node."""

    def __init__(self, root: DataRoot, store: Datasets, spawner: Spawner, clock: Clock) -> None:
        self._root = root
        self._store = store
        self._spawner = spawner
        self._clock = clock
        self._room = asyncio.Semaphore(INSPECTIONS)

    async def register(self, request: DatasetRequest) -> Dataset:
        """Looks at the file and keeps what it is; one of the same name is replaced.

        Raises:
            Forbidden: the path leads out of the data root.
            Invalid, NotFound: the file cannot be used; the problems name its lines.
        """
        facts = await self._inspect(request)
        return await self._store.put(
            Dataset(
                name=request.name,
                path=request.path,
                id=facts["id"],
                label=request.label,
                columns=tuple(facts["columns"]),
                rows=facts["rows"],
                digest=facts["digest"],
                registered_at=self._clock.wall(),
            )
        )

    async def all(self) -> tuple[Dataset, ...]:
        """By name."""
        return await self._store.all()

    async def get(self, name: str) -> Dataset:
        """One of them; NotFound if there is none."""
        return await self._store.get(name)

    async def ground(self, party: PinnedParty, memory: Path, model: Path | None = None) -> Mapping[str, str | None]:
        """Where a party's data lies, as its worker process is told; `model` is its block of the model that predicts.

        Raises:
            NotFound: the data set is not registered here.
            Forbidden: a folder outside the data root.
        """
        dataset = await self._store.get(party.dataset) if party.dataset else None
        folder = self._root.path(party.output) if party.output else memory
        file = dataset.path if dataset is not None else party.file
        return {
            "source": str(self._root.path(file)) if file else "",
            "id": dataset.id if dataset is not None else "",
            "label": (party.label or (dataset.label if dataset is not None else "")) if party.role == "label_client" else None,
            "folder": str(folder),
            "prepared": str(self._root.path(party.prepared)) if party.prepared else str(folder),
            "memory": str(memory),
            "model": str(model) if model is not None else "",
        }

    async def _inspect(self, request: DatasetRequest) -> Mapping[str, Any]:
        path = self._root.path(request.path)
        async with self._room:
            settings = {"inspect": str(path), "id": request.id, "label": request.label}
            child = await self._spawner.spawn(MODULE, settings, name=f"data set {request.name}", descriptors={})
            try:
                async with self._clock.timeout(INSPECT_TIMEOUT_S):
                    message = await child.receive()
            except TimeoutError as error:
                raise ChildLost(f"'{request.path}' could not be read within {INSPECT_TIMEOUT_S:g} s") from error
            finally:
                await child.stop()
        if message is None:
            raise ChildLost(f"the process that read '{request.path}' has gone")
        header = cast(dict[str, Any], message.header)
        if header["op"] == "failed":
            refusal = from_wire(header["code"], header["message"], header["hint"])
            refusal.problems = tuple(Problem(each["path"], each["message"]) for each in header["problems"])
            raise refusal
        return header
