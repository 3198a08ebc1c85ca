"""What does the front door need from the roles behind it?

Protocols only: the roles implement them, the composition root joins them, tests put small ones in their place.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pydantic import JsonValue

from node.model.access import Claim, KeptAnswer, Token
from node.model.blob import BlobInfo
from node.model.block import ModelBlock
from node.model.cluster import NodeReport, NodeView, ServiceReport, SourceReport
from node.model.decision import Decision
from node.model.federated import Dataset, DatasetRequest, Record, Session, SessionEvent, SessionRequest
from node.model.member import Approval, JoinToken, JoinTokenRequest, KeyState, Member, MemberEvent, NewJoinToken, Waiting
from node.model.plot import Plot, PlotAnswer, PlotChange, PlotRequest, PlotState, PlotStatus, PlotStep
from node.model.source import SourceProbe, SourceRequest
from node.model.task import Task, TaskChange, TaskEvent, TaskRequest, TaskSpec, TaskState
from node.model.video import (
    Constraint,
    Event,
    Placement,
    Plan,
    Query,
    QueryRequest,
    QueryState,
    Resolution,
    Result,
    Runtime,
    VideoConf,
)
from node.model.wire.compute import StageCall
from node.model.wire.plot import PlotLogReply, PlotLogRequest
from node.roles.shared.events import EventBus
from node.storage.blobs import BlobStore

if TYPE_CHECKING:  # its signatures cost a node that has no console seven MiB
    from node.roles.federated.console.console import Console


class HttpSettings(Protocol):
    """The part of the config's `[http]` that the door reads; `node.config` has it."""

    @property
    def listen(self) -> tuple[str, ...]: ...
    @property
    def auth(self) -> str: ...
    @property
    def hosts(self) -> tuple[str, ...]: ...
    @property
    def compat(self) -> tuple[str, ...]: ...
    @property
    def compat_open(self) -> tuple[str, ...]: ...
    @property
    def max_upload(self) -> int: ...


class View(Protocol):
    """One reader's look at the pictures of a query."""

    async def next(self, seen: Result | None) -> tuple[bytes, Result] | None:
        """A picture that is newer than the one of `seen`, as soon as there is one; None where none came for a while.

        Raises:
            Unavailable, NotFound: its edge is away, or runs it no more.
        """


class Queries(Protocol):
    """The queries of a cloud. `ref` is an id, a unique prefix of one, a name or `@last`.

    Raises:
        NotFound, Conflict: nothing, or more than one thing, has that ref.
    """

    async def submit(self, request: QueryRequest) -> tuple[Query, bool]:
        """The stored query and whether it is new; the same id and content again is not an error."""

    async def get(self, ref: str) -> Query: ...

    async def list(self, state: QueryState | None, limit: int, after: str | None) -> tuple[Query, ...]:
        """Newest first, behind the id `after`."""

    async def constrain(self, ref: str, constraint: Constraint) -> Query: ...

    async def stop(self, ref: str) -> Query: ...

    async def results(self, ref: str, after: int, limit: int, wait: float) -> tuple[tuple[int, Result], ...]:
        """Results behind the cursor `after`; waits up to `wait` seconds for the first of them."""

    async def newest(self, ref: str, count: int) -> Sequence[tuple[Result, Runtime]]:
        """The last results, oldest first, each with the figures of the window that it ended."""

    async def runtime(self, ref: str) -> Runtime: ...

    async def picture(self, ref: str) -> tuple[bytes, Result]:
        """The newest processed frame as JPEG, and the result that belongs to it."""

    def view(self, ref: str, *, drawn: bool) -> AbstractAsyncContextManager[View]:
        """The query's pictures one after the other, for as long as it is held."""

    async def choose(self, ref: str, video_conf: VideoConf, flow_mapping: Mapping[str, Placement]) -> Query:
        """The query under a plan that a user chose; it stays until the constraint changes or a node of it is lost.

        Raises:
            Invalid: a stage without a place, a place without a stage, a node or a model that is not there.
        """

    async def plans(self, ref: str) -> Sequence[tuple[float, Plan]]:
        """Every plan with the wall time of its choice, in order."""

    async def decisions(self, ref: str, limit: int) -> Sequence[Decision]:
        """Why it has its plans, oldest first, the newest `limit`."""

    async def events(self, ref: str) -> Sequence[Event]: ...


class LogBytes(Protocol):
    """Part of a log: its place, its bytes, and how many there are by now."""

    @property
    def offset(self) -> int: ...
    @property
    def content(self) -> bytes: ...
    @property
    def size(self) -> int: ...


class Tasks(Protocol):
    """The tasks of a cloud. `ref` is an id, a unique prefix of one, a name or `@last`.

    Raises:
        NotFound, Conflict: nothing, or more than one thing, has that ref.
    """

    async def submit(self, request: TaskRequest) -> tuple[Task, bool]:
        """The stored task and whether it is new; the same id and content again is not an error.

        Raises:
            Forbidden: this node does not run it.
        """

    async def get(self, ref: str) -> Task: ...

    async def list(self, state: TaskState | None, limit: int, after: str | None) -> tuple[Task, ...]:
        """Newest first, behind the id `after`."""

    async def events(self, ref: str) -> Sequence[TaskEvent]: ...

    async def describe(self, ref: str, change: TaskChange, version: int | None) -> Task:
        """The task under other words; Stale where `version` is not its present one."""

    async def stop(self, ref: str) -> Task: ...

    async def revise(self, ref: str, spec: TaskSpec) -> Task:
        """The task, which is to do something else; Conflict where it is over."""

    async def retry(self, ref: str) -> tuple[Task, bool]:
        """A new task that does what another did; Conflict while that is under way."""

    async def parts(self, ref: str, round: int | None = None) -> Sequence[Task]:
        """The parts of a joint task, of its present round unless another is named."""

    async def log_part(self, ref: str, offset: int, *, lines: int | None = None, attempt: int | None = None) -> LogBytes:
        """Bytes behind `offset`, or the last lines, of the newest attempt unless another is named."""

    async def log_grown(self, id: str, offset: int) -> Task:
        """The task, once its log is longer than `offset`, another attempt has begun, or it is over."""


class Uploads(Protocol):
    """Names of uploads, as clients of the original task system give them; `node.storage` has it."""

    async def keep(self, name: str, blob: str) -> None: ...

    async def blob(self, name: str) -> str | None: ...


class Plots(Protocol):
    """The plots of a cloud. `ref` is an id, a unique prefix of one, a task_id, a name or `@last`.

    Raises:
        NotFound, Conflict: nothing, or more than one thing, has that ref.
    """

    async def create(self, request: PlotRequest) -> tuple[Plot, bool]:
        """The stored plot and whether it is new; the same id or task_id and content again is not an error."""

    async def get(self, ref: str) -> PlotStatus: ...

    async def list(self, state: PlotState | None, limit: int, after: str | None) -> tuple[PlotStatus, ...]:
        """Newest first, behind the id `after`."""

    async def steps(self, ref: str) -> Sequence[PlotStep]: ...

    async def stop(self, ref: str) -> PlotAnswer:
        """Ends a plot; that of a whole id which nobody knows yet is remembered for its create."""

    async def suspend(self, ref: str, *, suspended: bool) -> Plot: ...

    async def give_up(self, ref: str) -> Plot:
        """Ends the record of a plot whose talent is away; Conflict where it is there."""

    async def update(self, ref: str, change: PlotChange) -> PlotStatus:
        """Changes what is given; then as `refresh`."""

    async def refresh(self, ref: str) -> PlotStatus:
        """As `get`, once the talent has read its log to the end."""

    async def logs(self, ref: str, request: PlotLogRequest) -> tuple[bytes, PlotLogReply]:
        """A part of a plot's log, from its talent; the plot is the one of `ref`."""

    def talents(self) -> tuple[NodeView, ...]: ...


class Nodes(Protocol):
    """This node and the ones it knows."""

    @property
    def fingerprint(self) -> str: ...
    @property
    def public_key(self) -> str: ...

    def here(self) -> NodeReport: ...

    def views(self) -> tuple[NodeView, ...]: ...


class Served(Protocol):
    """What one call of a service gave: plain values, pictures as JPEG, and what it took."""

    @property
    def values(self) -> Mapping[str, JsonValue]: ...
    @property
    def pictures(self) -> Mapping[str, Sequence[bytes]]: ...
    @property
    def stage_seconds(self) -> Sequence[float]: ...
    @property
    def decode_seconds(self) -> float: ...
    @property
    def wait_seconds(self) -> float: ...


class Profile(Protocol):
    """The seconds that a service takes at each resolution, for so many objects."""

    @property
    def seconds(self) -> Mapping[Resolution, float]: ...
    @property
    def objects(self) -> int: ...


class Services(Protocol):
    """The compute services of this node."""

    def reports(self) -> tuple[ServiceReport, ...]: ...

    def lacks(self) -> Mapping[str, str]:
        """The services that it does not offer, and why, as far as that is known."""

    async def bench(self, service: str) -> Profile:
        """Measures a service now.

        Raises:
            Busy: one is being measured.
            AssetMissing: it is not offered here.
        """

    async def call(
        self,
        stages: Sequence[StageCall],
        values: Mapping[str, JsonValue],
        pictures: Mapping[str, Sequence[bytes | bytearray | memoryview]],
        *,
        wanted: Collection[str],
        deadline: float,
    ) -> Served:
        """Runs stages on encoded pictures and gives back those `wanted`; `deadline` is a time of the clock.

        Raises:
            Rejected: the service refused its inputs.
            Unavailable: no worker in time.
        """


class Sources(Protocol):
    """The video sources of an edge.

    Raises:
        NotFound: there is no such source.
        Unavailable: it gives no picture, or its host is not known.
    """

    def is_added(self, name: str) -> bool: ...

    async def add(self, request: SourceRequest) -> SourceReport: ...

    async def remove(self, name: str) -> SourceReport: ...

    async def probe(self, name: str) -> SourceProbe: ...

    async def snapshot(self, name: str) -> bytes: ...


class Aliases(Protocol):
    """Ids in the originals' shapes, each for one of our records; `node.storage` has it."""

    async def give(self, native: str, shape: str) -> str:
        """The record's alias: the one that it has, else `shape` and the next number."""

    async def native(self, alias: str) -> str | None: ...


class Blobs(Protocol):
    """The blobs of this node, and how others come here."""

    @property
    def store(self) -> BlobStore: ...

    async def fetch(self, id: str, sources: Sequence[str], *, deadline: float) -> BlobInfo:
        """The complete blob; what came in until the clock's time `deadline` stays.

        Raises:
            NotFound, Unavailable: no source has it, or can give it in time.
            StorageFailed: no room for it.
        """


class Health(Protocol):
    """Whether the node can work."""

    def problems(self) -> Mapping[str, str | None]:
        """Every component by name, with the reason why it is not ready, or None."""


class Tokens(Protocol):
    """What is remembered of tokens; `node.storage` has it."""

    async def load(self) -> Mapping[str, Token]: ...

    async def add(self, token: Token, digest: str) -> None: ...

    async def revoke(self, id: str) -> None: ...

    async def note_use(self, id: str, at: float) -> None: ...


class Answers(Protocol):
    """What is remembered of calls with an idempotency key; `node.storage` has it."""

    async def claim(self, owner: str, key: str, digest: str, now: float) -> Claim: ...

    async def keep(self, owner: str, key: str, answer: KeptAnswer) -> None: ...

    async def free(self, owner: str, key: str) -> None: ...


class Members(Protocol):
    """The members of a cloud. `ref` is a name, a fingerprint or a unique beginning of one.

    Raises:
        NotFound, Conflict: nothing, or more than one thing, has that ref.
    """

    def members(self) -> tuple[Member, ...]: ...

    def waiting(self) -> tuple[Waiting, ...]: ...

    async def approve(self, ref: str, approval: Approval) -> Member: ...

    async def invite(self, ref: str, sessions: tuple[str, ...]) -> Member: ...

    async def revoke(self, ref: str) -> Member: ...

    async def drain(self, ref: str, *, drained: bool) -> Member: ...

    def tokens(self) -> tuple[JoinToken, ...]: ...

    async def make_token(self, request: JoinTokenRequest) -> NewJoinToken: ...

    async def revoke_token(self, ref: str) -> JoinToken: ...

    async def events(self, limit: int) -> tuple[MemberEvent, ...]: ...

    async def change_key(self, *, switch: bool) -> KeyState: ...


class SessionDesk(Protocol):
    """The private sessions that this node coordinates or plays parties in; `ref` as for queries."""

    async def create(self, request: SessionRequest) -> tuple[Session, bool]:
        """The session and whether it is new."""

    async def get(self, ref: str) -> Session: ...

    async def page(self, limit: int, after: str | None) -> tuple[Session, ...]: ...

    async def accept(self, ref: str) -> Session: ...

    async def reject(self, ref: str, reason: str) -> Session: ...

    async def begin(self, ref: str) -> Session: ...

    async def halt(self, ref: str) -> Session: ...

    async def records(self, ref: str, after: int) -> Sequence[Record]: ...

    async def events(self, ref: str) -> Sequence[SessionEvent]: ...

    async def blocks(self, ref: str) -> Sequence[ModelBlock]:
        """The blocks of the model that lie here; NotFound where there is none."""


class DatasetShelf(Protocol):
    """The data sets of this node."""

    async def register(self, request: DatasetRequest) -> Dataset: ...

    async def all(self) -> Sequence[Dataset]: ...

    async def get(self, name: str) -> Dataset: ...


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything behind the door; `queries`, `tasks`, `plots` and `members` are None on a node without the role cloud.

    Without `tokens` only the node's own token opens it, without `answers` idempotency keys mean nothing,
    without `events` nobody can listen, without `blobs` nothing is stored; only an edge has `sources`, only the role federated
    a `console`, whose original routes stand below `console_prefix` as well.
    """

    queries: Queries | None
    nodes: Nodes
    health: Health
    services: Services
    aliases: Aliases
    tokens: Tokens | None = None
    answers: Answers | None = None
    events: EventBus | None = None
    blobs: Blobs | None = None
    members: Members | None = None
    tasks: Tasks | None = None
    uploads: Uploads | None = None
    sessions: SessionDesk | None = None
    datasets: DatasetShelf | None = None
    plots: Plots | None = None
    sources: Sources | None = None
    console: Console | None = None
    console_prefix: str = ""
