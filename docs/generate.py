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
from wire_examples import EXAMPLES

from node.cli.exits import exit_code
from node.config.reference import markdown, shape
from node.errors import EcnodeError, Forbidden, Rejected, Unavailable, every_error
from node.lifecycle import LifeCycle, S
from node.model.cluster import Role
from node.model.member import MEMBER_LIFE
from node.model.plot import PLOT_LIFE, STOP_LIFE
from node.model.project import INSTANCE_LIFE, PROJECT_LIFE
from node.model.value import Value
from node.model.video import QUERY_LIFE
from node.model.wire import METHODS
from node.model.wire.delivery import DELIVERY_TAKE
from node.model.wire.method import Caller, Mark, Method
from node.transport import frames, limits

Schema: TypeAlias = Mapping[str, JsonValue]

HERE: Final = Path(__file__).resolve().parent
UNBOUNDED: Final = 1e11  # the largest figure of model.value; it bounds slips of the pen, not a quantity


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

Made from `node/transport/frames.py`, `node/transport/limits.py` and `node/model/wire/` by `make docs`.

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
{_life(MEMBER_LIFE)}
{_life(PLOT_LIFE)}
{_life(STOP_LIFE)}
{_life(PROJECT_LIFE)}
{_life(INSTANCE_LIFE)}"""


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

Made from `node/model/wire/` by `make docs`; `tests/process/test_caller_matrix.py` asks for every message in every role
over a real socket and compares with the same table.

Who a caller is follows from the key of its connection: the directory has its name and its roles (`node/transport/auth.py`), and
no message can add one. The dispatcher (`node/transport/dispatch.py`) looks before a body is decoded; whoever may not ask gets
`{Forbidden.code}` and nothing else happens. A node with several roles may do what any of them may.

`{Mark.JOINER}` is no role but the mark of the one-use key in a join token: until it is used or expires it may register one
newcomer and ask for nothing else.

The record of a member may name the private sessions that it may take part in (`ecnode peers approve … --session ID`,
`ecnode peers invite`); none named means any. The parties hold each other to it (`node/roles/federated/peer.py`), a cloud tells
its members each other's records, and with what it relays that of the asker.

Three messages that cannot be decoded, or one without an end, and the peer is cut, both lanes; it stands in the audit (event
`cut`, at most one line a minute, with the number).

{_table(("message", *callers), rows)}
## What relaying means for trust

Where two members have no link to each other, a cloud that both are linked with passes their requests on (`relay.ask` to it,
`relay.give` from it; `node/transport/relay.py`).

- Who asks is proven to the cloud by the key of the asker's link. The target hears name, roles and fingerprint from the cloud
  and holds the request to the table above with those roles. So it trusts the cloud's word, as it does with the rosters, which
  the same cloud makes: a cloud that lies could as well have put the liar into a roster.
- The target's own directory holds more: a name that is known there must have the same key, and has the roles that it has
  there. Nobody becomes a cloud by a cloud's word, and a member that was revoked has no link to ask over.
- The cloud could read and change what it passes on. It never unpacks a body, and what must stay between the ends is masked or
  closed by them: sessions of federated parties do so, other messages do not.
- Deadlines are those of the asker. At the cloud a member's relayed requests are at most half of the calls in flight, and
  {limits.RELAYED_BYTES // limits.MIB} MiB; all members' together {limits.RELAYED_BYTES_ALL // limits.MIB} MiB.
- `transport.relay = false` ends it: at a cloud for its members, at a member for itself.

What the parties of a private session learn of each other's data: [sessions.md](sessions.md)."""


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
