"""What is a plot, what does a user ask for, and which states may a plot and its stop be in?

The overlord (a cloud) and the talent each keep a record of the same plot. The talent's is the one that counts: the overlord's
follows its numbered steps. `task_id` is the id in the original's shape, `id` is ours; both are unique.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

from pydantic import AfterValidator, Field, StrictBool, StringConstraints, model_validator

from node import g1
from node.lifecycle import LifeCycle
from node.model.value import Count, Fraction, Items, Name, Seconds, Text, Value, Word, Word63

PlotId = Annotated[str, StringConstraints(pattern=r"^p-[0-9a-hjkmnp-tv-z]{26}$")]
TaskId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]


def _on_curve(key: str) -> str:
    if fault := g1.fault(bytes.fromhex(key)):
        raise ValueError(f"{key[:12]}… {fault}")
    return key


Key = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{96}$"), AfterValidator(_on_curve)]
Memo = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{256}$")]  # pool key, farmer key and the plot's own secret key
FolderPath = Annotated[str, StringConstraints(pattern=r"^/[^\x00-\x1f]{0,1000}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,200}$")]

KSIZE_LEAST: Final = 18  # the plotter refuses anything below
KSIZE_MOST: Final = 50
STRIPE_MOST: Final = 65_536
BUFFER_LEAST: Final = 10  # MiB: below it the plotter finds no room for a single bucket
PHASES: Final = 4
COPY: Final = 5  # the phase after the plotter's four: the file goes to its destination and is proven
TABLES: Final = 7

KSize = Annotated[int, Field(ge=KSIZE_LEAST, le=KSIZE_MOST)]
Threads = Annotated[int, Field(ge=1, le=512)]
BufferMib = Annotated[int, Field(ge=BUFFER_LEAST, le=4_194_304)]
StripeSize = Annotated[int, Field(ge=64, le=STRIPE_MOST)]
Buckets = Annotated[int, Field(ge=0, le=1024)]
Labels: TypeAlias = Annotated[dict[Text, Text], Field(max_length=64)]


class DestType(Word):
    """What the destination is: a disk of this machine, or a mounted share that may be missing."""

    LOCAL = "local"
    NFS = "nfs"


class Plotter(Word):
    """Who computes."""

    BUILTIN = "builtin"
    CHIA = "chia"
    MADMAX = "madmax"
    BLADEBIT = "bladebit"


def largest_stripe(ksize: int) -> int:
    """The largest stripe that works at a size: 2^(k−5), at most 65,536. Above it the plotter ends with an error or hangs."""
    return min(1 << (ksize - 5), STRIPE_MOST)


class PlotRequest(Value):
    """What a user asks for. What is left out comes from the talent's defaults, then from the overlord's choice.

    `labels` are those that the talent must have. `buffer` is in MiB. `memo` holds a secret: it decides the plot's keys and id.
    """

    id: PlotId | None = None
    task_id: TaskId | None = None
    name: Text = ""
    node: Name | None = None
    labels: Labels = {}
    ksize: KSize | None = None
    threads: Threads | None = None
    buffer: BufferMib | None = None
    buckets: Buckets | None = None
    stripe_size: StripeSize | None = None
    bitfield: StrictBool = True
    fpk: Key | None = None
    ppk: Key | None = None
    memo: Memo | None = None
    cache1: FolderPath | None = None
    cache2: FolderPath | None = None
    dest_type: DestType | None = None
    dest_path: FolderPath | None = None

    @model_validator(mode="after")
    def _fits(self) -> PlotRequest:
        if self.stripe_size is not None and self.ksize is not None and self.stripe_size > largest_stripe(self.ksize):
            raise ValueError(f"stripe_size {self.stripe_size} is above {largest_stripe(self.ksize)}, the most at k{self.ksize}")
        if self.memo is not None:
            for name, place in (("ppk", 0), ("fpk", 96)):
                given = getattr(self, name)
                if given is not None and given != self.memo[place : place + 96]:
                    raise ValueError(f"{name} is not the one that memo holds")
        return self


class PlotChange(Value):
    """What may be changed of a plot: what is left out stays. `suspended` freezes its plotter or lets it go on."""

    name: Text | None = None
    suspended: StrictBool | None = None


class PlotState(Word):
    """States of a plot; the last three are final. `suspended` is no state but a mark of a running plot."""

    INITIALIZED = "initialized"
    RECEIVED = "received"
    PENDING = "pending"
    STARTED = "started"
    RUNNING = "running"
    STOPPING = "stopping"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"


_BEFORE_THE_END: Final = (PlotState.INITIALIZED, PlotState.RECEIVED, PlotState.PENDING, PlotState.STARTED, PlotState.RUNNING)
PLOT_LIFE: Final[LifeCycle[PlotState]] = LifeCycle(
    "plot",
    PlotState.INITIALIZED,
    {
        (PlotState.INITIALIZED, "receive"): PlotState.RECEIVED,
        (PlotState.RECEIVED, "queue"): PlotState.PENDING,
        (PlotState.PENDING, "start"): PlotState.STARTED,
        (PlotState.STARTED, "run"): PlotState.RUNNING,
        (PlotState.STARTED, "return"): PlotState.PENDING,
        (PlotState.RUNNING, "finish"): PlotState.FINISHED,
        (PlotState.STOPPING, "finish"): PlotState.FINISHED,
        **{(state, "stop"): PlotState.STOPPING for state in _BEFORE_THE_END},
        (PlotState.STOPPING, "end"): PlotState.STOPPED,
        **{(state, "fail"): PlotState.FAILED for state in (*_BEFORE_THE_END, PlotState.STOPPING)},
    },
)


class StopState(Word):
    """States of a stop, which is a record of its own: it may come before its plot does."""

    SCHEDULED = "scheduled"
    RECEIVED = "received"
    STOPPING = "stopping"
    STOPPED = "stopped"


STOP_LIFE: Final[LifeCycle[StopState]] = LifeCycle(
    "plot stop",
    StopState.SCHEDULED,
    {
        (StopState.SCHEDULED, "receive"): StopState.RECEIVED,
        (StopState.RECEIVED, "stop"): StopState.STOPPING,
        (StopState.STOPPING, "end"): StopState.STOPPED,
    },
)


class Failure(Word):
    """Why a plot failed; a sentence follows it in the reason."""

    PLOTTER_ERROR = "plotter_error"
    ABORTED = "aborted"
    LOST = "lost"
    DEST_FULL_TIMEOUT = "dest_full_timeout"
    VERIFY_FAILED = "verify_failed"


class TimeKind(Word):
    """What a time of a table is the time of. A table's time is `table` where the log tells it, else the sum of its parts."""

    TABLE = "table"
    SCAN = "scan"
    SORT = "sort"
    FIRST = "first"
    SECOND = "second"
    TOTAL = "total"
    COPY = "copy"


class PlotTime(Value):
    """How long a part took, and the share of one core that it used in percent (above 100 with several threads).

    `phase` 0 is the whole plot, `table` 0 the whole phase; in phase 3 a table is the left one of the two that are compressed.
    """

    phase: Annotated[int, Field(ge=0, le=COPY)]
    table: Annotated[int, Field(ge=0, le=TABLES)]
    kind: TimeKind
    seconds: Seconds
    cpu: Annotated[float, Field(ge=0.0, le=1e6, allow_inf_nan=False)] | None = None


class Plot(Value):
    """A plot as it is remembered: what was asked, what was found in its log, and where it stands.

    `step` counts the steps of its life. `phase` and `table` say what the plotter does now, 0 before it says so. `reason` tells
    why it waits or how it ended. `eta_s` are the seconds to its end as this worker's history has it, None where nothing is
    known. `file_bytes` and `file_sha256` are those of the file at its destination, known once it was copied.
    """

    id: PlotId
    task_id: TaskId
    name: Text = ""
    node: Name | None = None
    worker_id: TaskId | None = None
    state: PlotState
    reason: Text = ""
    step: Count = 0
    plotter: Plotter | None = None
    plot_pid: Count | None = None
    log_pid: Count | None = None
    plot_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    fpk: Key | None = None
    ppk: Key | None = None
    memo: Memo | None = None
    ksize: KSize | None = None
    cache1: FolderPath | None = None
    cache2: FolderPath | None = None
    threads: Threads | None = None
    buffer: BufferMib | None = None
    stripe_size: Count | None = None
    buckets: Count | None = None
    bitfield: StrictBool = True
    progress: Fraction = 0.0
    phase: Annotated[int, Field(ge=0, le=COPY)] = 0
    table: Annotated[int, Field(ge=0, le=TABLES)] = 0
    eta_s: Seconds | None = None
    suspended: StrictBool = False
    p1_table_1_now_size: Count | None = None
    unknown_lines: Count = 0
    dest_type: DestType = DestType.NFS
    dest_path: FolderPath | None = None
    dest_file_name: FileName | None = None
    file_bytes: Count | None = None
    file_sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    proofs: Count | None = None
    created_at: Seconds
    updated_at: Seconds
    started_at: Seconds | None = None
    ended_at: Seconds | None = None


class LogPlace(Value):
    """Where the reader of a plot's log stands: all that it needs to go on, and how many lines it did not know so far.

    `offset` is always the end of a line; `part` is how much of the present table is done.
    """

    offset: Count = 0
    phase: Annotated[int, Field(ge=0, le=COPY)] = 0
    table: Annotated[int, Field(ge=0, le=TABLES)] = 0
    part: Fraction = 0.0
    buckets: Count = 0
    unknown: Count = 0


class PlotStop(Value):
    """The wish to end a plot, whether or not its plot is known here."""

    plot: PlotId
    state: StopState
    reason: Text = ""
    created_at: Seconds
    updated_at: Seconds


class PlotStep(Value):
    """One step of a plot's life; `number` counts from 1."""

    number: Count
    time: Seconds
    event: Word63
    state: PlotState
    reason: Text = ""


class PlotAnswer(Value):
    """What the original calls PlotTaskStatusResponse: whether a create or a stop was taken, and why not."""

    type: Literal["on_create", "on_stop"]
    is_success: StrictBool
    msg: Text = ""


class CacheReport(Value):
    """A temp directory of a talent: what is free on its disk, what running plots will still write, how many run of how many."""

    path: FolderPath
    device: Count
    free_bytes: Count
    reserved_bytes: Count
    running: Count
    max_parallel: Count


class DestinationReport(Value):
    """A destination of a talent; `problem` is empty while it can be written."""

    path: FolderPath
    type: DestType
    free_bytes: Count
    reserved_bytes: Count
    problem: Text = ""


class PlotReport(Value):
    """A plot that a talent works on, as its heartbeat tells it."""

    id: PlotId
    state: PlotState
    phase: Count = 0
    table: Count = 0
    progress: Fraction = 0.0
    eta_s: Seconds | None = None


class TalentReport(Value):
    """What a talent tells with each heartbeat: room for the overlord to place by, and its plots under way."""

    worker_id: TaskId
    plotter: Plotter
    ksize: KSize
    max_parallel: Count
    running: Count = 0
    pending: Count = 0
    caches: Annotated[Items[CacheReport], Field(max_length=64)] = ()
    destinations: Annotated[Items[DestinationReport], Field(max_length=64)] = ()
    plots: Annotated[Items[PlotReport], Field(max_length=256)] = ()
    problem: Text = ""


def time_columns() -> tuple[tuple[str, int, int], ...]:
    """The time columns of the original's table without `_time` and `_cpu`, each with its phase and table."""
    columns = [(f"p1_t{table}", 1, table) for table in range(1, 8)]
    columns.append(("p1_total", 1, 0))
    columns += [(f"p2_t{table}", 2, table) for table in range(7, 0, -1)]
    columns.append(("p2_total", 2, 0))
    columns += [(f"p3_t{table}_{table + 1}", 3, table) for table in range(1, 7)]
    columns += [("p3_total", 3, 0), ("p4_total", 4, 0), ("total", 0, 0), ("copy", COPY, 0)]
    return tuple(columns)


def wide(times: Items[PlotTime]) -> dict[str, float | None]:
    """The times under the original's column names; what the log did not give is None.

    A table's time is that of the whole table where it was told, else the sum of its parts, whose CPU is weighted by their time.
    """
    parts: dict[tuple[int, int], list[PlotTime]] = {}
    for one in times:
        parts.setdefault((one.phase, one.table), []).append(one)
    found: dict[str, float | None] = {}
    for column, phase, table in time_columns():
        found[f"{column}_time"], found[f"{column}_cpu"] = _whole(parts.get((phase, table), []))
    return found


_WHOLE: Final = frozenset({TimeKind.TABLE, TimeKind.TOTAL, TimeKind.COPY})


def _whole(parts: list[PlotTime]) -> tuple[float | None, float | None]:
    counted = [part for part in parts if part.kind in _WHOLE] or parts
    if not counted:
        return None, None
    seconds = sum(part.seconds for part in counted)
    told = [(part.seconds, part.cpu) for part in counted if part.cpu is not None]
    weight = sum(share for share, _ in told)
    if not told:
        return seconds, None
    cpu = sum(share * cpu for share, cpu in told) / weight if weight else max(cpu for _, cpu in told)
    return seconds, cpu


class PlotStatus(Plot):
    """A plot with every column of the original's table: `times` has those that are times, under their names there."""

    number: Count = 0
    times: dict[str, float | None] = {}
