"""Which pages of docs/ are made from the code, and are they fresh?

`python docs/generate.py` writes wire.md, security.md, lifecycles.md, config.md and errors.md; with `--check` it writes
nothing and ends with 1 where one is stale. Nothing here is a second list: names, limits and callers come from the tables that
the program reads.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias, get_args

from pydantic import JsonValue

from node.cli.exits import exit_code
from node.config.reference import markdown, shape
from node.errors import EcnodeError, Forbidden, Rejected, Unavailable, every_error
from node.lifecycle import LifeCycle, S
from node.model.cluster import JobReport, LinkReport, NodeReport, Received, Role, ServiceReport, SourceReport, SourceState
from node.model.delivery import Batch, BatchReply
from node.model.member import MEMBER_LIFE, Card, MemberState
from node.model.message import (
    BLOB_CHUNK,
    BLOB_MANIFEST,
    COMPUTE_RUN,
    DELIVERY_TAKE,
    JOB_PICTURE,
    JOB_PLAN,
    JOB_PROGRESS,
    JOB_START,
    JOB_STOP,
    MEMBER_JOIN,
    MEMBER_ROSTER,
    METHODS,
    NODE_REPORT,
    BlobReply,
    BlobRequest,
    Caller,
    ChunkRequest,
    ComputeReply,
    ComputeRequest,
    JobPictureReply,
    JobPictureRequest,
    JobPlan,
    JobProgress,
    JobProgressReply,
    JobStart,
    JobStop,
    JoinReply,
    JoinRequest,
    Mark,
    Method,
    Pictures,
    Report,
    ReportReply,
    Roster,
    StageCall,
)
from node.model.value import Value
from node.model.video import QUERY_LIFE, Outcome, Placement, Plan, Resolution, Result, StageRole, Tally, VideoConf
from node.transport import frames, limits

Schema: TypeAlias = Mapping[str, JsonValue]

HERE: Final = Path(__file__).resolve().parent
UNBOUNDED: Final = 1e11  # the largest figure of model.value; it bounds slips of the pen, not a quantity

_QUERY: Final = "q-01jd8a4e9v0000000000000000"
_STREAM: Final = "0f4a6b1c9d2e4f5a8b7c6d5e4f3a2b1c"
_READER: Final = "9e8d7c6b5a4f4e3d2c1b0a9f8e7d6c5b"
_BLOB: Final = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_PLAN: Final = Plan(
    epoch=3,
    video_conf=VideoConf(fps=10, resolution=Resolution.P480),
    flow_mapping={
        "face_detection": Placement(node="edge-1", role=StageRole.HOST),
        "face_alignment": Placement(node="cloud-1", role=StageRole.CLOUD),
    },
)
_RESULT: Final = Result(
    attempt=1,
    n_loop=41,
    cam_frame_id=102,
    conf_frame_id=41,
    captured_at=1795300801.125,
    latency=0.112,
    delay=0.037,
    stage_ms={"face_detection": 31.4, "face_alignment": 62.0},
    plan=_PLAN.digest(),
    plan_epoch=3,
    width=640,
    height=480,
    output={"bbox": [[210, 96, 262, 160]], "prob": [0.93], "count_result": {"up": 1, "total": 1}, "pose": [[4.1, -2.0, 0.6]]},
)
_REPORT: Final = NodeReport(
    name="edge-1",
    roles=(Role.EDGE,),
    labels={"site": "hq"},
    version="0.1.0",
    boot=7,
    http="http://127.0.0.1:7480",
    cores=4,
    workers=3,
    cpu_fraction=0.31,
    memory_fraction=0.22,
    rss_mib=61.5,
    services=(
        ServiceReport(name="face_detection", profile={Resolution.P480: 0.021}, profile_objects=6, wait_ms=0.4, calls=412),
    ),
    sources=(SourceReport(id=0, name="lobby", kind="people indoor", fps=25.0, height=720, state=SourceState.OPEN),),
    jobs=(JobReport(query=_QUERY, attempt=1),),
    links=(LinkReport(peer="cloud-1", rtt_ms=1.2, bytes_out=120_000, bytes_in=40_000),),
)

_KEY: Final = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"  # of ZeroMQ RFC 26, nobody's

EXAMPLES: Final[Mapping[str, tuple[Value, Value]]] = {
    NODE_REPORT.name: (Report(report=_REPORT), ReportReply(name="cloud-1")),
    COMPUTE_RUN.name: (
        ComputeRequest(
            stages=(StageCall(service="face_detection"), StageCall(service="face_alignment")),
            pictures=(Pictures(name="image", count=1),),
            wanted=("faces",),
        ),
        ComputeReply(
            values={"bbox": [[210, 96, 262, 160]], "prob": [0.93], "count_result": {"up": 1, "total": 1}},
            pictures=(Pictures(name="faces", count=1),),
            stage_seconds=(0.021, 0.007),
            decode_seconds=0.004,
            wait_seconds=0.002,
        ),
    ),
    JOB_START.name: (
        JobStart(query=_QUERY, attempt=1, source="lobby", pipeline=("face_detection", "face_alignment"), plan=_PLAN),
        Received(),
    ),
    JOB_PLAN.name: (JobPlan(query=_QUERY, plan=_PLAN), Received()),
    JOB_STOP.name: (JobStop(query=_QUERY), Received()),
    JOB_PICTURE.name: (JobPictureRequest(query=_QUERY), JobPictureReply(result=_RESULT)),
    JOB_PROGRESS.name: (
        JobProgress(
            query=_QUERY,
            attempt=1,
            tally=Tally(captured=44, processed=41, skipped=3, bytes_moved=340_112),
            results=(_RESULT,),
            outcome=Outcome(state="finished"),
        ),
        JobProgressReply(wanted=True),
    ),
    DELIVERY_TAKE.name: (
        Batch(
            stream=_STREAM,
            boot=7,
            life="c5d1f0a2b3e44756889900aabbccddee",
            turn=18,
            reader=_READER,
            low=1023,
            last=1026,
            first=1025,
            methods=(JOB_PROGRESS.name, JOB_PROGRESS.name),
        ),
        BatchReply(memory=_READER, boot=12, taken=1026, first=1025, fates=("", "")),
    ),
    BLOB_MANIFEST.name: (BlobRequest(blob=_BLOB), BlobReply(size=268_435_456)),
    BLOB_CHUNK.name: (ChunkRequest(blob=_BLOB, offset=7_340_032, length=1_048_576), Received()),
    MEMBER_JOIN.name: (
        JoinRequest(name="edge-2", key=_KEY, roles=(Role.EDGE,), version="0.1.0"),
        JoinReply(name="cloud-1", roles=(Role.CLOUD,), state=MemberState.ADMITTED),
    ),
    MEMBER_ROSTER.name: (
        Roster(boot=7, number=3, members=(Card(name="edge-2", key=_KEY, roles=(Role.EDGE,), address="tcp://10.0.0.7:7440"),)),
        Received(),
    ),
}
"""A request and a reply of every method, by its name; the tests send them through every codec."""


def wire() -> str:
    """The envelope, the methods, their bodies, an example each."""
    kinds = _table(("kind", "name"), ((str(kind.value), kind.name) for kind in frames.Kind))
    methods = _table(
        ("method", "asked by", "lane", "durable", "request", "reply"),
        (
            (f"`{it.name}`", _callers(it), it.lane, "yes" if it.durable else "", it.request.__name__, it.reply.__name__)
            for it in METHODS
        ),
    )
    bodies = "\n".join(_body(model) for model in _models())
    examples = "\n".join(_example(method) for method in METHODS)
    return f"""\
# The wire

Made from `node/transport/frames.py`, `node/transport/limits.py` and `node/model/message.py` by `make docs`.

## Envelope

A link has two connections that CURVE encrypts: the control lane, and the data lane for pictures and chunks. The greeting on
the first says where the second is; by default it is the next port. What goes to one peer in one turn of the loop is one burst
of ZeroMQ frames:

    [0x{frames.MAGIC:02X} 0x{frames.VERSION:02X} head] [blob] …

The head is a msgpack array of at most {limits.BURST_MESSAGES} records (kind, id, word, remaining ms, body, number of blobs).
A body is one msgpack value in bytes of its own, at most {limits.BODY_BYTES // limits.KIB} KiB, or empty. A message has at most
{limits.BLOBS} blobs, and {limits.CONTROL_BYTES // limits.MIB} MiB on the control lane, \
{limits.MESSAGE_BYTES // limits.MIB} MiB on the data lane. Blobs are frames of their own, in the
order of their messages, never packed. A deadline travels as the milliseconds that remain, at most {limits.DEADLINE_MS}. Another
version is refused. A caller's name and roles come from its key, never from a message.

{kinds}
## Methods

Any other caller gets `{Forbidden.code}`. A durable method does not travel by itself: `{DELIVERY_TAKE.name}` carries its
bodies, packed, as blobs, in the order of their sequence, and whoever takes them checks for each who may ask.

{methods}
## Bodies

An unknown field is refused, and nothing is converted from one type into another. Where nothing else is said, a whole number is
at least 0, a number is at least 0, and a text has at most 2000 characters.

{bodies}
## Examples

Bodies as JSON; on the wire they are msgpack. Fields at their default are left out.

{examples}"""


def lifecycles() -> str:
    """A diagram and the table of every life cycle."""
    return f"""\
# Life cycles

Made from the tables of `node/model` by `make docs`. The store changes a state by these tables only, each step in one
transaction with an event row.

{_life(QUERY_LIFE)}
{_life(MEMBER_LIFE)}"""


def errors() -> str:
    """Every error that this project raises on purpose."""
    rows = (
        (f"`{kind.code}`", kind.__name__, _family(kind), str(kind.status), str(exit_code(kind(""))), _sentence(kind))
        for kind in every_error()
    )
    return f"""\
# Errors

Made from `node/errors.py` and `node/cli/exits.py` by `make docs`. *Rejected*: the caller must change something; the same
request is never repeated. *Unavailable*: the same request may succeed later and may be repeated with the same id.

At the HTTP door an error is `application/problem+json` with its `code`; over the wire its code, message and hint travel; the
command ends with its exit code. Beside these the command ends with 0 when all is well, 2 for a wrong command line and 130
when it was interrupted.

{_table(("code", "name", "family", "HTTP", "exit", "meaning"), rows)}"""


def security() -> str:
    """Who may ask for what: every message and every role."""
    callers: tuple[Caller, ...] = (*Role, *Mark)
    rows = ((f"`{each.name}`", *("yes" if caller in each.callers else "–" for caller in callers)) for each in METHODS)
    return f"""\
# Who may ask for what

Made from `node/model/message.py` by `make docs`; `tests/process/test_caller_matrix.py` asks for every message in every role
over a real socket and compares with the same table.

Who a caller is follows from the key of its connection: the directory has its name and its roles (`node/transport/auth.py`), and
no message can add one. The dispatcher (`node/transport/dispatch.py`) looks before a body is decoded; whoever may not ask gets
`{Forbidden.code}` and nothing else happens. A node with several roles may do what any of them may.

`{Mark.JOINER}` is no role but the mark of the one-use key in a join token: until it is used or expires it may register one
newcomer and ask for nothing else.

{_table(("message", *callers), rows)}"""


PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "security.md": security,
    "wire.md": wire,
    "lifecycles.md": lifecycles,
    "config.md": markdown,
    "errors.md": errors,
}


def main(arguments: list[str]) -> int:
    """Writes the pages, or with `--check` names the stale ones and answers 1."""
    if arguments not in ([], ["--check"]):
        print("usage: python docs/generate.py [--check]", file=sys.stderr)
        return 2
    stale = [name for name, page in PAGES.items() if _read(HERE / name) != page()]
    for name in stale:
        if arguments:
            print(f"docs/{name} is stale; run: make docs")
        else:
            (HERE / name).write_text(PAGES[name](), encoding="utf-8")
            print(f"wrote docs/{name}")
    return 1 if stale and arguments else 0


def _read(page: Path) -> str:
    return page.read_text(encoding="utf-8") if page.exists() else ""


def _callers(method: Method[Value, Value]) -> str:
    everybody: tuple[Caller, ...] = (*Role, *Mark)
    return "every role" if method.callers == frozenset(Role) else ", ".join(one for one in everybody if one in method.callers)


def _models() -> Iterator[type[Value]]:
    """Every model in the bodies of the methods, each once: the bodies, then what they hold."""
    bodies = [body for method in METHODS for body in (method.request, method.reply)]
    yield from dict.fromkeys([*bodies, *(held for body in bodies for held in _held(body))])


def _held(model: type[Value]) -> Iterator[type[Value]]:
    for field in model.model_fields.values():
        for kind in _kinds(field.annotation):
            yield kind
            yield from _held(kind)


def _kinds(annotation: object) -> Iterator[type[Value]]:
    """The models in an annotation such as `dict[str, Placement] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, Value):
        yield annotation
    for part in get_args(annotation):
        yield from _kinds(part)


def _body(model: type[Value]) -> str:
    schema = model.model_json_schema()
    required = schema.get("required", ())
    rows = (
        (f"`{name}`", _shape(part), "required" if name in required else f"`{json.dumps(part.get('default'))}`")
        for name, part in schema.get("properties", {}).items()
    )
    return f"### {model.__name__}\n\n{_plain(model.__doc__)}\n\n{_table(('field', 'type', 'default'), rows)}"


def _shape(part: Schema) -> str:
    """As `shape`, with the pattern of a text and the range of a number where it is not the usual one."""
    pattern = f" `{part['pattern']}`" if "pattern" in part else ""
    low, high = part.get("minimum", 0), part.get("maximum", UNBOUNDED)
    least = f", at least {low}" if low != 0 else ""
    most = f", at most {high:g}" if isinstance(high, int | float) and high < UNBOUNDED else ""
    return shape(part) + pattern + least + most


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ["---"] * len(head), *rows))


def _example(method: Method[Value, Value]) -> str:
    request, reply = EXAMPLES[method.name]
    return f"### {method.name}\n\nrequest\n\n{_json(request)}\n\nreply\n\n{_json(reply)}\n"


def _json(value: Value) -> str:
    text = json.dumps(value.model_dump(mode="json", exclude_defaults=True), ensure_ascii=False, indent=1)
    return f"```json\n{text}\n```"


def _life(life: LifeCycle[S]) -> str:
    final = ", ".join(state for state in life.states if state in life.terminal)
    rows = ((state, event, target) for (state, event), target in life.table.items())
    steps = _table(("state", "event", "next state"), rows)
    return f"## {life.name}\n\nFinal: {final}.\n\n```mermaid\n{life.diagram()}\n```\n\n{steps}"


def _family(kind: type[EcnodeError]) -> str:
    return next((family.__name__ for family in (Rejected, Unavailable) if issubclass(kind, family)), "")


def _sentence(kind: type[EcnodeError]) -> str:
    return _plain(kind.__doc__)


def _plain(text: str | None) -> str:
    return " ".join((text or "").split())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
