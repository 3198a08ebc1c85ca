"""How many pictures do bare processes manage, and what does the node look like that is held against them?

As many bare processes as workers, each decoding a clip and running both stages of a head count, without a message between them;
and one node with both roles and as many workers, asked for more than it can do. Bare processes have the workers' niceness: what
else the machine does disturbs both sides alike. Both are measured over whole rounds of one short clip: the scene it is cut from
has three heads at first and seven later, so that a side which got further into it would be given other work.

`bare.py clip SCENE TARGET EVERY FPS` makes a clip, `bare.py run FOLDER CLIP SECONDS` is one bare process.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import psutil

from node import heap
from node.app import Node, Opened
from node.assets import fetch, missing
from node.client import Client
from node.clock import SystemClock
from node.config import NodeConfig, load
from node.model.video import Constraint, Placement, Plan, QueryRequest, Resolution, Result, Runtime, VideoConf
from node.pipeline.video.planner.base import Choice, ResourceInfo
from node.roles.shared.processes import ProcessSpawner

CLOCK: Final = SystemClock()
STAGES: Final = ("face_detection", "face_alignment")
WORKERS: Final = psutil.cpu_count() or 1
WARM_UP_S: Final = 2.0
EVERY: Final = 10  # of the scene's 500 frames the clip has each tenth: at 25 frames per second it is over in two seconds


class Everything:
    """A scheduler that asks for more than a node can do: 720p at 30 frames per second, all of it at home."""

    def plan(self, _job: str, dag: Sequence[str], info: ResourceInfo, _seen: Runtime, _limit: Constraint) -> Choice | None:
        """See `Scheduler`."""
        home = info.nodes[0]
        if not all(info.offering(stage) for stage in dag):
            return None
        conf = VideoConf(fps=30, resolution=Resolution.P720)
        return conf, {stage: Placement(node=home.name, role=home.role) for stage in dag}

    def observe(self, _job: str, plan: Plan, result: Result) -> None:
        """Learns nothing."""

    def failed(self, _job: str, plan: Plan, stage: str) -> None:
        """Learns nothing."""

    def forget(self, _job: str) -> None:
        """Knows nothing."""


def assets_folder() -> Path:
    """The folder with the assets, fetched where they are missing."""
    folder = Path(os.environ.get("ECNODE_NODE__ASSETS_DIR", "~/.cache/ecnode/assets")).expanduser()
    if missing(folder):
        fetch(folder, lambda line: print(line, file=sys.stderr))
    return folder


def cut_clip(scene: Path, target: Path, every: int = EVERY, fps: float = 0.0) -> None:
    """A clip of each `every`th frame of the scene, at `fps` or that of the scene.

    Made by a child: this process keeps OpenCV out of its memory.
    """
    subprocess.run([sys.executable, __file__, "clip", scene, target, str(every), str(fps)], check=True)


async def bare_rate(folder: Path, clip: Path, seconds: float) -> float:
    """Frames per second of all bare processes together."""
    command = [sys.executable, __file__, "run", str(folder), str(clip), str(seconds)]
    running = [await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE) for _ in range(WORKERS)]
    return sum([float((await process.communicate())[0]) for process in running])


def config(folder: Path, data: Path, clip: Path, scheduler: str = "parts.bare:Everything") -> NodeConfig:
    """A node with both roles, one worker a core, and the clip as its camera."""
    settings = {
        "node.name": "bench",
        "node.roles": '["cloud","edge"]',
        "node.data_dir": data,
        "node.assets_dir": folder,
        "transport.listen": '["tcp://127.0.0.1:*"]',
        "transport.heartbeat": 0.5,
        "http.listen": "127.0.0.1:0",
        "cloud.scheduler": scheduler,
        "edge.workers": WORKERS,
        "edge.sources.lobby.url": clip,
        "edge.sources.lobby.loop": "true",
    }
    return load([], {}, [f"{name}={value}" for name, value in settings.items()]).config


@asynccontextmanager
async def node(chosen: NodeConfig) -> AsyncIterator[Client]:
    """A running node, calibrated, and a client of it."""
    running = Node(chosen, CLOCK, ProcessSpawner(CLOCK))
    opened: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    life = asyncio.create_task(running.run(stop, opened.set_result))
    try:
        url = (await opened).urls[0]
        while not (views := running.views()) or not views[0].report.services:
            await CLOCK.sleep(0.1)
        heap.settle()  # as `ecnode up` does
        with Client(url, (chosen.node.data_dir / "token").read_text().strip()) as client:
            yield client
    finally:
        stop.set()
        await life


async def node_rates(client: Client, queries: int, seconds: float) -> list[float]:
    """Processed frames per second of each of so many head counts that run at once."""
    request = QueryRequest(node="bench", source="lobby", pipeline=STAGES)
    running = [await asyncio.to_thread(client.submit, request) for _ in range(queries)]
    await CLOCK.sleep(WARM_UP_S)
    before, began = await _processed(client, running), CLOCK.monotonic()
    await CLOCK.sleep(seconds)
    after, spent = await _processed(client, running), CLOCK.monotonic() - began
    for query in running:
        await asyncio.to_thread(client.stop, query.id)
    return [(later - earlier) / spent for earlier, later in zip(before, after, strict=True)]


async def _processed(client: Client, queries: Sequence[object]) -> list[int]:
    return [(await asyncio.to_thread(client.query, query.id)).tally.processed for query in queries]


def _make_clip(scene: str, target: str, every: int, fps: float) -> None:
    import cv2

    from node.pipeline.video.source import open_source, pictures

    with open_source(scene, loop=False) as frames:
        size = frames.width, frames.height
        writer = cv2.VideoWriter(target, cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), fps or frames.fps, size)
        for number, picture in enumerate(pictures(frames)):
            if number % every == 0:
                writer.write(picture)
        writer.release()


def _run(folder: Path, clip: str, seconds: float) -> None:
    """Prints the frames per second of decoding, resizing and both stages, over whole rounds of the clip."""
    from node.pipeline.video.codec import resize
    from node.pipeline.video.faces import FaceAlignment, FaceDetection
    from node.pipeline.video.source import open_source, pictures
    from node.roles.shared.compute_child import NICE

    os.nice(NICE)
    detection, alignment = FaceDetection(folder, 0), FaceAlignment(folder, 0)
    with open_source(clip, loop=False) as once:
        length = sum(1 for _ in iter(once.skip, False))
    rate, count, began, warm = 0.0, 0, CLOCK.monotonic(), False
    with open_source(clip, loop=True) as frames:
        for picture in pictures(frames):
            values, found = detection.run({}, {"image": [resize(picture, 1280, 720)]})
            alignment.run(values, found)
            count += 1
            spent = CLOCK.monotonic() - began
            if not warm and spent >= WARM_UP_S:
                warm, count, began = True, 0, CLOCK.monotonic()
            elif warm and count % length == 0:
                rate = count / spent
            if warm and rate and spent >= seconds:  # not before: the other processes want to be disturbed to their end
                break
    print(rate)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["clip", scene, target, every, fps]:
            _make_clip(scene, target, int(every), float(fps))
        case ["run", folder, clip, seconds]:
            _run(Path(folder), clip, float(seconds))
