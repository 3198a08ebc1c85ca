"""What follows from how the parts of a joint task stand: go on waiting, start them, or give up?

No I/O and no clock here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from node.errors import Invalid
from node.model.task import (
    DATA_MOST,
    JOINT_KEY,
    TASK_LIFE,
    Artifact,
    DataFile,
    Joint,
    Task,
    TaskId,
    TaskRequest,
    TaskSpec,
    TaskState,
)
from node.model.value import new_id
from node.storage.tasks import Planned

COMBINE: Final = "combine"
NAME_MOST: Final = 1900
NAMED_MOST: Final = 8


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can be decided yet; `reason` says what is missing."""

    reason: str


@dataclass(frozen=True, slots=True)
class Start:
    """These parts start now, the others never."""

    parts: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """So few parts can do it that the joint task cannot."""

    reason: str


@dataclass(frozen=True, slots=True)
class Done:
    """All parts are over and enough of them have finished."""

    parts: tuple[Task, ...]


def is_over(task: Task) -> bool:
    """Whether a part has ended, well or not."""
    return task.state in TASK_LIFE.terminal


def barrier(parts: Sequence[Task], quorum: int, *, late: bool) -> Wait | Start | GiveUp:
    """Whether the parts may start; `late` says that the deadline has passed."""
    able = [part for part in parts if not (is_over(part) or part.stopping)]
    ready = [part for part in able if part.state is TaskState.READY]
    if len(able) < quorum:
        return GiveUp(f"{len(able)} of {len(parts)} can start, {quorum} are needed; {_told(parts)}")
    if len(ready) == len(able) or (late and len(ready) >= quorum):
        return Start(tuple(part.id for part in ready), f"{len(ready)} of {len(parts)} are ready")
    if late:
        return GiveUp(f"{len(ready)} of {len(parts)} were ready in time, {quorum} are needed; {_told(parts)}")
    return Wait(f"waits for {_told([part for part in able if part.state is not TaskState.READY])}")


def outcome(parts: Sequence[Task], quorum: int) -> Wait | Done | GiveUp:
    """What the parts that were started have come to."""
    finished = tuple(part for part in parts if part.state is TaskState.FINISHED)
    live = [part for part in parts if not is_over(part)]
    if len(finished) + len(live) < quorum:
        return GiveUp(f"{len(finished) + len(live)} of {len(parts)} can finish, {quorum} are needed; {_told(parts)}")
    return Wait(f"{len(live)} of {len(parts)} run") if live else Done(finished)


def _told(parts: Sequence[Task]) -> str:
    told = [
        f"{part.node}: {part.reason or part.state}"
        for part in parts
        if part.state is not TaskState.FINISHED and not part.stopping
    ]
    return "; ".join(told[:NAMED_MOST]) + (f"; and {len(told) - NAMED_MOST} more" if len(told) > NAMED_MOST else "")


# What the parts are made of


def part_id(parent: TaskId, round: int, node: str, made_at: float) -> TaskId:
    """The id of a part, the same whenever it is asked for."""
    return new_id("t", made_at, hashlib.sha256(f"{parent}\n{round}\n{node}".encode()).digest()[:10])


def combine_id(task: Task, round: int) -> TaskId:
    """The id of what combines the parts of a round; no edge can be called like that."""
    return part_id(task.id, round, COMBINE.upper(), task.created_at)


def planned_parts(
    task: Task, request: TaskRequest, nodes: Sequence[str], round: int, data: Sequence[DataFile]
) -> list[Planned]:
    """A part for each node; `data` is found by all of them, in place of the request's where both have the path."""
    joint = request.joint or Joint()
    given = {file.path: file for file in (*request.data, *data)}
    _bounded(len(given))
    found = []
    for place, node in enumerate(nodes):
        told = {"part": place, "node": node, **_circle(nodes, round, joint.rounds)}
        spec = {name: getattr(request, name) for name in TaskSpec.model_fields}
        spec |= {"data": tuple(given.values()), "config": {**request.config, JOINT_KEY: told}}
        name = f"{_name(task)}/{node}" if joint.rounds == 1 else f"{_name(task)}/{round}/{node}"
        id = part_id(task.id, round, node, task.created_at)
        asked = TaskRequest.model_validate({**spec, "id": id, "name": name, "node": node})
        found.append((_part(task, id, name, node, round, held=True), asked))
    return found


def planned_combine(task: Task, joint: Joint, finished: Sequence[Task], before: Sequence[DataFile]) -> Planned:
    """What makes one outcome of those of the parts; `before` is what it left in the round before."""
    assert joint.combine is not None, "asked for where there is one"
    nodes = [part.node for part in finished]
    data = [*joint.combine.data, *(DataFile(path=f"before/{file.path}", blob=file.blob) for file in before)]
    data += [DataFile(path=f"{part.node}/{one.path}", blob=one.blob) for part in finished for one in part.artifacts]
    _bounded(len(data))
    config = {**joint.combine.config, JOINT_KEY: _circle(nodes, task.round, joint.rounds)}
    name = f"{_name(task)}/{COMBINE}" if joint.rounds == 1 else f"{_name(task)}/{task.round}/{COMBINE}"
    id = combine_id(task, task.round)
    words = {"id": id, "name": name, "data": tuple(data), "config": config}
    request = TaskRequest.model_validate({**dict(joint.combine), **words})
    return _part(task, id, name, task.node, task.round, held=False), request


def as_data(artifacts: Sequence[Artifact]) -> tuple[DataFile, ...]:
    """What one program left, as what the next one finds."""
    return tuple(DataFile(path=one.path, blob=one.blob) for one in artifacts)


def _bounded(files: int) -> None:
    if files > DATA_MOST:
        raise Invalid(f"{files} files of data for one program", hint=f"at most {DATA_MOST}: leave fewer artifacts")


def _circle(nodes: Sequence[str], round: int, rounds: int) -> dict[str, object]:
    return {"parts": len(nodes), "nodes": list(nodes), "round": round, "rounds": rounds}


def _name(task: Task) -> str:
    return (task.name or task.id)[:NAME_MOST]


def _part(task: Task, id: str, name: str, node: str, round: int, *, held: bool) -> Task:
    return Task(
        id=id,
        name=name,
        state=TaskState.CREATED,
        node=node,
        origin=task.origin,
        created_at=task.created_at,
        updated_at=task.created_at,
        parent=task.id,
        round=round,
        held=held,
    )
