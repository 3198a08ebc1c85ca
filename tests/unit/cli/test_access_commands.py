"""What do the commands around access, events and faults print: token, api, events, logs -f, support-bundle?"""

from __future__ import annotations

import json
import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from node import journal, rundir
from node.cli import run
from node.transport.keys import load_or_create

TOKEN = "a-token-of-the-tests-0123456789"


@pytest.fixture(autouse=True)
def no_node_of_the_developer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("ECNODE_URL", "ECNODE_TOKEN_FILE", "ECNODE_CONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def ecnode(door: Any, tmp_path: Path) -> Callable[..., int]:
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    return lambda *words: run(["--url", door.url, "--token-file", str(token), *words])


Said = pytest.CaptureFixture[str]


def test_a_token_is_made_used_listed_and_revoked(ecnode: Callable[..., int], door: Any, capsys: Said) -> None:
    assert ecnode("token", "list") == 0
    assert "ecnode token create" in capsys.readouterr().err
    assert ecnode("token", "create", "--scope", "read", "--ttl", "1h", "--label", "wall") == 0
    secret = capsys.readouterr().out.strip()
    assert door.raw("GET", "/api/v1/node", token=secret).status == 200
    assert ecnode("token", "list", "-o", "json") == 0
    (shown,) = json.loads(capsys.readouterr().out)
    assert (shown["scope"], shown["label"]) == ("read", "wall")
    assert ecnode("token", "list") == 0
    assert secret not in capsys.readouterr().out
    assert ecnode("token", "revoke", shown["id"]) == 0
    assert door.raw("GET", "/api/v1/node", token=secret).status == 401
    assert ecnode("token", "revoke", shown["id"]) == 6


@pytest.mark.parametrize(
    "words", [["--scope", "root"], ["--scope", "read", "--ttl", "soon"], ["--scope", "read", "--ttl", "0s"], []]
)
def test_a_wrong_wish_for_a_token_is_usage(ecnode: Callable[..., int], words: list[str]) -> None:
    assert ecnode("token", "create", *words) == 2


def test_any_request_can_be_sent(ecnode: Callable[..., int], door: Any, tmp_path: Path, capsys: Said) -> None:
    spec = '{"node":"edge-1","source":"lobby","pipeline":["face_detection"]}'
    assert ecnode("api", "POST", "queries", "-d", spec) == 0
    made = json.loads(capsys.readouterr().out)
    assert ecnode("api", "get", f"/api/v1/queries/{made['id']}") == 0
    assert json.loads(capsys.readouterr().out) == made
    (tmp_path / "change.json").write_text('{"accuracy":0.9}')
    assert ecnode("api", "PATCH", f"queries/{made['id']}/constraint", "-d", f"@{tmp_path}/change.json") == 0
    assert json.loads(capsys.readouterr().out)["constraint"]["accuracy"] == 0.9
    assert ecnode("api", "GET", "/healthz") == 0
    assert capsys.readouterr().out.strip() == "ok"
    assert ecnode("api", "GET", "queries/none") == 6
    assert ecnode("api", "POST", "queries", "-d", "{") == 2
    assert ecnode("api", "POST", "queries", "-d", "[]") == 2


def test_events_are_shown_until_the_query_ends(ecnode: Callable[..., int], door: Any, capsys: Said) -> None:
    query = door.submit()
    door.go(query.id, "plan", "stop")
    assert ecnode("events", "-f", "--query", query.id) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["end", query.id, "state=stopped"]
    assert ecnode("events") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["query", "query", "query", "query"]
    assert ecnode("events", "-o", "jsonl", "--topics", "queries") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["data"]["state"] == "stopped"
    assert ecnode("events", "--topics", "projects") == 2


def line(number: int) -> str:
    return json.dumps({"time": "2026-01-01T00:00:00.000Z", "level": "info", "event": "said", "number": number}) + "\n"


def add(file: Path, text: str) -> None:
    with file.open("a") as opened:
        opened.write(text)


def test_logs_are_followed_over_a_change_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / journal.FILE
    (tmp_path / f"{journal.FILE}.1").write_text(line(1))
    file.write_text(line(2) + line(3)[:20])
    steps = iter(
        (
            lambda: add(file, line(3)[20:]),
            lambda: [
                add(file, line(4)),
                file.rename(tmp_path / f"{journal.FILE}.1"),
                file.write_text(line(5)),
            ],
            lambda: add(file, line(6)),
        )
    )
    entries = journal.follow(tmp_path, 2, pause=lambda: next(steps)())  # noqa: PLW0108 - each round another step
    assert [next(entries)["number"] for _ in range(6)] == [1, 2, 3, 4, 5, 6]


def test_a_log_that_is_not_there_yet_is_followed_too(tmp_path: Path) -> None:
    entries = journal.follow(tmp_path, 5, pause=lambda: (tmp_path / journal.FILE).write_text(line(1)))
    assert next(entries)["number"] == 1


def test_the_command_follows_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    (folder / journal.FILE).write_text(line(1))
    rounds: Iterator[int] = iter(range(2))

    def wait(_: threading.Event, seconds: float) -> None:
        add(folder / journal.FILE, line(2))
        if next(rounds):
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Event, "wait", wait)
    assert run(["logs", "-f", "-o", "jsonl", "--data-dir", str(tmp_path)]) == 130
    assert [json.loads(row)["number"] for row in capsys.readouterr().out.splitlines()] == [1, 2]


def test_a_support_bundle_holds_what_helps_and_no_secret(
    ecnode: Callable[..., int], door: Any, tmp_path: Path, capsys: Said
) -> None:
    data = tmp_path / "data"
    identity = load_or_create(data / "identity.key")
    (data / "token").write_text("the-token-of-the-node-itself-42\n")
    assert ecnode("token", "create", "--scope", "admin") == 0
    made = capsys.readouterr().out.strip()
    secrets = [TOKEN, identity.secret, "the-token-of-the-node-itself-42", made, "hunter2"]
    (data / "log").mkdir()
    (data / "log" / journal.FILE).write_text(json.dumps({"event": "oops", "text": " ".join(secrets)}) + "\n")
    (tmp_path / "ecnode.toml").write_text(
        f'[node]\nname = "edge-1"\nroles = ["edge"]\ndata_dir = "{data}"\n'
        '[edge.sources.lobby]\nurl = "rtsp://admin:hunter2@camera/1"\nkind = "people"\n'
    )
    query = door.submit(name=f"Bearer {TOKEN}")
    door.go(query.id, "stop")
    rundir.announce(rundir.Running("edge-1", ("edge",), door.url, str(data / "token"), str(data), os.getpid(), 1.0))
    add(data / "log" / journal.FILE, json.dumps({"event": "seen", "url": "rtsp://admin:hunter2@camera/1"}) + "\n")
    target = tmp_path / "bundle.tar.gz"
    assert ecnode("support-bundle", "-o", str(target)) == 0
    assert target.stat().st_mode & 0o077 == 0
    with tarfile.open(target) as archive:
        texts = {entry.name.rpartition("/")[2]: archive.extractfile(entry).read().decode() for entry in archive}  # type: ignore[union-attr]
    assert set(texts) == {
        "versions.json",
        "config.json",
        "log.jsonl",
        "status.json",
        "queries.json",
        "metrics.txt",
        "events.jsonl",
        "missing.txt",
    }
    assert texts["missing.txt"] == ""
    for secret in secrets[:-1]:
        assert not [name for name, text in texts.items() if secret in text], secret
    assert "admin:hunter2@" not in "".join(texts.values())
    assert "oops" in texts["log.jsonl"]
    assert json.loads(texts["config.json"])["origins"]["node.name"].startswith("ecnode.toml")
    assert json.loads(texts["status.json"])["node"]["report"]["name"] == "cloud-1"
    assert query.id in texts["queries.json"]
    assert query.id in texts["events.jsonl"]
    assert ecnode("support-bundle", "-o", str(target)) == 7


def test_a_support_bundle_of_a_dead_node_says_what_is_missing(tmp_path: Path, capsys: Said) -> None:
    target = tmp_path / "bundle.tar.gz"
    assert run(["support-bundle", "-o", str(target)]) == 0
    with tarfile.open(target) as archive:
        missing = archive.extractfile("ecnode-support/missing.txt").read().decode()  # type: ignore[union-attr]
    assert "status.json: no node of yours runs" in missing
    assert "config.json" in missing
