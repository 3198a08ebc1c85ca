"""A source and its jobs, over real capture processes: a camera that comes and goes, a scene in which nothing happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest

from node.clock import SystemClock
from node.config import SourceConfig
from node.model.cluster import SourceState
from node.model.video import Resolution, VideoConf
from node.pipeline.video.codec import encode_jpeg
from node.pipeline.video.opencv import cv2
from node.roles.edge import source_reader
from node.roles.edge.source_reader import Capture, SourceReader
from node.roles.shared.arena import FrameArena
from node.roles.shared.processes import ProcessSpawner

CLOCK = SystemClock()
WISH = (VideoConf(fps=30, resolution=Resolution.P360), 1, "jpeg")


@dataclass
class Taker:
    """A job that lets go of every picture at once."""

    numbers: list[int] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    seen: int = 0
    reason: str | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def took(self, capture: Capture) -> None:
        assert capture.number > self.seen, "a number came twice"
        self.numbers.append(capture.number)
        self.frames.append(capture.camera_frame)
        self.seen = capture.number
        capture.frame.lease.release()
        self.news.set()

    def counted(self, number: int) -> None:
        self.seen = max(self.seen, number)

    def source_ended(self, reason: str | None) -> None:
        self.reason = reason
        self.ended.set()

    async def until(self, count: int) -> None:
        async with CLOCK.timeout(20):
            while len(self.numbers) < count:
                self.news.clear()
                await self.news.wait()


class Camera:
    """A camera on the network: multipart JPEG over HTTP, `pictures` to a connection, then it hangs up."""

    def __init__(self) -> None:
        self.pictures = 6
        self.connections = 0
        self.answers = True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await reader.readuntil(b"\r\n\r\n")
            if self.answers:
                writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=cut\r\n\r\n")
                for number in range(self.pictures):
                    content = encode_jpeg(np.full((48, 64, 3), 20 * (number % 10), np.uint8))
                    head = f"--cut\r\nContent-Type: image/jpeg\r\nContent-Length: {len(content)}\r\n\r\n"
                    writer.write(head.encode() + content + b"\r\n")
                    await writer.drain()
                    await CLOCK.sleep(0.01)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def camera() -> AsyncIterator[tuple[Camera, str]]:
    made = Camera()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    async with server:
        yield made, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/stream"


@pytest.fixture
async def opened(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[object]:
    monkeypatch.setattr(source_reader, "RETRY_FIRST_S", 0.05)
    arena = FrameArena(slots=4)
    readers: list[SourceReader] = []

    def make(url: str, **settings: object) -> SourceReader:
        config = SourceConfig.model_validate({"url": url, **settings})
        readers.append(SourceReader("yard", config, ProcessSpawner(CLOCK), arena, CLOCK))
        return readers[-1]

    yield make
    for reader in readers:
        await reader.stop()
    assert arena.free == arena.slots
    arena.close()
    assert psutil.Process().children() == []


async def test_a_camera_that_hangs_up_is_opened_again_and_its_job_counts_on(camera, opened) -> None:
    made, url = camera
    reader, taker = opened(url), Taker()
    reader.tap("q-1", taker, WISH)
    await taker.until(made.pictures + 1)
    assert made.connections >= 2
    assert taker.numbers == sorted(set(taker.numbers))
    assert taker.frames == sorted(set(taker.frames))
    assert not taker.ended.is_set()
    assert reader.report().state is SourceState.OPEN


async def test_a_camera_that_stays_away_ends_its_jobs_with_the_reason(camera, opened) -> None:
    made, url = camera
    made.answers = False
    reader, taker = opened(url, reconnect=0.3), Taker()
    reader.tap("q-1", taker, WISH)
    async with CLOCK.timeout(20):
        await taker.ended.wait()
    assert "cannot be opened" in str(taker.reason)
    assert made.connections >= 2
    assert reader.report().state is SourceState.BROKEN


async def test_nobody_waits_for_a_camera_that_is_tried_again(camera, opened, monkeypatch) -> None:
    monkeypatch.setattr(source_reader, "RETRY_FIRST_S", 60.0)
    made, url = camera
    made.answers = False
    reader, taker = opened(url), Taker()
    reader.tap("q-1", taker, WISH)
    async with CLOCK.timeout(20):
        while reader.report().state is not SourceState.RETRYING:
            await CLOCK.sleep(0.02)
        assert "cannot be opened" in reader.report().reason
        await reader.stop()


async def test_a_file_that_is_not_there_is_not_tried_again(tmp_path: Path, opened) -> None:
    reader, taker = opened(str(tmp_path / "nothing.mp4")), Taker()
    reader.tap("q-1", taker, WISH)
    async with CLOCK.timeout(20):
        await taker.ended.wait()
    assert "is not there" in str(taker.reason)


async def test_a_scene_in_which_nothing_happens_is_skipped_until_something_does(tmp_path: Path, opened) -> None:
    place = tmp_path / "still.avi"
    writer = cv2.VideoWriter(str(place), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 30, (64, 48))
    for number in range(30):
        picture = np.full((48, 64, 3), 90, np.uint8)
        picture[:, :32] += 100 if number >= 20 else 0
        writer.write(picture)
    writer.release()
    reader, taker = opened(str(place), gate=0.05, hold=30.0), Taker()
    reader.tap("q-1", taker, WISH)
    async with CLOCK.timeout(20):
        await taker.ended.wait()
    assert taker.reason is None
    assert taker.frames == [0, 20]
    assert taker.seen == 30, "what was skipped at the gate is not counted"


async def test_a_picture_passes_the_gate_when_the_last_one_is_too_old_to_hold(tmp_path: Path, opened) -> None:
    place = tmp_path / "still.avi"
    writer = cv2.VideoWriter(str(place), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 30, (64, 48))
    for _ in range(30):
        writer.write(np.full((48, 64, 3), 90, np.uint8))
    writer.release()
    reader, taker = opened(str(place), gate=0.05, hold=0.3), Taker()
    reader.tap("q-1", taker, WISH)
    async with CLOCK.timeout(20):
        await taker.ended.wait()
    assert 2 <= len(taker.frames) <= 5
    assert taker.seen == 30
