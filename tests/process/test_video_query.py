"""A cloud and two edges as real processes over CURVE answer head-count queries on real video."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from systems import FAST, connect, measured, until

from node import assets as store
from node.cli.system import LocalSystem
from node.errors import Conflict, Invalid
from node.model.video import Constraint, QueryRequest

HEADS = ("face_detection", "face_alignment")


@pytest.fixture(scope="module")
def system(clips, assets):
    with LocalSystem(2, list(clips.values()), assets, pace=FAST) as running:
        running.start()
        with connect(running) as client:
            until(lambda: measured(client, running.names), 60)
        yield running


@pytest.fixture
def client(system):
    with connect(system) as connected:
        yield connected


def request(source: str, node: str = "edge-1", **constraint: float) -> QueryRequest:
    return QueryRequest(node=node, source=source, pipeline=HEADS, constraint=Constraint(**constraint))


def test_counts_are_right_and_frames_add_up_at_every_moment(system, client, assets):
    query = client.submit(request("lobby", accuracy=1.0))
    items, cursor = [], 0
    while len(items) < 40:
        page = client.results(query.id, cursor, 100, 5.0).items
        assert page, system.stderr("edge-1")[-2000:]
        items += page
        cursor = items[-1].cursor
        tally = client.query(query.id).tally
        assert tally.captured == tally.processed + tally.skipped + tally.failed
        assert tally.failed == 0
    client.stop(query.id)
    items = [item for item in items if item.height >= 480]  # at 360p the smallest heads are not to be found
    assert len(items) >= 10
    frames = json.loads(store.path(assets, "collage.json").read_text())["frames"]
    right = [len(item.output["bbox"]) == len(frames[item.cam_frame_id]["boxes"]) for item in items]
    assert sum(right) / len(right) >= 0.95
    assert [item.n_loop for item in items] == sorted({item.n_loop for item in items})
    for item in items:
        assert item.output["count_result"]["total"] == len(item.output["bbox"]) == len(item.output["pose"])
        assert item.latency >= sum(item.stage_ms.values()) / 1000 - 0.001
        assert 0 < item.delay < item.latency
    runtime = client.runtime(query.id)
    assert runtime.obj_n >= 3
    assert runtime.obj_size > 0
    assert set(runtime.stage_ms) == set(HEADS)


def test_the_newest_frame_comes_as_an_annotated_picture(client):
    query = client.submit(request("lobby"))
    assert client.results(query.id, 0, 1, 10.0).items
    picture = client.picture(query.id)
    assert picture.startswith(b"\xff\xd8\xff")
    assert len(picture) > 10_000
    client.stop(query.id)


def test_a_changed_constraint_changes_the_plan_of_the_running_query(client):
    query = client.submit(request("lobby", accuracy=1.0))
    before = until(lambda: (found := client.query(query.id).plan) and found.video_conf.resolution != "360p" and found, 60)
    client.constrain(query.id, Constraint(accuracy=0.2, latency=0.02))  # nothing is that quick: the quickest is chosen
    after = until(lambda: (found := client.query(query.id).plan) and found.video_conf.resolution == "360p" and found)
    assert after.epoch > before.epoch
    until(lambda: any(item.plan_epoch == after.epoch for item in client.results(query.id, 0, 500).items))
    client.stop(query.id)


def test_a_stopped_query_stays_stopped_and_its_job_is_gone(client):
    query = client.submit(request("lobby"))
    assert client.results(query.id, 0, 1, 10.0).items
    assert client.stop(query.id).state == "stopped"
    assert client.stop(query.id).state == "stopped"
    edge = lambda: next(view.report for view in client.nodes() if view.report.name == "edge-1")  # noqa: E731
    until(lambda: query.id not in {job.query for job in edge().jobs})
    with pytest.raises(Conflict):
        client.constrain(query.id, Constraint(delay=1.0))


def test_the_end_of_the_stream_finishes_the_query_and_no_faces_are_no_failure(client):
    query = client.submit(request("once", node="edge-2"))
    ended = until(lambda: (found := client.query(query.id)).ended_at and found, 40)
    assert (ended.state, ended.reason) == ("finished", "")
    assert ended.tally.in_flight == 0
    assert ended.tally.captured == ended.tally.processed + ended.tally.skipped + ended.tally.failed > 0
    assert ended.tally.failed == 0
    last = client.results(query.id, 0, 500).items[-1]
    assert set(last.output["count_result"]) == {"up", "total"}


@pytest.mark.parametrize(("source", "words"), [("gone", "not there"), ("corrupt", "corrupt.mp4")])
def test_a_source_that_cannot_be_read_fails_the_query_with_the_reason(client, source, words):
    query = client.submit(request(source))
    ended = until(lambda: (found := client.query(query.id)).ended_at and found)
    assert ended.state == "failed"
    assert words in ended.reason


def test_what_cannot_run_is_refused_with_the_field_that_is_wrong(client):
    for wrong, path in (
        (request("lobby", node="edge-9"), "node"),
        (request("attic"), "source"),
        (QueryRequest(node="edge-1", source="lobby", pipeline=("face_alignment",)), "pipeline.0"),
        (QueryRequest(node="edge-1", source="lobby", pipeline=("face_detektion",)), "pipeline.0"),
    ):
        with pytest.raises(Invalid) as refused:
            client.submit(wrong)
        assert [problem.path for problem in refused.value.problems] == [path]


def test_a_repeated_submit_with_its_id_is_accepted_once(client):
    with_id = request("lobby").replace(id="q-00000000000000000000000001")
    first = client.submit(with_id)
    assert client.submit(with_id).created_at == first.created_at
    with pytest.raises(Conflict):
        client.submit(with_id.replace(source="once"))
    client.stop(first.id)


@pytest.mark.drill_short
def test_the_command_line_submits_follows_and_stops(system, tmp_path):
    spec = tmp_path / "headcount.json"
    spec.write_text(request("once", node="edge-2").model_dump_json(exclude_none=True))
    base = [sys.executable, "-m", "node", "--url", system.url(), "--token-file", str(system.token_file())]
    watched = subprocess.run(
        [*base, "queries", "submit", str(spec), "--watch"], capture_output=True, text=True, timeout=60, check=False
    )
    assert watched.returncode == 0, watched.stderr
    assert "state finished" in watched.stdout
    status = subprocess.run([*base, "status", "-o", "json"], capture_output=True, text=True, timeout=20, check=True)
    peers = {peer["report"]["name"]: peer["state"] for peer in json.loads(status.stdout)["peers"]}
    assert peers == {"edge-1": "ready", "edge-2": "ready"}
