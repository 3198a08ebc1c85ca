"""What do two organisations share when their consoles work together, and what does each keep for itself?

A project pairs two consoles. A task is this side's definition of what is computed, in versions; a pairing joins one version to
the other side's; an instance is one run of a pairing. Ids are 32 hexadecimal digits, as the original's are: they stand in the
other console's URLs.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Annotated, Final, TypeAlias, TypeVar

from pydantic import AfterValidator, Field, JsonValue, StrictBool, StringConstraints
from pydantic_core import to_json

from node.lifecycle import LifeCycle
from node.model.blob import BlobId
from node.model.value import Count, Seconds, Text, Value, Word

LINK_S: Final = 3600.0  # that a link for an administrator is good
SETTINGS_BYTES: Final = 64 * 1024  # of one config, meta, message or error; a record has four of them at the most

HexId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
MaybeHexId: TypeAlias = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{32})?$")]
ConsoleKey = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")]
Url = Annotated[str, StringConstraints(max_length=300)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=200)]
PairToken = Annotated[str, StringConstraints(max_length=200)]
Version = Annotated[str, StringConstraints(pattern=r"^[0-9]{14}$")]


def _bounded(found: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if (size := len(to_json(found))) > SETTINGS_BYTES:
        raise ValueError(f"is {size} bytes as JSON, at most {SETTINGS_BYTES}")
    return found


Settings: TypeAlias = Annotated[dict[str, JsonValue], Field(max_length=500), AfterValidator(_bounded)]


def new_hex_id() -> str:
    """A fresh id of 32 hexadecimal digits, which nobody can guess."""
    return secrets.token_hex(16)


def fingerprint(key: str) -> str:
    """A console's key for people, who compare it by telephone: its SHA-256, the first 24 digits in groups of four."""
    digest = hashlib.sha256(bytes.fromhex(key)).hexdigest()[:24]
    return "-".join(digest[place : place + 4] for place in range(0, 24, 4))


class PairState(Word):
    """Where a project or a pairing stands."""

    DRAFT = "draft"
    READY = "ready"
    ARCHIVE = "archive"


class InstanceState(Word):
    """Where a run stands; the place of a word here is the original's number for it."""

    DRAFT = "draft"
    READY = "ready"
    ARCHIVE = "archive"
    RUNNING = "running"
    FAILED = "failed"
    TERMINATED = "terminated"
    SUCCESS = "success"


class TaskKind(Word):
    """What a task computes; the place of a word here is the original's number for it."""

    SAMPLE = "sample"
    TRAIN = "train"


class UserRole(Word):
    """What a user may do; the place of a word here is the original's number for it."""

    ROOT = "root"
    ADMIN = "admin"
    DEFAULT = "default"


W = TypeVar("W", bound=Word)


def number_of(word: Word) -> int:
    """The original's number for a word."""
    return list(type(word)).index(word)


def word_of(kind: type[W], number: int) -> W | None:
    """The word for the original's number, None where there is none."""
    words = list(kind)
    return words[number] if 0 <= number < len(words) else None


_PAIRS: Final = {
    (PairState.DRAFT, "pair"): PairState.READY,
    (PairState.DRAFT, "archive"): PairState.ARCHIVE,
    (PairState.READY, "archive"): PairState.ARCHIVE,
}
PROJECT_LIFE: Final = LifeCycle("project", PairState.DRAFT, _PAIRS)
PAIRING_LIFE: Final = LifeCycle("pairing", PairState.DRAFT, _PAIRS)
_QUIET: Final = tuple(state for state in InstanceState if state not in {InstanceState.RUNNING, InstanceState.ARCHIVE})
INSTANCE_LIFE: Final = LifeCycle(
    "instance",
    InstanceState.DRAFT,
    {
        (InstanceState.DRAFT, "pair"): InstanceState.READY,
        (InstanceState.READY, "start"): InstanceState.RUNNING,
        (InstanceState.TERMINATED, "start"): InstanceState.RUNNING,
        (InstanceState.RUNNING, "stop"): InstanceState.TERMINATED,
        (InstanceState.RUNNING, "succeed"): InstanceState.SUCCESS,
        (InstanceState.RUNNING, "fail"): InstanceState.FAILED,
        **{(state, "archive"): InstanceState.ARCHIVE for state in _QUIET},
    },
)
EVENT_OF: Final = {
    InstanceState.RUNNING: "start",
    InstanceState.TERMINATED: "stop",
    InstanceState.SUCCESS: "succeed",
    InstanceState.FAILED: "fail",
}


class Project(Value):
    """Two consoles that know each other. `peer_id` is the other side's id of it, `peer_key` the Ed25519 key that is pinned.

    `owner` is a user's id, empty where the other side, or this node itself, has made it. `config` is told to the other side,
    which keeps it as its `peer_config`.
    """

    id: HexId
    name: Annotated[str, StringConstraints(max_length=200)] = ""
    owner: MaybeHexId = ""
    status: PairState = PairState.DRAFT
    peer_id: MaybeHexId = ""
    peer_url: Url
    peer_key: ConsoleKey = ""
    config: Settings = {}
    peer_config: Settings = {}
    comment: Text = ""
    created_at: Seconds
    updated_at: Seconds


class ProjectTask(Value):
    """One version of a task on this side. The root is the one that was made by hand; the others are later versions of it.

    `token` is the word that both sides have given their roots; `config` stays here, `meta` is shown to the other side.
    """

    id: HexId
    project: HexId
    name: Label
    version: Version
    owner: MaybeHexId = ""
    kind: TaskKind
    token: PairToken = ""
    root: StrictBool
    comment: Text = ""
    config: Settings = {}
    meta: Settings = {}
    created_at: Seconds
    updated_at: Seconds


class Pairing(Value):
    """A version of a task here and the pairing of the other side that it belongs to."""

    id: HexId
    task: HexId
    peer_id: MaybeHexId = ""
    status: PairState = PairState.DRAFT
    created_at: Seconds
    updated_at: Seconds


class Instance(Value):
    """One run. `started_here` says on which side somebody asked for it first: that side coordinates the session.

    `runs` counts the starts, `session` is the session of the last one. `owed` is a status that the other side has still to be
    told. `message` and `error` are what the engine reports, by its own keys.
    """

    id: HexId
    task: HexId
    pairing: HexId
    peer_id: MaybeHexId = ""
    started_here: StrictBool
    status: InstanceState = InstanceState.DRAFT
    peer_status: InstanceState | None = None
    owed: InstanceState | None = None
    runs: Count = 0
    session: Annotated[str, StringConstraints(max_length=28)] = ""
    comment: Text = ""
    message: Settings = {}
    error: Settings = {}
    started_at: Seconds | None = None
    error_at: Seconds | None = None
    created_at: Seconds
    updated_at: Seconds


class Resource(Value):
    """Something that a task's engine is given: the address of an object, or of what lies elsewhere."""

    id: HexId
    owner: MaybeHexId = ""
    task: HexId
    name: Label
    uri: Annotated[str, StringConstraints(min_length=1, max_length=1000)]
    comment: Text = ""
    config: Settings = {}
    created_at: Seconds
    updated_at: Seconds


class StoredObject(Value):
    """A file under a name of its own; its content is a blob. `id` is the name."""

    id: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,255}$")]
    blob: BlobId
    size: Count
    owner: MaybeHexId = ""
    created_at: Seconds


class User(Value):
    """Somebody who may log in. `password` is a salted hash with its parameters, and never leaves the store's side."""

    id: HexId
    name: Label
    role: UserRole
    password: Annotated[str, StringConstraints(max_length=300)]
    info: Text = ""
    login_at: Seconds | None = None
    created_at: Seconds
    updated_at: Seconds


class ConsoleEvent(Value):
    """One step in the life of a project, a pairing or an instance: when, to which state, and why."""

    time: Seconds
    event: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_]{0,62}$")]
    state: Annotated[str, StringConstraints(max_length=20)]
    reason: Text = ""


class ProjectRequest(Value):
    """A project with the console at `peer_url`, which the config must name; the same id again is the same project."""

    id: HexId | None = None
    name: Label
    peer_url: Url
    config: Settings = {}
    comment: Text = ""


class ProjectChange(Value):
    """What changes in a project: `config` is merged and told to the other side, what is left out stays."""

    comment: Text | None = None
    config: Settings | None = None


class ProjectTaskRequest(Value):
    """A task, or without `root` a later version of one; `token` is the word that both sides give."""

    name: Label
    kind: TaskKind
    root: StrictBool = True
    token: PairToken = ""
    comment: Text = ""
    config: Settings = {}
    meta: Settings = {}


class ProjectTaskChange(Value):
    """What changes in a task: `config` and `meta` are merged, what is left out stays."""

    token: PairToken | None = None
    comment: Text | None = None
    config: Settings | None = None
    meta: Settings | None = None


class InstanceRequest(Value):
    """A run of the newest version of a task, by its name; the same id again is the same run."""

    id: HexId | None = None
    task: Label


class ResourceRequest(Value):
    """An address that a task's engine is given."""

    name: Label
    uri: Annotated[str, StringConstraints(min_length=1, max_length=1000)]
    comment: Text = ""
    config: Settings = {}


class UserCard(Value):
    """A user as others see them."""

    id: HexId
    name: Label
    role: UserRole
    info: Text = ""
    login_at: Seconds | None = None
    created_at: Seconds


class AdministratorLink(Value):
    """Makes one administrator, once: POST name and password to `path` of this node; worth nothing after `expires_at`."""

    path: Text
    expires_at: Seconds
