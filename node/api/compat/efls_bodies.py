"""What do clients of the original console send, and other consoles?"""

from __future__ import annotations

import json
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field, JsonValue, StrictBool, StringConstraints

from node.model.project import HexId, Label, PairToken, Settings, Url, Version
from node.model.value import Count, Text, Value

Password: TypeAlias = Annotated[str, StringConstraints(max_length=1000)]


def _settings(value: object) -> object:
    """The original sends an object, or the same as JSON in a text; null is none."""
    if isinstance(value, str):
        try:
            return json.loads(value) if value else {}
        except (ValueError, RecursionError):
            raise ValueError("is not JSON") from None
    return {} if value is None else value


SentSettings: TypeAlias = Annotated[
    Settings, BeforeValidator(_settings, json_schema_input_type=dict[str, JsonValue] | str | None)
]
Number: TypeAlias = Annotated[int, Field(ge=0, le=100)]


class PeerProject(Value):
    """A project of the console at `peer_url`, where it has the id `peer_id`."""

    peer_id: HexId
    peer_url: Url
    peer_config: SentSettings


class PeerProjectConfig(Value):
    """What the caller's side of a project says of itself, merged into what it said before."""

    peer_config: SentSettings


class PeerTask(Value):
    """A version of a task of the caller's; the token finds the root here."""

    token: PairToken
    version: Version
    task_root: StrictBool


class PeerInstance(Value):
    """An instance of the caller's; `task_peer_id` is the pairing here."""

    task_peer_id: HexId


class PeerStatus(Value):
    """What the caller's instance does now: 3 runs, 5 was stopped, 6 has succeeded, 4 has failed."""

    status: Number


class NewProject(Value):
    """A project with the console at `peer_url`."""

    name: Label
    peer_url: Url
    config: SentSettings = {}
    comment: Text | None = None


class ProjectUpdate(Value):
    """A project under other words; `config` is merged and told to the other side."""

    name: Label | None = None
    comment: Text | None = None
    config: SentSettings | None = None
    owner_id: HexId | None = None
    need_sync: StrictBool = False


class NewProjectTask(Value):
    """A task (`task_root` true) or a later version of one; `type` is 0 for SAMPLE, 1 for TRAIN."""

    project_id: HexId
    name: Label
    type: Number
    task_root: StrictBool
    token: PairToken | None = None
    comment: Text | None = None
    config: SentSettings = {}
    meta: SentSettings = {}


class ProjectTaskUpdate(Value):
    """A task with other settings; `config` and `meta` are merged."""

    token: PairToken | None = None
    comment: Text | None = None
    owner_id: HexId | None = None
    config: SentSettings | None = None
    meta: SentSettings | None = None


class InstanceUpdate(Value):
    """An instance with other words; `message` and `error` are merged, empty ones empty them."""

    comment: Text | None = None
    need_sync: StrictBool = False
    message: SentSettings | None = None
    error: SentSettings | None = None


class Operation(Value):
    """0 starts an instance, which is also the yes to one that the other side asked for; 1 stops it."""

    operation: Annotated[int, Field(ge=0, le=1)]


class NewResource(Value):
    """An address that a task's engine is given."""

    task_intra_id: HexId
    name: Label
    uri: Annotated[str, StringConstraints(min_length=1, max_length=1000)]
    comment: Text | None = None
    config: SentSettings = {}


class ResourceUpdate(Value):
    """A resource under other words."""

    comment: Text | None = None
    config: SentSettings | None = None


class NewUser(Value):
    """A user; `role` is 0 for ROOT, 1 for ADMIN, 2 for DEFAULT."""

    name: Label
    password: Password
    role: Annotated[int, Field(ge=0, le=2)] = 2


class UserUpdate(Value):
    """A user with another password, role or description; one's own password is changed with the old one."""

    origin_password: Password | None = None
    password: Password | None = None
    role: Annotated[int, Field(ge=0, le=2)] | None = None
    info: Text | None = None


class LogIn(Value):
    """Name and password."""

    name: Label
    password: Password


class TokenQuery(Value):
    """Query string of a route that has none of its own; `token` is the caller's."""

    token: Text = ""


class SetupQuery(TokenQuery):
    """Query string of a new user: `setup` is the secret of the first administrator's link."""

    setup: Annotated[str, StringConstraints(max_length=100)] = ""


class PageQuery(TokenQuery):
    """Query string of a list, by pages that count from 1."""

    page_num: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    page_size: Annotated[int, Field(ge=1, le=500)] = 20

    def of(self, found: Any) -> Any:
        """The page of a sequence."""
        first = (self.page_num - 1) * self.page_size
        return found[first : first + self.page_size]


class TaskListQuery(TokenQuery):
    """Query string of a list of tasks: those of a project, of a name, or of both."""

    project_id: HexId | None = None
    name: Label | None = None


class InstanceListQuery(PageQuery):
    """Query string of a list of instances."""

    task_inter_id: HexId


class ObjectQuery(TokenQuery):
    """Query string that names an object."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=255)]


class ConsoleAnswer(Value):
    """The original's envelope around an answer."""

    data: dict[str, JsonValue]
    message: Text | None = None
    http_code: Count = 200
    rsp_code: Count = 0
