"""How near is a node to a bare loop, and what does a frame pay for being computed on another node?

Pipeline: one node with both roles and one worker a core answers a head count at 720p from a clip that is faster than it can
be, in turns with as many bare processes (`parts/bare.py`).
Hop: 720p frames go to another node's worker over CURVE and the answer comes back, in this process and so with both ends on one
loop; what is counted is neither the services, nor decoding, nor waiting for a worker. Once both stages run there; once only the
first, so that the crops of all faces are encoded and come back.

`python benchmarks/frames.py [--quick] [--json]`, with the assets where ECNODE_NODE__ASSETS_DIR says.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import uvloop
from parts.bare import CLOCK, STAGES, assets_folder, bare_rate, config, cut_clip, node, node_rates
from parts.report import Bar, Row, ratio, row, show

from node.assets import path
from node.model.cluster import Role
from node.model.wire.compute import COMPUTE_RUN, ComputeRequest, Pictures, StageCall
from node.roles.shared.arena import FrameArena
from node.roles.shared.compute_service import ComputeService
from node.roles.shared.processes import ProcessSpawner
from node.roles.shared.tasks import begin, end
from node.transport.auth import Directory
from node.transport.base import Peer
from node.transport.keys import fingerprint, new_identity
from node.transport.options import Dial, LinkOptions
from node.transport.zmq import ZmqTransport


async def pipeline(folder: Path, rounds: int, seconds: float) -> list[tuple[float, float]]:
    """(node, bare) frames per second of every round."""
    with tempfile.TemporaryDirectory() as data:
        clip = Path(data) / "clip.mp4"
        await asyncio.to_thread(cut_clip, path(folder, "collage.mp4"), clip)
        async with node(config(folder, Path(data), clip)) as client:
            return [(sum(await node_rates(client, 1, seconds)), await bare_rate(folder, clip, seconds)) for _ in range(rounds)]


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
    compute.register(host)
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
    chosen = options.parse_args()
    folder = assets_folder()
    rounds, seconds, calls = (2, 4.0, 60) if chosen.quick else (5, 8.0, 300)
    rows, bars = report(uvloop.run(pipeline(folder, rounds, seconds)), uvloop.run(hops(folder, calls)))
    show("frames", rows, bars, as_json=chosen.json)


if __name__ == "__main__":
    main()
