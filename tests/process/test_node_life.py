"""Real nodes are killed, frozen and ended; the others say so, work moves or fails with its reason, and nothing is left."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from systems import CLOCK, FAST, connect, measured, until

from node import rundir
from node.cli.system import CLOUD, LocalSystem
from node.model.video import QueryRequest

HEADS = ("face_detection", "face_alignment")


@pytest.fixture
def system(clips, assets):
    with LocalSystem(2, [clips["lobby"]], assets, pace=FAST) as running:
        running.start()
        yield running


@pytest.fixture
def client(system):
    with connect(system) as connected:
        until(lambda: measured(connected, system.names), 60)
        yield connected


def state_of(client, name: str) -> str:
    return next(view.state for view in client.nodes() if view.report.name == name)


def answered(client, query_id: str, after: int = 0) -> int:
    """The cursor of a result that is newer than `after`."""
    return until(lambda: [item.cursor for item in client.results(query_id, after, 500, 1.0).items])[-1]


def where(client, query_id: str) -> set[str]:
    """The nodes that run the query's stages."""
    return {place.node for place in client.query(query_id).plan.flow_mapping.values()}


def family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def test_term_ends_every_node_in_time_with_nothing_left(system, client):
    query = client.submit(QueryRequest(node="edge-1", source="lobby", pipeline=HEADS))
    answered(client, query.id)
    processes = [member for name in system.names for member in family(system.pid(name))]
    assert len(processes) >= 6  # three nodes, a capture process, two workers at the least
    folder = system.token_file().parent.parent.parent
    began = CLOCK.monotonic()
    assert system.stop() == (0, 0, 0)
    assert CLOCK.monotonic() - began < 5.0
    assert psutil.wait_procs(processes, timeout=1)[1] == []
    assert not folder.exists()
    assert not {node.name for node in rundir.running()} & set(system.names)


def test_no_worker_is_left_two_seconds_after_its_node_is_killed(system, client):
    query = client.submit(QueryRequest(node="edge-1", source="lobby", pipeline=HEADS))
    answered(client, query.id)
    children = family(system.pid("edge-1"))[1:]
    assert len(children) >= 1
    system.kill("edge-1")
    assert psutil.wait_procs(children, timeout=2)[1] == []


def test_a_killed_node_is_named_and_its_run_file_goes_with_the_system(system):
    assert system.ended() == {}
    left = rundir.folder() / "edge-2.json"
    assert left.exists()
    system.kill("edge-2")
    assert system.ended() == {"edge-2": -signal.SIGKILL}
    system.stop()
    assert not left.exists()


def test_a_killed_edge_is_seen_and_its_query_fails_with_the_reason(system, client):
    query = client.submit(QueryRequest(node="edge-1", source="lobby", pipeline=HEADS))
    answered(client, query.id)
    system.kill("edge-1")
    until(lambda: state_of(client, "edge-1") != "ready", FAST.suspect_after)
    ended = until(lambda: (found := client.query(query.id)).ended_at and found, 4 * FAST.dead_after)
    assert ended.state == "failed"
    assert ended.reason.startswith("node_lost: 'edge-1'")
    assert ended.tally.captured == ended.tally.processed + ended.tally.skipped + ended.tally.failed


def test_an_edge_that_comes_back_in_time_resumes_its_query(system, client):
    query = client.submit(QueryRequest(node="edge-1", source="lobby", pipeline=HEADS))
    answered(client, query.id)
    system.kill("edge-1")
    system.restart("edge-1")
    resumed = until(lambda: (found := client.query(query.id)).attempt == 2 and found, 30)
    assert resumed.state in {"ready", "running"}
    items = until(lambda: [item for item in client.results(query.id, 0, 500).items if item.attempt == 2])
    assert items[0].n_loop == 1


def test_stages_leave_a_node_that_is_killed(system, client):
    query = client.submit(QueryRequest(node="edge-1", source="lobby", pipeline=HEADS))
    cursor = answered(client, query.id)
    there = {"model_id": 0, "node_ip": system.url("edge-2").removeprefix("http://"), "node_role": "edge"}
    conf = {"encoder": "JPEG", "fps": 5, "resolution": "360p"}
    pushed = {"job_uid": query.id, "video_conf": conf, "flow_mapping": dict.fromkeys(HEADS, there)}
    client.ask("POST", "/compat/video/job/update_plan", pushed)
    until(lambda: where(client, query.id) == {"edge-2"})
    system.kill("edge-2")
    until(lambda: state_of(client, "edge-2") != "ready", FAST.suspect_after)
    until(lambda: where(client, query.id) <= {"edge-1", CLOUD})
    answered(client, query.id, cursor)
    assert client.query(query.id).state == "running"


def test_a_query_outlives_its_cloud(system, client):
    query = client.submit(QueryRequest(node="edge-1", source="lobby", pipeline=HEADS))
    cursor = answered(client, query.id)
    system.kill(CLOUD)
    system.restart(CLOUD)
    client.close()
    items = until(lambda: client.results(query.id, cursor, 500, 1.0).items, 30)
    assert {item.attempt for item in items} == {1}, "the edge ran on, so this is still the first attempt"
    loops = [item.n_loop for item in client.results(query.id, 0, 500).items]
    assert loops == list(range(1, len(loops) + 1)), "no result was lost while the cloud was away"


def test_a_frozen_edge_is_suspected_and_forgiven(system, client):
    query = client.submit(QueryRequest(node="edge-1", source="lobby", pipeline=HEADS))
    cursor = answered(client, query.id)
    os.kill(system.pid("edge-1"), signal.SIGSTOP)
    try:
        until(lambda: state_of(client, "edge-1") == "suspect", 3 * FAST.suspect_after)
    finally:
        os.kill(system.pid("edge-1"), signal.SIGCONT)
    until(lambda: state_of(client, "edge-1") == "ready")
    answered(client, query.id, cursor)


def test_a_capture_process_that_dies_fails_its_query_and_no_other(system, client):
    query = client.submit(QueryRequest(node="edge-1", source="lobby", pipeline=HEADS))
    other = client.submit(QueryRequest(node="edge-2", source="lobby", pipeline=HEADS))
    answered(client, query.id)
    cursor = answered(client, other.id)
    capture = next(one for one in family(system.pid("edge-1")) if "node.roles.edge.capture_child" in one.cmdline())
    capture.kill()
    ended = until(lambda: (found := client.query(query.id)).ended_at and found)
    assert (ended.state, ended.reason) == ("failed", "the capture process died")
    assert ended.tally.captured == ended.tally.processed + ended.tally.skipped + ended.tally.failed
    answered(client, other.id, cursor)


def test_the_main_process_stays_small_and_never_loads_opencv(system, client):
    for name in system.names:
        maps = Path(f"/proc/{system.pid(name)}/maps").read_text()
        assert "cv2" not in maps, f"{name} has loaded OpenCV"
    assert psutil.Process(system.pid(CLOUD)).memory_info().rss <= 80 * 2**20


def test_a_second_node_on_the_same_data_is_refused(tmp_path):
    config = tmp_path / "node.toml"
    config.write_text(
        f"schema = 1\n[node]\nname = 'one'\nroles = ['cloud']\ndata_dir = '{tmp_path}/data'\n"
        "[transport]\nlisten = ['tcp://127.0.0.1:*']\n[http]\nlisten = '127.0.0.1:0'\n"
    )
    command = [sys.executable, "-m", "node", "up", "--attached", "-c", str(config)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as first:
        assert any(line.startswith("ready in") for line in first.stdout)
        second = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=20, check=False)
        assert second.returncode == 7
        assert "another node runs on" in second.stderr
        first.send_signal(signal.SIGINT)
        assert first.wait(5) == 0


def test_a_taken_port_is_told_with_its_address(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = tmp_path / "node.toml"
        config.write_text(
            f"schema = 1\n[node]\nname = 'one'\nroles = ['cloud']\ndata_dir = '{tmp_path}/data'\n"
            f"[transport]\nlisten = ['tcp://127.0.0.1:*']\n[http]\nlisten = '127.0.0.1:{port}'\n"
        )
        ended = subprocess.run(
            [sys.executable, "-m", "node", "up", "-c", str(config)], capture_output=True, text=True, timeout=20, check=False
        )
    assert ended.returncode != 0
    assert re.search(rf"http\.listen: 127\.0\.0\.1:{port} cannot be bound", ended.stderr)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_dev_ends_with_its_terminal_and_leaves_nothing(assets, tmp_path, number):
    command = [sys.executable, "-m", "node", "dev", "--edges", "1", "--folder", str(assets)]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as dev:
        assert any(line.startswith("Ctrl-C") for line in dev.stdout)
        nodes = family(dev.pid)[1:]
        assert len(nodes) >= 2
        dev.send_signal(number)
        assert dev.wait(10) == 0
    assert psutil.wait_procs(nodes, timeout=2)[1] == []
    assert list(tmp_path.glob("ecnode-*")) == []
