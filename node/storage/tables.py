"""Which tables does this release use, and which indexes serve which question?

The tables are made by the migrations; a test compares the two. Models are bound to no database: statements are compiled
from them once and run by whichever connection an operation gets, with values bound by name.
"""
# ruff: noqa: D106 - an inner Meta is peewee's way to name the table, it has no story of its own

from __future__ import annotations

from functools import cache
from typing import Final

import peewee

from node.model.access import Token
from node.model.federated import Dataset, Session, SessionEvent
from node.model.member import JoinToken, Member, MemberEvent
from node.model.plot import Plot, PlotStep, PlotStop, PlotTime
from node.model.project import ConsoleEvent, Instance, Pairing, Project, ProjectTask, Resource, StoredObject, User
from node.model.task import Task, TaskEvent
from node.model.value import Value
from node.model.video import Event, Query
from node.storage.rows import JsonField, columns

_DIALECT: Final = peewee.SqliteDatabase(None)


class QueryRow(peewee.Model):
    """A query in the order of acceptance, its request as it was submitted, and every field of `Query`."""

    number = peewee.AutoField()
    request = JsonField()

    class Meta:
        table_name = "queries"
        indexes = ((("state", "number"), False),)


class AttemptRow(peewee.Model):
    """The newest tally of one attempt; `forgotten` is the highest n_loop whose result is no longer kept, −1 for none."""

    query = peewee.ForeignKeyField(QueryRow, column_name="query", on_delete="CASCADE", index=False)
    attempt = peewee.IntegerField()
    tally = JsonField()
    forgotten = peewee.IntegerField()

    class Meta:
        table_name = "attempts"
        primary_key = peewee.CompositeKey("query", "attempt")


class ResultRow(peewee.Model):
    """A result under its cursor; the unique index is what makes a repeated delivery harmless."""

    query = peewee.ForeignKeyField(QueryRow, column_name="query", on_delete="CASCADE", index=False)
    cursor = peewee.IntegerField()
    attempt = peewee.IntegerField()
    n_loop = peewee.IntegerField()
    result = JsonField()

    class Meta:
        table_name = "results"
        primary_key = peewee.CompositeKey("query", "cursor")
        indexes = ((("query", "attempt", "n_loop"), True),)


class PlanRow(peewee.Model):
    """A plan that a query had; `number` is its epoch."""

    query = peewee.ForeignKeyField(QueryRow, column_name="query", on_delete="CASCADE", index=False)
    number = peewee.IntegerField()
    time = peewee.FloatField()
    plan = JsonField()

    class Meta:
        table_name = "plans"
        primary_key = peewee.CompositeKey("query", "number")


class DecisionRow(peewee.Model):
    """Why a query got the plan that it has from then on; `number` counts them."""

    query = peewee.ForeignKeyField(QueryRow, column_name="query", on_delete="CASCADE", index=False)
    number = peewee.IntegerField()
    decision = JsonField()

    class Meta:
        table_name = "decisions"
        primary_key = peewee.CompositeKey("query", "number")


class EventRow(peewee.Model):
    """One step of a query's life, every field of `Event`."""

    query = peewee.ForeignKeyField(QueryRow, column_name="query", on_delete="CASCADE", index=False)
    number = peewee.IntegerField()

    class Meta:
        table_name = "events"
        primary_key = peewee.CompositeKey("query", "number")


class CounterRow(peewee.Model):
    """A number that only grows, such as the boot epoch."""

    name = peewee.TextField(primary_key=True)
    value = peewee.IntegerField()

    class Meta:
        table_name = "counters"


class AliasRow(peewee.Model):
    """An id in the shape of one of the originals, and the id of the record that it stands for."""

    original = peewee.TextField(primary_key=True)
    native = peewee.TextField(unique=True)

    class Meta:
        table_name = "aliases"


class TokenRow(peewee.Model):
    """A token of the front door under the SHA-256 of its secret, every field of `Token`."""

    digest = peewee.TextField(primary_key=True)

    class Meta:
        table_name = "tokens"


class AnswerRow(peewee.Model):
    """An idempotency key of one caller: the digest of its call, and the answer once there is one."""

    number = peewee.AutoField()
    owner = peewee.TextField()
    key = peewee.TextField()
    digest = peewee.TextField()
    first_at = peewee.FloatField(index=True)
    answer = JsonField(null=True)

    class Meta:
        table_name = "answers"
        indexes = ((("owner", "key"), True),)


class MarkRow(peewee.Model):
    """A text about the memory as a whole, such as its id."""

    name = peewee.TextField(primary_key=True)
    value = peewee.TextField()

    class Meta:
        table_name = "marks"


class OutboxStreamRow(peewee.Model):
    """The stream to one peer: `low` is acknowledged, `last` the newest sequence, `bytes` the bodies between both.

    `reader` is the memory that acknowledged last, empty where none ever did.
    """

    peer = peewee.TextField(primary_key=True)
    reader = peewee.TextField()
    low = peewee.IntegerField()
    last = peewee.IntegerField()
    bytes = peewee.IntegerField()

    class Meta:
        table_name = "outbox_streams"


class OutboxRow(peewee.Model):
    """A message that is not acknowledged: the boot epoch that accepted it, and how often it was sent in vain."""

    peer = peewee.TextField()
    sequence = peewee.IntegerField()
    boot = peewee.IntegerField()
    method = peewee.TextField()
    body = peewee.BlobField()
    attempts = peewee.IntegerField()

    class Meta:
        table_name = "outbox"
        primary_key = peewee.CompositeKey("peer", "sequence")


class InboxStreamRow(peewee.Model):
    """A stream of a sender, every field of `Position`."""

    number = peewee.AutoField()
    sender = peewee.TextField()
    stream = peewee.TextField()
    boot = peewee.IntegerField()
    life = peewee.TextField()
    turn = peewee.IntegerField()
    low = peewee.IntegerField()
    taken = peewee.IntegerField()

    class Meta:
        table_name = "inbox_streams"
        indexes = ((("sender", "stream"), True),)


class InboxRow(peewee.Model):
    """A message that was taken and whose sender may ask again: the digest of its content, its fate and its reply."""

    stream = peewee.ForeignKeyField(InboxStreamRow, column_name="stream", on_delete="CASCADE", index=False)
    sequence = peewee.IntegerField()
    digest = peewee.BlobField()
    fate = peewee.TextField()
    reply = peewee.BlobField()

    class Meta:
        table_name = "inbox"
        primary_key = peewee.CompositeKey("stream", "sequence")


class MemberRow(peewee.Model):
    """One key and what it may do, every field of `Member`."""

    fingerprint = peewee.TextField(primary_key=True)

    class Meta:
        table_name = "members"


class MemberEventRow(peewee.Model):
    """One line of the members' audit, every field of `MemberEvent`."""

    number = peewee.AutoField()

    class Meta:
        table_name = "member_events"


class JoinTokenRow(peewee.Model):
    """A join token under the public half of its key pair, every field of `JoinToken`."""

    key = peewee.TextField(primary_key=True)

    class Meta:
        table_name = "join_tokens"


class PlotRow(peewee.Model):
    """A plot as one side has it (`overlord` or `talent`: a node may be both), its request, and every field of `Plot`."""

    number = peewee.AutoField()
    side = peewee.TextField()
    request = JsonField()

    class Meta:
        table_name = "plots"
        indexes = ((("side", "id"), True), (("side", "task_id"), True), (("side", "state", "number"), False))


class PlotTimeRow(peewee.Model):
    """One time of a plot, every field of `PlotTime`."""

    plot = peewee.ForeignKeyField(PlotRow, column_name="plot", on_delete="CASCADE", index=False)

    class Meta:
        table_name = "plot_times"
        primary_key = peewee.CompositeKey("plot", "phase", "table", "kind")


class PlotStepRow(peewee.Model):
    """One step of a plot's life, every field of `PlotStep`."""

    plot = peewee.ForeignKeyField(PlotRow, column_name="plot", on_delete="CASCADE", index=False)

    class Meta:
        table_name = "plot_steps"
        primary_key = peewee.CompositeKey("plot", "number")


class PlotLogRow(peewee.Model):
    """Where the reader of a plot's log stands, whose plot it is, and the newest step that this overlord was told of."""

    plot = peewee.ForeignKeyField(PlotRow, column_name="plot", on_delete="CASCADE", index=False, primary_key=True)
    overlord = peewee.TextField()
    place = JsonField()
    told = peewee.IntegerField()

    class Meta:
        table_name = "plot_logs"


class PlotStopRow(peewee.Model):
    """A stop of one side, every field of `PlotStop`; its plot may be unknown."""

    side = peewee.TextField()

    class Meta:
        table_name = "plot_stops"
        primary_key = peewee.CompositeKey("side", "plot")


class TaskRow(peewee.Model):
    """A task in the order of acceptance: its request as it was submitted, what its revision does, what the next one will, what
    another node has ordered as the next one, and every field of `Task`.
    """

    number = peewee.AutoField()
    request = JsonField()
    spec = JsonField()

    class Meta:
        table_name = "tasks"
        indexes = ((("state", "number"), False),)


class TaskEventRow(peewee.Model):
    """One step of a task's life, every field of `TaskEvent`."""

    number = peewee.AutoField()
    task = peewee.ForeignKeyField(TaskRow, column_name="task", on_delete="CASCADE", index=False)

    class Meta:
        table_name = "task_events"
        indexes = ((("task", "number"), False),)


class SessionRow(peewee.Model):
    """A private session in the order of acceptance, every field of `Session`."""

    number = peewee.AutoField()

    class Meta:
        table_name = "sessions"
        indexes = ((("state", "number"), False),)


class SessionEventRow(peewee.Model):
    """One step of a session's life, every field of `SessionEvent`."""

    session = peewee.ForeignKeyField(SessionRow, column_name="session", on_delete="CASCADE", index=False)
    number = peewee.IntegerField()

    class Meta:
        table_name = "session_events"
        primary_key = peewee.CompositeKey("session", "number")


class SessionRecordRow(peewee.Model):
    """A test of a session's model, by the step that it was made after."""

    session = peewee.ForeignKeyField(SessionRow, column_name="session", on_delete="CASCADE", index=False)
    step = peewee.IntegerField()
    record = JsonField()

    class Meta:
        table_name = "session_records"
        primary_key = peewee.CompositeKey("session", "step")


class SessionBurnRow(peewee.Model):
    """Below which step the masks of a party are used up in an epoch; never deleted, also where its session is."""

    session = peewee.TextField()
    party = peewee.TextField()
    epoch = peewee.IntegerField()
    step = peewee.IntegerField()

    class Meta:
        table_name = "session_burns"
        primary_key = peewee.CompositeKey("session", "party", "epoch")


class DatasetRow(peewee.Model):
    """A registered data set, every field of `Dataset`."""

    name = peewee.TextField(primary_key=True)

    class Meta:
        table_name = "datasets"


class ProjectRow(peewee.Model):
    """A project with another console, every field of `Project`."""

    number = peewee.AutoField()

    class Meta:
        table_name = "projects"


class ProjectTaskRow(peewee.Model):
    """A version of a task of a project, every field of `ProjectTask`."""

    number = peewee.AutoField()

    class Meta:
        table_name = "project_tasks"


class PairingRow(peewee.Model):
    """A version that is paired, every field of `Pairing`."""

    number = peewee.AutoField()

    class Meta:
        table_name = "pairings"


class InstanceRow(peewee.Model):
    """A run of a pairing, every field of `Instance`."""

    number = peewee.AutoField()

    class Meta:
        table_name = "instances"


class ResourceRow(peewee.Model):
    """A resource of a task, every field of `Resource`."""

    number = peewee.AutoField()

    class Meta:
        table_name = "resources"


class ObjectRow(peewee.Model):
    """A file under a name, every field of `StoredObject`."""

    number = peewee.AutoField()

    class Meta:
        table_name = "objects"


class UserRow(peewee.Model):
    """Somebody who may log in, every field of `User`."""

    number = peewee.AutoField()

    class Meta:
        table_name = "users"


class LoginRow(peewee.Model):
    """The token that a user was given for a log-in, and whose it is."""

    id = peewee.TextField(primary_key=True)
    user = peewee.TextField(index=True)

    class Meta:
        table_name = "logins"


class ConsoleEventRow(peewee.Model):
    """One step in the life of the record with the id `record`, every field of `ConsoleEvent`."""

    number = peewee.AutoField()
    record = peewee.TextField()

    class Meta:
        table_name = "console_events"
        indexes = ((("record", "number"), False),)


class NonceRow(peewee.Model):
    """A signed request of another console that was taken, so that it is not taken twice."""

    key = peewee.TextField()
    nonce = peewee.TextField()
    at = peewee.FloatField()

    class Meta:
        table_name = "nonces"
        primary_key = peewee.CompositeKey("key", "nonce")


def _derive(table: type[peewee.Model], fields: dict[str, peewee.Field]) -> None:
    for name, field in fields.items():
        table._meta.add_field(name, field)


_LATER_OF_TASKS: Final = {"parent": "", "parts": "0", "round": "0", "held": "0"}


def _columns_of_tasks() -> dict[str, peewee.Field]:
    """The columns of tasks in the order in which migrations have added them: a table has them in that of their making."""
    first = columns(Task, unique={"id"}, indexed={"name"})
    orders = {name: JsonField(null=True) for name in ("next", "ordered")}
    later = columns(Task, indexed={"parent"}, later=_LATER_OF_TASKS)
    return {name: (later if name in _LATER_OF_TASKS else first)[name] for name in first} | orders


_derive(QueryRow, columns(Query, unique={"id"}, indexed={"name"}, later={"graph": "{}"}))
_derive(EventRow, columns(Event))
_derive(TokenRow, columns(Token, unique={"id"}))
_derive(MemberRow, {name: field for name, field in columns(Member, later={"sessions": "[]"}).items() if name != "fingerprint"})
_derive(MemberEventRow, columns(MemberEvent))
_derive(PlotRow, columns(Plot))
_derive(PlotTimeRow, columns(PlotTime))
_derive(PlotStepRow, columns(PlotStep))
_derive(PlotStopRow, columns(PlotStop))
_derive(TaskRow, _columns_of_tasks())
_derive(TaskEventRow, columns(TaskEvent))
_derive(JoinTokenRow, columns(JoinToken, unique={"id"}))
_derive(SessionRow, columns(Session, unique={"id"}, indexed={"name"}))
_derive(SessionEventRow, columns(SessionEvent))
_derive(DatasetRow, {name: field for name, field in columns(Dataset).items() if name != "name"})
_derive(ProjectRow, columns(Project, unique={"id"}, indexed={"peer_id"}))
_derive(ProjectTaskRow, columns(ProjectTask, unique={"id"}, indexed={"project"}))
_derive(PairingRow, columns(Pairing, unique={"id"}, indexed={"task", "peer_id"}))
_derive(InstanceRow, columns(Instance, unique={"id"}, indexed={"pairing", "peer_id", "status"}))
_derive(ResourceRow, columns(Resource, unique={"id"}, indexed={"task"}))
_derive(ObjectRow, columns(StoredObject, unique={"id"}))
_derive(UserRow, columns(User, unique={"id", "name"}))
_derive(ConsoleEventRow, columns(ConsoleEvent))

TABLES: Final[tuple[type[peewee.Model], ...]] = (
    QueryRow,
    AttemptRow,
    ResultRow,
    PlanRow,
    EventRow,
    DecisionRow,
    CounterRow,
    AliasRow,
    TokenRow,
    AnswerRow,
    MarkRow,
    OutboxStreamRow,
    OutboxRow,
    InboxStreamRow,
    InboxRow,
    MemberRow,
    MemberEventRow,
    JoinTokenRow,
    PlotRow,
    PlotTimeRow,
    PlotStepRow,
    PlotLogRow,
    PlotStopRow,
    TaskRow,
    TaskEventRow,
    SessionRow,
    SessionEventRow,
    SessionRecordRow,
    SessionBurnRow,
    DatasetRow,
    ProjectRow,
    ProjectTaskRow,
    PairingRow,
    InstanceRow,
    ResourceRow,
    ObjectRow,
    UserRow,
    LoginRow,
    ConsoleEventRow,
    NonceRow,
)


def column(table: type[peewee.Model], name: str) -> peewee.Field:
    """A column that was derived from a model."""
    found: peewee.Field = table._meta.fields[name]
    return found


def derived(table: type[peewee.Model], kind: type[Value]) -> list[peewee.Field]:
    """The columns of `kind`'s fields, in the order that `rows.decode` reads them."""
    return [column(table, name) for name in kind.model_fields]


def slot(name: str) -> peewee.SQL:
    """A place in a statement that is filled by the value of that name when it runs."""
    return peewee.SQL(f":{name}")


def compiled(query: peewee.Query) -> str:
    """The text of a statement all of whose values are slots."""
    text, values = query.bind(_DIALECT).sql()
    assert not values, f"values are bound by name, never compiled in: {text}"
    return text


@cache
def insertion_in_order(table: type[peewee.Model], names: tuple[str, ...], rows: int = 1) -> str:
    """An INSERT whose places are the columns `names` in order: one row, if it is new; several, all or none by an error."""
    columns = ", ".join(f'"{name}"' for name in names)
    places = ", ".join([f"({', '.join('?' * len(names))})"] * rows)
    verb = "INSERT OR IGNORE" if rows == 1 else "INSERT"
    return f'{verb} INTO "{table._meta.table_name}" ({columns}) VALUES {places}'


def insertion(table: type[peewee.Model], *, leave_out: str = "", ignore: bool = False) -> str:
    """An INSERT of a row whose slots are named like its columns; with `ignore`, one that exists already stays as it is."""
    fields = (field for field in table._meta.sorted_fields if field.column_name != leave_out)
    query = table.insert({field: slot(field.column_name) for field in fields})
    return compiled(query.on_conflict_ignore() if ignore else query)
