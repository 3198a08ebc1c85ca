"""An edge's jobs: whatever order the cloud's messages come in, each query has one job and each job an end."""

from __future__ import annotations

import asyncio

import pytest

from node.clock import ManualClock
from node.config import SourceConfig
from node.errors import Busy
from node.model.cluster import Role
from node.model.video import Placement, Plan, StageRole, VideoConf
from node.model.wire.job import JobStart
from node.roles.edge.job import Bench
from node.roles.edge.job_manager import JobManager
from node.roles.edge.source_reader import SourceReader
from node.roles.edge.sources import Sources
from node.roles.edge.stage_runner import StageRunner
from node.roles.shared.arena import FrameArena
from node.roles.shared.processes import ProcessSpawner
from node.transport.base import Call, Peer
from node.transport.loopback import LoopbackHub

CALL = Call(Peer("cloud-1", frozenset({Role.CLOUD}), ""), (), 0.0)


def start(attempt: int) -> JobStart:
    place = Placement(node="edge-1", role=StageRole.HOST)
    plan = Plan(epoch=attempt, video_conf=VideoConf(), flow_mapping={"face_detection": place})
    return JobStart(query="q-" + "0" * 26, attempt=attempt, source="lobby", pipeline=("face_detection",), plan=plan)


@pytest.fixture
async def manager(tmp_path):
    clock, arena = ManualClock(), FrameArena(slots=8, slot_bytes=64)
    transport = LoopbackHub().transport("edge-1", {Role.EDGE}, clock)
    bench = Bench(StageRunner("edge-1", None, transport, clock), None, transport, clock, None)
    source = SourceConfig(url=str(tmp_path / "nothing.mp4"))
    spawner = ProcessSpawner(clock)
    sources = Sources({"lobby": source}, lambda name, config: SourceReader(name, config, spawner, arena, clock), clock)
    made = JobManager(sources, bench)
    yield made
    await made.stop()
    await sources.stop()
    assert arena.free == arena.slots
    arena.close()


async def test_starts_that_come_at_once_leave_one_job_and_the_newest(manager):
    await manager._start(CALL, start(1))
    await asyncio.gather(*(manager._start(CALL, start(attempt)) for attempt in (2, 3, 2)))
    assert [job.attempt for job in manager.jobs()] == [3]
    assert len([task for task in asyncio.all_tasks() if task.get_name().startswith("progress of")]) == 1


async def test_no_job_begins_on_an_edge_that_stops(manager):
    await manager._start(CALL, start(1))
    await manager.stop()
    with pytest.raises(Busy, match="stopping"):
        await manager._start(CALL, start(2))
    assert manager.jobs() == ()
