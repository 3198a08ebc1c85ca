"""Two sides' engines make one session, and neither signs one that is not what both have published."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from node.clock import SystemClock
from node.errors import Invalid, NotFound, Rejected
from node.model.federated import (
    TABLES,
    PartyView,
    PinnedParty,
    Session,
    SessionRequest,
    SessionSpec,
    SessionState,
)
from node.model.project import Instance, InstanceState, Project, ProjectTask, TaskKind
from node.roles.federated.console import session_engine
from node.roles.federated.console.engine import Job
from node.roles.federated.console.session_engine import SessionEngine
from node.roles.shared.tasks import begin, end

CLOCK = SystemClock()
TIMES = {"created_at": 1.0, "updated_at": 1.0}
KEYS = {"bank-a": "aa" * 32, "bank-b": "bb" * 32, "third": "cc" * 32}
OTHER = {"bank-a": "bank-b", "bank-b": "bank-a"}
IDS = {"bank-a": "a" * 32, "bank-b": "b" * 32}
ALIGN = {
    "bank-a": {"role": "feature_client", "file": "cells.csv", "output": "aligned"},
    "bank-b": {"role": "label_client", "file": "cells.csv", "output": "aligned"},
}
TRAIN = {
    "bank-a": {"role": "feature_client", "prepared": "aligned"},
    "bank-b": {"role": "label_client", "prepared": "aligned", "training": {"steps": 7}},
}


def _as_it_is(spec):
    return spec


@dataclass
class Nodes:
    """The sessions of all nodes, as if each had the same record at once; `tamper` is what a dishonest coordinator does."""

    sessions: dict[str, Session] = field(default_factory=dict)
    accepted: list[str] = field(default_factory=list)
    halted: list[str] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=lambda: dict(KEYS))
    tamper: Any = _as_it_is

    def at(self, node: str) -> AtNode:
        return AtNode(self, node)

    def become(self, state: SessionState) -> None:
        self.sessions = {id: each.replace(state=state, reason="so") for id, each in self.sessions.items()}


@dataclass
class AtNode:
    nodes: Nodes
    node: str

    async def create(self, request: SessionRequest) -> tuple[Session, bool]:
        alignment = request.alignment and request.alignment.replace(split_seed="s")
        training = request.training and request.training.replace(batch_seed="b")
        parties = tuple(PinnedParty(**dict(each), key=self.nodes.keys[each.node]) for each in request.parties)
        spec = SessionSpec(
            session=request.id,
            name=request.name,
            coordinator=self.node,
            parties=parties,
            alignment=alignment,
            training=training,
            round_timeout=request.round_timeout,
            tables=TABLES,
        )
        spec = self.nodes.tamper(spec)
        views = tuple(PartyView(name=each.name, role=each.role, node=each.node) for each in spec.parties)
        session = Session(
            id=request.id,
            name=spec.name,
            coordinator=spec.coordinator,
            state=SessionState.CREATED,
            spec=spec,
            parties=views,
            created_at=1.0,
        )
        self.nodes.sessions[session.id] = session
        return session, True

    async def get(self, ref: str) -> Session:
        if ref not in self.nodes.sessions:
            raise NotFound("none")
        return self.nodes.sessions[ref]

    async def accept(self, ref: str) -> Session:
        self.nodes.accepted.append(self.node)
        if sorted(self.nodes.accepted) == ["bank-a", "bank-b"]:
            self.nodes.become(SessionState.FINISHED)
        return await self.get(ref)

    async def halt(self, ref: str) -> Session:
        self.nodes.halted.append(ref)
        return await self.get(ref)


class Sides:
    """Both sides' jobs and engines; what each reports is what the other reads."""

    def __init__(self, kind=TaskKind.SAMPLE, parts=ALIGN, config=None, nodes=None, peer_key=KEYS):
        self.nodes = nodes or Nodes()
        self.messages = {name: {} for name in OTHER}
        self.ends: dict[str, list[tuple[Any, Any]]] = {name: [] for name in OTHER}
        self.jobs = {name: self._job(name, kind, parts, config, peer_key) for name in OTHER}
        self.engines = {name: SessionEngine(name, self.nodes.at(name), self.other, CLOCK) for name in OTHER}

    async def other(self, job: Job):
        return self.messages["bank-b" if job is self.jobs["bank-a"] else "bank-a"]

    def _job(self, name, kind, parts, config, peer_key) -> Job:
        given = {"producer": "third"} if config is None else config
        project = Project(id="1" * 32, peer_url="http://x.example", peer_key=peer_key[OTHER[name]], config=given, **TIMES)
        task = ProjectTask(
            id="2" * 32,
            project=project.id,
            name="cells",
            version="20261201093000",
            kind=kind,
            root=True,
            config=parts[name],
            **TIMES,
        )
        instance = Instance(
            id=IDS[name],
            task=task.id,
            pairing="3" * 32,
            peer_id=IDS[OTHER[name]],
            started_here=name == "bank-a",
            status=InstanceState.RUNNING,
            **TIMES,
        )

        async def report(**told):
            self.messages[name].update(told.get("message") or {})
            if told.get("status"):
                self.ends[name].append((told["status"], (told.get("error") or {}).get("reason", "")))

        return Job(project, task, instance, (), report)

    async def run(self, *names: str) -> None:
        tasks = [begin(self.engines[name].run(self.jobs[name], again=False), name) for name in OTHER]
        try:
            async with CLOCK.timeout(10):
                await asyncio.gather(*(task for task in tasks if task.get_name() in (names or OTHER)))
        finally:
            await end(*tasks)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for name in ("LOOK_S", "ASK_S", "MAKE_PAUSE_S"):
        monkeypatch.setattr(session_engine, name, 0.01)


@pytest.mark.parametrize(("kind", "parts"), [(TaskKind.SAMPLE, ALIGN), (TaskKind.TRAIN, TRAIN)])
async def test_both_sides_make_one_session_and_end_with_it(kind, parts):
    sides = Sides(kind, parts)
    await sides.run()
    (session,) = sides.nodes.sessions.values()
    assert sides.ends == {name: [(InstanceState.SUCCESS, "")] for name in OTHER}
    assert [party.node for party in session.spec.parties] == ["third", "bank-a", "bank-b"]
    assert session.spec.coordinator == "bank-a"
    assert (session.spec.alignment is None, session.spec.training is None) == (kind is TaskKind.TRAIN, kind is TaskKind.SAMPLE)
    assert session.spec.training is None or session.spec.training.steps == 7, "the other side's settings count"
    assert {message["session"] for message in sides.messages.values()} == {session.id}


def _other_file(spec):
    parties = tuple(each.replace(file="all.csv") if each.node == "bank-b" else each for each in spec.parties)
    return spec.replace(parties=parties)


@pytest.mark.parametrize(
    ("tamper", "reason"),
    [
        (_other_file, "not those that both sides have published"),
        (lambda spec: spec.replace(coordinator="third"), "not the other side's for this instance"),
        (lambda spec: spec.replace(name="another"), "not the other side's for this instance"),
        (lambda spec: spec.replace(training=spec.training.replace(steps=8)), "in another way"),
    ],
    ids=["another file of ours", "another coordinator", "another instance", "other settings than ours"],
)
async def test_a_side_signs_no_session_but_the_one_that_was_agreed(tamper, reason):
    parts = {name: {**part, "file": "cells.csv"} for name, part in TRAIN.items()}
    sides = Sides(TaskKind.TRAIN, parts, nodes=Nodes(tamper=tamper))
    await sides.run("bank-b")
    ((status, told),) = sides.ends["bank-b"]
    assert status is InstanceState.FAILED
    assert reason in told
    assert "bank-b" not in sides.nodes.accepted


async def test_the_node_at_the_other_end_is_the_one_whose_key_is_pinned():
    nodes = Nodes(keys={**KEYS, "bank-b": "dd" * 32})
    sides = Sides(nodes=nodes)
    await sides.run("bank-a")
    ((status, told),) = sides.ends["bank-a"]
    assert (status, "another key than the other console" in told) == (InstanceState.FAILED, True)
    assert "bank-a" not in nodes.accepted
    assert nodes.halted == list(nodes.sessions)


@pytest.mark.parametrize("kind", [TaskKind.SAMPLE, TaskKind.TRAIN])
def test_without_a_third_node_both_kinds_are_refused_with_what_to_configure(kind):
    sides = Sides()
    project = sides.jobs["bank-a"].project.replace(config={})
    parts = ALIGN if kind is TaskKind.SAMPLE else TRAIN
    with pytest.raises(Rejected, match=r'"producer": "NODE"'):
        sides.engines["bank-a"].check(project, kind, parts["bank-a"])
    with pytest.raises(Rejected, match="different third nodes: other, third"):
        sides.engines["bank-a"].check(
            project.replace(config={"producer": "third"}, peer_config={"producer": "other"}), kind, parts["bank-a"]
        )


async def test_a_side_is_no_third_node_for_itself():
    sides = Sides(config={"producer": "bank-a"})
    await sides.run("bank-a")
    ((status, told),) = sides.ends["bank-a"]
    assert (status, "holds none of the data" in told) == (InstanceState.FAILED, True)


async def test_settings_that_differ_make_no_session():
    parts = {name: {**part, "training": {"steps": len(name) + (name == "bank-b")}} for name, part in TRAIN.items()}
    sides = Sides(TaskKind.TRAIN, parts)
    await sides.run("bank-a")
    ((status, told),) = sides.ends["bank-a"]
    assert (status, "differ in training" in told) == (InstanceState.FAILED, True)


@pytest.mark.parametrize(
    ("kind", "config", "path"),
    [
        (TaskKind.SAMPLE, {"role": "main_client", "file": "x"}, "config.role"),
        (TaskKind.SAMPLE, {"role": "feature_client"}, "config.dataset"),
        (TaskKind.TRAIN, {"role": "feature_client", "file": "x"}, "config.prepared"),
        (TaskKind.TRAIN, {"role": "feature_client", "prepared": "x", "steps": 3}, "config.steps"),
    ],
)
def test_a_config_that_is_no_part_is_refused_by_field(kind, config, path):
    sides = Sides()
    with pytest.raises(Invalid) as refused:
        sides.engines["bank-a"].check(sides.jobs["bank-a"].project, kind, config)
    assert refused.value.problems[0].path == path
