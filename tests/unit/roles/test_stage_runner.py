"""Which stages become one call, which pictures travel, and what may a peer add?"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from node.clock import ManualClock
from node.errors import Unavailable
from node.model.video import Placement, Plan, StageRole, VideoConf, in_order
from node.model.wire.compute import ComputeReply, ComputeRequest, Pictures
from node.pipeline.graph import check_graph
from node.roles.edge.stage_runner import Run, StageRunner
from node.roles.shared.arena import FrameArena
from node.roles.shared.compute_service import Frame, Outcome
from node.transport.base import Answer
from node.transport.frames import pack_body

PIPELINE = ("face_detection", "face_alignment")
GIVEN = {
    "face_detection": {"bbox": [[1, 2, 3, 4]], "prob": [0.9]},
    "face_alignment": {"count_result": {"up": 1, "total": 1}},
}
CROP = b"a face"


@dataclass
class Compute:
    """Services whose every stage takes half a second."""

    clock: ManualClock
    calls: list[tuple[tuple[str, ...], set[str]]] = field(default_factory=list)

    async def call(self, stages, values, pictures, *, wanted=(), frame=None, stream="", deadline):
        names = tuple(stage.service for stage in stages)
        self.calls.append((names, set(wanted)))
        if names == PIPELINE[1:]:
            assert pictures["faces"] == (CROP,)
        await self.clock.advance(0.5 * len(names) + 0.1)
        found = {name: value for stage in names for name, value in GIVEN[stage].items()}
        crops = {"faces": (CROP,)} if "faces" in wanted else {}
        return Outcome(found, crops, (0.5,) * len(names), 0.0, 0.0)


@dataclass
class Peer:
    """A node that answers like `Compute`, and adds what nobody asked for."""

    clock: ManualClock
    times: int | None = None
    calls: list[tuple[str, ComputeRequest, list[bytes]]] = field(default_factory=list)

    async def call(self, peer, _method, request, *, blobs, timeout):
        self.calls.append((peer, request, [bytes(blob) for blob in blobs]))
        names = [stage.service for stage in request.stages]
        await self.clock.advance(0.5 * len(names) + 0.3)
        crops = (CROP,) * (request.onward is not None)  # this one hands nothing on, so they come back
        reply = ComputeReply(
            values={"evil": 1} | {name: value for stage in names for name, value in GIVEN[stage].items()},
            pictures=(Pictures(name="faces", count=len(crops)), Pictures(name="image", count=1)),
            stage_seconds=(0.5,) * (self.times or len(names)),
            decode_seconds=0.0,
            wait_seconds=0.0,
        )
        return Answer(reply, (*crops, b"another picture"))


class Scene:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.compute, self.peer = Compute(self.clock), Peer(self.clock)
        self.runner = StageRunner("edge-1", self.compute, self.peer, self.clock)
        self.arena = FrameArena(slots=1, slot_bytes=64)
        self.frame = Frame(self.arena.take(), 4, 4, "jpeg", 48)

    async def walk(self, *nodes: str) -> Run:
        places = {stage: Placement(node=node, role=StageRole.EDGE) for stage, node in zip(PIPELINE, nodes, strict=True)}
        plan = Plan(epoch=1, video_conf=VideoConf(), flow_mapping=places)
        run = Run()
        await self.runner.run("q-1", check_graph(PIPELINE, {}), plan, self.frame, deadline=self.clock.monotonic() + 9, run=run)
        return run


@pytest.fixture
def scene():
    made = Scene()
    yield made
    made.arena.close()


async def test_neighbours_at_home_are_one_call_that_gives_no_crops(scene):
    run = await scene.walk("edge-1", "edge-1")
    assert scene.compute.calls == [(PIPELINE, set())]
    assert run.values["count_result"] == {"up": 1, "total": 1}
    assert run.stage_s == pytest.approx({"face_detection": 0.6, "face_alignment": 0.5})
    assert run.bytes_moved == 0


async def test_neighbours_on_a_peer_are_one_request_and_its_way_counts_with_the_first(scene):
    run = await scene.walk("edge-2", "edge-2")
    ((peer, request, blobs),) = scene.peer.calls
    assert (peer, [stage.service for stage in request.stages], request.wanted) == ("edge-2", list(PIPELINE), ())
    assert len(blobs) == 1
    assert run.bytes_moved == 48
    assert run.stage_s == pytest.approx({"face_detection": 0.8, "face_alignment": 0.5})


async def test_3_7_times_payload_as_text_is_gone_a_picture_travels_as_its_bytes(scene):
    run = await scene.walk("edge-2", "edge-2")
    ((_, request, blobs),) = scene.peer.calls
    assert blobs == [scene.frame.lease.read(scene.frame.size)]
    assert run.bytes_moved == scene.frame.size
    assert len(pack_body(request)) < 300, "the picture, or something as large, stands in the body as well"


async def test_crops_travel_between_nodes_and_nothing_that_nobody_asked_for(scene):
    run = await scene.walk("edge-2", "cloud-1")
    first, second = scene.peer.calls
    assert first[1].wanted == ()
    assert [(leg.node, leg.name, leg.after) for leg in first[1].onward.legs] == [("cloud-1", "face_alignment", "")]
    assert second[2] == [CROP]
    assert "prob" not in second[1].values
    assert "evil" not in run.values
    assert set(run.pictures) == {"faces"}
    assert run.stage == "face_alignment"


async def test_a_peer_cannot_tell_fewer_times_than_stages(scene):
    scene.peer.times = 1
    with pytest.raises(Unavailable, match="1 times for 2 stages"):
        await scene.walk("edge-2", "edge-2")


@dataclass
class Forked:
    """Services that answer when the test says so."""

    waiting: dict[str, asyncio.Future] = field(default_factory=dict)

    async def call(self, stages, values, pictures, *, wanted=(), frame=None, stream="", deadline):
        names = tuple(stage.service for stage in stages)
        answer = self.waiting[names[0]] = asyncio.get_running_loop().create_future()
        found = await answer
        return Outcome(found, {}, (0.5,) * len(names), 0.0, 0.0)


GRAPH = {"face_detection": (), "face_alignment": ("face_detection",), "car_detection": (), "motion_detection": ()}


async def forked(scene, graph=GRAPH):
    runner = StageRunner("edge-1", compute := Forked(), scene.peer, scene.clock)
    checked = check_graph(in_order(graph), graph)
    places = {stage: Placement(node="edge-1", role=StageRole.HOST) for stage in graph}
    plan, run = Plan(epoch=1, video_conf=VideoConf(), flow_mapping=places), Run()
    walk = asyncio.create_task(runner.run("q-1", checked, plan, scene.frame, deadline=9e9, run=run))
    for _ in range(5):
        await scene.clock.advance(0)
    return compute, walk, run


async def test_branches_run_at_once_and_their_outputs_are_joined(scene):
    graph = {stage: before for stage, before in GRAPH.items() if stage != "motion_detection"}
    compute, walk, run = await forked(scene, graph)
    assert set(compute.waiting) == {"face_detection", "car_detection"}
    compute.waiting["car_detection"].set_result({"bbox": [[9, 9, 9, 9]], "label": ["car"], "count_result": {"car": 1}})
    compute.waiting["face_detection"].set_result({"bbox": [[1, 2, 3, 4]], "pose": [[0, 0, 0]], "count_result": {"up": 1}})
    await walk
    assert run.values == {
        "label": ["car"],
        "pose": [[0, 0, 0]],
        "car_detection_bbox": [[9, 9, 9, 9]],
        "face_detection_bbox": [[1, 2, 3, 4]],
        "car_detection_count_result": {"car": 1},
        "face_alignment_count_result": {"up": 1},
    }
    assert set(run.stage_s) == {"face_detection", "face_alignment", "car_detection"}


async def test_a_branch_that_fails_ends_the_others_and_is_named(scene):
    graph = {stage: before for stage, before in GRAPH.items() if stage != "motion_detection"}
    compute, walk, run = await forked(scene, graph)
    compute.waiting["car_detection"].set_exception(Unavailable("gone"))
    with pytest.raises(Unavailable, match="gone"):
        await walk
    assert run.stage == "car_detection"
    assert compute.waiting["face_detection"].cancelled()
