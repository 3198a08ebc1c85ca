"""What does each command print, and with which code does it end?"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node import errors, journal, rundir
from node.cli import COMMANDS, run
from node.cli.exits import exit_code
from node.cli.output import bytes_text, seconds_text
from node.cli.watch import percentile, watch
from node.clock import SystemClock

TOKEN = "a-token-of-the-tests-0123456789"
SPEC = '{"node":"edge-1","source":"lobby","pipeline":["face_detection"],"constraint":{"delay":0.3}}'


@pytest.fixture(autouse=True)
def no_node_of_the_developer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for name in ("ECNODE_URL", "ECNODE_TOKEN_FILE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def ecnode(door: Any, tmp_path: Path) -> Callable[..., int]:
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    return lambda *words: run(["--url", door.url, "--token-file", str(token), *words])


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.ConfigInvalid, 3),
        (errors.PeerUnreachable, 4),
        (errors.Unauthorized, 5),
        (errors.Forbidden, 5),
        (errors.NotFound, 6),
        (errors.Conflict, 7),
        (errors.PeerRefused, 8),
        (errors.DeadlineExceeded, 124),
        (errors.Invalid, 2),
        (errors.Malformed, 2),
        (errors.TooLarge, 2),
        (errors.NotBuilt, 2),
        (errors.Busy, 1),
        (errors.StorageFailed, 1),
        (errors.Internal, 1),
    ],
)
def test_each_kind_of_error_has_its_exit_code(kind: type[errors.EcnodeError], code: int) -> None:
    assert exit_code(kind("x")) == code


def test_every_error_of_the_tree_has_an_exit_code() -> None:
    assert {exit_code(kind("x")) for kind in errors.every_error()} <= {1, 2, 3, 4, 5, 6, 7, 8, 124}


def test_help_imports_nothing_heavy() -> None:
    heavy = "{'aiohttp','zmq','pydantic','cv2','numpy','rich','peewee','asyncio','http.client'}"
    code = f"import sys; from node.cli import run; run(['--help']); print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.splitlines()[-1] == "[]"
    for name in COMMANDS:
        assert f"  {name} " in done.stdout


def test_the_module_runs_as_a_program() -> None:
    done = subprocess.run([sys.executable, "-m", "node", "version"], capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (0, "0.1.0\n")


@pytest.mark.parametrize(("words", "near"), [(["statsu"], "status"), (["querys"], "queries"), (["queries", "lst"], "list")])
def test_a_typo_gets_a_suggestion(words: list[str], near: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 2
    assert f"Did you mean '{near}'?" in capsys.readouterr().err


def test_a_wrong_option_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--sideways"]) == 2
    assert run(["-o", "xml", "status"]) == 2
    assert capsys.readouterr().out == ""


def test_without_a_node_the_next_step_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status"]) == 4
    assert "ecnode up" in capsys.readouterr().err
    assert run(["--url", "http://127.0.0.1:1", "status"]) == 4
    assert "no node answers at http://127.0.0.1:1" in capsys.readouterr().err
    assert run(["--url", "localhost", "status"]) == 2


def test_the_node_of_this_machine_is_found_by_itself(door: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "token").write_text(TOKEN)
    rundir.announce(
        rundir.Running(
            name="cloud-1",
            roles=("cloud",),
            url=door.url,
            token_file=str(tmp_path / "token"),
            data_dir=str(tmp_path),
            pid=os.getpid(),
            started=1.0,
        )
    )
    assert run(["status"]) == 0
    assert run(["--url", door.url, "status"]) == 0
    assert run(["--node", "edge-7", "status"]) == 4
    assert "edge-7" in capsys.readouterr().err


def test_a_wrong_token_is_not_allowed(door: Any, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("wrong")
    assert run(["--url", door.url, "--token-file", str(tmp_path / "token"), "status"]) == 5
    assert run(["--url", door.url, "--token-file", str(tmp_path / "nothing"), "status"]) == 2


def test_status_shows_the_peers(ecnode: Callable[..., int], door: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert ecnode("status") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("cloud-1  ready  up ")
    assert lines[1].split() == ["PEER", "ROLE", "STATE", "RTT", "CPU", "MEM", "QUEUE", "LAST", "SEEN", "DOING"]
    assert lines[2].split()[:5] == ["edge-1", "edge", "ready", "1.2", "ms"]
    assert "suspect" in lines[3]
    assert "last report 7.1 s ago" in lines[3]
    door.health.found["assets"] = "yunet is missing"
    assert ecnode("status") == 1
    assert "✗ assets: yunet is missing" in capsys.readouterr().out


def test_status_says_what_a_peer_is_doing(ecnode: Callable[..., int], door: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from node.model.cluster import JobReport

    query = door.submit(name="heads")
    door.go(query.id, "plan", "start")
    door.nodes.jobs = (JobReport(query=query.id, attempt=1),)
    assert ecnode("status") == 0
    assert "heads lobby 9.8/10 fps" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [("status",), ("queries", "list"), ("queries", "show", "@last"), ("queries", "plan", "@last")]
)
def test_json_is_pure_json_on_standard_output(
    ecnode: Callable[..., int], door: Any, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    door.submit()
    assert ecnode("-o", "json", *words) == 0
    before = json.loads(capsys.readouterr().out)
    assert ecnode(*words, "-o", "json") == 0
    assert type(json.loads(capsys.readouterr().out)) is type(before)


def test_names_and_lines_are_for_the_shell(ecnode: Callable[..., int], door: Any, capsys: pytest.CaptureFixture[str]) -> None:
    made = [door.submit().id for _ in range(3)][::-1]
    assert ecnode("queries", "list", "-o", "name") == 0
    assert capsys.readouterr().out.split() == made
    assert ecnode("queries", "list", "-o", "jsonl") == 0
    assert [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()] == made


def test_a_query_is_submitted_from_json_toml_and_standard_input(
    ecnode: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "q.json").write_text(SPEC)
    (tmp_path / "q.toml").write_text('node = "edge-1"\nsource = "lobby"\npipeline = ["face_detection"]\n')
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(SPEC.encode())))
    for file in (str(tmp_path / "q.json"), str(tmp_path / "q.toml"), "-"):
        assert ecnode("-q", "queries", "submit", file, "-o", "name") == 0
    out, err = capsys.readouterr()
    assert len(set(out.split())) == 3
    assert err == ""


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("{", "cannot be read"),
        ('{"node":"a","node":"b"}', "given twice: node"),
        ("[]", "no object"),
        ('{"nod":1}', "node: is required"),
    ],
)
def test_a_wrong_spec_is_usage_with_the_reason(
    ecnode: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], spec: str, words: str
) -> None:
    (tmp_path / "q.json").write_text(spec)
    assert ecnode("queries", "submit", str(tmp_path / "q.json")) == 2
    assert words in capsys.readouterr().err


def test_a_constraint_is_changed_and_taken_away(
    ecnode: Callable[..., int], door: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    door.submit()
    assert ecnode("queries", "constrain", "@last", "--accuracy", "0.9", "--delay", "none", "-o", "json") == 0
    kept = {"latency": None, "weight": None}
    assert json.loads(capsys.readouterr().out)["constraint"] == {"delay": None, "accuracy": 0.9, **kept}
    assert ecnode("queries", "constrain", "@last") == 2
    assert ecnode("queries", "constrain", "@last", "--delay", "soon") == 2
    assert "--delay" in capsys.readouterr().err


def test_an_unknown_ref_is_not_found(ecnode: Callable[..., int], door: Any) -> None:
    for command in ("show", "stop", "plan", "results", "watch"):
        assert ecnode("queries", command, "q-nothing") == 6


def test_stopping_twice_is_told(ecnode: Callable[..., int], door: Any, capsys: pytest.CaptureFixture[str]) -> None:
    query = door.submit()
    assert ecnode("queries", "stop", query.id) == 0
    assert f"query {query.id} is stopped" in capsys.readouterr().err


def running(door: Any, *numbers: int) -> str:
    query = door.submit()
    door.go(query.id, "plan", "start")
    door.run(door.store.queries.begin_attempt(query.id))
    if numbers:
        door.give_results(query.id, numbers)
    return str(query.id)


def test_results_are_printed_and_followed_to_the_end(
    ecnode: Callable[..., int], door: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    query = running(door, 1, 2, 3)
    assert ecnode("queries", "results", query, "-n", "2") == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    door.go(query, "end")
    assert ecnode("queries", "results", query, "-f", "-o", "jsonl") == 0
    assert [json.loads(line)["n_loop"] for line in capsys.readouterr().out.splitlines()] == [1, 2, 3]


def test_results_are_exported_whole_as_a_table_or_as_lines(
    ecnode: Callable[..., int], door: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.cli.queries.PAGE", 2)
    query = running(door, 1, 2, 3, 4, 5)
    assert ecnode("queries", "export", query, "--format", "jsonl", "--after", "1") == 0
    written = capsys.readouterr()
    assert [json.loads(line)["cursor"] for line in written.out.splitlines()] == [2, 3, 4, 5]
    assert "4 results written" in written.err
    assert ecnode("queries", "export", query, "--out", str(tmp_path / "results.csv")) == 0
    table = (tmp_path / "results.csv").read_bytes()
    assert table.count(b"\n") == 6
    assert table == door.raw("GET", f"/api/v1/queries/{query}/results.csv").body


def test_watching_a_finished_query_sums_it_up(
    ecnode: Callable[..., int], door: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    query = running(door, 1, 2, 3)
    door.go(query, "end")
    assert ecnode("queries", "watch", query) == 0
    out = capsys.readouterr().out
    assert "fps 9.8 of 10 at 480p" in out
    assert "delay 41 ms ≤ 300 ms ✓" in out
    assert "face_detection@edge-1 (host) 31 ms" in out
    assert "moved 1.1 MiB" in out
    assert "finished after 3 results\nlatency p50 62 ms" in out
    assert "100% within 300 ms" in out


def test_watching_a_query_that_fails_ends_with_one(
    ecnode: Callable[..., int], door: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    query = running(door)
    codes: list[int] = []
    watching = threading.Thread(target=lambda: codes.append(ecnode("queries", "watch", query)))
    watching.start()
    assert door.queries.polled.wait(5)
    door.go(query, "fail")
    watching.join(10)
    assert codes == [1]
    assert "failed without a result: the test says so" in capsys.readouterr().out


def test_watching_for_some_seconds_leaves_the_query_running(door: Any) -> None:
    query = running(door, 1)
    out = io.StringIO()
    with door.client() as client:
        seen = watch(client, query, clock=SystemClock(), out=out, seconds=0.2)
    assert (seen.ended, seen.results, seen.query.state) == (False, 1, "running")
    assert (seen.objects_max, seen.epochs, seen.delay_held) == (1, (1,), 1.0)


def test_a_terminal_gets_a_live_table(door: Any) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    query = running(door, 1)
    door.go(query, "end")
    out = Terminal()
    with door.client() as client:
        watch(client, query, clock=SystemClock(), out=out)
    assert "latency" in out.getvalue()


def test_interrupting_a_watch_leaves_the_query_running(
    ecnode: Callable[..., int], door: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    query = running(door, 1)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("node.client.Client.results", interrupt)
    assert ecnode("queries", "watch", query) == 130
    assert "the query runs on" in capsys.readouterr().err
    assert door.run(door.store.queries.get(query)).state == "running"


def test_the_log_of_a_node_is_read_without_the_node(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log").mkdir()
    lines = [
        {"time": "2026-11-21T22:40:01.123Z", "level": "info", "logger": "node.app", "event": f"event {n}"} for n in range(5)
    ]
    (tmp_path / "log" / journal.FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run(["logs", "--data-dir", str(tmp_path), "-n", "2"]) == 0
    assert [line[-7:] for line in capsys.readouterr().out.splitlines()] == ["event 3", "event 4"]
    assert run(["logs", "--data-dir", str(tmp_path), "-o", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 5
    assert run(["logs", "--data-dir", str(tmp_path / "nothing")]) == 6


def test_the_identity_is_read_and_never_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = pytest.importorskip("node.transport.keys")
    tmp_path.chmod(0o700)
    assert run(["id", "--data-dir", str(tmp_path)]) == 6
    assert not (tmp_path / "identity.key").exists()
    made = keys.load_or_create(tmp_path / "identity.key")
    capsys.readouterr()
    assert run(["id", "--data-dir", str(tmp_path), "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"fingerprint": made.fingerprint, "public_key": made.public}


def test_the_config_names_the_data_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "node.toml"
    config.write_text(f'schema = 1\n[node]\nname = "edge-1"\nroles = ["edge"]\ndata_dir = "{tmp_path / "data"}"\n')
    assert run(["logs", "-c", str(config)]) == 6
    assert run(["id", "-c", str(config)]) == 6
    assert str(tmp_path / "data") in capsys.readouterr().err
    config.write_text("[nod]")
    assert run(["id", "-c", str(config)]) == 3


def test_the_key_of_a_fresh_config_is_told_before_the_node_ever_ran(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert run(["id"]) == 4
    assert run(["init", "--role", "edge", "--name", "edge-1"]) == 0
    made = capsys.readouterr().out
    assert run(["id"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] in made
    assert run(["--node", "edge-1", "id"]) == 4  # a name means a node that runs
    assert run(["logs"]) == 6


@pytest.mark.parametrize("group", [[], ["queries"], ["config"], ["assets"]])
def test_the_help_of_a_group_is_not_cut_off(group: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*group, "--help"]) == 0
    assert "..." not in capsys.readouterr().out.partition("Commands:")[2]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0624, "62 ms"), (4.2, "4.2 s"), (190, "3m10s"), (8040, "2h14m"), (90_000 * 5, "5d5h")]
)
def test_spans_are_short_to_read(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


def test_sizes_are_short_to_read() -> None:
    assert [bytes_text(n) for n in (812, 31 * 1024, 1_258_291, 5 * 2**30)] == ["812 B", "31.0 KiB", "1.2 MiB", "5.0 GiB"]


def test_percentiles_are_of_the_nearest_rank() -> None:
    assert percentile([], 0.5) == 0
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile(list(range(100)), 0.95) == 95


def test_a_reader_that_has_seen_enough_causes_no_noise(door: Any, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    line = json.dumps({"event": "x" * 200}) + "\n"
    (tmp_path / "log" / journal.FILE).write_text(line * 5000)
    words = [sys.executable, "-m", "node", "logs", "--data-dir", str(tmp_path), "-n", "5000"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""


def test_an_error_with_one_fault_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "node.toml"
    config.write_text('schema = 1\n[node]\nname = "t-1"\nroles = ["edge"]\n[http]\ntls = { cert = "a" }\n')
    assert run(["up", "-c", str(config)]) == 3
    assert capsys.readouterr().err.count("is not built into this release") == 1
