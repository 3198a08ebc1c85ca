"""All parties of a session in one process, one thread each, and everything that they said."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.clock import SystemClock
from node.errors import DeadlineExceeded, EcnodeError, PeerUnreachable
from node.model.federated import PartyRole, PinnedParty, Record, SessionSpec
from node.pipeline.federated import sigmoid
from node.pipeline.federated.script import Ground, run

CLOCK = SystemClock()
Said = dict[tuple[str, str, str, int], bytes]


class Room:
    """Where the parties of one epoch meet; `said` is the transcript by sender, receiver, name and number."""

    def __init__(self, deadline: float = 10.0) -> None:
        self.said: Said = {}
        self.deadline = deadline
        self.over = False
        self.arrived = threading.Condition()
        self.tamper: Callable[[str, str, str, int, bytes], bytes] = lambda _from, _to, _what, _index, content: content

    def end(self) -> None:
        with self.arrived:
            self.over = True
            self.arrived.notify_all()


class LocalParty:
    def __init__(self, name: str, room: Room, epoch: int, memory: dict[tuple[int, int], bytes]) -> None:
        self.name = name
        self.records: list[Record] = []
        self.burned: list[int] = []
        self.stage = ("", 0)
        self.stop_at: tuple[str, int] | None = None
        self._room, self._epoch, self._memory = room, epoch, memory

    def say(self, to, what, index, content):
        with self._room.arrived:
            assert (self.name, to, what, index) not in self._room.said, "said twice"
            self._room.said[self.name, to, what, index] = self._room.tamper(self.name, to, what, index, bytes(content))
            self._room.arrived.notify_all()

    def expect(self, sender, what, index, *, patient=False):
        key = (sender, self.name, what, index)
        with self._room.arrived:
            limit = None if patient else self._room.deadline
            self._room.arrived.wait_for(lambda: key in self._room.said or self._room.over, limit)
            if key in self._room.said:
                return self._room.said[key]
            if self._room.over:
                raise PeerUnreachable("the session has ended")
        raise DeadlineExceeded(f"{sender} silent for {self._room.deadline:g} s in {self.stage}")

    def trust(self, closing, opening):
        self.trusted = (closing, opening)

    def at(self, stage, step=0):
        self.stage = (stage, step)
        if self.stage == self.stop_at:
            raise PeerUnreachable("killed")

    def burn(self, step):
        self.burned.append(step)

    def keep(self, step, content):
        self._memory[self._epoch, step] = content

    def kept(self):
        return dict(self._memory)

    def record(self, record):
        self.records.append(record)

    def seconds(self):
        return 1.0


class Table:
    """A session of several parties and their folders, over as many epochs as a test wants."""

    def __init__(self, folder: Path, roles: Mapping[str, PartyRole], sources: Mapping[str, Path], label: str = "y", **settings):
        self.keys = {name: Ed25519PrivateKey.generate() for name in roles}
        pinned = tuple(
            PinnedParty(
                name=name,
                role=role,
                node=name,
                dataset="data" if name in sources else "",
                key=self.keys[name].public_key().public_bytes_raw().hex(),
            )
            for name, role in roles.items()
        )
        self.spec = SessionSpec(
            session="s-" + "0" * 26,
            coordinator="somewhere",
            parties=pinned,
            round_timeout=10.0,
            tables=sigmoid.digest(),
            **settings,
        )
        self.grounds = {
            name: Ground(
                sources.get(name),
                "",
                label if roles[name] is PartyRole.LABEL else None,
                folder / name,
                folder / name,
                folder / name,
            )
            for name in roles
        }
        self.memories: dict[str, dict[tuple[int, int], bytes]] = {name: {} for name in roles}
        self.epoch = 0

    def give_model(self, name: str, path: Path) -> None:
        """Says where a party's block of the model that predicts lies."""
        self.grounds[name] = replace(self.grounds[name], model=path)

    def play(self, room: Room | None = None, stop_at: Mapping[str, tuple[str, int]] = {}) -> Played:
        """One epoch: runs all scripts to their ends."""
        self.epoch += 1
        return Played(self, room or Room(), stop_at)


class Played:
    def __init__(self, table: Table, room: Room, stop_at: Mapping[str, tuple[str, int]]) -> None:
        self.room, self.errors = room, {}
        self.parties = {name: LocalParty(name, room, table.epoch, table.memories[name]) for name in table.keys}
        for name, place in stop_at.items():
            self.parties[name].stop_at = place
        threads = [threading.Thread(target=self._live, args=(table, name)) for name in table.keys]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads)

    def _live(self, table: Table, name: str) -> None:
        key = table.keys[name].private_bytes_raw()
        try:
            run(self.parties[name], table.spec, table.epoch, key, table.grounds[name])
        except EcnodeError as error:
            self.errors[name] = error
            self.room.end()
        except BaseException:
            self.room.end()
            raise
