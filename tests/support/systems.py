"""Whole systems of real nodes for the tests of this folder."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from node import assets as store
from node.cli.system import CLOUD, LocalSystem, Pace, Source
from node.client import Client
from node.clock import SystemClock
from node.model.document import ResultItem

CLOCK = SystemClock()
FAST = Pace(heartbeat=0.5, suspect_after=1.5, dead_after=5.0)


def connect(system: LocalSystem, name: str = CLOUD) -> Client:
    return Client(system.url(name), system.token_file(name).read_text().strip(), 10.0)


def until(condition, seconds: float = 30.0, every: float = 0.05):
    """What `condition` gives once it is true; fails after `seconds`."""
    end = CLOCK.monotonic() + seconds
    while CLOCK.monotonic() < end:
        found = condition()
        if found:
            return found
        threading.Event().wait(every)
    raise AssertionError(f"not within {seconds} s: {condition}")


def measured(client: Client, names) -> bool:
    reports = [client.node().report, *(view.report for view in client.nodes())]
    return set(names) <= {each.name for each in reports if each.services}


def all_results(client: Client, query_id: str) -> list[ResultItem]:
    items: list[ResultItem] = []
    while found := client.results(query_id, items[-1].cursor if items else 0, 500).items:
        items += found
    return items


@pytest.fixture(scope="session")
def clips(assets: Path, tmp_path_factory) -> dict[str, Source]:
    folder = tmp_path_factory.mktemp("clips")
    corrupt = folder / "corrupt.mp4"
    corrupt.write_bytes(store.path(assets, "collage.mp4").read_bytes()[:40_000])
    return {
        "lobby": Source("lobby", store.path(assets, "collage.mp4"), "people indoor"),
        "once": Source("once", store.path(assets, "bikes.mp4"), "street, ends after ten seconds", loop=False),
        "corrupt": Source("corrupt", corrupt, "cut off"),
        "gone": Source("gone", folder / "nothing.mp4", "not there"),
    }
