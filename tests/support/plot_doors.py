"""A door with an overlord behind it whose one talent told of nothing but its room."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from doors import HttpSettings
from overlords import Cloud

from node.model.plot import PlotAnswer
from node.roles.shared.news import PlotNews


@pytest.fixture
def plot_door(open_door: Any, tmp_path: Path) -> Iterator[Any]:
    """As `door`; its overlord is that of `door.cloud`, and what it posts is answered at once."""
    door = open_door(HttpSettings(compat=("video", "talent")))
    (tmp_path / "cloud").mkdir()

    async def begin() -> Cloud:
        cloud = await Cloud.open(tmp_path / "cloud")
        await cloud.report()
        cloud.post.prompt = PlotAnswer(type="on_stop", is_success=True, msg="it is being stopped")
        cloud.store.orders.watch(PlotNews(door.server._door.ports.events))
        return cloud

    cloud = door.run(begin())
    object.__setattr__(door.server._door.ports, "plots", cloud.overlord)
    door.cloud = cloud
    yield door
    door.run(cloud.close())


def asked(door: Any, method: str, path: str, body: object = None, **more: Any) -> Any:
    """The reply to a request in JSON."""
    return door.raw(method, path, None if body is None else json.dumps(body).encode(), **more)


def placed(door: Any, **request: object) -> str:
    """The id of a plot that the talent has."""
    reply = asked(door, "POST", "/api/v1/plots", request)
    assert reply.status == 201, reply.body
    door.run(door.cloud.until(lambda: door.cloud.overlord.unplaced == 0))
    return str(reply.json["id"])
