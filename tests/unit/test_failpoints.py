"""Can a test make the program stumble where it says, and nowhere else?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from node import failpoints
from node.errors import Internal, Rejected


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoints.arm("")


@pytest.mark.parametrize("name", sorted(failpoints.NAMES))
def test_a_place_that_is_not_armed_does_nothing(name: str) -> None:
    failpoints.hit(name)


def test_an_armed_place_raises_and_the_others_do_not() -> None:
    failpoints.arm("before_commit=error, ")
    failpoints.hit("after_commit_before_ack")
    with pytest.raises(Internal, match="failpoint before_commit"):
        failpoints.hit("before_commit")


@pytest.mark.parametrize("spec", ["nowhere=kill", "before_commit=dance", "before_commit", "=kill", "before_commit=error;x"])
def test_a_spec_that_names_nothing_is_refused_with_the_names(spec: str) -> None:
    with pytest.raises(Rejected, match="not name=action") as caught:
        failpoints.arm(spec)
    assert "before_commit" in caught.value.hint


def test_a_refused_spec_arms_nothing() -> None:
    with pytest.raises(Rejected):
        failpoints.arm("before_commit=error,nowhere=kill")
    failpoints.hit("before_commit")


def test_arming_again_replaces_what_was_armed() -> None:
    failpoints.arm("before_commit=error")
    failpoints.arm("after_commit_before_ack=error")
    failpoints.hit("before_commit")


def test_kill_is_a_kill() -> None:
    program = (
        "from node import failpoints; failpoints.arm('before_commit=kill'); failpoints.hit('before_commit'); print('alive')"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, timeout=30)
    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, b"")


def test_the_environment_alone_arms_nothing() -> None:
    program = "from node import failpoints; failpoints.hit('before_commit'); print('alive')"
    environment = {**os.environ, failpoints.ENVIRONMENT: "before_commit=kill"}
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=30, env=environment)
    assert ended.stdout == b"alive\n"
