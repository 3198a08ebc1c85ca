"""Does the door answer a client of the original plot system, row by row of its contract?"""

from __future__ import annotations

from typing import Any

import pytest
from doors import door, open_door
from overlords import life_of
from plot_doors import asked, plot_door
from plotting import FARMER, POOL

from node.model.plot_table import COLUMNS

__all__ = ["door", "open_door", "plot_door"]

TASK = "7" * 32
MEMO = POOL + FARMER + "03" * 32
# The table of the original's page, in its order.
ORIGINAL = """
id create_time update_time worker_id task_id plot_pid log_pid status plot_id fpk ppk memo ksize
cache1 cache2 threads buffer stripe_size buckets progress p1_t1_time p1_t1_cpu p1_t2_time p1_t2_cpu
p1_t3_time p1_t3_cpu p1_t4_time p1_t4_cpu p1_t5_time p1_t5_cpu p1_t6_time p1_t6_cpu p1_t7_time
p1_t7_cpu p1_total_time p1_total_cpu p1_table_1_now_size p2_t7_time p2_t7_cpu p2_t6_time p2_t6_cpu
p2_t5_time p2_t5_cpu p2_t4_time p2_t4_cpu p2_t3_time p2_t3_cpu p2_t2_time p2_t2_cpu p2_t1_time
p2_t1_cpu p2_total_time p2_total_cpu p3_t1_2_time p3_t1_2_cpu p3_t2_3_time p3_t2_3_cpu p3_t3_4_time
p3_t3_4_cpu p3_t4_5_time p3_t4_5_cpu p3_t5_6_time p3_t5_6_cpu p3_t6_7_time p3_t6_7_cpu p3_total_time
p3_total_cpu p4_total_time p4_total_cpu total_time total_cpu copy_time copy_cpu dest_type dest_path
dest_file_name
""".split()  # noqa: SIM905 - read beside the page it comes from
INTEGERS = ("id", "ksize", "threads", "buffer", "plot_pid", "log_pid", "stripe_size", "buckets", "p1_table_1_now_size")


@pytest.fixture(params=["", "/compat/talent"])
def prefix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_column_of_the_original_is_there_in_its_order_and_no_other(plot_door: Any) -> None:
    assert list(COLUMNS) == ORIGINAL
    asked(plot_door, "POST", "/plot/task/create", {"task_id": TASK})
    for method in ("GET", "POST"):
        reply = asked(plot_door, method, f"/plot/task/status/{TASK}")
        assert reply.status == 200
        assert list(reply.json) == ORIGINAL
        assert reply.headers["Content-Type"].startswith("application/json")


def test_plot_task_create_takes_the_original_parameters_and_answers_on_create(plot_door: Any, prefix: str) -> None:
    body = {
        "task_id": TASK,
        "fpk": FARMER,
        "ppk": POOL,
        "memo": MEMO,
        "ksize": 32,
        "cache1": "/c",
        "cache2": "/c",
        "threads": 4,
        "buffer": 3390,
        "dest_type": "local",
        "dest_path": "/d",
    }
    reply = asked(plot_door, "POST", f"{prefix}/plot/task/create", body)
    assert (reply.status, reply.json) == (200, {"type": "on_create", "is_success": True, "msg": TASK})
    again = asked(plot_door, "POST", f"{prefix}/plot/task/create", body)
    assert again.json == {"type": "on_create", "is_success": True, "msg": "it is initialized already"}
    row = asked(plot_door, "GET", f"{prefix}/plot/task/status/{TASK}").json
    assert {name: row[name] for name in body} == body


def test_the_defaults_are_those_of_the_original_table(plot_door: Any) -> None:
    asked(plot_door, "POST", "/plot/task/create", {"task_id": TASK})
    row = asked(plot_door, "GET", f"/plot/task/status/{TASK}").json
    assert (row["progress"], row["dest_type"], row["id"]) == (0.0, "nfs", 1)
    assert row["create_time"].endswith("Z")
    unset = set(ORIGINAL) - {"id", "create_time", "update_time", "task_id", "status", "progress", "dest_type"}
    assert {row[name] for name in unset} == {None}, "what is not known is null, not 0"


def test_the_status_goes_through_the_original_words(plot_door: Any) -> None:
    asked(plot_door, "POST", "/plot/task/create", {"task_id": TASK, "ksize": 32})
    cloud = plot_door.cloud
    plot_door.run(cloud.until(lambda: cloud.overlord.unplaced == 0))
    (plot,) = plot_door.run(cloud.store.orders.live())
    seen = [asked(plot_door, "GET", f"/plot/task/status/{TASK}").json["status"]]
    for update in life_of(plot, "receive", "queue", "start", "run", "finish"):
        known = update.plot.replace(
            plot_pid=7, log_pid=8, threads=2, buffer=100, stripe_size=64, buckets=16, worker_id="a" * 32
        )
        plot_door.run(cloud.tell(update.replace(plot=known)))
        row = asked(plot_door, "POST", f"/plot/task/status/{TASK}").json
        seen.append(row["status"])
    assert seen == ["initialized", "received", "pending", "started", "running", "finished"]
    assert {type(row[name]) for name in INTEGERS if row[name] is not None} == {int}
    assert isinstance(row["progress"], float)


def test_a_plot_is_asked_for_by_its_task_id_or_its_native_id(plot_door: Any) -> None:
    asked(plot_door, "POST", "/plot/task/create", {"task_id": TASK})
    (native,) = asked(plot_door, "GET", "/api/v1/plots").json["items"]
    for ref in (TASK, native["id"]):
        assert asked(plot_door, "GET", f"/plot/task/status/{ref}").json["task_id"] == TASK
    assert asked(plot_door, "GET", f"/plot/task/status/{'8' * 32}").status == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"task_id": "short"}, "task_id"),
        ({"ksize": 17}, "ksize"),
        ({"fpk": "8f" * 48}, "fpk"),
        ({"cache1": "relative"}, "cache1"),
        ({"dest_type": "tape"}, "dest_type"),
        ({"ksize": 18, "stripe_size": 65_536}, "stripe_size"),
        ({"speed": 9}, "speed"),
    ],
)
def test_a_parameter_that_does_not_fit_is_named(plot_door: Any, body: dict[str, object], field: str) -> None:
    reply = asked(plot_door, "POST", "/plot/task/create", body)
    assert reply.status in {400, 422}
    assert field in reply.body.decode()


def test_a_token_is_needed_and_a_reader_sees_no_memo(plot_door: Any) -> None:
    asked(plot_door, "POST", "/plot/task/create", {"task_id": TASK, "memo": MEMO})
    assert asked(plot_door, "GET", f"/plot/task/status/{TASK}", token=None).status == 401
    assert asked(plot_door, "POST", "/plot/task/create", {}, token=None).status == 401
    reader = asked(plot_door, "POST", "/api/v1/tokens", {"scope": "read"}).json["secret"]
    assert asked(plot_door, "GET", f"/plot/task/status/{TASK}", token=reader).json["memo"] is None
    assert asked(plot_door, "POST", "/plot/task/create", {}, token=reader).status == 403
