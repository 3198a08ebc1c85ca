"""Two consoles in one process pair projects and tasks and run instances as equals, and nobody else can.

What the original console left open has a test each here; the computation is played by the test.
"""

from __future__ import annotations

import json

import pytest
from console_pair import CLOCK, Side, know, side

from node.config.schema import ConsolePeer
from node.model.project import Instance, InstanceState, Pairing
from node.pipeline.federated.identity import SigningKey
from node.pipeline.federated.signed_request import Asked, sign
from node.transport.loopback import LoopbackHub

STRANGER = SigningKey(b"\x07" * 32)


async def project(a: Side, b: Side, name: str = "cells") -> tuple[str, str]:
    """A paired project: its id on each side."""
    made = (await a.ask("POST", "/project", {"name": name, "peer_url": b.url, "config": {"producer": "third"}})).data
    return made["id"], made["peer_id"]


async def task(a: Side, b: Side, token: str = "a word of both") -> tuple[str, str]:
    """A paired task: the id of the pairing on each side."""
    ids = await project(a, b)
    roots = []
    for one, id in zip((a, b), ids, strict=True):
        body = {"project_id": id, "name": "align", "type": 0, "task_root": True, "token": token, "meta": {"of": one.name}}
        roots.append((await one.ask("POST", "/task", body)).data["id"])
    paired = (await a.ask("POST", f"/task/inter/{roots[0]}")).data
    return paired["id"], paired["task_peer_id"]


async def run(a: Side, b: Side) -> tuple[str, str]:
    """An instance that a has asked for: its id on each side."""
    mine, _ = await task(a, b)
    made = (await a.ask("POST", f"/task_instance/{mine}")).data
    return made["id"], made["instance_peer_id"]


async def status(one: Side, id: str) -> InstanceState:
    return (await one.console.desk.instance(id))[0].status


async def comes_to(one: Side, id: str, wanted: InstanceState) -> None:
    async with CLOCK.timeout(10):
        while await status(one, id) is not wanted:
            await CLOCK.sleep(0.01)


async def signed(one: Side, key: SigningKey, method: str, path: str, body: object = None, **changed: str):
    content = None if body is None else json.dumps(body).encode()
    headers = sign(key, Asked(one.key.public, method, path, content or b""), CLOCK.wall())
    return await one.ask(method, path, content=content, token=None, **{**headers, **changed})


# Projects


async def test_a_pairing_pins_each_sides_key_and_tells_its_config(pair):
    a, b = pair
    mine, theirs = await project(a, b)
    found = (await b.ask("GET", f"/project/{theirs}")).data
    assert (found["status"], found["peer_id"], found["peer_url"], found["peer_key"]) == (1, mine, a.url, a.key.public)
    assert json.loads(found["peer_config"]) == {"node": "bank-a", "producer": "third"}
    assert (await a.ask("GET", f"/project/{mine}")).data["peer_key"] == b.key.public
    assert (await a.ask("GET", f"/project/connect/{mine}")).data == {"project_id": theirs}
    await a.ask("PUT", f"/project/{mine}", {"config": {"more": 1}})
    merged = (await b.ask("GET", f"/project/{theirs}")).data["peer_config"]
    assert json.loads(merged) == {"node": "bank-a", "producer": "third", "more": 1}
    again = await signed(b, a.key, "POST", "/project/peer", {"peer_id": mine, "peer_url": a.url, "peer_config": None})
    assert (again.status, again.body["rsp_code"], again.body["http_code"]) == (409, 6, 409)


async def test_a_project_stays_a_draft_while_the_other_side_is_away_and_is_paired_later(pair):
    a, b = pair
    await b.close()
    made = (await a.ask("POST", "/project", {"name": "cells", "peer_url": b.url})).data
    assert (made["status"], made["peer_id"]) == (0, None)
    await b.open()
    assert (await a.ask("PUT", f"/project/{made['id']}", {"need_sync": True})).data["status"] == 1


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/compat/efls", "http://169.254.169.254/latest", "file:///etc/passwd", "http://[::1]:7480"]
)
async def test_a_console_that_the_config_does_not_name_is_never_asked(pair, url):
    a, b = pair
    refused = await a.ask("POST", "/project", {"name": "x", "peer_url": url})
    assert refused.status in {400, 403}
    asked = await signed(b, STRANGER, "POST", "/project/peer", {"peer_id": "0" * 32, "peer_url": url, "peer_config": None})
    assert asked.status in {400, 403}
    assert (await b.ask("GET", "/project/list")).data["total"] == 0


async def test_an_address_of_this_machine_is_refused_unless_the_entry_opens_it(tmp_path):
    a, b = side(tmp_path, "bank-a"), side(tmp_path, "bank-b")
    a.peers = [ConsolePeer(url=b.url)]
    await a.open()
    refused = await a.ask("POST", "/project", {"name": "x", "peer_url": b.url})
    assert (refused.status, refused.body["rsp_code"]) == (403, 7)
    assert "near = true" in refused.body["hint"]
    await a.close()


async def test_whoever_claims_another_consoles_address_is_found_out(pair):
    a, b = pair
    body = {"peer_id": "0" * 32, "peer_url": a.url, "peer_config": None}
    refused = await signed(b, STRANGER, "POST", "/project/peer", body)
    assert refused.status == 403
    assert "the request is signed by" in refused.body["message"]
    await project(a, b)
    assert (await signed(b, STRANGER, "POST", "/project/peer", body)).status == 403


# Requests


async def test_a_signed_request_is_good_once_here_now_and_as_it_is(pair, tmp_path):
    a, b = pair
    c = side(tmp_path, "bank-c")
    know(a, b, c)
    await c.open()
    mine, theirs = await project(a, b)
    path = f"/project/peer/{mine}"
    content = json.dumps({"peer_config": '{"x": 1}'}).encode()
    headers = sign(a.key, Asked(b.key.public, "PUT", path, content), CLOCK.wall())
    assert (await b.ask("PUT", path, content=content, token=None, **headers)).data == {"project_id": theirs}
    again = await b.ask("PUT", path, content=content, token=None, **headers)
    assert (again.status, "taken before" in again.body["message"]) == (409, True)
    assert (await c.ask("PUT", path, content=content, token=None, **headers)).status == 403
    fresh = sign(a.key, Asked(b.key.public, "PUT", path, content), CLOCK.wall())
    other = json.dumps({"peer_config": '{"x": 2}'}).encode()
    assert (await b.ask("PUT", path, content=other, token=None, **fresh)).status == 403
    late = sign(a.key, Asked(b.key.public, "PUT", path, content), CLOCK.wall() - 300)
    assert (await b.ask("PUT", path, content=content, token=None, **late)).status == 403
    await b.close()
    await b.open()
    assert (await b.ask("PUT", path, content=content, token=None, **headers)).status == 409
    await c.close()


async def test_a_strangers_key_finds_nothing_of_what_is_there(pair):
    a, b = pair
    here, _ = await run(a, b)
    found = await b.store.console.read(lambda page: page.all(Instance, 10))
    pairing = await b.store.console.read(lambda page: page.get(Pairing, found[0].pairing))
    for method, path, body in (
        ("GET", f"/task_instance/peer/{here}", None),
        ("PUT", f"/task_instance/peer/{here}", {"status": 5}),
        ("POST", f"/task_instance/peer/{'1' * 32}", {"task_peer_id": pairing.id}),
        ("GET", f"/task/peer/{pairing.peer_id}", None),
    ):
        assert (await signed(b, STRANGER, method, path, body)).status == 404
        assert (await signed(b, a.key, method, path, body)).status == 200
    token = {"token": "a word of both", "version": "20260101000000", "task_root": True}
    refused = await signed(b, STRANGER, "POST", f"/task/peer/{'2' * 32}", token)
    assert (refused.status, refused.body["rsp_code"]) == (403, 7)


async def test_unsigned_requests_are_refused_unless_the_config_says_otherwise(pair, tmp_path):
    a, b = pair
    mine, _ = await project(a, b)
    body = {"peer_id": "3" * 32, "peer_url": a.url, "peer_config": None}
    assert (await b.ask("POST", "/project/peer", body, token=None)).status == 403
    assert (await b.ask("GET", f"/project/peer/{mine}", token=None)).status == 404
    c = side(tmp_path, "bank-c")
    c.peers = [ConsolePeer(url="http://old.example:5000", unsigned=True)]
    await c.open()
    old = {"peer_id": "4" * 32, "peer_url": "http://old.example:5000", "peer_config": '{"x": 1}'}
    made = (await c.ask("POST", "/project/peer", old, token=None)).data["project_id"]
    assert (await c.ask("GET", f"/project/peer/{'4' * 32}", token=None)).data == {"project_id": made}
    await c.close()


async def test_an_answer_that_is_not_signed_by_the_pinned_key_is_not_believed(pair):
    a, b = pair
    mine, _ = await project(a, b)
    await b.close()
    (b.folder / "signing.key").unlink()
    await b.open()
    refused = await a.ask("GET", f"/project/connect/{mine}")
    assert refused.status in {400, 403}


# Tasks


async def test_tasks_are_paired_by_a_token_that_both_sides_have_given(pair):
    a, b = pair
    mine, theirs = await task(a, b)
    assert (await a.ask("GET", f"/task/inter/{mine}")).data == {"peer_task_rsp": {"task_meta": {"of": "bank-b"}}}
    (shown,) = (await b.ask("GET", "/task/list")).data["task_list"]
    assert (shown["task_inter_id"], shown["status"]) == (theirs, 1)
    (own,) = (await a.ask("GET", "/task/list")).data["task_list"]
    assert shown["version"] == own["version"]
    assert (await b.ask("GET", f"/task/inter/{theirs}")).data == {"peer_task_rsp": {"task_meta": {"of": "bank-a"}}}


async def test_a_wrong_token_pairs_nothing_and_a_used_one_nothing_more(pair):
    a, b = pair
    await task(a, b)
    version = {"version": "20260101000000", "task_root": True}
    refused = await signed(b, a.key, "POST", f"/task/peer/{'2' * 32}", {"token": "a word of bot", **version})
    assert (refused.status, refused.body["rsp_code"]) == (403, 7)
    used = await signed(b, a.key, "POST", f"/task/peer/{'2' * 32}", {"token": "a word of both", **version})
    assert (used.status, used.body["rsp_code"]) == (409, 6)


async def test_a_later_version_is_paired_with_one_made_of_the_others_latest(pair):
    a, b = pair
    await task(a, b)
    (own,) = (await a.ask("GET", "/task/list")).data["task_list"]
    (root,) = (await b.ask("GET", "/task/list")).data["task_list"]
    await b.ask("PUT", f"/task/{root['id']}", {"config": {"steps": 7}})
    newer = {"project_id": own["project_id"], "name": "align", "type": 0, "task_root": False}
    version = (await a.ask("POST", "/task", newer)).data
    assert version["version"] > own["version"]
    assert (await a.ask("POST", f"/task/inter/{version['id']}")).data["status"] == 1
    made = (await b.ask("GET", "/task/list")).data["task_list"][1]
    assert (made["version"], made["task_root"], json.loads(made["config"])) == (version["version"], False, {"steps": 7})


# Instances


async def test_a_run_waits_for_somebodys_yes_and_ends_as_a_success_on_both_sides(pair):
    a, b = pair
    here, there = await run(a, b)
    await a.engine.called("run", here)
    assert (await status(a, here), await status(b, there)) == (InstanceState.RUNNING, InstanceState.READY)
    told = await signed(b, a.key, "PUT", f"/task_instance/peer/{here}", {"status": 3})
    assert told.data == {"status": 1}, "the other side's word is no yes"
    assert (await b.ask("POST", f"/task_instance/status/{there}", {"operation": 0})).data == {"status": 3}
    await b.engine.called("run", there)
    await b.engine.tell(there, InstanceState.SUCCESS, rows=7)
    await a.engine.tell(here, InstanceState.SUCCESS)
    shown = (await a.ask("GET", f"/task_instance/{here}")).data
    assert (shown["status"], shown["task_instance_peer"]["status"]) == (6, 6)
    assert json.loads(shown["task_instance_peer"]["message"]) == {"rows": 7}
    events = [event.event for event in await b.console.desk.events(there)]
    assert events == ["create", "pair", "start", "succeed"]


# of two runs in a row one failed: a status that is still owed may reach the other side behind its newer stop, and undo it
@pytest.mark.drill
async def test_either_side_stops_and_starts_a_run_for_both(pair):
    a, b = pair
    here, there = await run(a, b)
    await b.ask("POST", f"/task_instance/status/{there}", {"operation": 0})
    for one, id, other, its in ((a, here, b, there), (b, there, a, here)):
        assert (await one.ask("POST", f"/task_instance/status/{id}", {"operation": 1})).data == {"status": 5}
        await comes_to(other, its, InstanceState.TERMINATED)
        await other.engine.called("stop", its)
        assert (await one.ask("POST", f"/task_instance/status/{id}", {"operation": 0})).data == {"status": 3}
        await comes_to(other, its, InstanceState.RUNNING)
        await other.engine.called("start", its)
    again = await a.ask("POST", f"/task_instance/status/{here}", {"operation": 0})
    assert (again.status, again.body["rsp_code"]) == (409, 6)


async def test_a_failure_of_one_side_ends_the_other(pair):
    a, b = pair
    here, there = await run(a, b)
    await b.ask("POST", f"/task_instance/status/{there}", {"operation": 0})
    await b.engine.called("run", there)
    await b.engine.jobs[there].report(error={"reason": "no such file"}, status=InstanceState.FAILED)
    await comes_to(a, here, InstanceState.FAILED)
    await a.engine.called("stop", here)
    assert json.loads((await a.ask("GET", f"/task_instance/{here}")).data["error"]) == {"peer": "the other side has failed"}


async def test_what_ran_goes_on_after_a_start_and_what_was_owed_is_told(pair):
    a, b = pair
    here, there = await run(a, b)
    await b.ask("POST", f"/task_instance/status/{there}", {"operation": 0})
    await b.engine.called("run", there)
    await a.close()
    await b.engine.tell(there, InstanceState.SUCCESS)
    await a.open()
    await a.engine.called("start", here)
    async with CLOCK.timeout(10):
        while (await a.console.desk.instance(here))[0].peer_status is not InstanceState.SUCCESS:
            await CLOCK.sleep(0.02)


async def test_two_nodes_that_have_a_link_need_no_http_between_their_consoles(tmp_path):
    a, b = side(tmp_path, "bank-a", approve="auto"), side(tmp_path, "bank-b", approve="auto")
    a.hub = b.hub = LoopbackHub()
    know(a, b)
    for one in (a, b):
        await one.open()
    here, there = await run(a, b)
    await b.engine.called("run", there)
    await b.engine.tell(there, InstanceState.SUCCESS)
    await a.engine.tell(here, InstanceState.SUCCESS)
    assert (await a.ask("GET", f"/task_instance/{here}")).data["task_instance_peer"]["status"] == 6
    (found,) = (await b.ask("GET", "/project/list")).data["project_list"]
    assert (found["peer_url"], found["peer_key"]) == ("ecnode://bank-a", a.key.public)
    refused = await a.ask("POST", "/project", {"name": "x", "peer_url": "ecnode://bank-c"})
    assert (refused.status, refused.body["rsp_code"]) == (403, 7)
    for one in (a, b):
        await one.close()


@pytest.mark.parametrize(("policy", "starts"), [("auto", True), ("same-token", True), ("allow-list", False), ("manual", False)])
async def test_the_policy_of_the_side_that_is_asked_decides(tmp_path, policy, starts):
    a, b = side(tmp_path, "bank-a"), side(tmp_path, "bank-b", approve=policy)
    know(a, b)
    await a.open()
    await b.open()
    _, there = await run(a, b)
    assert await status(b, there) is (InstanceState.RUNNING if starts else InstanceState.READY)
    await a.close()
    await b.close()


async def test_training_without_a_producer_is_refused_with_what_to_configure(tmp_path):
    a, b = side(tmp_path, "bank-a"), side(tmp_path, "bank-b")
    know(a, b)
    a.played = b.played = False
    await a.open()
    await b.open()
    made = (await a.ask("POST", "/project", {"name": "cells", "peer_url": b.url})).data
    body = {"project_id": made["id"], "name": "train", "type": 1, "task_root": True, "token": "t"}
    config = {"role": "feature_client", "prepared": "aligned"}
    refused = await a.ask("POST", "/task", {**body, "config": config})
    assert refused.status == 400
    assert '{"producer": "NODE"}' in refused.body["message"]
    await a.ask("PUT", f"/project/{made['id']}", {"config": {"producer": "third"}})
    assert (await a.ask("POST", "/task", {**body, "config": {"role": "feature_client"}})).body["errors"][0][
        "path"
    ] == "config.prepared"
    assert (await a.ask("POST", "/task", {**body, "config": config})).status == 200
    await a.close()
    await b.close()
