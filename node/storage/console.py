"""What does a console remember of projects, tasks, runs, resources and users?

A `Book` is open for one transaction: what is looked up in it and written to it belongs together. Projects, pairings and
instances change their status by their life cycle alone, each step with its event.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar, cast

from peewee import fn

from node.clock import Clock
from node.errors import Busy, Conflict, NotFound
from node.lifecycle import LifeCycle
from node.model.project import (
    INSTANCE_LIFE,
    PAIRING_LIFE,
    PROJECT_LIFE,
    ConsoleEvent,
    Instance,
    InstanceState,
    Pairing,
    Project,
    ProjectTask,
    Resource,
    StoredObject,
    User,
)
from node.model.value import Value
from node.storage.connection import Reading, Writing
from node.storage.database import Database
from node.storage.rows import decode, encode
from node.storage.shelf import Shelf, texts
from node.storage.tables import (
    ConsoleEventRow,
    InstanceRow,
    LoginRow,
    NonceRow,
    ObjectRow,
    PairingRow,
    ProjectRow,
    ProjectTaskRow,
    ResourceRow,
    UserRow,
    column,
    compiled,
    derived,
    insertion,
    slot,
)

V = TypeVar("V", bound=Value)
T = TypeVar("T")
Living: TypeAlias = Project | Pairing | Instance
L = TypeVar("L", bound=Living)

RECORDS_MOST: Final = {  # of each kind; with their settings at the largest a thousand projects are 256 MB
    Project: 1000,
    ProjectTask: 10_000,
    Pairing: 10_000,
    Instance: 100_000,
    Resource: 10_000,
    StoredObject: 10_000,
    User: 1000,
}
NONCES_MOST: Final = 20_000  # of one key, within the time that a signature is good for
LOGINS_MOST: Final = 20  # of one user; the oldest ends
EVENTS_PAGE: Final = 500

_SHELVES: Final[dict[type[Value], Shelf[Any]]] = {
    Project: Shelf(ProjectRow, Project, "project", "peer_id"),
    ProjectTask: Shelf(ProjectTaskRow, ProjectTask, "task", "project"),
    Pairing: Shelf(PairingRow, Pairing, "pairing", "task", "peer_id"),
    Instance: Shelf(InstanceRow, Instance, "instance", "pairing", "peer_id", "status"),
    Resource: Shelf(ResourceRow, Resource, "resource", "task"),
    StoredObject: Shelf(ObjectRow, StoredObject, "object"),
    User: Shelf(UserRow, User, "user", "name"),
}
_LIVES: Final[dict[type[Value], LifeCycle[Any]]] = {
    Project: PROJECT_LIFE,
    Pairing: PAIRING_LIFE,
    Instance: INSTANCE_LIFE,
}
_ADD_EVENT: Final = insertion(ConsoleEventRow, leave_out="number")
_EVENTS: Final = compiled(
    ConsoleEventRow.select(*derived(ConsoleEventRow, ConsoleEvent))
    .where(ConsoleEventRow.record == slot("record"))
    .order_by(ConsoleEventRow.number)
    .limit(slot("limit"))
)
_OWED: Final = compiled(
    InstanceRow.select(*derived(InstanceRow, Instance)).where(column(InstanceRow, "owed").is_null(False)).limit(slot("limit"))
)
_ADD_NONCE: Final = insertion(NonceRow, ignore=True)
_FORGET_NONCES: Final = compiled(NonceRow.delete().where(NonceRow.at < slot("before")))
_COUNT_NONCES: Final = compiled(NonceRow.select(fn.COUNT(NonceRow.nonce)).where(NonceRow.key == slot("key")))
_ADD_LOGIN: Final = insertion(LoginRow)
_DROP_LOGIN: Final = compiled(LoginRow.delete().where(LoginRow.id == slot("id")))
_LOGIN: Final = compiled(LoginRow.select(LoginRow.user).where(LoginRow.id == slot("id")))
_LOGINS: Final = compiled(LoginRow.select(LoginRow.id).where(LoginRow.user == slot("user")).order_by(LoginRow.id))


class Page:
    """What a reader may look up."""

    def __init__(self, connection: Reading) -> None:
        self._connection = connection

    def get(self, kind: type[V], id: str) -> V:
        """The record; NotFound if there is none."""
        return cast(V, _SHELVES[kind].get(self._connection, id))

    def known(self, kind: type[V], id: str | None) -> V | None:
        """The record, None where there is none, or no id."""
        try:
            return self.get(kind, id) if id else None
        except NotFound:
            return None

    def find(self, kind: type[V], **by: str) -> tuple[V, ...]:
        """Those with that value in one column, the oldest first."""
        ((name, value),) = by.items()
        return _SHELVES[kind].find(self._connection, name, value)

    def all(self, kind: type[V], limit: int, after: str | None = None) -> tuple[V, ...]:
        """The oldest first, behind the id `after`."""
        return _SHELVES[kind].page(self._connection, limit, after)

    def count(self, kind: type[V]) -> int:
        """How many of them there are."""
        return _SHELVES[kind].count(self._connection)

    def running(self) -> tuple[Instance, ...]:
        """The instances that run."""
        return self.find(Instance, status=InstanceState.RUNNING.value)

    def owed(self, limit: int) -> tuple[Instance, ...]:
        """Some of the instances whose status the other side has still to be told."""
        return tuple(decode(Instance, row) for row in self._connection.rows(_OWED, limit=limit))

    def events(self, record: str) -> tuple[ConsoleEvent, ...]:
        """Every step in the life of a record, oldest first."""
        return tuple(decode(ConsoleEvent, row) for row in self._connection.rows(_EVENTS, record=record, limit=EVENTS_PAGE))

    def user_of(self, token: str) -> User | None:
        """Whose log-in a token is, None where it is nobody's."""
        row = self._connection.row(_LOGIN, id=token)
        return None if row is None else self.get(User, str(row[0]))

    def logins(self, user: str) -> list[str]:
        """The ids of a user's tokens, the oldest first."""
        return texts(self._connection, _LOGINS, user=user)


class Book(Page):
    """What a writer may look up and change, all of it or nothing."""

    def __init__(self, connection: Writing, now: float) -> None:
        super().__init__(connection)
        self._writing = connection
        self.now = now

    def add(self, value: V) -> V:
        """Keeps a new record.

        Raises:
            Busy: there are too many of its kind.
        """
        kind = type(value)
        if self.count(kind) >= (most := RECORDS_MOST[kind]):
            raise Busy(f"there are {most} {_SHELVES[kind].what}s already", hint="take some away that nobody needs")
        _SHELVES[kind].add(self._writing, value)
        if isinstance(value, Project | Pairing | Instance):
            self._note(value, "create", "")
        return value

    def change(self, value: V, **changes: object) -> V:
        """The record with other fields; its status is changed by `step` only."""
        assert "status" not in changes
        return self._save(value, changes)

    def step(self, value: L, event: str, reason: str = "", **changes: object) -> L:
        """The record after an event, and with other fields besides.

        Raises:
            Conflict: its life cycle does not have that event now.
        """
        status = _LIVES[type(value)].after(value.status, event)
        saved = self._save(value, {**changes, "status": status})
        self._note(saved, event, reason)
        return saved

    def drop(self, value: Value) -> None:
        """Takes a record away."""
        _SHELVES[type(value)].drop(self._writing, value.id)  # type: ignore[attr-defined] # every kind here has one

    def take_nonce(self, key: str, nonce: str, oldest: float) -> None:
        """Notes a signed request; those from before `oldest` are forgotten, as their signatures are too old to be taken.

        Raises:
            Conflict: it was taken before.
            Busy: too many came within that time.
        """
        self._writing.change(_FORGET_NONCES, before=oldest)
        if self._writing.number(_COUNT_NONCES, key=key) >= NONCES_MOST:
            raise Busy(f"{NONCES_MOST} requests of one console within the time that a signature is good for")
        if not self._writing.change(_ADD_NONCE, key=key, nonce=nonce, at=self.now):
            raise Conflict("this request was taken before", hint="sign each request anew, with a nonce of its own")

    def log_in(self, user: User, token: str) -> list[str]:
        """Notes a log-in; the ids of tokens that end by it because the user has too many."""
        before = self.logins(user.id)
        ended = before[: max(0, len(before) + 1 - LOGINS_MOST)]
        for old in ended:
            self.log_out(old)
        self._writing.change(_ADD_LOGIN, id=token, user=user.id)
        self._save(user, {"login_at": self.now})
        return ended

    def log_out(self, token: str) -> None:
        """Forgets a log-in."""
        self._writing.change(_DROP_LOGIN, id=token)

    def _save(self, value: V, changes: dict[str, object]) -> V:
        changed = value.replace(**changes, updated_at=self.now)
        _SHELVES[type(value)].save(self._writing, changed)
        return changed

    def _note(self, value: Living, event: str, reason: str) -> None:
        told = ConsoleEvent(time=self.now, event=event, state=value.status.value, reason=reason[:2000])
        self._writing.change(_ADD_EVENT, record=value.id, **encode(told))


class ConsoleStore:
    """The memory of a node's console."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def read(self, look: Callable[[Page], T]) -> T:
        """What `look` finds."""
        return await self._database.read(lambda connection: look(Page(connection)))

    async def write(self, work: Callable[[Book], T]) -> T:
        """What `work` gives; if it raises, nothing has happened."""
        now = self._clock.wall()
        return await self._database.write(lambda connection: work(Book(connection, now)))
