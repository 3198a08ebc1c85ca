"""What is a task, what does a user ask for, and which states may it be in?

A task is a program of a user's: a script, or an archive of files with one to run, or a command. What one revision of it is to
do never changes.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from pydantic import AfterValidator, Field, JsonValue, StrictBool, StringConstraints, model_validator

from node.lifecycle import LifeCycle
from node.model.blob import BlobId
from node.model.process import SIGNAL_MOST, Limit, Limits, SandboxLevel
from node.model.value import Count, Duration, Items, Name, Seconds, Text, Value, Word, Word63

TaskId = Annotated[str, StringConstraints(pattern=r"^t-[0-9a-hjkmnp-tv-z]{26}$")]


def _stays_below(path: str) -> str:
    if not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise ValueError("a path below the task's folder has no empty step, no '.' and no '..'")
    return path


# Names of files below a task's folder: no step upwards, no absolute path, nothing that a terminal would obey.
InnerPath = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,500}$"), AfterValidator(_stays_below)]

SCRIPT_MOST: Final = 512 * 1024  # characters of a script within a request; a longer one is uploaded first
ARGUMENTS_MOST: Final = 256
DATA_MOST: Final = 256
OWN_MOST: Final = 16
PARTS_MOST: Final = 64  # edges of a joint task
ROUNDS_MOST: Final = 1000
JOINT_KEY: Final = "joint"  # of a part's config
ARTIFACTS_MOST: Final = 256
ATTEMPTS_MOST: Final = 100
CONFIG_KEYS_MOST: Final = 1000
REQUIREMENTS_MOST: Final = 64

Argument: TypeAlias = Annotated[str, StringConstraints(max_length=8192, pattern=r"^[^\x00]*$")]
Arguments: TypeAlias = Annotated[Items[Argument], Field(max_length=ARGUMENTS_MOST)]
# A package by name with its extras and versions, as pip takes it: no path, no URL, no option.
Requirement: TypeAlias = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9._\-\[\], <>=!~*+]{0,200}$")
]
Labels: TypeAlias = Annotated[dict[Text, Text], Field(max_length=64)]


class TaskState(Word):
    """States of a task; the last three are final."""

    CREATED = "created"
    STAGING = "staging"
    READY = "ready"
    STARTING = "starting"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"


_LIVE: Final = (TaskState.CREATED, TaskState.STAGING, TaskState.READY, TaskState.STARTING, TaskState.RUNNING)
TASK_LIFE: Final[LifeCycle[TaskState]] = LifeCycle(
    "task",
    TaskState.CREATED,
    {
        (TaskState.CREATED, "stage"): TaskState.STAGING,
        (TaskState.STAGING, "prepare"): TaskState.READY,
        (TaskState.READY, "start"): TaskState.STARTING,
        (TaskState.STARTING, "run"): TaskState.RUNNING,
        (TaskState.RUNNING, "round"): TaskState.STAGING,
        (TaskState.RUNNING, "finish"): TaskState.FINISHED,
        **{(state, "again"): TaskState.CREATED for state in _LIVE[1:]},
        **{(state, "revise"): TaskState.CREATED for state in _LIVE},
        **{(state, "fail"): TaskState.FAILED for state in _LIVE},
        **{(state, "stop"): TaskState.STOPPED for state in _LIVE},
    },
)


class Failure(Word):
    """Why a task failed; a sentence follows it in the reason."""

    EXIT = "exit"
    SIGNAL = "signal"
    LIMIT = "limit"
    LOST = "lost"
    STAGING = "staging"
    NOT_STARTED = "not_started"
    REFUSED = "refused"
    QUORUM = "quorum"


class DataFile(Value):
    """A blob that the task finds as a file `data/<path>` in its folder."""

    path: InnerPath
    blob: BlobId


class GitSource(Value):
    """One commit of a repository: its tree becomes the bundle. `url` is https, ssh, or a folder that the node allows."""

    url: Annotated[str, StringConstraints(min_length=1, max_length=2000, pattern=r"^[^\x00-\x20\x7f-][^\x00-\x20\x7f]*$")]
    commit: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")]


class Retry(Value):
    """How often the task may be tried. With `safe` an attempt whose end nobody saw is tried again too: it may then have taken
    effect twice. What the program itself reports (a code that is not 0, a limit) is tried again by `attempts` alone.
    """

    attempts: Annotated[int, Field(ge=1, le=ATTEMPTS_MOST)] = 1
    safe: StrictBool = False


class TaskSpec(Value):
    """What one revision does: exactly one of `script`, `bundle` and `command`.

    `bundle` is the blob of a script, or of a zip or tar archive; `entry` is the file in an archive that is run. `config` is
    found as `config.json` in the task's folder. `own` names files or folders of the node that runs it (`tasks.own`): they are
    found as `data/<name>`, to be read. `requirements` are packages that the script imports. `signature` covers the script or
    bundle and `entry`, see `tasks.signers`.
    """

    script: Annotated[str, StringConstraints(max_length=SCRIPT_MOST)] | None = None
    bundle: BlobId | None = None
    entry: InnerPath = "main.py"
    command: Arguments = ()
    args: Arguments = ()
    config: Annotated[dict[str, JsonValue], Field(max_length=CONFIG_KEYS_MOST)] = {}
    data: Annotated[Items[DataFile], Field(max_length=DATA_MOST)] = ()
    own: Annotated[Items[Word63], Field(max_length=OWN_MOST)] = ()
    limits: Limits = Limits()
    retry: Retry = Retry()
    sandbox: SandboxLevel | None = None
    network: StrictBool = False
    requirements: Annotated[Items[Requirement], Field(max_length=REQUIREMENTS_MOST)] = ()
    signature: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$")] | None = None

    @model_validator(mode="after")
    def _one_program(self) -> TaskSpec:
        given = [name for name in ("script", "bundle", "command", "git") if getattr(self, name, None)]
        if len(given) != 1:
            raise ValueError(f"give one of script, bundle, command and git, not {' and '.join(given) or 'none'}")
        return self


class Joint(Value):
    """How a task runs on several edges at once.

    Each edge of `nodes` (every edge that is there where none is named) makes its part ready and waits; once all have, or after
    `deadline_s` at least `quorum`, those that are ready start together. Less than `quorum` parts that finish are a failure.
    An edge that is not heard of for `absent_s` is given up. Then `combine` runs on the cloud and finds the artifacts of each
    part in `data/<edge>/`; what it leaves in `artifacts` is the outcome, or data of every part of the next round.
    """

    nodes: Annotated[Items[Name], Field(max_length=PARTS_MOST)] = ()
    quorum: Annotated[int, Field(ge=1, le=PARTS_MOST)] | None = None
    deadline_s: Duration = 120.0
    absent_s: Duration = 600.0
    rounds: Annotated[int, Field(ge=1, le=ROUNDS_MOST)] = 1
    combine: TaskSpec | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Joint:
        if len(set(self.nodes)) != len(self.nodes):
            raise ValueError("an edge has one part: name it once")
        if self.nodes and self.quorum is not None and self.quorum > len(self.nodes):
            raise ValueError(f"a quorum of {self.quorum} among {len(self.nodes)} edges")
        if self.rounds > 1 and self.combine is None:
            raise ValueError("without combine a second round would do what the first did: give combine, or rounds = 1")
        return self


class TaskRequest(TaskSpec):
    """What a user submits. `sandbox` is the least level that it may run at; `git` takes the place of a bundle."""

    id: TaskId | None = None
    name: Text = ""
    description: Text = ""
    labels: Labels = {}
    node: Name | None = None
    joint: Joint | None = None
    git: GitSource | None = None

    @model_validator(mode="after")
    def _one_place(self) -> TaskRequest:
        if self.joint is not None and self.node is not None:
            raise ValueError("give node or joint, not both")
        if self.joint is not None and JOINT_KEY in self.config:
            raise ValueError(f"config.{JOINT_KEY} is where a part finds which one it is: call yours something else")
        return self


class Artifact(Value):
    """A file that a task left in its folder `artifacts`, kept as a blob."""

    path: InnerPath
    blob: BlobId
    size: Count


class Task(Value):
    """A task as it is remembered.

    `node` runs it, `origin` has accepted it. `revision` and `attempt` count from 1; `attempt` is 0 before the first. `version`
    counts changes of name, description and labels. `stopping` says that a stop was asked for. `reason` tells why it waits or
    how it ended. `code`, `signal` and `limit` are those of the newest attempt's end, `level` is how far it was shut in.

    `parts` is how many edges a joint task has, 0 for any other; `round` counts from 1. A part names its joint task as
    `parent`, and is `held` until the others are ready.
    """

    id: TaskId
    name: Text = ""
    description: Text = ""
    labels: Labels = {}
    state: TaskState
    reason: Text = ""
    node: Name
    origin: Text = ""
    revision: Count = 1
    attempt: Count = 0
    version: Count = 1
    stopping: StrictBool = False
    level: SandboxLevel | None = None
    code: Annotated[int, Field(ge=0, le=255)] | None = None
    signal: Annotated[int, Field(ge=1, le=SIGNAL_MOST)] | None = None
    limit: Limit | None = None
    artifacts: Annotated[Items[Artifact], Field(max_length=ARTIFACTS_MOST)] = ()
    cpu_s: Seconds = 0.0
    memory_bytes: Count = 0
    created_at: Seconds
    updated_at: Seconds
    started_at: Seconds | None = None
    ended_at: Seconds | None = None
    parent: Text = ""
    parts: Count = 0
    round: Count = 0
    held: StrictBool = False


class TaskEvent(Value):
    """One step of a task's life."""

    time: Seconds
    event: Word63
    state: TaskState
    revision: Count
    attempt: Count
    reason: Text = ""


class TaskChange(Value):
    """What a description changes: fields that are left out stay."""

    name: Text | None = None
    description: Text | None = None
    labels: Labels | None = None
