"""How near is a node to a bare loop, and what does a frame pay for being computed on another node?

Pipeline: one node with both roles and one worker a core answers a head count at 720p from a clip that is faster than it can
be; against it as many bare processes as workers, each decoding the clip and running both stages, without a message between
them. Both sides take turns and are measured over whole rounds of one short clip: the scene it is cut from has three heads at
first and seven later, so that a side which got further into it would be given other work. Bare processes have the workers'
niceness: what else the machine does disturbs both sides alike.
Hop: 720p frames go to another node's worker over CURVE and the answer comes back, in this process and so with both ends on one
loop; what is counted is neither the services, nor decoding, nor waiting for a worker. Once both stages run there; once only the
first, so that the crops of all faces are encoded and come back.

`python benchmarks/frames.py [--quick] [--json]`, with the assets where ECNODE_NODE__ASSETS_DIR says.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median

import psutil
import uvloop
from parts.report import Bar, Row, ratio, row, show

from node import heap
from node.app import Node, Opened
from node.assets import fetch, missing, path
from node.client import Client
from node.clock import SystemClock
from node.config import NodeConfig, load
from node.model.cluster import Role
from node.model.video import Constraint, Placement, Plan, QueryRequest, Resolution, Result, Runtime, VideoConf
from node.model.wire.compute import COMPUTE_RUN, ComputeRequest, Pictures, StageCall
from node.pipeline.video.planner.base import Choice, ResourceInfo
from node.roles.shared.arena import FrameArena
from node.roles.shared.compute_peers import ComputePeers
from node.roles.shared.compute_service import ComputeService
from node.roles.shared.processes import ProcessSpawner
from node.roles.shared.tasks import begin, end
from node.transport.auth import Directory
from node.transport.base import Peer
from node.transport.keys import fingerprint, new_identity
from node.transport.options import Dial, LinkOptions
from node.transport.zmq import ZmqTransport

CLOCK = SystemClock()
STAGES = ("face_detection", "face_alignment")
WORKERS = psutil.cpu_count() or 1
WARM_UP_S = 2.0
EVERY = 10  # of the scene's 500 frames the clip has each tenth: at 25 frames per second it is over in two seconds


class Everything:
    """A scheduler that asks for more than a node can do: 720p at 30 frames per second, all of it at home."""

    def plan(self, _job: str, dag: Sequence[str], info: ResourceInfo, _seen: Runtime, _limit: Constraint) -> Choice | None:
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


def cut_clip(scene: Path, target: Path) -> None:
    """`make_clip` in a child: this process keeps OpenCV out of its memory."""
    subprocess.run([sys.executable, __file__, "--clip", scene, target], check=True)


def make_clip(scene: Path, target: Path) -> None:
    """A clip of two seconds with the mixture of the whole scene."""
    import cv2

    from node.pipeline.video.source import open_source, pictures

    with open_source(str(scene), loop=False) as frames:
        size = frames.width, frames.height
        writer = cv2.VideoWriter(str(target), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), frames.fps, size)
        for number, picture in enumerate(pictures(frames)):
            if number % EVERY == 0:
                writer.write(picture)
        writer.release()


def bare(folder: Path, clip: Path, seconds: float) -> None:
    """One bare process: frames per second of decoding, resizing and both stages, over whole rounds of the clip, printed."""
    from node.pipeline.video.codec import resize
    from node.pipeline.video.faces import FaceAlignment, FaceDetection
    from node.pipeline.video.source import open_source, pictures
    from node.roles.shared.compute_child import NICE

    os.nice(NICE)
    detection, alignment = FaceDetection(folder, 0), FaceAlignment(folder, 0)
    with open_source(str(clip), loop=False) as once:
        length = sum(1 for _ in iter(once.skip, False))
    rate, count, began, warm = 0.0, 0, CLOCK.monotonic(), False
    with open_source(str(clip), loop=True) as frames:
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


def bare_rate(folder: Path, clip: Path, seconds: float) -> float:
    """Frames per second of all bare processes together."""
    command = [sys.executable, __file__, "--bare", str(folder), str(clip), "--seconds", str(seconds)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(WORKERS)]
    return sum(float(process.communicate()[0]) for process in running)


def config(folder: Path, data: Path, clip: Path) -> NodeConfig:
    """A node with both roles, one worker a core, and the clip as its camera."""
    settings = {
        "node.name": "bench",
        "node.roles": '["cloud","edge"]',
        "node.data_dir": data,
        "node.assets_dir": folder,
        "transport.listen": '["tcp://127.0.0.1:*"]',
        "transport.heartbeat": 0.5,
        "http.listen": "127.0.0.1:0",
        "cloud.scheduler": "frames:Everything",
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


async def node_rate(client: Client, seconds: float) -> float:
    """Processed frames per second of a running head count."""
    query = await asyncio.to_thread(client.submit, QueryRequest(node="bench", source="lobby", pipeline=STAGES))
    await CLOCK.sleep(WARM_UP_S)
    before, began = (await asyncio.to_thread(client.query, query.id)).tally.processed, CLOCK.monotonic()
    await CLOCK.sleep(seconds)
    after = (await asyncio.to_thread(client.query, query.id)).tally.processed
    spent = CLOCK.monotonic() - began
    await asyncio.to_thread(client.stop, query.id)
    return (after - before) / spent


async def pipeline(folder: Path, rounds: int, seconds: float) -> list[tuple[float, float]]:
    """(node, bare) frames per second of every round."""
    with tempfile.TemporaryDirectory() as data:
        clip = Path(data) / "clip.mp4"
        await asyncio.to_thread(cut_clip, path(folder, "collage.mp4"), clip)
        async with node(config(folder, Path(data), clip)) as client:
            return [
                (await node_rate(client, seconds), await asyncio.to_thread(bare_rate, folder, clip, seconds))
                for _ in range(rounds)
            ]


async def hops(folder: Path, calls: int) -> dict[str, list[float]]:
    """Milliseconds of every call, by what they were spent on."""
    near, far = new_identity(), new_identity()
    people = [
        (one.public, Peer(name, frozenset({Role.EDGE}), fingerprint(one.public)))
        for name, one in (("near", near), ("far", far))
    ]
    directory = Directory(people)
    host = ZmqTransport(far, directory, ["tcp://127.0.0.1:*"], [], CLOCK, LinkOptions("far"))
    arena = FrameArena()
    compute = ComputeService(ProcessSpawner(CLOCK), arena, CLOCK, folder, 1)
    ComputePeers(compute, host, CLOCK).register()
    await host.start()
    caller = ZmqTransport(near, directory, [], [Dial(host.endpoints[0], far.public)], CLOCK, LinkOptions("near"))
    linked = asyncio.Event()
    caller.watch(lambda _peer, up: linked.set() if up else None)
    await caller.start()
    serving = begin(compute.run(), "compute")
    try:
        await linked.wait()
        frame = frame_720p(folder)
        found: dict[str, list[float]] = {"overhead": [], "overhead with crops": [], "decoding": []}
        for number in range(2 * calls):
            crops = number % 2 == 1
            request = ComputeRequest(
                stages=tuple(StageCall(service=stage) for stage in (STAGES[:1] if crops else STAGES)),
                pictures=(Pictures(name="image", count=1),),
                wanted=("faces",) if crops else (),
            )
            began = CLOCK.monotonic()
            answer = await caller.call("far", COMPUTE_RUN, request, blobs=[frame], timeout=30.0)
            spent = CLOCK.monotonic() - began
            if number < calls // 5:
                continue  # the first ones load the models
            inside = sum(answer.body.stage_seconds) + answer.body.decode_seconds + answer.body.wait_seconds
            found["overhead with crops" if crops else "overhead"].append((spent - inside) * 1000)
            found["decoding"].append(answer.body.decode_seconds * 1000)
        return found
    finally:
        await end(serving)
        await caller.stop()
        await host.stop()
        arena.close()


def frame_720p(folder: Path) -> bytes:
    """A frame of the clip as it travels: JPEG, quality 80. Made by a child: this process keeps OpenCV out of its memory."""
    program = (
        "import sys; from node.pipeline.video import codec, source; "
        "sys.stdout.buffer.write(codec.encode_jpeg(source.open_source(sys.argv[1], False).read()))"
    )
    clip = str(path(folder, "collage.mp4"))
    return subprocess.run([sys.executable, "-c", program, clip], capture_output=True, check=True).stdout


def report(rates: Sequence[tuple[float, float]], calls: dict[str, list[float]]) -> tuple[list[Row], list[Bar]]:
    """Every case, and the bars with what they were held against."""
    ours, theirs = [node for node, _ in rates], [bare for _, bare in rates]
    compared = ratio(ours, theirs)
    rows = [
        row("head count 720p", "node", ours, "frames/s", compared),
        row("head count 720p", "bare", theirs, "frames/s"),
        *(row("hop 720p", subject, spent, "ms") for subject, spent in calls.items()),
    ]
    return rows, [Bar("pipeline_vs_bare", compared, ">= 0.85"), Bar("hop_overhead_ms", median(calls["overhead"]), "<= 3")]


def main() -> None:
    """Runs the benchmark; a missed bar is shown, it is no failure."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true")
    options.add_argument("--json", action="store_true")
    options.add_argument("--bare", type=Path, nargs=2, help=argparse.SUPPRESS)
    options.add_argument("--clip", type=Path, nargs=2, help=argparse.SUPPRESS)
    options.add_argument("--seconds", type=float, default=8.0, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.clip:
        make_clip(*chosen.clip)
        return
    if chosen.bare:
        folder, clip = chosen.bare
        bare(folder, clip, chosen.seconds)
        return
    folder = Path(os.environ.get("ECNODE_NODE__ASSETS_DIR", "~/.cache/ecnode/assets")).expanduser()
    if missing(folder):
        fetch(folder, lambda line: print(line, file=sys.stderr))
    rounds, seconds, calls = (2, 4.0, 60) if chosen.quick else (5, 8.0, 300)
    rows, bars = report(uvloop.run(pipeline(folder, rounds, seconds)), uvloop.run(hops(folder, calls)))
    show("frames", rows, bars, as_json=chosen.json)


if __name__ == "__main__":
    main()
