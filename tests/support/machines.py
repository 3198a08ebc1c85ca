"""Machines as a planner knows them, and results as they would give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from node.model.cluster import ServiceReport
from node.model.video import Constraint, Plan, Resolution, Result, Runtime, StageRole
from node.pipeline.video.planner.base import Choice, NodeResource, ResourceInfo

DAG = ("face_detection", "face_alignment")
OBJECTS = 7
# Seconds of a call at 360p, 480p, 720p and 1080p for seven faces, as an edge of the original system had them.
EDGE = {"face_detection": (0.117, 0.162, 0.382, 1.157), "face_alignment": (0.190, 0.238, 0.623, 1.444)}
CLOUD = {"face_detection": (0.022, 0.040, 0.069, 0.141), "face_alignment": (0.090, 0.138, 0.223, 0.444)}
LIMIT = Constraint(delay=0.3, accuracy=0.9)
SEEN = Runtime(obj_n=float(OBJECTS), obj_size=4800.0, delay=0.1, fps=10.0)


def node(
    name: str,
    role: StageRole,
    times: Mapping[str, Sequence[float]],
    *,
    speed: float = 1.0,
    rtt_s: float = 0.0,
    stages: Sequence[str] = DAG,
    workers: int = 4,
    busy: float = 0.1,
) -> NodeResource:
    services = {
        stage: ServiceReport(
            name=stage,
            profile={resolution: seconds / speed for resolution, seconds in zip(Resolution, times[stage], strict=True)},
            profile_objects=OBJECTS,
        )
        for stage in stages
    }
    return NodeResource(name, role, workers, busy, rtt_s, services)


def host(speed: float = 1.0, busy: float = 0.1) -> NodeResource:
    return node("edge-1", StageRole.HOST, EDGE, speed=speed, busy=busy)


def peer(speed: float = 1.0, busy: float = 0.1) -> NodeResource:
    return node("edge-2", StageRole.EDGE, EDGE, speed=speed, rtt_s=0.002, busy=busy)


def cloud(rtt_s: float = 0.01, busy: float = 0.1) -> NodeResource:
    return node("cloud-1", StageRole.CLOUD, CLOUD, rtt_s=rtt_s, busy=busy)


def resources(*nodes: NodeResource, fps: float = 25.0, height: int = 1080, at: float = 0.0) -> ResourceInfo:
    return ResourceInfo(nodes, fps, height, at)


def places(choice: Choice | None) -> dict[str, str]:
    assert choice is not None
    return {stage: place.node for stage, place in choice[1].items()}


def plan_of(choice: Choice | None, epoch: int = 1) -> Plan:
    assert choice is not None
    return Plan(epoch=epoch, video_conf=choice[0], flow_mapping=choice[1])


def seen(plan: Plan, stage_s: Mapping[str, float], hop_s: Mapping[str, float] | None = None, objects: int = OBJECTS) -> Result:
    width, height = plan.video_conf.resolution.size
    return Result(
        attempt=1,
        n_loop=1,
        cam_frame_id=1,
        conf_frame_id=1,
        captured_at=100.0,
        latency=sum(stage_s.values()),
        delay=0.1,
        stage_ms={stage: seconds * 1000 for stage, seconds in stage_s.items()},
        hop_ms={stage: seconds * 1000 for stage, seconds in (hop_s or {}).items()},
        plan=plan.digest(),
        plan_epoch=plan.epoch,
        width=width,
        height=height,
        output={"bbox": [[0, 0, 40, 40]] * objects},
    )
