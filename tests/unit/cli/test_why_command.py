"""Does the command tell why, and the door with it?"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from doors import TOKEN

from node.cli import run
from node.model.decision import Considered, Decision
from node.model.video import Runtime, VideoConf

PLAN = Considered(
    video_conf=VideoConf(fps=5),
    places={"face_detection": "edge-1"},
    delay=0.2,
    latency=0.25,
    fps=4.5,
    accuracy=0.91,
    held=0.97,
    utility=1.02,
)


@pytest.fixture
def ecnode(door: Any, tmp_path: Path) -> Callable[..., int]:
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    return lambda *words: run(["--url", door.url, "--token-file", str(token), *words])


def decided(door: Any, count: int) -> None:
    query = door.submit()
    for number in range(count):
        reason = f"delay {400 + number} ms > 300 ms → resolution 720p→480p"
        decision = Decision(
            time=1.7e9 + number,
            epoch=1 + 2 * number,
            kept=False,
            reason=reason,
            predicted=PLAN,
            observed=Runtime(),
            best=(PLAN,),
        )
        door.run(door.store.queries.decide(query.id, decision))


def test_why_tells_the_newest_reasons_in_order(
    ecnode: Callable[..., int], door: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    decided(door, 3)
    assert ecnode("queries", "why", "-n", "2") == 0
    told = capsys.readouterr().out
    assert "delay 401 ms > 300 ms → resolution 720p→480p" in told
    assert told.index("401 ms") < told.index("402 ms")
    assert "400 ms" not in told
    assert re.search(r"200 ms, 250 ms +– +delay 401 ms", told), "what was predicted, and that nothing was seen yet"
    assert ecnode("queries", "why", "@last", "-o", "json") == 0
    assert json.loads(capsys.readouterr().out)[0]["best"][0]["held"] == 0.97


def test_why_shows_the_best_plans_of_the_newest_decision(
    ecnode: Callable[..., int], door: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    decided(door, 1)
    assert ecnode("queries", "why", "--best") == 0
    told = capsys.readouterr().out
    assert "face_detection@edge-1" in told
    assert "97%" in told


def test_a_query_without_a_decision_says_so(ecnode: Callable[..., int], door: Any, capsys: pytest.CaptureFixture[str]) -> None:
    door.submit()
    assert ecnode("queries", "why") == 0
    assert "nothing was decided yet" in "".join(capsys.readouterr())


def test_the_door_gives_decisions_with_their_times(door: Any) -> None:
    decided(door, 2)
    items = door.raw("GET", "/api/v1/queries/@last/decisions?limit=1").json["items"]
    assert [item["epoch"] for item in items] == [3]
    assert items[0]["time"].endswith("Z")
    assert door.raw("GET", "/api/v1/queries/@last/decisions?limit=0").status == 422
