"""What do the three doors say to bad input, and does the node live on?

The table of the kinds of bad input, each at every door where it can come in. What a single module refuses by itself is tested
with that module (tests/unit); here it comes through the door.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import http.client
import json
import socket
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import zmq
from doors import TOKEN
from lone import lone_node
from peers import CLOCK, ECHO, MOST, Ask, Scene

from node.api import reading
from node.config import Known, SourceConfig, load
from node.errors import ConfigInvalid
from node.model.cluster import Role
from node.model.wire.compute import COMPUTE_RUN
from node.model.wire.job import JOB_START
from node.pipeline.stage import SERVICES
from node.roles.edge.job import Bench
from node.roles.edge.job_manager import JobManager
from node.roles.edge.source_reader import SourceReader
from node.roles.edge.sources import Sources
from node.roles.shared.arena import FrameArena
from node.roles.shared.compute_peers import ComputePeers
from node.roles.shared.compute_service import ComputeService
from node.roles.shared.processes import ProcessSpawner
from node.roles.shared.tasks import begin, end
from node.transport import limits
from node.transport.auth import Directory
from node.transport.base import Peer
from node.transport.bodies import error_of
from node.transport.frames import OPENING, Kind, Message, pack_body

SPEC: dict[str, Any] = {"node": "edge-1", "source": "lobby", "pipeline": ["face_detection", "face_alignment"]}
QUERIES = "/api/v1/queries"
FACES = "/execute_task/face_detection"
WARM_UP = 10
ROUNDS = 50
GROWTH = 10 * 2**20

AHEAD_BYTES = limits.AHEAD_MESSAGES * limits.MESSAGE_BYTES


def spec(**changes: Any) -> bytes:
    return json.dumps({**SPEC, **changes}).encode()


def png(width: int, height: int, unpacked: int) -> str:
    """The head of a picture of that size, and zeros that unpack to that many bytes."""
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(unpacked), 9)),
        (b"IEND", b""),
    )
    chunks = (struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts)
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(chunks)).decode()


def many(count: int, *, twice: bool) -> bytes:
    names = [f'"a{number}":0' for number in range(count)] + ['"a0":0'] * twice
    return b"{" + ",".join(names).encode() + b"}"


@dataclass(frozen=True)
class Bad:
    """One request, and the refusal that it earns: the fields that are named, or words of the sentence."""

    name: str
    body: bytes
    status: int
    fields: tuple[str, ...] = ()
    says: str = ""
    path: str = QUERIES
    headers: Mapping[str, str] = field(default_factory=dict)
    workers: bool = False

    def check(self, status: int, body: bytes) -> None:
        problem = json.loads(body)
        assert status == self.status, problem
        assert len(body) < 20_000, "a refusal repeats what was sent"
        told = {fault["path"] for fault in problem["errors"]}
        assert set(self.fields) <= told, problem
        assert self.says in json.dumps(problem, ensure_ascii=False), problem


LIST = [
    Bad("unknown_service", spec(pipeline=["face_detection", "mind_reading"]), 422, ("pipeline.1",), "mind_reading"),
    Bad("unknown_service_to_call", b"{}", 404, says="unregistered services", path="/execute_task/mind_reading"),
    Bad("cyclic", spec(pipeline=["face_detection", "face_alignment", "face_detection"]), 422, ("pipeline.2",), "twice"),
    Bad("missing_stage_input", spec(pipeline=["face_alignment"]), 422, ("pipeline.0",), "which no earlier stage gives"),
    Bad("missing_input_of_a_call", b"{}", 422, ("image",), "is required", path=FACES),
    Bad("impossible_delay", spec(constraint={"delay": 0}), 422, ("constraint.delay",)),
    Bad(
        "impossible_accuracy",
        spec(constraint={"accuracy": 1.01, "latency": -1}),
        422,
        ("constraint.accuracy", "constraint.latency"),
    ),
    Bad("infinite_delay", b'{"constraint":{"delay":1e999}}', 422, ("constraint.delay",), "finite"),
    Bad("huge", spec(name="x" * 2**20), 413),
    Bad("half_a_million_faults", spec(pipeline=[0] * 300_000), 422, ("pipeline",), "300000 entries"),
    Bad("a_hundred_thousand_names", many(90_000, twice=False), 422, ("",), "90000 entries"),
    Bad("a_hundred_thousand_names_one_twice", many(90_000, twice=True), 422, ("",), "entries"),
    Bad("a_name_without_end", b'{"' + b"k" * 1_000_000 + b'":{"a":1,"a":2}}', 422, ("k" * 63 + ".a",), "is given twice"),
    Bad("unknown_names", many(4_000, twice=False), 422, ("node", "source"), "4003 fields are wrong"),
    Bad(
        "gzip_bomb", gzip.compress(bytes(10 * 2**20)), 415, headers={"Content-Encoding": "gzip"}, says="plain application/json"
    ),
    Bad("gzip_without_a_word", gzip.compress(bytes(10 * 2**20)), 400, says="not UTF-8"),
    Bad(
        "picture_bomb", json.dumps({"image": png(60_000, 60_000, 10**7)}).encode(), 413, says="60000", path=FACES, workers=True
    ),
    Bad(
        "picture_too_short", json.dumps({"image": png(1920, 1080, 99)}).encode(), 422, says="picture", path=FACES, workers=True
    ),
    Bad("picture_as_endless_text", json.dumps({"image": "[" * 900_000}).encode(), 413, path=FACES),
    Bad("wrong_types", spec(node=7, pipeline="face_detection", constraint=[]), 422, ("node", "pipeline", "constraint")),
    Bad("not_an_object", b"[]", 422),
    Bad("unknown_token", spec(), 401, headers={"Authorization": "Bearer nobody-has-this-one"}, says="does not know"),
    Bad("truncated", spec()[:-9], 400, says="line 1 column"),
    Bad("deep", b"[" * 100_000, 400, says="nested too deeply"),
    *(
        Bad(f"deep_{depth}", spec().replace(b'"lobby"', b"[" * depth + b"]" * depth), 422 if depth < 400 else 400)
        for depth in (150, 1000, 4_000)
    ),
    Bad(
        "twice",
        b'{"node":"a","node":"b","constraint":{"delay":1,"delay":2}}',
        422,
        ("node", "constraint.delay"),
        "is given twice",
    ),
    Bad("half_a_character_twice", rb'{"\ud800":1,"\ud800":2}', 422, ("?",), "is given twice"),
    Bad("half_a_character", rb'{"node":"\ud800"}', 422, says="Invalid JSON"),
]


def name_of(bad: Bad) -> str:
    return bad.name


# The front door


@pytest.mark.parametrize("bad", [bad for bad in LIST if not bad.workers], ids=name_of)
def test_the_front_door_names_what_is_wrong_and_lives_on(door: Any, bad: Bad, caplog: pytest.LogCaptureFixture) -> None:
    began = CLOCK.monotonic()
    reply = door.raw("POST", bad.path, bad.body, headers={"Authorization": f"Bearer {TOKEN}", **bad.headers}, token=None)
    bad.check(reply.status, reply.body)
    assert CLOCK.monotonic() - began < 5.0
    assert door.raw("GET", "/healthz").status == 200
    assert not [record for record in caplog.records if record.exc_info]


def line_to(door: Any) -> socket.socket:
    address = urlsplit(door.url)
    return socket.create_connection((address.hostname, address.port), timeout=10)


def post(door: Any, *headers: str) -> bytes:
    lines = (f"POST {QUERIES} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {TOKEN}", *headers)
    return "\r\n".join((*lines, "Content-Type: application/json", "", "")).encode()


def test_a_body_without_end_is_cut_off(door: Any) -> None:
    chunk = b"10000\r\n" + b" " * 2**16 + b"\r\n"
    with line_to(door) as line:
        line.sendall(post(door, "Transfer-Encoding: chunked"))
        sent = 0
        with pytest.raises(ConnectionError):
            while sent < 2**30:
                line.sendall(chunk)
                sent += len(chunk)
    assert sent < 64 * 2**20, "the sockets' buffers and a mebibyte"
    assert door.raw("GET", "/healthz").status == 200


def test_a_slow_body_holds_up_nobody(door: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BODY_TIMEOUT", 0.5)
    with line_to(door) as line, door.client() as client:
        line.sendall(post(door, f"Content-Length: {2**20}") + b"{")
        assert client.node().report.name == "cloud-1"
        for _ in range(3):
            line.sendall(b" ")
        assert line.recv(12) == b"HTTP/1.1 408"


def test_a_body_that_ends_early_changes_nothing(door: Any) -> None:
    with line_to(door) as line:
        line.sendall(post(door, "Content-Length: 4000") + spec())
        line.shutdown(socket.SHUT_WR)
        while line.recv(4096):
            continue
    with door.client() as client:
        assert client.queries().items == ()


@pytest.mark.drill_short
def test_the_whole_list_again_and_again_leaves_the_memory_flat(tmp_path: Path, assets: Path) -> None:
    with lone_node(tmp_path, assets) as node:
        process = psutil.Process(node.pid)

        def memory_after_a_round() -> int:
            for bad in LIST:
                line = http.client.HTTPConnection(node.address, timeout=20)  # a refusal may close it
                headers = {"Content-Type": "application/json", "Authorization": f"Bearer {node.token}", **bad.headers}
                line.request("POST", bad.path, bad.body, headers)
                answer = line.getresponse()
                bad.check(answer.status, answer.read())
                line.close()
            return int(process.memory_info().rss)

        # the first rounds load what is used for the first time, and take the heap to the size that one round needs
        before = max(memory_after_a_round() for _ in range(WARM_UP))
        after = [memory_after_a_round() for _ in range(ROUNDS)][-1]
        assert after - before <= GROWTH, f"{before} bytes became {after}"
        assert '"level":"error"' not in (tmp_path / "stderr").read_text()


# The peers' door


def text_of(answer: Message) -> str:
    return error_of(answer).message


def hostile_request(body: bytes, method: str = ECHO.name, *blobs: bytes) -> Message:
    return Message(Kind.REQUEST, 5, method, body, blobs, CLOCK.monotonic() + 5)


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        (pack_body({"number": "seven"}), "EC-INVALID", "number"),
        (pack_body({"number": 1, "nomber": 1}), "EC-INVALID", "nomber"),
        (pack_body([]), "EC-INVALID", "(whole)"),
        (pack_body({"number": 1})[:-1], "EC-MALFORMED", "within the limits"),
        (b"\x91" * 5000 + b"\xc0", "EC-MALFORMED", "within the limits"),
        (b"\x82\xa6number\x01\xa6number\x02", "EC-MALFORMED", "'number' given twice"),
        (gzip.compress(bytes(2**20)), "EC-MALFORMED", "within the limits"),
        (b"\xdd\xff\xff\xff\xff", "EC-MALFORMED", "within the limits"),
    ],
    ids=["wrong_type", "unknown_field", "not_a_map", "truncated", "deep", "twice", "gzip", "endless_list"],
)
async def test_a_peer_hears_what_is_wrong_and_may_go_on(scene: Scene, body: bytes, code: str, says: str) -> None:
    await scene.open()
    peer = scene.raw(scene.keys["edge-1"])
    await peer.join("edge-1")
    await peer.say(hostile_request(body))
    answer = await peer.hear(Kind.ERROR)
    assert (answer.id, answer.word) == (5, code)
    assert says in text_of(answer)
    await peer.say(hostile_request(pack_body({"number": 9})))
    assert (await peer.hear(Kind.REPLY)).id == 5


async def test_a_method_that_the_node_does_not_answer_is_named(scene: Scene) -> None:
    await scene.open()
    peer = scene.raw(scene.keys["edge-1"])
    await peer.join("edge-1")
    await peer.say(hostile_request(b"", COMPUTE_RUN.name))
    answer = await peer.hear(Kind.ERROR)
    assert (answer.word, COMPUTE_RUN.name in text_of(answer)) == ("EC-NOT-FOUND", True)


def _no_reader(name: str, config: SourceConfig) -> SourceReader:
    raise AssertionError(f"{name} {config.url}: this edge has no source")


@pytest.mark.parametrize(
    ("pipeline", "path", "says"),
    [
        (("mind_reading",), "pipeline.0", "no service 'mind_reading'"),
        (("face_detection", "face_detection"), "pipeline.1", "twice"),
        (("face_alignment",), "pipeline.0", "which no earlier stage gives"),
        ((), "pipeline", "at least 1 item"),
    ],
)
async def test_an_edge_refuses_a_pipeline_that_cannot_run(
    scene: Scene, pipeline: tuple[str, ...], path: str, says: str
) -> None:
    key = scene.keys["edge-1"]
    planner = Directory([(key.public, Peer("edge-1", frozenset({Role.CLOUD}), key.fingerprint))])
    bench = Bench(**dict.fromkeys((slot.name for slot in fields(Bench)), None) | {"clock": CLOCK})  # type: ignore[arg-type]
    await scene.open(planner, register=JobManager(Sources({}, _no_reader, CLOCK), bench).register)
    peer = scene.raw(key)
    await peer.join("edge-1")
    plan = {"epoch": 1, "video_conf": {}, "flow_mapping": {}}
    start = {"query": f"q-{0:026d}", "attempt": 1, "source": "lobby", "pipeline": pipeline, "plan": plan}
    await peer.say(hostile_request(pack_body(start), JOB_START.name))
    answer = await peer.hear(Kind.ERROR)
    assert answer.word == "EC-INVALID"
    assert path in text_of(answer)
    assert says in text_of(answer)


async def test_a_picture_bomb_reaches_a_worker_and_is_refused_there(scene: Scene, assets: Path) -> None:
    arena = FrameArena(slots=4)
    scene.stack.callback(arena.close)
    service = ComputeService(ProcessSpawner(CLOCK), arena, CLOCK, assets, workers=1)
    serving = begin(service.run(), "compute")
    scene.stack.push_async_callback(end, serving)
    await scene.open(register=lambda transport: ComputePeers(service, transport, CLOCK).register())
    peer = scene.raw(scene.keys["edge-1"])
    await peer.join("edge-1")
    bomb = base64.b64decode(png(60_000, 60_000, 10**7))
    image = [{"name": "image", "count": 1}]
    for request, blobs, code, says in (
        ({"stages": [{"service": "face_detection"}], "pictures": image}, (bomb,), "EC-TOO-LARGE", "60000 × 60000"),
        ({"stages": [{"service": "mind_reading"}], "pictures": image}, (bomb,), "EC-NOT-FOUND", "mind_reading"),
        ({"stages": [{"service": "face_detection"}]}, (), "EC-INVALID", "image"),
        ({"stages": [{"service": "face_detection"}], "pictures": image}, (), "EC-INVALID", "pictures"),
    ):
        await peer.say(hostile_request(pack_body(request), COMPUTE_RUN.name, *blobs))
        answer = await peer.hear(Kind.ERROR)
        assert (answer.word, says in text_of(answer)) == (code, True), text_of(answer)
    assert len(psutil.Process().children()) == 1


async def test_a_body_above_its_limit_is_told(scene: Scene) -> None:
    await scene.open()
    peer = scene.raw(scene.keys["edge-1"])
    await peer.join("edge-1")
    await scene.hears("edge-1", up=True)
    await peer.say(hostile_request(bytes(limits.BODY_BYTES + 1)))
    answer = await peer.hear(Kind.ERROR)
    assert (answer.word, str(limits.BODY_BYTES + 1) in text_of(answer)) == ("EC-TOO-LARGE", True)


async def lives_on_without(scene: Scene, cut: str) -> None:
    await scene.hears(cut, up=False)
    other = await scene.joined("edge-2")
    assert (await other.call("cloud-1", ECHO, Ask(number=8), timeout=5)).body.number == 8


async def test_a_frame_above_the_largest_message_ends_the_connection(scene: Scene) -> None:
    await scene.open()
    peer = scene.raw(scene.keys["edge-1"])
    await peer.join("edge-1")
    await scene.hears("edge-1", up=True)
    await peer.socket.send_multipart([OPENING, b"", bytes(MOST + 1)])
    await lives_on_without(scene, "edge-1")


async def test_frames_without_end_are_cut_before_they_fill_the_memory(scene: Scene) -> None:
    await scene.open()
    peer = scene.raw(scene.keys["edge-1"])
    await peer.join("edge-1")
    await scene.hears("edge-1", up=True)
    before = psutil.Process().memory_info().rss
    ended = asyncio.Event()
    frame = bytes(2**16)  # libzmq bounds what waits at a sender by messages, not by frames: this one has to be slow

    async def pour() -> int:
        sent = 0
        while not ended.is_set() and sent < 2**31:
            await peer.socket.send(frame, zmq.SNDMORE)
            sent += len(frame)
            await CLOCK.sleep(0.001)
        return sent

    async with asyncio.TaskGroup() as group:
        pouring = group.create_task(pour())
        await scene.hears("edge-1", up=False)
        ended.set()
    assert pouring.result() > AHEAD_BYTES
    assert psutil.Process().memory_info().rss - before < 2**28
    other = await scene.joined("edge-2")
    assert (await other.call("cloud-1", ECHO, Ask(number=8), timeout=5)).body.number == 8


# The config

ALL = Known(services=SERVICES, schedulers=("robust", "ewma", "fixed"))
WHOLE = '[node]\nroles = ["edge"]\n'


@pytest.mark.parametrize(
    ("text", "path", "says"),
    [
        (WHOLE + "[services.mind_reading]\n", "services.mind_reading", "unknown service"),
        (WHOLE + "[transport]\nsuspect_after = 1\n", "transport.suspect_after", "must be longer than heartbeat"),
        (WHOLE + "[edge.sources.lobby]\nurl = 'x'\nfps = 0\n", "edge.sources.lobby.fps", "greater than 0"),
        (WHOLE + "[edge.sources.lobby]\n", "edge.sources.lobby.url", "is required"),
        (WHOLE + "[edge]\nworkers = 'two'\nsources = 7\n", "edge.sources", "dictionary"),
        (WHOLE + "[[transport.allow]]\nname = 'a'\nkey = 'short'\nroles = ['edge']\n", "transport.allow.0.key", ""),
        (WHOLE + "[log]\nlevel = 'info'\nlevel = 'debug'\n", "log.level", "is given twice"),
        (WHOLE + "[talent]\na = " + "[" * 100 + "]" * 100, "talent.a", "nested deeper"),
        (WHOLE[:-4], "", "closing quote"),
        ("#" * 2**20 + WHOLE, "", "larger than"),
    ],
)
def test_a_config_names_the_setting_that_is_wrong(tmp_path: Path, text: str, path: str, says: str) -> None:
    file = tmp_path / "node.toml"
    file.write_text(text)
    with pytest.raises(ConfigInvalid) as caught:
        load([file], {}, [], ALL)
    assert says in {problem.path: problem.message for problem in caught.value.problems}[path]


def test_a_packed_config_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_bytes(gzip.compress(bytes(2**26)))
    with pytest.raises(ConfigInvalid, match="1 problem") as caught:
        load([file], {}, [], ALL)
    assert "UTF-8" in caught.value.problems[0].message


def test_a_config_without_end_is_refused() -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load([Path("/dev/zero")], {}, [], ALL)
    assert "larger than" in caught.value.problems[0].message


@pytest.mark.parametrize("role", ["cloud", "edge"])
def test_a_config_that_is_cut_off_anywhere_loads_or_says_why(tmp_path: Path, role: str) -> None:
    content = (Path(__file__).parents[2] / "configs" / f"{role}.toml").read_bytes()
    file = tmp_path / "node.toml"
    for length in range(0, len(content), 7):
        file.write_bytes(content[:length])
        try:
            load([file], {}, [], ALL)
        except ConfigInvalid as error:
            assert error.problems
