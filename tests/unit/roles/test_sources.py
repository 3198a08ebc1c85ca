"""Which sources may be added, what is kept of them, and what is seen of them?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from node.clock import SystemClock
from node.config import SourceConfig
from node.errors import Conflict, EcnodeError, Forbidden, Invalid, NotFound, Unavailable
from node.model.source import SourceRequest
from node.pipeline.video.codec import encode_jpeg
from node.roles.edge.allowed import check_url
from node.roles.edge.source_reader import SourceReader
from node.roles.edge.sources import Rules, Sources
from node.roles.shared.arena import FrameArena
from node.roles.shared.processes import ProcessSpawner

CLOCK = SystemClock()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:7480/api/v1/node",
        "http://localhost/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://0.0.0.0/",
        "http://2130706433/",
        "http://169.254.169.254/latest/meta-data/",
        "rtsp://224.0.0.1/stream",
        "/etc/passwd",
        "file:///etc/passwd",
        "../secret.mp4",
    ],
)
def test_what_only_this_machine_reaches_is_no_source(url: str, tmp_path: Path) -> None:
    with pytest.raises(Forbidden, match=r"only this machine|lies in no folder"):
        check_url(url, (), (tmp_path,))


@pytest.mark.parametrize("url", ["concat:/etc/passwd|a.mp4", "ftp://10.0.0.5/a.mp4", "http://[::1", "http:///a.mp4"])
def test_what_no_reader_knows_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises((Invalid, Forbidden)):
        check_url(url, (), (tmp_path,))


def test_a_link_out_of_an_allowed_folder_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").symlink_to("/etc/passwd")
    with pytest.raises(Forbidden):
        check_url(str(tmp_path / "clips" / "a.mp4"), (), (tmp_path / "clips",))


@pytest.mark.parametrize(
    "url", ["0", "rtsp://10.0.0.7/stream1", "http://user:secret@192.168.1.9:8080/video", "http://127.0.0.1:81/cam"]
)
def test_cameras_and_what_the_owner_allowed_are_sources(url: str, tmp_path: Path) -> None:
    check_url(url, ("127.0.0.1",), ())


class Edge:
    def __init__(self, folder: Path) -> None:
        self.folder, self.arena = folder, FrameArena(slots=4)
        self.clips = folder / "clips"
        self.clips.mkdir(exist_ok=True)
        (self.clips / "1.jpg").write_bytes(encode_jpeg(np.full((48, 64, 3), 90, np.uint8)))
        self.opened: list[Sources] = []

    async def open(self) -> Sources:
        """As a node that starts does it."""
        rules = Rules(folders=(self.clips,), kept=self.folder / "sources.json")
        config = {"lobby": SourceConfig(url=str(self.clips), id=0)}
        self.opened.append(Sources(config, self._reader, CLOCK, rules))
        await self.opened[-1].recall()
        return self.opened[-1]

    def _reader(self, name: str, config: SourceConfig) -> SourceReader:
        return SourceReader(name, config, ProcessSpawner(CLOCK), self.arena, CLOCK)


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    made = Edge(tmp_path)
    yield made
    for sources in made.opened:
        await sources.stop()
    assert made.arena.free == made.arena.slots
    made.arena.close()


def request(edge: Edge, name: str = "yard", **changes: object) -> SourceRequest:
    return SourceRequest.model_validate({"name": name, "url": str(edge.clips), "loop": True, **changes})


async def test_what_was_added_is_there_after_a_restart_until_it_is_removed(edge: Edge) -> None:
    sources = await edge.open()
    added = await sources.add(request(edge))
    assert (added.name, added.id, sources.is_added("yard")) == ("yard", 1, True)
    assert await sources.add(request(edge)) == added
    again = await edge.open()
    assert [(one.name, one.id) for one in again.reports()] == [("lobby", 0), ("yard", 1)]
    await again.remove("yard")
    assert [one.name for one in (await edge.open()).reports()] == ["lobby"]
    assert (edge.folder / "sources.json").stat().st_mode & 0o077 == 0


async def test_names_and_numbers_are_not_given_twice_and_the_config_is_not_touched(edge: Edge) -> None:
    sources = await edge.open()
    for wrong in (request(edge, "lobby"), request(edge, id=0)):
        with pytest.raises(Conflict):
            await sources.add(wrong)
    with pytest.raises(Forbidden, match="stands in the config"):
        await sources.remove("lobby")
    with pytest.raises(NotFound, match="no source 'attic'"):
        await sources.remove("attic")
    await sources.add(request(edge))
    with pytest.raises(Conflict):
        await sources.add(request(edge, fps=3.0))


async def test_a_file_of_added_sources_that_is_torn_keeps_no_edge_from_starting(edge: Edge) -> None:
    (edge.folder / "sources.json").write_text('[{"name": "ya')
    assert [one.name for one in (await edge.open()).reports()] == ["lobby"]


async def test_a_look_says_how_quickly_a_source_gives_pictures_and_leaves_nothing_behind(edge: Edge) -> None:
    sources = await edge.open()
    await sources.add(request(edge))
    assert (await sources.snapshot("yard")).startswith(b"\xff\xd8")
    probe = await sources.probe("yard")
    assert probe.pictures >= 2
    assert probe.announced_fps == 5.0
    assert probe.height == 48


async def test_a_source_without_pictures_is_told_with_its_reason(edge: Edge) -> None:
    sources = await edge.open()
    await sources.add(request(edge, url=str(edge.clips / "nothing.mp4")))
    with pytest.raises(Unavailable, match=r"gives no picture: .*is not there"):
        await sources.snapshot("yard")


async def test_no_more_sources_than_a_heartbeat_tells_of(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.roles.edge.sources.MOST", 1)
    with pytest.raises(EcnodeError, match="1 sources are there already"):
        await (await edge.open()).add(request(edge))
