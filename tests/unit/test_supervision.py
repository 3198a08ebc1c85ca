"""What does a service manager hear, when, and from whom?"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.clock import ManualClock
from node.supervision import Supervision


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(tmp_path / "notify"))
        line.setblocking(False)
        yield line


def heard(manager: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(manager.recv(4096).decode())
        except BlockingIOError:
            return found


async def test_a_manager_hears_of_the_beginning_of_life_and_of_the_end(manager: socket.socket) -> None:
    clock = ManualClock()
    environment = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "4000000", "PATH": "/bin"}
    supervision = Supervision(clock, environment)
    assert environment == {"PATH": "/bin"}
    assert heard(manager) == []
    supervision.ready("one is open\nand more")
    await clock.advance(0.0)
    assert heard(manager) == ["READY=1\nSTATUS=one is open", "WATCHDOG=1"]
    await clock.advance(1.9)
    assert heard(manager) == []
    await clock.advance(0.1)
    assert heard(manager) == ["WATCHDOG=1"]
    await supervision.ending()
    await clock.advance(10.0)
    assert heard(manager) == ["STOPPING=1"]


async def test_signs_of_life_that_are_wanted_of_another_process_are_not_sent(manager: socket.socket) -> None:
    wanted = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "4000000"}
    assert Supervision(ManualClock(), wanted | {"WATCHDOG_PID": str(os.getpid() + 1)}).period == 0.0
    assert Supervision(ManualClock(), wanted | {"WATCHDOG_PID": str(os.getpid())}).period == 4.0


async def test_without_a_manager_nothing_is_told_and_one_that_has_gone_harms_nobody(tmp_path: Path) -> None:
    for environment in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone")}, {"NOTIFY_SOCKET": "@ecnode-nobody-listens"}):
        supervision = Supervision(ManualClock(), environment)
        supervision.ready("")
        await supervision.ending()


async def test_a_manager_on_an_abstract_socket_is_reached() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        name = f"ecnode-test-{os.getpid()}"
        line.bind(f"\0{name}")
        line.setblocking(False)
        Supervision(ManualClock(), {"NOTIFY_SOCKET": f"@{name}"}).ready("open")
        assert heard(line) == ["READY=1\nSTATUS=open"]
