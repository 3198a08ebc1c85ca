"""What was acknowledged before a kill is there after it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from node.clock import SystemClock
from node.storage import open_store

CHILD = """
import asyncio, sys
from pathlib import Path
from node import failpoints
from node.clock import SystemClock
from node.model.value import new_id
from node.model.video import Constraint, Query, QueryState
from node.storage import open_store

async def write(store, count):
    while True:
        query = Query(id=new_id("q", 1e9), name="", node="edge-1", source="door", pipeline=("face_detection",),
                      constraint=Constraint(), state=QueryState.UNSCHEDULED, created_at=1e9)
        await store.queries.create(query)
        await store.queries.transition(query.id, "stop")
        print(query.id, flush=True)
        count[0] += 1
        if count[0] == 200:
            failpoints.arm(sys.argv[2])

async def main():
    store = await open_store("sqlite:///node.db", Path(sys.argv[1]), SystemClock())
    count = [0]
    await asyncio.gather(*(write(store, count) for _ in range(16)))

asyncio.run(main())
"""
ROOT = Path(__file__).parents[3]


def acknowledged_until_killed(folder: Path, failpoint: str) -> list[str]:
    command = [sys.executable, "-c", CHILD, str(folder), failpoint]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    acknowledged = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line.endswith("\n"):  # the kill may cut the last one
                acknowledged.append(line.strip())
            if len(acknowledged) == 300 and not failpoint:
                child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    return acknowledged


@pytest.mark.parametrize("failpoint", ["", "before_commit=kill", "after_commit_before_ack=kill"])
async def test_every_acknowledged_row_survives_a_kill(tmp_path: Path, failpoint: str) -> None:
    acknowledged = acknowledged_until_killed(tmp_path, failpoint)
    assert len(acknowledged) >= 200
    store = await open_store("sqlite:///node.db", tmp_path, SystemClock())
    for id in acknowledged:
        assert (await store.queries.get(id)).state == "stopped"
    await store.close()
