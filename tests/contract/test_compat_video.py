"""Does the door answer a client of the original video system as the original did, row by row?

Every row of the table of its HTTP contract is replayed against a real door; tests named after the original's faults show what
is different on purpose.
"""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from node.api.compat import VIDEO, video
from node.api.compat.addresses import doors, hosts
from node.api.server import MAX_BODY
from node.model.cluster import NodeReport, Role, SourceReport
from node.model.video import QueryState
from node.pipeline.video.codec import decode_picture

JPEG = b"\xff\xd8\xff\xe0 not decoded here \xff\xd9"
SUBMIT = {
    "node_addr": "10.0.0.7:7480",
    "video_id": 0,
    "pipeline": ["face_detection", "face_alignment"],
    "user_constraint": {"delay": 0.3, "accuracy": 0.9},
}
PLAN_SHAPE = {
    "flow_mapping": {"face_detection": {"model_id": 0, "node_ip": "10.0.0.7", "node_role": "host"}},
    "video_conf": {"encoder": "JPEG", "fps": 10, "resolution": "480p"},
}
FIGURES = {"delay", "obj_n", "obj_size", "obj_stable"}


class Client:
    """An original client: JSON in, JSON out, no token."""

    def __init__(self, door: Any, prefix: str = "") -> None:
        self.door = door
        self.prefix = prefix

    def get(self, path: str, **more: Any) -> Any:
        return self.door.raw("GET", self.prefix + path, token=None, **more)

    def post(self, path: str, body: Any, **more: Any) -> Any:
        return self.door.raw("POST", self.prefix + path, json.dumps(body).encode(), token=None, **more)

    def submit(self, **changes: Any) -> str:
        reply = self.post("/query/submit_query", {**SUBMIT, **changes})
        assert reply.status == 200, reply.body
        return str(reply.json["query_id"])


@pytest.fixture
def settings(open_door: Any) -> Any:
    return replace(open_door.__call__.__defaults__[0], compat_open=("video",))


@pytest.fixture
def client(open_door: Any, settings: Any) -> Client:
    door = open_door(settings)
    door.nodes.reports = system()
    return Client(door)


def system() -> tuple[NodeReport, ...]:
    """An edge with two cameras and one without; both report doors of their own."""
    base: dict[str, Any] = {
        "version": "0.1.0",
        "boot": 1,
        "cores": 4,
        "workers": 3,
        "cpu_fraction": 0.25,
        "memory_fraction": 0.5,
        "memory_mib": 8192.0,
        "rss_mib": 60.0,
        "roles": (Role.EDGE,),
    }
    cameras = (SourceReport(id=0, name="lobby", kind="people indoor"), SourceReport(id=3, name="road", kind="traffic flow"))
    return (
        NodeReport(name="edge-1", http="http://10.0.0.7:7480", sources=cameras, **base),
        NodeReport(name="edge-2", http="http://10.0.0.8:7480", **base),
    )


def running(client: Client, *numbers: int) -> str:
    alias = client.submit()
    native = client.door.run(client.door.store.aliases.native(alias))
    client.door.go(native, "plan", "start")
    client.door.run(client.door.store.queries.begin_attempt(native))
    if numbers:
        client.door.give_results(native, numbers)
    return alias


# The table, row by row


def test_join_finds_a_source_of_a_member(client: Client) -> None:
    reply = client.post("/node/join", {"node_port": 7480, "node_ip": "10.0.0.7", "video_id": 3, "video_type": "traffic flow"})
    assert (reply.status, reply.json["status"], reply.json["node_addr"]) == (200, 0, "10.0.0.7:7480")
    assert "road" in reply.json["msg"]


def test_join_admits_nobody(client: Client) -> None:
    known = client.get("/node/get_video_info").json
    reply = client.post("/node/join", {"node_port": 5001, "video_id": 0, "video_type": "people indoor"})
    assert (reply.status, reply.json["status"]) == (404, 1)
    assert "127.0.0.1:5001" in reply.json["error"]
    assert client.get("/node/get_video_info").json == known


def test_get_video_info_lists_the_sources_by_address_and_number(client: Client) -> None:
    assert client.get("/node/get_video_info").json == {
        "10.0.0.7:7480": {"0": {"type": "people indoor"}, "3": {"type": "traffic flow"}},
        "10.0.0.8:7480": {},
    }


def test_submit_query_answers_in_the_original_shape(client: Client) -> None:
    reply = client.post("/query/submit_query", SUBMIT)
    assert reply.status == 200
    assert set(reply.json) == {"status", "msg", "query_id", "r_sidechan"}
    assert (reply.json["status"], reply.json["query_id"]) == (0, "GLOBAL_ID_1")
    assert client.submit() == "GLOBAL_ID_2"
    query = client.door.queries.store.queries
    stored = client.door.run(query.get(client.door.run(client.door.store.aliases.native("GLOBAL_ID_1"))))
    assert (stored.node, stored.source, stored.constraint.delay, stored.constraint.accuracy) == ("edge-1", "lobby", 0.3, 0.9)


def test_an_unknown_node_or_video_is_not_found_and_named(client: Client) -> None:
    for change, field in (({"node_addr": "10.9.9.9:1"}, "node_addr"), ({"video_id": 7}, "video_id")):
        reply = client.post("/query/submit_query", {**SUBMIT, **change})
        assert (reply.status, reply.json["status"]) == (404, 1)
        assert isinstance(reply.json["error"], str)
        assert reply.json["errors"][0]["path"] == field


@pytest.mark.parametrize("route", ["get_result", "get_agg_info"])
def test_results_come_with_their_plan_and_runtime(client: Client, route: str) -> None:
    alias = running(client, 1, 2, 3)
    reply = client.get(f"/query/{route}/{alias}")
    assert (reply.status, set(reply.json)) == (200, {"appended_result", "latest_result"})
    first = reply.json["appended_result"][0]
    assert set(first) >= {"count_result", "delay", "ext_plan", "ext_runtime", "frame_id", "n_loop"}
    assert set(first) >= {"stage_ms", "cam_frame_id", "conf_frame_id", "latency", "plan"}
    assert (first["frame_id"], first["n_loop"], first["ext_plan"], set(first["ext_runtime"])) == (2, 1, PLAN_SHAPE, FIGURES)
    assert reply.json["latest_result"]["plan"] == PLAN_SHAPE
    assert set(reply.json["latest_result"]["runtime"]) == FIGURES


def test_a_query_without_results_has_the_shape_and_no_content(client: Client) -> None:
    empty = {"appended_result": [], "latest_result": {"plan": {}, "runtime": {}}}
    assert client.get(f"/query/get_result/{client.submit()}").json == empty


def test_get_plan_is_a_conflict_until_there_is_one(client: Client) -> None:
    alias = client.submit()
    reply = client.get(f"/query/get_plan/{alias}")
    assert (reply.status, reply.json["status"]) == (409, 1)
    assert client.get(f"/query/get_plan/{running(client)}").json == PLAN_SHAPE


@pytest.mark.parametrize("route", ["/query/get_runtime", "/job/get_runtime"])
def test_get_runtime_has_the_four_figures(client: Client, route: str) -> None:
    assert set(client.get(f"{route}/{client.submit()}").json) == FIGURES


@pytest.mark.parametrize("name", ["query_id", "job_uid"])
def test_a_constraint_is_changed_live(client: Client, name: str) -> None:
    alias = running(client)
    reply = client.post("/user/submit_job_user_constraint", {name: alias, "user_constraint": {"delay": 0.8}})
    assert (reply.status, reply.json["status"]) == (200, 0)
    with client.door.client() as native:
        constraint = native.query(client.door.run(client.door.store.aliases.native(alias))).constraint
    assert (constraint.delay, constraint.accuracy) == (0.8, None)


@pytest.mark.parametrize("route", ["/job/submit_job", "/user/submit_job"])
def test_submit_job_answers_with_a_job_uid_and_takes_it_again(client: Client, route: str) -> None:
    reply = client.post(route, SUBMIT)
    assert (reply.status, set(reply.json)) == (200, {"status", "msg", "job_uid"})
    again = client.post(route, {**SUBMIT, "job_uid": reply.json["job_uid"]})
    assert (again.status, again.json["job_uid"]) == (200, reply.json["job_uid"])
    other = client.post(route, {**SUBMIT, "video_id": 3, "job_uid": reply.json["job_uid"]})
    assert (other.status, other.json["status"]) == (409, 1)
    assert client.post(route, {**SUBMIT, "job_uid": "GLOBAL_ID_99"}).status == 404


def test_update_plan_gives_the_query_that_plan(client: Client) -> None:
    alias = running(client)
    wanted = {
        "video_conf": {"encoder": "JPEG", "fps": 5, "resolution": "720p"},
        "flow_mapping": {
            "face_detection": {"model_id": 0, "node_ip": "10.0.0.7", "node_role": "host"},
            "face_alignment": {"model_id": 0, "node_ip": "10.0.0.8", "node_role": "edge"},
        },
    }
    reply = client.post("/job/update_plan", {"job_uid": alias, **wanted})
    assert (reply.status, reply.json["status"]) == (200, 0)
    assert client.get(f"/query/get_plan/{alias}").json == wanted
    wanted["flow_mapping"]["face_alignment"]["node_ip"] = "10.9.9.9"
    lost = client.post("/job/update_plan", {"job_uid": alias, **wanted})
    assert (lost.status, lost.json["errors"][0]["path"]) == (404, "flow_mapping.face_alignment.node_ip")


def test_a_result_that_is_known_may_be_sent_again_and_no_other(client: Client) -> None:
    alias = running(client, 1, 2)
    known = client.post("/query/sync_result", {"job_uid": alias, "job_result": {"appended_result": {"n_loop": 2}}})
    assert (known.status, known.json["status"]) == (200, 0)
    forged = client.post("/query/sync_result", {"job_uid": alias, "job_result": {"appended_result": {"n_loop": 3}}})
    assert (forged.status, forged.json["status"]) == (409, 1)
    assert "edge-1" in forged.json["error"]
    assert len(client.get(f"/query/get_result/{alias}").json["appended_result"]) == 2


def test_the_service_list_is_a_list_of_names(client: Client) -> None:
    assert client.get("/get_service_list").json == ["face_detection", "face_alignment"]


def test_resources_and_cluster_have_the_figures_that_the_nodes_report(client: Client) -> None:
    cluster = client.get("/get_cluster_info").json
    assert cluster["10.0.0.7"] == {"node_role": "edge", "n_cpu": 4, "cpu_ratio": 25.0, "mem": 8.0, "mem_ratio": 50.0}
    assert cluster["127.0.0.1"]["node_role"] == "cloud"
    resources = client.get("/get_resource_info").json
    assert set(resources) == {"cloud", "edge"}
    assert set(resources["edge"]) == {"10.0.0.7", "10.0.0.8"}
    client.door.nodes.reports = tuple(one.replace(services=client.door.services.reports()) for one in client.door.nodes.reports)
    figures = {"n_process": 3, "cpu_ratio": 25.0, "mem_ratio": 50.0}
    assert client.get("/get_resource_info").json["edge"]["10.0.0.7"]["face_detection"] == figures


@pytest.mark.parametrize(
    "image",
    [base64.b64encode(JPEG).decode(), str(list(JPEG)), str(tuple(JPEG)), str([[byte] for byte in JPEG]), list(JPEG)],
    ids=["base64", "text", "tuple", "column", "list"],
)
def test_a_service_runs_on_a_picture_in_every_form(client: Client, image: Any) -> None:
    reply = client.post("/execute_task/face_detection", {"image": image})
    assert reply.status == 200, reply.body
    assert reply.json["bbox"] == [[1, 2, 3, 4]]
    assert base64.b64decode(reply.json["faces"][0]) == b"\xff\xd8crop"
    assert client.door.services.calls == [("face_detection", {}, {"image": (JPEG,)})]


def test_what_one_service_gave_is_what_the_next_takes(client: Client) -> None:
    found = client.post("/execute_task/face_detection", {"image": base64.b64encode(JPEG).decode()}).json
    assert client.post("/execute_task/face_alignment", found).status == 200
    assert client.door.services.calls[-1] == ("face_alignment", {"bbox": [[1, 2, 3, 4]]}, {"faces": (b"\xff\xd8crop",)})
    text = {"bbox": "[(1, 2, 3, 4)]", "faces": str([str(list(JPEG))]), "prob": "[0.9]"}
    assert client.post("/execute_task/face_alignment", text).status == 200
    assert client.door.services.calls[-1] == ("face_alignment", {"bbox": [[1, 2, 3, 4]]}, {"faces": (JPEG,)})


def test_an_unknown_service_is_answered_as_the_original_did(client: Client) -> None:
    reply = client.post("/execute_task/mind_reading", {})
    assert reply.status == 404
    assert (reply.json["status"], reply.json["error"]) == (1, "unregistered services")


def test_the_older_names_are_answered_too(client: Client) -> None:
    alias = running(client, 1)
    older = client.get(f"/user/sync_job_result/{alias}").json
    assert (older["status"], older["result"]) == (0, client.get(f"/query/get_result/{alias}").json)
    moved = client.post("/user/update_node_addr", {"job_uid": alias, "node_addr": "10.9.9.9:1"})
    assert (moved.status, moved.json["status"]) == (200, 0)
    data = client.get("/user/get_all_status").json["data"]
    assert data["10.0.0.7:7480"]["video"]["0"] == {"type": "people indoor"}
    assert data["10.0.0.7:7480"]["job"] == {alias: 2}


@pytest.mark.parametrize(
    ("events", "state"),
    [((), 0), (("plan",), 1), (("plan", "start"), 2), (("plan", "start", "end"), "done"), (("stop",), "cancelled")],
)
def test_states_have_the_original_numbers_and_ends_have_words(client: Client, events: tuple[str, ...], state: Any) -> None:
    alias = client.submit()
    client.door.go(client.door.run(client.door.store.aliases.native(alias)), *events)
    assert client.get("/user/get_all_status").json["data"]["10.0.0.7:7480"]["job"] == {alias: state}


def test_a_failure_is_told_with_its_reason(client: Client) -> None:
    alias = client.submit()
    client.door.go(client.door.run(client.door.store.aliases.native(alias)), "fail")
    assert client.get("/user/get_all_status").json["data"]["10.0.0.7:7480"]["job"] == {alias: "failed(the test says so)"}


# Where the routes stand, and who may use them


@pytest.mark.parametrize("prefix", ["/compat/video", *VIDEO.prefixes])
def test_the_routes_stand_under_every_prefix(client: Client, prefix: str) -> None:
    assert Client(client.door, prefix).submit() == "GLOBAL_ID_1"
    assert Client(client.door, prefix).get("/query/get_agg_info/GLOBAL_ID_1").status == 200


def test_a_group_that_is_not_listed_stands_under_compat_alone(open_door: Any, settings: Any) -> None:
    door = open_door(replace(settings, compat=()))
    assert Client(door).get("/get_service_list").status == 404
    assert Client(door, "/compat/video").get("/get_service_list").status == 200


def test_without_compat_open_every_route_needs_a_token(door: Any) -> None:
    for route in video.ROUTES:
        path = route.path.replace("{ref}", "GLOBAL_ID_1").replace("{service}", "face_detection")
        reply = door.raw(route.method, path, token=None)
        assert (reply.status, reply.json["status"], reply.json["code"]) == (401, 1, "EC-UNAUTHORIZED"), route
    assert door.raw("GET", "/get_service_list").status == 200


def test_a_token_in_the_query_string_opens_the_original_routes_only(door: Any) -> None:
    token = "a-token-of-the-tests-0123456789"
    assert door.raw("GET", f"/get_service_list?token={token}", token=None).status == 200
    assert door.raw("GET", f"/query/get_result/GLOBAL_ID_1?token={token}&limit=5", token=None).status == 404
    assert door.raw("GET", "/get_service_list?token=wrong", token=None).status == 401
    assert door.raw("GET", f"/api/v1/queries?token={token}", token=None).status == 401


@pytest.mark.parametrize("header", ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host"])
def test_an_open_group_is_shut_behind_a_proxy(client: Client, header: str) -> None:
    assert client.get("/get_service_list").status == 200
    assert client.get("/get_service_list", headers={header: "for=127.0.0.1"}).status == 401


def test_an_open_group_opens_nothing_else(client: Client) -> None:
    assert client.get("/api/v1/queries").status == 401


def test_a_page_of_another_origin_submits_nothing(client: Client) -> None:
    reply = client.post("/query/submit_query", SUBMIT, headers={"Origin": "http://evil.example"})
    assert (reply.status, reply.json["status"]) == (403, 1)


def test_an_edge_says_that_it_keeps_no_queries(open_door: Any, settings: Any) -> None:
    reply = Client(open_door(settings, with_queries=False)).get("/query/get_result/GLOBAL_ID_1")
    assert (reply.status, reply.json["status"]) == (404, 1)
    assert "cloud" in reply.json["error"]


@pytest.mark.parametrize("route", ["/query/submit_query", "/job/submit_job", "/user/submit_job"])
def test_an_idempotency_key_makes_one_query(client: Client, route: str) -> None:
    headers = {"Idempotency-Key": "once"}
    first, again = (client.post(route, SUBMIT, headers=headers) for _ in range(2))
    assert (first.status, first.body, first.headers["Idempotency-Replayed"]) == (200, again.body, None)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len(client.door.run(client.door.store.queries.live())) == 1


def test_an_idempotency_key_of_another_call_is_told_in_the_original_shape(client: Client) -> None:
    headers = {"Idempotency-Key": "once"}
    assert client.post("/query/submit_query", SUBMIT, headers=headers).status == 200
    for path, body in (("/query/submit_query", {**SUBMIT, "video_id": 3}), ("/job/submit_job", SUBMIT)):
        reply = client.post(path, body, headers=headers)
        assert (reply.status, reply.json["status"], reply.json["code"]) == (409, 1, "EC-CONFLICT")


def test_a_key_where_nothing_is_made_is_refused(client: Client) -> None:
    reply = client.post("/node/join", {"node_port": 7480, "video_id": 0}, headers={"Idempotency-Key": "once"})
    assert (reply.status, reply.json["status"]) == (400, 1)


def test_a_constraint_meets_the_record_that_was_read_by_either_door(client: Client) -> None:
    alias = running(client)
    native = f"/api/v1/queries/{client.door.run(client.door.store.aliases.native(alias))}"
    tag = client.door.raw("GET", native).headers["ETag"]

    def change(delay: float, tag: str) -> Any:
        body = {"query_id": alias, "user_constraint": {"delay": delay}}
        return client.post("/user/submit_job_user_constraint", body, headers={"If-Match": tag})

    done = change(0.8, tag)
    assert done.status == 200
    late = change(0.9, tag)
    assert (late.status, late.json["status"], late.json["code"]) == (412, 1, "EC-STALE")
    patch = client.door.raw("PATCH", f"{native}/constraint", b'{"delay":0.7}', headers={"If-Match": tag})
    assert patch.status == 412
    assert client.door.raw("GET", native).headers["ETag"] == done.headers["ETag"]
    assert change(0.9, done.headers["ETag"]).status == 200


def test_a_native_id_is_understood_as_well(client: Client) -> None:
    native = client.door.submit().id
    assert client.get(f"/query/get_runtime/{native}").status == 200


def test_members_that_share_an_address_go_by_more_of_it() -> None:
    first, second = system()
    shared = (first, second.replace(http="http://10.0.0.7:7481"))
    assert list(hosts(shared)) == ["10.0.0.7:7480", "10.0.0.7:7481"]
    same = (first, second.replace(http=first.http))
    assert list(doors(same)) == list(hosts(same)) == ["edge-1", "edge-2"]


# The original's faults


def test_eval_on_received_images_is_gone_a_text_is_parsed_and_never_evaluated(client: Client) -> None:
    for text in (
        "__import__('os').system('true')",
        "[__import__('os').getpid()]",
        "[].__class__",
        "[1] * 10**9",
        "[9**9**9]",
        "{'a': 1}",
        "[1, 2, lambda: 0]",
        "['\\x41']",
        "(1, 2]",
        "[1e999]",
    ):
        reply = client.post("/execute_task/face_detection", {"image": text})
        assert (reply.status, reply.json["status"], reply.json["errors"][0]["path"]) == (422, 1, "image"), text
    assert client.door.services.calls == []


@pytest.mark.parametrize("hostile", ["[" * 100_000, "[" + "1," * 1_700_000 + "]", "[" + "[]," * 70_000 + "]"])
def test_a_text_without_end_is_refused_before_it_costs_much(client: Client, hostile: str) -> None:
    reply = client.post("/execute_task/face_detection", {"image": hostile})
    assert (reply.status, reply.json["code"]) == (413, "EC-TOO-LARGE")


def test_a_body_larger_than_a_picture_is_refused(client: Client) -> None:
    assert client.post("/execute_task/face_detection", {"image": "A" * (8 * MAX_BODY)}).status == 413
    assert client.post("/query/submit_query", {**SUBMIT, "node_addr": "A" * MAX_BODY}).status == 413


def test_pixels_as_text_lose_nothing_on_their_way_to_a_worker(client: Client) -> None:
    pixels = [[[row, column, 200] for column in range(5)] for row in range(4)]
    assert client.post("/execute_task/face_detection", {"image": str(pixels)}).status == 200
    (picture,) = client.door.services.calls[-1][2]["image"]
    assert decode_picture(picture).tolist() == pixels


@pytest.mark.parametrize("image", [[[1, 2], [3]], [[[1, 2, 3]], [[1, 2]]], [[[1, 2, 300]]], ["a"], [], 7, None, "!!", [1.5]])
def test_what_is_no_picture_is_named(client: Client, image: Any) -> None:
    reply = client.post("/execute_task/face_detection", {"image": image})
    assert (reply.status, reply.json["errors"][0]["path"]) == (422, "image")


def test_every_missing_input_is_named(client: Client) -> None:
    reply = client.post("/execute_task/face_alignment", {})
    assert (reply.status, [fault["path"] for fault in reply.json["errors"]]) == (422, ["bbox", "faces"])


def test_results_lost_by_an_11_item_buffer_are_kept_here(client: Client) -> None:
    alias = running(client, *range(1, 61))
    results = client.get(f"/query/get_agg_info/{alias}").json["appended_result"]
    assert [result["n_loop"] for result in results] == list(range(1, 61))
    few = client.get(f"/query/get_agg_info/{alias}?limit=2").json["appended_result"]
    assert [result["n_loop"] for result in few] == [59, 60]


def test_zero_faces_divide_nothing_by_zero(client: Client) -> None:
    alias = running(client)
    native = client.door.run(client.door.store.aliases.native(alias))
    client.door.give_results(native, [1])
    result = client.get(f"/query/get_result/{alias}").json["appended_result"][0]
    assert result["count_result"] == {}


def test_end_of_file_kills_the_job_and_its_state_does_not_stay_running(client: Client) -> None:
    alias = running(client)
    native = client.door.run(client.door.store.aliases.native(alias))
    client.door.go(native, "end")
    assert client.door.run(client.door.store.queries.get(native)).state is QueryState.FINISHED
    assert client.get("/user/get_all_status").json["data"]["10.0.0.7:7480"]["job"] == {alias: "done"}


@pytest.mark.parametrize(
    ("path", "body", "fields"),
    [
        ("/query/submit_query", {}, {"node_addr", "video_id", "pipeline"}),
        ("/query/submit_query", {**SUBMIT, "video_id": "0"}, {"video_id"}),
        ("/query/submit_query", {**SUBMIT, "user_constraint": {"delay": "fast"}}, {"user_constraint.delay"}),
        ("/query/submit_query", {**SUBMIT, "user_constrain": {}}, {"user_constrain"}),
        ("/job/update_plan", {"job_uid": "GLOBAL_ID_1"}, {"video_conf", "flow_mapping"}),
        ("/user/submit_job_user_constraint", {"user_constraint": {}}, {""}),
        ("/node/join", {"node_port": 0, "video_id": 0}, {"node_port"}),
    ],
)
def test_a_wrong_body_is_refused_with_every_field_named(client: Client, path: str, body: Any, fields: set[str]) -> None:
    reply = client.post(path, body)
    assert (reply.status, reply.json["status"]) == (422, 1)
    assert {fault["path"] for fault in reply.json["errors"]} == fields


def test_a_member_may_be_named_where_its_address_is_asked_for(client: Client) -> None:
    assert client.submit(node_addr="edge-1") == "GLOBAL_ID_1"
