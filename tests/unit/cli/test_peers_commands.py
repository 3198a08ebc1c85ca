"""What do the commands about members print: peers, join, and token with --role?"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node.cli import run
from node.transport.jointoken import read_token
from node.transport.keys import new_identity

TOKEN = "a-token-of-the-tests-0123456789"

Said = pytest.CaptureFixture[str]
Ecnode = Callable[..., int]


@pytest.fixture
def ecnode(door: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ecnode:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    return lambda *words: run(["--url", door.url, "--token-file", str(token), *words])


@pytest.fixture
def knock(door: Any) -> str:
    """A key that was refused twice: its fingerprint."""
    stranger = new_identity()
    for _ in range(2):
        door.directory.knocks.note(stranger.public, "10.0.0.9")
    return stranger.fingerprint


def test_a_way_in_is_made_listed_and_revoked(ecnode: Ecnode, capsys: Said) -> None:
    assert ecnode("token", "create", "--role", "edge", "--ttl", "1h", "--uses", "1", "--label", "lobby") == 0
    said = capsys.readouterr()
    assert len(read_token(said.out.strip()).server) == 40
    assert "ecnode join" in said.err
    assert ecnode("token", "list") == 0
    listed = capsys.readouterr().out
    assert "join as edge" in listed
    assert said.out.strip() not in listed
    identity = listed.splitlines()[1].split()[0]
    assert ecnode("token", "revoke", identity) == 0
    capsys.readouterr()
    assert ecnode("token", "list") == 0
    assert "join as edge" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [["--role", "edge", "--scope", "read"], ["--role", "king"], ["--role", "edge", "--ttl", "1y"], ["--uses", "2"]]
)
def test_a_wrong_wish_for_a_way_in_is_usage(ecnode: Ecnode, words: list[str]) -> None:
    assert ecnode("token", "create", *words) == 2


def test_who_knocks_is_shown_and_let_in_by_a_beginning_of_its_fingerprint(ecnode: Ecnode, knock: str, capsys: Said) -> None:
    assert ecnode("peers", "list") == 0
    assert "ecnode token create" in capsys.readouterr().err
    assert ecnode("peers", "pending") == 0
    row = capsys.readouterr().out.splitlines()[1].split()
    assert row == [knock, "–", "–", "10.0.0.9", "2"]
    assert ecnode("peers", "approve", knock) == 2
    assert "--name NAME --role ROLE" in capsys.readouterr().err
    assert ecnode("peers", "approve", knock[:8], "--name", "edge-1", "--role", "edge", "--ttl", "30d", "-o", "json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["name"], shown["state"], shown["roles"]) == ("edge-1", "admitted", ["edge"])
    assert ecnode("peers", "pending", "-o", "name") == 0
    assert capsys.readouterr().out == ""
    assert ecnode("peers", "approve", "ABCDEFG", "--name", "edge-2", "--role", "edge") == 6


def test_a_member_is_drained_taken_back_and_put_out(ecnode: Ecnode, knock: str, capsys: Said) -> None:
    assert ecnode("peers", "approve", knock, "--name", "edge-1", "--role", "edge") == 0
    assert ecnode("peers", "drain", "edge-1") == 0
    capsys.readouterr()
    assert ecnode("peers", "list") == 0
    assert "admitted, drained" in capsys.readouterr().out
    assert ecnode("peers", "undrain", "edge-1") == 0
    assert ecnode("peers", "remove", "edge-1") == 0
    capsys.readouterr()
    assert ecnode("peers", "list", "-o", "json") == 0
    (member,) = json.loads(capsys.readouterr().out)
    assert (member["state"], member["drained_at"]) == ("revoked", None)
    assert ecnode("peers", "remove", "edge-1") == 6
    assert ecnode("api", "GET", "audit") == 0
    events = [each["event"] for each in json.loads(capsys.readouterr().out)["items"]]
    assert events == ["revoke", "undrain", "drain", "approve", "enrol"]


def test_an_unreadable_token_and_a_wrong_address_are_said_before_anybody_knocks(ecnode: Ecnode, capsys: Said) -> None:
    assert ecnode("join", "10.0.0.5:7440", "--token", "x") == 2
    (Path.cwd() / "edge.toml").write_text('schema = 1\n[node]\nname = "edge-1"\nroles = ["edge"]\n')
    assert ecnode("join", "tcp://127.0.0.1:1", "--token", "x", "-c", "edge.toml") == 2
    assert "not a join token" in capsys.readouterr().err
