"""The walk of a frame in one process: two nodes over the loopback transport, real children, a real clip, a memory store."""

from __future__ import annotations

import asyncio
import base64
import json
import urllib.request

import psutil
import pytest
from walking import CLOCK, a_config, running, until

from node import assets as store
from node.cli import run
from node.client import Client
from node.errors import NotFound
from node.model.video import Constraint, QueryRequest
from node.transport.loopback import LoopbackHub


@pytest.fixture
async def system(tmp_path, assets):
    hub = LoopbackHub()
    source = [f"edge.sources.lobby.url={store.path(assets, 'collage.mp4')}", "edge.sources.lobby.loop=true"]
    source.append(f'edge.source_folders=["{tmp_path}"]')
    async with (
        running(hub, a_config(tmp_path, assets, "cloud-1", "cloud")) as (cloud, opened),
        running(hub, a_config(tmp_path, assets, "edge-1", "edge", *source)) as (edge, _),
    ):
        token = (cloud.config.node.data_dir / "token").read_text().strip()
        with Client(opened.urls[0], token, 10.0) as client:

            async def measured():
                reports = [cloud.here(), *(view.report for view in cloud.views())]
                return {each.name for each in reports if each.services} == {"cloud-1", "edge-1"}

            await until(measured)
            yield cloud, edge, client
    assert psutil.Process().children(recursive=True) == []


REQUEST = QueryRequest(
    node="edge-1",
    source="lobby",
    pipeline=("face_detection", "face_alignment"),
    constraint=Constraint(delay=0.5, accuracy=0.9),
)


async def test_a_frame_walks_from_the_door_to_the_store(system):
    _, _, client = system
    query = await asyncio.to_thread(client.submit, REQUEST)

    async def some():
        found = await asyncio.to_thread(client.results, query.id, 0, 100, 1.0)
        return found.items if len(found.items) >= 5 else None

    items = await until(some)
    assert all(item.output["count_result"]["total"] == len(item.output["bbox"]) > 0 for item in items)
    events = await asyncio.to_thread(client.events, query.id)
    assert [event.event for event in events] == ["plan", "start"]
    plan, history = await asyncio.to_thread(client.plans, query.id)
    assert plan == history[-1].plan
    stopped = await asyncio.to_thread(client.stop, query.id)
    assert stopped.state == "stopped"


async def test_a_long_poll_ends_when_the_query_is_stopped(system):
    _, _, client = system
    query = await asyncio.to_thread(client.submit, REQUEST)
    with Client(client.url, client._token, 10.0) as other:
        waiting = asyncio.create_task(asyncio.to_thread(other.results, query.id, 10**9, 10, 20.0))
        await until(lambda: asyncio.to_thread(lambda: client.query(query.id).state == "running"))
        began = CLOCK.monotonic()
        await asyncio.to_thread(client.stop, query.id)
        assert (await waiting).items == ()
    assert CLOCK.monotonic() - began < 10


async def test_one_node_with_both_roles_answers_a_query_by_itself(tmp_path, assets):
    source = [f"edge.sources.lobby.url={store.path(assets, 'collage.mp4')}", "edge.sources.lobby.loop=true"]
    config = a_config(tmp_path, assets, "solo", "cloud", 'node.roles=["cloud","edge"]', *source)
    async with running(LoopbackHub(), config) as (node, opened):
        with Client(opened.urls[0], (config.node.data_dir / "token").read_text().strip(), 10.0) as client:

            async def measured():
                views = node.views()
                return views and views[0].report.services

            await until(measured)
            query = await asyncio.to_thread(client.submit, REQUEST.replace(node="solo"))
            items = await until(lambda: asyncio.to_thread(lambda: client.results(query.id, 0, 10, 1.0).items))
            assert items[0].output["count_result"]["total"] > 0
            plan, _ = await asyncio.to_thread(client.plans, query.id)
            assert {place.role for place in plan.flow_mapping.values()} == {"host"}
            assert node.here().links == ()
            assert "ecnode_peers_ready 0.0" in await asyncio.to_thread(client.metrics)


async def test_an_edge_answers_for_itself_and_keeps_no_queries(system):
    _, edge, _ = system
    token = (edge.config.node.data_dir / "token").read_text().strip()
    with Client(edge.here().http, token, 10.0) as client:
        assert (await asyncio.to_thread(client.node)).report.sources[0].name == "lobby"
        with pytest.raises(NotFound, match="cloud"):
            await asyncio.to_thread(client.queries)


def ask(url: str, path: str, body: object = None):
    """What an original client gets: no token, JSON both ways."""
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, content, {"Content-Type": "application/json"} if content else {})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


async def test_an_original_client_submits_reads_results_and_calls_a_service(system, assets):
    _, edge, client = system

    async def answered(path: str, body: object = None):
        return await asyncio.to_thread(ask, client.url, path, body)

    address = next(iter(await answered("/node/get_video_info")))
    assert address == edge.here().http.removeprefix("http://")
    constraint = {"delay": 0.5, "accuracy": 0.9}
    wanted = {"node_addr": address, "video_id": 0, "pipeline": list(REQUEST.pipeline), "user_constraint": constraint}
    query = (await answered("/query/submit_query", wanted))["query_id"]
    assert query == "GLOBAL_ID_1"

    async def some():
        found = await answered(f"/query/get_agg_info/{query}")
        return found if len(found["appended_result"]) >= 3 else None

    found = await until(some)
    newest = found["appended_result"][-1]
    assert newest["count_result"]["total"] == newest["ext_runtime"]["obj_n"] > 0
    assert set(newest["ext_plan"]["flow_mapping"]) == set(REQUEST.pipeline)

    async def caught_up():  # results of a plan come a moment after it was chosen
        newest = await answered(f"/query/get_agg_info/{query}")
        return newest if newest["latest_result"]["plan"] == await answered(f"/query/get_plan/{query}") else None

    assert await until(caught_up)

    # a plan chosen by hand reaches the edge, a changed constraint has the cloud plan again
    names = {info["node_role"]: ip for ip, info in (await answered("/get_cluster_info")).items()}
    host = {"model_id": 0, "node_ip": names["edge"], "node_role": "host"}
    plan = {
        "video_conf": {"encoder": "JPEG", "fps": 5, "resolution": "360p"},
        "flow_mapping": dict.fromkeys(REQUEST.pipeline, host),
    }
    await answered("/job/update_plan", {"job_uid": query, **plan})

    async def under_that_plan():
        return (await answered(f"/query/get_result/{query}?limit=1"))["appended_result"][0]["ext_plan"] == plan

    await until(under_that_plan)
    await answered("/user/submit_job_user_constraint", {"query_id": query, "user_constraint": {"accuracy": 1.0}})

    async def planned_anew():
        return await answered(f"/query/get_plan/{query}") != plan

    await until(planned_anew)
    content = store.path(assets, "calibration.jpg").read_bytes()
    faces = await answered("/execute_task/face_detection", {"image": base64.b64encode(content).decode()})
    assert await answered("/execute_task/face_detection", {"image": str(list(content))}) == faces
    pixels = str([[[90, 120, 60]] * 32] * 24)
    assert await answered("/execute_task/face_detection", {"image": pixels}) == {"faces": [], "bbox": [], "prob": []}
    assert len(faces["faces"]) == len(faces["bbox"]) == len(faces["prob"]) > 0
    assert (await answered("/execute_task/face_alignment", faces))["count_result"]["total"] == len(faces["bbox"])
    resources = await answered("/get_resource_info")
    assert resources["edge"][names["edge"]]["face_detection"]["n_process"] == 1


async def test_services_are_listed_called_and_measured(system, assets, tmp_path, capsys):
    _, edge, client = system
    listed = {one.name: one for one in await asyncio.to_thread(client.services)}
    assert {one.node for one in listed["face_detection"].nodes} == {"cloud-1", "edge-1"}
    assert listed["helmet_detection"].nodes == ()

    async def reason():
        found = {one.name: one.reason for one in await asyncio.to_thread(client.services)}["helmet_detection"]
        return found if "model" in found else None

    assert "implementation" in await until(reason)
    token = edge.config.node.data_dir / "token"

    async def ecnode(*words: str) -> str:
        given = ["--url", edge._http.urls[0], "--token-file", str(token), "services", *words]
        assert await asyncio.to_thread(run, given) == 0
        return capsys.readouterr().out

    picture = str(store.path(assets, "calibration.jpg"))
    found = json.loads(await ecnode("call", "face_detection", "--image", picture))
    (tmp_path / "faces.json").write_text(json.dumps(found))
    posed = json.loads(await ecnode("call", "face_alignment", "--inputs", str(tmp_path / "faces.json")))
    assert posed["count_result"]["total"] == len(found["bbox"]) == len(found["faces"]) > 0
    kept = json.loads(await ecnode("call", "face_detection", "--image", picture, "--out", str(tmp_path / "out")))
    assert (tmp_path / "out" / "faces-0.jpg").read_bytes().startswith(b"\xff\xd8")
    assert kept["faces"][0].endswith("faces-0.jpg")
    (measured,) = json.loads(await ecnode("bench", "motion_detection", "-o", "json"))
    assert (measured["node"], set(measured["seconds"])) == ("edge-1", set(measured["calibrated"]))
    assert "edge-1" in await ecnode("list")
    seen = await asyncio.to_thread(client._get, "/topology")
    nodes = {one["name"]: one for one in seen["nodes"]}
    assert set(nodes["edge-1"]["waiting"]) == set(nodes["edge-1"]["wait_ms"]) >= {"face_detection", "face_alignment"}
    assert {(one["source"], one["target"]) for one in seen["links"]} >= {("cloud-1", "edge-1"), ("edge-1", "cloud-1")}


async def test_the_cloud_shows_the_pictures_of_an_edge_that_opens_no_door_to_it(system):
    _, _, client = system
    query = await asyncio.to_thread(client.submit, REQUEST)
    await until(lambda: asyncio.to_thread(lambda: client.results(query.id, 0, 10, 1.0).items))

    def look(path: str, count: int) -> list[bytes]:
        request = urllib.request.Request(client.url + path, headers={"Authorization": f"Bearer {client._token}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            pictures = []
            for _ in range(count):
                while not (line := answer.readline()).startswith(b"Content-Length"):
                    assert line
                answer.readline()
                pictures.append(answer.read(int(line.split()[1])))
        return pictures

    drawn = await asyncio.to_thread(look, f"/api/v1/queries/{query.id}/frames.mjpeg?fps=30", 3)
    plain = await asyncio.to_thread(look, f"/compat/video/user/video/{query.id}?fps=30", 2)
    assert len(set(drawn)) == 3
    assert all(picture.startswith(b"\xff\xd8") and picture.endswith(b"\xff\xd9") for picture in [*drawn, *plain])


async def test_a_source_is_added_looked_at_used_and_removed_while_the_edge_runs(system, tmp_path, assets, capsys):
    _, edge, client = system
    shots = tmp_path / "shots"
    shots.mkdir()
    (shots / "1.jpg").write_bytes(store.path(assets, "calibration.jpg").read_bytes())
    token = edge.config.node.data_dir / "token"

    async def ecnode(*words: str) -> str:
        given = ["--url", edge._http.urls[0], "--token-file", str(token), *words]
        assert await asyncio.to_thread(run, given) == 0
        return capsys.readouterr().out

    await ecnode("sources", "add", "shots", str(shots), "--loop", "--kind", "stills")
    probed = json.loads(await ecnode("sources", "probe", "shots", "-o", "json"))
    assert (probed["announced_fps"], probed["reason"]) == (5.0, "")
    assert probed["pictures"] >= 2
    await ecnode("sources", "snapshot", "shots", "--out", str(tmp_path / "shot.jpg"))
    assert (tmp_path / "shot.jpg").read_bytes().startswith(b"\xff\xd8")

    async def seen_by_the_cloud():
        listed = await asyncio.to_thread(client.sources)
        return {(one.node, one.name, one.added) for one in listed} >= {("edge-1", "shots", False)}

    await until(seen_by_the_cloud)
    query = await asyncio.to_thread(client.submit, REQUEST.replace(source="shots"))
    await until(lambda: asyncio.to_thread(lambda: client.results(query.id, 0, 5).items))
    await ecnode("sources", "remove", "shots")
    ended = await until(lambda: asyncio.to_thread(lambda: (found := client.query(query.id)).state == "failed" and found))
    assert "was removed" in ended.reason
    assert "shots" not in await ecnode("sources", "list")
    assert (
        await asyncio.to_thread(run, ["--url", edge._http.urls[0], "--token-file", str(token), "sources", "remove", "lobby"])
        == 5
    )
