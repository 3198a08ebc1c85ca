"""The compute service with real worker processes: calls, deadlines, deaths, a full queue."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import psutil
import pytest

from node import assets as store
from node.clock import SystemClock
from node.errors import AssetMissing, Busy, ChildLost, DeadlineExceeded, Invalid, NotFound, TooLarge
from node.model.wire.compute import StageCall
from node.pipeline import catalogue, stage
from node.pipeline.stage import SERVICES
from node.roles.shared import measured, worker_pool
from node.roles.shared.arena import FrameArena
from node.roles.shared.calibration import calibrate
from node.roles.shared.compute_service import ComputeService, Frame, Outcome
from node.roles.shared.processes import ProcessSpawner
from node.roles.shared.tasks import begin, end

CLOCK = SystemClock()
DETECTION = (StageCall(service="face_detection"),)
ALIGNMENT = (StageCall(service="face_alignment"),)


@pytest.fixture
def arena():
    made = FrameArena(slots=4)
    yield made
    made.close()


@pytest.fixture
async def service(arena, assets):
    made = ComputeService(ProcessSpawner(CLOCK), arena, CLOCK, assets, workers=1)
    serving = begin(made.run(), "compute")
    yield made
    await end(serving)
    assert arena.free == arena.slots
    assert psutil.Process().children() == []


@pytest.fixture
def heads(assets) -> bytes:
    return store.path(assets, "calibration.jpg").read_bytes()


def models(assets: Path, folder: Path, without: str = "measured-") -> Path:
    """The models in a folder of their own, where nobody has measured anything."""
    for place in assets.iterdir():
        if not place.name.startswith((without, "measured-")):
            (folder / place.name).symlink_to(place)
    return folder


def soon(seconds: float = 20.0) -> float:
    return CLOCK.monotonic() + seconds


async def detect(service: ComputeService, picture: bytes, deadline: float | None = None):
    return await service.call(DETECTION, {}, {"image": (picture,)}, wanted={"faces"}, deadline=deadline or soon())


async def the_worker(service: ComputeService, heads: bytes) -> psutil.Process:
    await detect(service, heads)
    (worker,) = psutil.Process().children()
    return worker


async def test_a_pipeline_runs_on_what_its_stages_give(service, heads):
    found = await detect(service, heads)
    assert len(found.values["bbox"]) == len(found.pictures["faces"]) == len(found.values["prob"]) > 2
    assert found.stage_seconds[0] > 0
    posed = await service.call(ALIGNMENT, found.values, found.pictures, deadline=soon())
    assert posed.values["count_result"]["total"] == len(found.values["bbox"])


async def test_neighbouring_stages_are_one_call_and_pass_their_crops_on_unencoded(service, heads):
    apart = await detect(service, heads)
    together = await service.call((*DETECTION, *ALIGNMENT), {}, {"image": (heads,)}, deadline=soon())
    assert together.values["bbox"] == apart.values["bbox"]
    assert together.values["count_result"]["total"] == len(apart.values["bbox"])
    assert together.pictures == {}
    assert len(together.stage_seconds) == 2
    assert min(together.stage_seconds) > 0


async def test_only_the_pictures_that_are_wanted_and_given_come_back(service, heads):
    found = await service.call(
        (*DETECTION, *ALIGNMENT), {}, {"image": (heads,)}, wanted=["faces", "image", "helmets"], deadline=soon()
    )
    assert {name: len(given) for name, given in found.pictures.items()} == {"faces": len(found.values["bbox"])}


async def test_every_resolution_is_calibrated_and_recalled_by_the_next_node(service, assets, arena, tmp_path, monkeypatch):
    folder = models(assets, tmp_path)
    monkeypatch.setattr(measured, "disturbed", lambda: False)
    await calibrate(service, folder, CLOCK)
    detection, alignment, *_ = service.reports()
    assert 0 < detection.profile["360p"] < detection.profile["1080p"]
    assert detection.profile_objects == alignment.profile_objects > 0
    following = ComputeService(ProcessSpawner(CLOCK), arena, CLOCK, folder, workers=1)
    warming = begin(calibrate(following, folder, CLOCK), "calibration")
    while not following.reports():  # it is not run, so that it could measure nothing
        await CLOCK.sleep(0.005)
    await end(warming)
    assert [(one.name, one.profile, one.profile_objects) for one in following.reports()] == [
        (one.name, one.profile, one.profile_objects) for one in service.reports()
    ]


async def test_a_service_whose_model_is_not_there_is_not_offered_and_the_others_are(arena, assets, tmp_path):
    folder = models(assets, tmp_path, without="centernet")
    service = ComputeService(ProcessSpawner(CLOCK), arena, CLOCK, folder, workers=1)
    serving = begin(service.run(), "compute")
    await calibrate(service, folder, CLOCK)
    await end(serving)
    assert [report.name for report in service.reports() if report.profile] == [
        "face_detection",
        "face_alignment",
        "motion_detection",
    ]


async def test_a_call_whose_deadline_has_passed_is_not_executed(service, heads):
    await detect(service, heads)
    with pytest.raises(DeadlineExceeded):
        await detect(service, heads, deadline=CLOCK.monotonic() - 1)


async def test_rubbish_is_refused_and_the_worker_lives_on(service, heads):
    worker = await the_worker(service, heads)
    with pytest.raises(Invalid):
        await detect(service, b"no picture at all")
    await detect(service, heads)
    assert worker.is_running()


async def test_a_value_that_cannot_be_told_to_a_worker_harms_nobody_else(service, heads):
    with pytest.raises(Invalid, match="child process"):
        await service.call(ALIGNMENT, {"bbox": [float("nan")]}, {"faces": ()}, deadline=soon())
    await detect(service, heads)


async def test_an_unknown_service_or_model_is_named(service, heads):
    with pytest.raises(NotFound, match="helmets"):
        await service.call((StageCall(service="helmets"),), {}, {}, deadline=soon())
    with pytest.raises(Invalid, match="model 7"):
        await service.call((StageCall(service="face_detection", model_id=7),), {}, {"image": (heads,)}, deadline=soon())


async def test_a_killed_worker_fails_its_own_call_only(service, heads, arena):
    worker = await the_worker(service, heads)
    worker.send_signal(signal.SIGSTOP)
    lease = arena.take()
    frame = Frame(lease, 64, 48, "raw", 64 * 48 * 3)
    first = asyncio.create_task(service.call(DETECTION, {}, {}, frame=frame, deadline=soon()))
    second = asyncio.create_task(detect(service, heads))
    await CLOCK.sleep(0)
    lease.release()
    worker.kill()
    results = await asyncio.gather(first, second, return_exceptions=True)
    assert isinstance(results[0], ChildLost)
    assert len(results[1].values["bbox"]) > 2
    assert not worker.is_running()


async def test_a_full_queue_is_said_at_once(service, heads, monkeypatch):
    monkeypatch.setattr(worker_pool, "QUEUE", 1)
    worker = await the_worker(service, heads)
    worker.send_signal(signal.SIGSTOP)
    calls = [asyncio.create_task(detect(service, heads)) for _ in range(4)]
    done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    assert {type(call.exception()) for call in done} == {Busy}
    worker.send_signal(signal.SIGCONT)
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert len([result for result in results if isinstance(result, Outcome)]) in {1, 2}


async def test_a_call_behind_a_hung_worker_ends_with_its_deadline(service, heads):
    worker = await the_worker(service, heads)
    worker.send_signal(signal.SIGSTOP)
    calls = [asyncio.create_task(detect(service, heads, soon(0.3))) for _ in range(2)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(result) for result in results} == {DeadlineExceeded}
    worker.send_signal(signal.SIGCONT)


async def test_stopping_fails_the_calls_that_wait(arena, assets, heads):
    service = ComputeService(ProcessSpawner(CLOCK), arena, CLOCK, assets, workers=1)
    serving = begin(service.run(), "compute")
    worker = await the_worker(service, heads)
    worker.send_signal(signal.SIGSTOP)
    calls = [asyncio.create_task(detect(service, heads)) for _ in range(3)]
    await CLOCK.sleep(0)
    await end(serving)
    assert {type(result) for result in await asyncio.gather(*calls, return_exceptions=True)} == {ChildLost}
    assert not worker.is_running()


async def test_crops_that_unpack_to_gigabytes_are_refused_and_the_worker_lives_on(service, heads):
    worker = await the_worker(service, heads)
    with pytest.raises(TooLarge, match="pixels together"):
        await service.call(ALIGNMENT, {"bbox": [[0, 0, 1, 1]] * 20}, {"faces": (heads,) * 20}, deadline=soon())
    assert worker.is_running()


PLAIN = {"needs": ["image"], "gives": ["brightness"]}
FOLDER = str(Path(__file__).parents[2] / "support")
OWN = {
    "brightness": {"implementation": "counting:brightness", "folder": FOLDER, **PLAIN},
    "nonsense": {"implementation": "counting:nonsense", "folder": FOLDER, **PLAIN},
    "absent": {"implementation": "counting:absent", "folder": FOLDER, **PLAIN},
    "unsure": {
        "implementation": "counting:Unsure",
        "folder": FOLDER,
        "needs": ["clip"],
        "gives": ["prob", "length"],
        "models": 4,
        "escalate_below": 0.5,
    },
}


@pytest.fixture
async def own(arena, assets):
    before = dict(SERVICES)
    catalogue.install(OWN)
    made = ComputeService(ProcessSpawner(CLOCK), arena, CLOCK, assets, workers=1, tables=OWN)
    serving = begin(made.run(), "compute")
    yield made
    await end(serving)
    stage._declared.clear()
    stage._declared.update(before)


async def test_services_of_a_user_run_in_a_worker_and_look_again_with_a_heavier_model_when_unsure(own, heads):
    async def run(name: str, model_id: int = 0):
        pictures = {"image": (heads,), "clip": (heads, heads, heads)}
        return (await own.call((StageCall(service=name, model_id=model_id),), {}, pictures, deadline=soon())).values

    assert 0 < (await run("brightness"))["brightness"] < 255
    assert await run("unsure") == {"prob": [pytest.approx(0.6)], "length": 3, "model_id": 2}
    assert await run("unsure", 3) == {"prob": [pytest.approx(0.8)], "length": 3, "model_id": 3}
    with pytest.raises(Invalid, match="a service gave str"):
        await run("nonsense")
    with pytest.raises(AssetMissing, match="counting:absent cannot be loaded"):
        await run("absent")


async def test_helmet_detection_says_that_no_model_is_configured(service, heads, assets):
    await calibrate(service, assets, CLOCK)
    assert "helmet_detection" not in {report.name for report in service.reports()}
    with pytest.raises(AssetMissing, match="no model is configured") as caught:
        await service.call((StageCall(service="helmet_detection"),), {}, {"clip": (heads,)}, deadline=soon())
    assert "services.helmet_detection.implementation" in caught.value.hint
