"""Two consoles and a producer as real nodes: pairing, alignment and training from the script of the examples.

One side is killed in the middle of the training and started again; both still end as a success.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from consoles import Banks, Member
from systems import until

from node.cli import run

pytestmark = pytest.mark.drill  # minutes: two trainings, and the second one waits for a node that comes back
SCRIPT = Path(__file__).parents[2] / "examples" / "two_consoles.sh"
PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="module")
def banks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Banks]:
    """The breast cancer set of scikit-learn: features at one side, the truth at the other, each with its own patients."""
    data = pytest.importorskip("sklearn.datasets").load_breast_cancer()
    made = Banks(tmp_path_factory.mktemp("banks"))
    made.share_out(data.data, data.target)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def administrator(member: Member) -> str:
    """A log-in of an administrator, made by the link that the node gives to whoever holds its token."""
    name = f"admin of {member.name}"
    path = member.ask("POST", "/users/link", base="/api/v1")["path"]
    made = member.ask("POST", path, {"name": name, "password": PASSWORD}, base="", Authorization="")
    assert made["data"]["role"] == 0
    assert member.ask("POST", path, {"name": "another", "password": PASSWORD}, base="", Authorization="")["rsp_code"] == 7
    return f"{name}:{PASSWORD}"


def training_session(member: Member) -> dict | None:
    found = member.ask("GET", "/sessions", base="/api/v1")["items"]
    return next((each for each in found if each["spec"]["training"] is not None), None)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: apt-get install curl")
def test_a_script_of_the_originals_routes_aligns_and_trains_over_a_kill(banks: Banks) -> None:
    a, b = banks.a, banks.b
    environment = {
        **os.environ,
        "A": a.console,
        "B": b.console,
        "ADMIN_A": administrator(a),
        "ADMIN_B": administrator(b),
        "STEPS": "200",
    }
    with subprocess.Popen(
        [str(SCRIPT)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as script:
        try:
            until(lambda: (found := training_session(a)) and max(p["progress"]["step"] for p in found["parties"]) >= 30, 75)
            b.end(kill=True)
            b.start()
            told, _ = script.communicate(timeout=60)
        finally:
            script.kill()
    assert script.returncode == 0, told
    assert "align: status 6 at A, 6 at B" in told
    assert "train: status 6 at A, 6 at B" in told
    session = training_session(a)
    assert session is not None
    assert (session["state"], session["epoch"] >= 2) == ("finished", True)
    metrics = a.ask("GET", f"/sessions/{session['id']}/metrics", base="/api/v1")["items"]
    assert metrics[-1]["metrics"]["auc"] > 0.97
    assert (a.data_root / "aligned" / "model.json").is_file()
    assert len(json.loads((a.data_root / "aligned" / "model.json").read_text())["weights"]) == 30


def test_the_same_by_the_command(banks: Banks, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = banks.a, banks.b

    def at(member: Member, *words: str) -> str:
        token = str(member.folder / "data" / "token")
        code = run(["--url", member.url, "--token-file", token, "--timeout", "30", "projects", *words])
        told = capsys.readouterr()
        assert code == 0, told.err
        return told.out or told.err

    for name, role in (("a", "feature_client"), ("b", "label_client")):
        (tmp_path / f"{name}.json").write_text(json.dumps({"role": role, "file": "cells.csv", "output": "by-command"}))
    assert "the other console's key: " in at(a, "create", "by-command", b.console, "--producer", "third")
    there = json.loads(at(b, "list", "-o", "json"))[-1]["id"]
    for member, project, name in ((a, "by-command", "a"), (b, there, "b")):
        config = str(tmp_path / f"{name}.json")
        assert "version 20" in at(member, "task", project, "align", "--kind", "sample", "--secret", "word", "--config", config)
    assert "is paired: ready" in at(a, "pair", "by-command", "align")
    assert "is running" in at(a, "run", "by-command", "align")
    assert "success" in at(b, "accept", there, "--watch")
    assert "success" in at(a, "watch", "by-command")
    assert "train.csv" in at(a, "watch", "by-command")
    assert "the other side" in at(b, "runs", there)
    assert (b.data_root / "by-command" / "train.csv").is_file()
