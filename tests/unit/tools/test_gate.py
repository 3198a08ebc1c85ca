"""Does each rule of the gate bite, and only there?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gate
import pytest

TOOL = Path(gate.__file__)


def rules(findings: object) -> list[str]:
    return [finding.rule for finding in findings]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("eval(text)", "evaluation"),
        ("exec(text)", "evaluation"),
        ("list(map(eval, texts))", "evaluation"),
        ("import builtins\nbuiltins.eval(text)", "evaluation"),
        ("import pickle", "unpickling"),
        ("import pickle as p", "unpickling"),
        ("from pickle import loads", "unpickling"),
        ("import marshal", "unpickling"),
        ("import shelve", "unpickling"),
        ("numpy.load(file, allow_pickle=True)", "unpickling"),
        ("import yaml\nyaml.load(text)", "unpickling"),
        ("from yaml import load as read\nread(text)", "unpickling"),
        ("subprocess.run(line, shell=True)", "shell-string"),
        ("subprocess.run(line, shell=chosen)", "shell-string"),
        ("import os\nos.system(line)", "shell-string"),
        ("import os as o\no.system(line)", "shell-string"),
        ("from os import system\nsystem(line)", "shell-string"),
        ("import asyncio\nasyncio.create_subprocess_shell(line)", "shell-string"),
        ("import ssl\nssl._create_unverified_context()", "unverified-tls"),
        ("import ssl\nssl._create_default_https_context = ssl._create_unverified_context", "unverified-tls"),
    ],
)
def test_code_that_could_run_what_somebody_sent_is_found(code: str, rule: str) -> None:
    assert rules(gate.check_code("node/x.py", code)) == [rule]


@pytest.mark.parametrize(
    "code",
    [
        "model.eval()",
        "def evaluate(text): return text",
        "subprocess.run(words, shell=False)",
        "import yaml\nyaml.safe_load(text)",
        "import ssl\nssl.create_default_context()",
        '"eval(x) and pickle are only words here"',
        "from node.config.loading import load\nload()",
    ],
)
def test_code_that_only_looks_alike_is_left_alone(code: str) -> None:
    assert rules(gate.check_code("node/x.py", code)) == []


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("see /" + "work/main/x", "machine-path"),
        ("file:///" + "root/.cache", "machine-path"),
        ("'/" + "home/somebody'", "machine-path"),
        ("https://" + "pypi" + ".org/simple", "registry-host"),
        ("files." + "pythonhosted" + ".org", "registry-host"),
        ("https://registry." + "npmjs" + ".org/left-pad", "registry-host"),
        ("deb http://deb." + "debian" + ".org/debian stable main", "registry-host"),
        ("x = 1  # TO" + "DO: later", "note-without-issue"),
        ("// FIX" + "ME", "note-without-issue"),
        ("<!-- TO" + "DO write -->", "note-without-issue"),
    ],
)
def test_text_that_belongs_to_one_machine_or_one_day_is_found(text: str, rule: str) -> None:
    assert rules(gate.check_text("README.md", text)) == [rule]


@pytest.mark.parametrize(
    "text",
    [
        "# TO" + "DO(#12): later",
        "# TO" + "DO #12 later",
        "docs/work/plan.md",
        "$HOME/x",
        "~/.cache/ecnode",
        "no to-do without an issue",
    ],
)
def test_text_that_only_looks_alike_is_left_alone(text: str) -> None:
    assert rules(gate.check_text("README.md", text)) == []


def test_a_finding_names_the_file_and_the_line() -> None:
    (finding,) = gate.check_code("node/x.py", "a = 1\n\neval(a)\n")
    assert str(finding) == "node/x.py:3: evaluation: eval"


def test_tests_may_hold_hostile_code_but_no_machine_path(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_x.py").write_text("eval('1')\nwhere = '/" + "root/x'\n")
    assert rules(gate.check_files(tmp_path, ["tests/test_x.py"])) == ["machine-path"]


def test_a_file_that_is_no_text_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "picture.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    assert rules(gate.check_files(tmp_path, ["picture.jpg", "gone.py"])) == []


def test_the_gate_sees_new_files_and_ends_with_one_where_it_found_something(tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/gate.py").write_text(TOOL.read_text())
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    command = [sys.executable, "tools/gate.py"]
    clean = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (clean.returncode, clean.stdout) == (0, "gate: 0 findings in 1 files\n")
    (tmp_path / "fresh.py").write_text("import os\nos.system('ls')\n")
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert "fresh.py:2: shell-string: os.system" in found.stdout
