"""What the door says of plots: orders, changes, stops, logs, directories, the table and the news."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from overlords import TALENT
from plot_doors import asked, placed, plot_door
from plotting import FARMER, POOL

from node.model.plot_table import COLUMNS
from node.model.value import new_id

__all__ = ["plot_door"]

MEMO = POOL + FARMER + "03" * 32
ONE = "/api/v1/plots/"


def test_an_order_is_201_then_200_and_another_one_with_its_id_409(plot_door: Any) -> None:
    id = new_id("p", 1.0)
    first = asked(plot_door, "POST", "/api/v1/plots", {"id": id, "ksize": 32})
    assert (first.status, first.headers["Location"]) == (201, f"/api/v1/plots/{id}")
    assert asked(plot_door, "POST", "/api/v1/plots", {"id": id, "ksize": 32}).status == 200
    assert asked(plot_door, "POST", "/api/v1/plots", {"id": id, "ksize": 33}).status == 409
    keyed = [asked(plot_door, "POST", "/api/v1/plots", {}, headers={"Idempotency-Key": "k1"}).json["id"] for _ in range(2)]
    assert keyed[0] == keyed[1]


def test_a_patch_renames_and_nothing_else_changes(plot_door: Any) -> None:
    id = placed(plot_door, name="first")
    reply = asked(plot_door, "PATCH", ONE + id, {"name": "second"})
    assert (reply.status, reply.json["name"], reply.json["id"]) == (200, "second", id)
    assert asked(plot_door, "PATCH", ONE + "second", {}).json["name"] == "second"
    assert asked(plot_door, "PATCH", ONE + id, {"state": "finished"}).status in {400, 422}
    assert asked(plot_door, "PATCH", ONE + "nobody", {}).status == 404


def test_a_plot_that_does_not_run_is_not_suspended(plot_door: Any) -> None:
    id = placed(plot_door)
    assert asked(plot_door, "POST", f"{ONE}{id}/stop").json["is_success"]
    for method, path, body in (("PATCH", ONE + id, {"suspended": True}), ("POST", f"{ONE}{id}/resume", None)):
        assert asked(plot_door, method, path, body).status in {404, 409}


def test_a_plot_is_given_up_only_where_its_talent_is_away(plot_door: Any) -> None:
    id = placed(plot_door)
    refused = asked(plot_door, "POST", f"{ONE}{id}/give-up")
    assert refused.status == 409
    assert f"'{TALENT}' is there" in refused.json["detail"]
    plot_door.run(plot_door.cloud.clock.advance(60.0))
    assert "is not heard of" in asked(plot_door, "GET", ONE + id).json["reason"]
    given_up = asked(plot_door, "POST", f"{ONE}{id}/give-up").json
    assert (given_up["state"], given_up["reason"][:5]) == ("failed", "lost:")
    assert asked(plot_door, "GET", f"{ONE}{id}/steps").json["items"][-1]["event"] == "fail"


def test_a_memo_is_shown_to_who_operates_the_system_alone(plot_door: Any) -> None:
    id = placed(plot_door, memo=MEMO)
    reader = asked(plot_door, "POST", "/api/v1/tokens", {"scope": "read"}).json["secret"]
    assert asked(plot_door, "GET", ONE + id).json["memo"] == MEMO
    assert asked(plot_door, "GET", ONE + id, token=reader).json["memo"] is None
    assert MEMO.encode() not in asked(plot_door, "GET", "/api/v1/plots", token=reader).body
    assert MEMO.encode() not in asked(plot_door, "GET", "/api/v1/plots/export.csv", token=reader).body
    assert MEMO.encode() not in asked(plot_door, "GET", "/api/v1/events?follow=false").body


def test_the_table_has_a_row_for_every_plot(plot_door: Any) -> None:
    ids = [placed(plot_door), placed(plot_door)]
    reply = asked(plot_door, "GET", "/api/v1/plots/export.csv")
    rows = list(csv.DictReader(io.StringIO(reply.body.decode())))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == len(ids)
    assert asked(plot_door, "GET", "/api/v1/plots/export.csv?state=finished").body.count(b"\n") == 1


def test_a_list_goes_on_behind_its_last(plot_door: Any) -> None:
    ids = [placed(plot_door) for _ in range(3)]
    first = asked(plot_door, "GET", "/api/v1/plots?limit=2").json
    assert [one["id"] for one in first["items"]] == [ids[2], ids[1]]
    second = asked(plot_door, "GET", f"/api/v1/plots?limit=2&after={first['next']}").json
    assert ([one["id"] for one in second["items"]], second["next"]) == ([ids[0]], None)


def test_directories_are_those_that_talents_tell(plot_door: Any) -> None:
    (card,) = asked(plot_door, "GET", "/api/v1/plots/dirs").json["items"]
    assert (card["name"], card["report"]["caches"][0]["path"]) == (TALENT, "/c")


def test_a_log_of_a_plot_without_a_talent_is_nowhere(plot_door: Any) -> None:
    plot_door.cloud.drained = frozenset({TALENT})
    id = asked(plot_door, "POST", "/api/v1/plots", {}).json["id"]
    reply = asked(plot_door, "GET", f"{ONE}{id}/logs")
    assert reply.status == 404
    assert "has no log yet" in reply.json["detail"]


@pytest.mark.parametrize("topics", ["", "&topics=plots", "&topics=nodes,plots"])
def test_the_news_tell_every_step_of_a_plot(plot_door: Any, topics: str) -> None:
    id = placed(plot_door, memo=MEMO)
    told = asked(plot_door, "GET", f"/api/v1/events?follow=false{topics}").body.decode()
    assert told.count("event: plot\n") >= 2
    assert id in told
    assert "event: plot" not in asked(plot_door, "GET", "/api/v1/events?follow=false&topics=queries").body.decode()
