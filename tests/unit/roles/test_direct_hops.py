"""A picture that goes from one node to the next past its host: who gets what, and what comes of it when somebody is missing?"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from node.clock import SystemClock
from node.errors import Busy, DeadlineExceeded, EcnodeError, Forbidden, Invalid, PeerUnreachable, Unavailable
from node.model.cluster import Role
from node.model.video import Placement, Plan, StageRole, VideoConf, in_order
from node.model.wire.compute import COMPUTE_GAVE, ComputeGave, ComputeReply
from node.pipeline.graph import check_graph
from node.roles.edge.stage_runner import Run, StageRunner
from node.roles.shared.arena import FrameArena
from node.roles.shared.compute_peers import PEERS_SHARE, ComputePeers
from node.roles.shared.compute_service import Frame, Outcome
from node.transport.loopback import LoopbackHub

CLOCK = SystemClock()
PIPELINE = ("face_detection", "face_alignment")
FORK = {"face_detection": (), "face_alignment": ("face_detection",), "motion_detection": ()}
GIVES = {
    "face_detection": {"bbox": [[1, 2, 3, 4]], "prob": [0.9]},
    "face_alignment": {"count_result": {"up": 1, "total": 1}},
    "motion_detection": {"count_result": {"moving": 2}},
}
CROP = b"a face"


@dataclass
class Stages:
    """The workers of one node; `fault` is what they do instead, `gate` what they wait for."""

    queued: int = 0
    fault: EcnodeError | None = None
    gate: asyncio.Event | None = None
    calls: list[tuple[tuple[str, ...], dict, dict]] = field(default_factory=list)

    async def call(self, stages, values, pictures, *, wanted=(), frame=None, stream="", deadline):
        names = tuple(stage.service for stage in stages)
        self.calls.append((names, dict(values), {name: [bytes(one) for one in given] for name, given in pictures.items()}))
        if self.gate is not None:
            await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        found = {name: value for stage in names for name, value in GIVES[stage].items()}
        return Outcome(found, {"faces": (CROP,)} if "faces" in wanted else {}, (0.001,) * len(names), 0.0, 0.0)


class Node:
    def __init__(self, hub: LoopbackHub, name: str) -> None:
        self.stages = Stages()
        self.transport = hub.transport(name, {Role.EDGE}, CLOCK)
        self.blind_to: set[str] = set()
        links = self.transport.links
        self.transport.links = lambda: tuple(link for link in links() if link.peer.name not in self.blind_to)
        self.peers = ComputePeers(self.stages, self.transport, CLOCK)
        self.peers.register()
        self.runner = StageRunner(name, self.stages, self.transport, CLOCK)
        self.runner.register()


class Scene:
    def __init__(self) -> None:
        hub = LoopbackHub()
        self.nodes = {name: Node(hub, name) for name in ("edge-1", "edge-2", "edge-3")}
        self.arena = FrameArena(slots=1, slot_bytes=64)
        self.frame = Frame(self.arena.take(), 4, 4, "jpeg", 48)

    @property
    def middle(self) -> Node:
        return self.nodes["edge-2"]

    @property
    def last(self) -> Node:
        return self.nodes["edge-3"]

    async def walk(self, graph=None, *, life: float = 5.0, run: Run | None = None, by_host: bool = False, **where: str) -> Run:
        places = {"face_detection": "edge-2", "face_alignment": "edge-3", **where}
        mapping = {stage: Placement(node=node, role=StageRole.EDGE, by_host=by_host) for stage, node in places.items()}
        plan = Plan(epoch=1, video_conf=VideoConf(), flow_mapping=mapping)
        run = run or Run()
        checked = check_graph(in_order(graph) if graph else PIPELINE, graph or {})
        deadline = CLOCK.monotonic() + life
        await self.nodes["edge-1"].runner.run("q-1", checked, plan, self.frame, deadline=deadline, run=run)
        return run


@pytest.fixture
async def scene():
    made = Scene()
    for node in made.nodes.values():
        await node.transport.start()
    yield made
    for node in made.nodes.values():
        await node.peers.stop()
        await node.transport.stop()
    made.arena.close()


def all_went_well(run: Run) -> bool:
    return run.values == GIVES["face_detection"] | GIVES["face_alignment"] and set(run.stage_s) == {*PIPELINE}


async def test_crops_go_straight_to_the_next_node_and_both_parts_to_the_host(scene):
    run = await scene.walk()
    assert all_went_well(run)
    assert run.direct == {"face_alignment"}
    assert run.bytes_moved == scene.frame.size, "the crops went by the host"
    assert run.pictures == {}
    assert scene.last.stages.calls == [(("face_alignment",), {"bbox": [[1, 2, 3, 4]]}, {"faces": [CROP]})]
    assert min(run.hop_s.values()) >= 0
    assert sum(run.stage_s.values()) < 1


async def test_a_plan_that_says_so_has_the_crops_come_by_the_host(scene):
    run = await scene.walk(by_host=True)
    assert all_went_well(run)
    assert run.direct == set()
    assert run.bytes_moved == scene.frame.size + len(CROP)


@pytest.mark.parametrize("why", ["no link", "no link to the host", "busy"])
async def test_what_cannot_be_handed_on_goes_by_the_host(scene, why):
    if why == "no link":
        scene.middle.blind_to = {"edge-3"}
    elif why == "no link to the host":
        scene.last.blind_to = {"edge-1"}
    else:
        taken = scene.last.peers._handed
        taken.update(range(PEERS_SHARE))
    run = await scene.walk()
    if why == "busy":
        taken.clear()
    assert all_went_well(run)
    assert run.direct == set()
    assert run.bytes_moved == scene.frame.size + len(CROP)


async def test_what_the_last_node_could_not_do_is_told_to_the_host_with_its_stage(scene):
    scene.last.stages.fault = Invalid("no such face")
    run = Run()
    with pytest.raises(Invalid, match="no such face"):
        await scene.walk(run=run)
    assert run.stage == "face_alignment"


async def test_a_last_node_that_goes_away_fails_the_picture_at_once(scene):
    scene.last.stages.gate = asyncio.Event()
    run = Run()
    walk = asyncio.create_task(scene.walk(run=run, life=60.0))
    await until(lambda: scene.last.stages.calls)
    await scene.last.peers.stop()
    await scene.last.transport.stop()
    with pytest.raises(PeerUnreachable, match="edge-3"):
        async with CLOCK.timeout(5):
            await walk
    assert run.stage == "face_alignment"


async def test_a_middle_node_that_goes_away_before_it_answered_fails_the_picture(scene):
    scene.middle.stages.gate = asyncio.Event()
    run = Run()
    walk = asyncio.create_task(scene.walk(run=run, life=60.0))
    await until(lambda: scene.middle.stages.calls)
    await scene.middle.transport.stop()
    with pytest.raises(Unavailable):
        async with CLOCK.timeout(5):
            await walk
    assert run.stage == "face_detection"


async def test_a_picture_whose_last_node_is_silent_is_given_up_at_its_deadline(scene):
    scene.last.stages.gate = asyncio.Event()
    with pytest.raises(DeadlineExceeded):
        await scene.walk(life=0.2)


async def test_nobody_but_the_planned_node_is_believed_and_nobody_twice(scene):
    scene.last.stages.gate = asyncio.Event()
    walk = asyncio.create_task(scene.walk())
    await until(lambda: scene.last.stages.calls)
    (ticket,) = scene.nodes["edge-1"].runner._tickets._open.values()
    told = ComputeGave(
        ticket=ticket.name,
        stage="face_alignment",
        gave=ComputeReply(values={"count_result": {"up": 9}}, stage_seconds=(0.1,), decode_seconds=0.0, wait_seconds=0.0),
    )
    with pytest.raises(Forbidden, match="edge-2"):
        await scene.middle.transport.call("edge-1", COMPUTE_GAVE, told, timeout=1)
    scene.last.stages.gate.set()
    assert all_went_well(await walk)
    with pytest.raises(EcnodeError, match="no picture waits"):
        await scene.last.transport.call("edge-1", COMPUTE_GAVE, told, timeout=1)


async def test_a_branch_is_handed_on_while_another_one_runs_elsewhere(scene):
    run = await scene.walk(FORK, motion_detection="edge-1")
    assert run.direct == {"face_alignment"}
    assert run.values["face_alignment_count_result"] == {"up": 1, "total": 1}
    assert run.values["motion_detection_count_result"] == {"moving": 2}


async def test_a_peer_that_asks_while_all_places_are_taken_is_told_so(scene):
    scene.last.stages.queued = PEERS_SHARE
    with pytest.raises(Busy):
        await scene.walk()


async def until(condition, seconds: float = 5.0):
    async with CLOCK.timeout(seconds):
        while not condition():
            await CLOCK.sleep(0.002)
