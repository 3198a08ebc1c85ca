"""How does what a caller sends become a value, and how is every fault in it named at once?

One strict loader: UTF-8 JSON without doubled keys and without NaN, then the model of the route. Faults carry the dotted
path of the field.
"""

from __future__ import annotations

import asyncio
import difflib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

from aiohttp import web
from multidict import MultiDict, MultiMapping
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from node.api.problem import MAX_PROBLEMS
from node.api.route import DOOR
from node.errors import Busy, Invalid, Malformed, NotFound, Problem
from node.model.value import Value

V = TypeVar("V", bound=Value)
P = TypeVar("P")

T = TypeVar("T")

MAX_BODY: Final = 2**20
MAX_LARGE_BODY: Final = 8 * 2**20  # a picture of 640 × 480 as the text of its pixels is 4.4 MB
LARGE_BODIES: Final = 4  # at once: each may cost 150 MB for a moment
BODY_TIMEOUT: Final = 10.0  # a caller that drips its body holds a connection, no longer than this
PLAIN_JSON: Final = "application/json"
FORM_TYPES: Final = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})
JSON_TYPES: Final = frozenset({PLAIN_JSON, "application/merge-patch+json"})
MAX_ENTRIES: Final = 4096  # each may be a fault, and half a million of them hold the loop for seconds
SHORT_BODY: Final = MAX_ENTRIES  # bytes
MAX_STEP: Final = 63  # characters of a field's name that are repeated to the caller
MAX_STEPS: Final = 8  # of a path
_UNREADABLE: Final = "the body is not JSON that can be read: a number too long, or nested too deeply"


async def read_body(request: web.Request, kind: type[V]) -> V:
    """The body as a `kind`.

    Raises:
        Malformed: not one JSON document.
        Invalid: one with wrong fields.
    """
    check_type(request)
    return parse(await read_content(request), kind)


async def read_large_body(request: web.Request, read: Callable[[bytes], T]) -> T:
    """What `read` makes of a body of up to `MAX_LARGE_BODY`, in a thread: a picture as text takes it a second.

    Raises:
        Busy: as many as may be at once are being read.
        Malformed, Rejected: as `read_content` and `read` do.
    """
    check_type(request)
    reading = request.app[DOOR].large_bodies
    if reading.locked():
        raise Busy(f"{LARGE_BODIES} large bodies are being read already")
    async with reading:
        content = await read_content(request, MAX_LARGE_BODY)
        return await asyncio.to_thread(read, content)


def check_type(request: web.Request) -> None:
    """Refuses a body that does not say that it is plain JSON."""
    headers = request.headers
    plain = headers.get("Content-Type") == PLAIN_JSON or request.content_type in JSON_TYPES
    if not plain or headers.get("Content-Encoding", "identity") != "identity":
        raise web.HTTPUnsupportedMediaType(reason="send plain application/json")


async def read_content(request: web.Request, most: int = MAX_BODY) -> bytes:
    """The body as it came, at most `most` bytes; asking again gives it again.

    Raises:
        Malformed: it ended early.
    """
    sized = request if most == MAX_BODY else request.clone(client_max_size=most)
    try:
        if request.content.is_eof():  # nothing to wait for, as with every small body
            return await sized.read()
        async with request.app[DOOR].clock.timeout(BODY_TIMEOUT):
            return await sized.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(reason=f"the body did not arrive within {BODY_TIMEOUT:g} s") from None
    except (ConnectionError, web.RequestPayloadError) as error:
        raise Malformed("the connection ended before the body did") from error


def parse(content: bytes, kind: type[V], entries: int = MAX_ENTRIES) -> V:
    """A JSON document as a `kind`, no list or object of it longer than `entries`; raises as `read_body` does."""
    if len(content) <= SHORT_BODY and (found := _read_short(content, kind)) is not None:
        return found
    try:
        faults = tuple(islice(_foul(_loaded(content), (), entries), MAX_PROBLEMS))
    except RecursionError:  # newer interpreters parse more deeply than they recurse
        raise Malformed(_UNREADABLE) from None
    if faults:
        raise Invalid("the document is not one that can be understood", problems=faults)
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise _invalid(error, kind) from None


def _read_short(content: bytes, kind: type[V]) -> V | None:
    """A short document that is beyond doubt a good one, at a third of the cost; None where it must be looked at closely.

    A model forgets which key came twice. But every key has its colon: where each colon stands behind a plain word in quotes,
    and no such word stands there twice, no key does. It is too short for a list or an object of `MAX_ENTRIES`.
    """
    keys = _PLAIN_KEYS.findall(content)
    if len(keys) != content.count(b":") or len(set(keys)) != len(keys) or b"NaN" in content or b"Infinity" in content:
        return None
    try:
        return kind.model_validate_json(content)
    except ValidationError:
        return None


_PLAIN_KEYS: Final = re.compile(rb'"(\w+)"\s*:')


def read_as(given: Mapping[str, object], kind: type[V]) -> V:
    """What was read already as another `kind`, whose fields are checked together.

    Raises:
        Invalid: they do not fit.
    """
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise _invalid(error, kind) from None


def read_ref(request: web.Request, most: int, what: str) -> str:
    """What a path calls its record; `what` is the kind of record.

    Raises:
        NotFound: no record of that kind has a name so long.
    """
    return check_ref(request.match_info["ref"], most, what)


def check_ref(ref: str, most: int, what: str) -> str:
    """As `read_ref`, for a name that stands elsewhere."""
    if len(ref) > most:
        raise NotFound(f"no {what} has a name of {len(ref)} characters")
    return ref


def kept_by_clouds(port: P | None, what: str) -> P:
    """What a cloud keeps behind its door.

    Raises:
        NotFound: this node is no cloud.
    """
    if port is None:
        raise NotFound(
            f"this node keeps no {what}: a node with the role cloud does",
            hint="ask a cloud: ecnode --url http://CLOUD:7480 …",
        )
    return port


def read_params(request: web.Request, kind: type[V]) -> V:
    """The query string as a `kind`; the token that the originals' clients put there was the gate's to look at.

    Raises:
        Invalid: an unknown, doubled or wrong parameter.
    """
    given = request.query
    if "token" in given and "Authorization" not in request.headers:
        given = MultiDict((name, value) for name, value in given.items() if name != "token")
    return _of_strings(given, kind, "the query string")


async def read_form(request: web.Request, kind: type[V]) -> V:
    """The body as a `kind`: a form as browsers and curl send it, without files, or a JSON document.

    Raises:
        Malformed: it cannot be read.
        Invalid: an unknown, doubled or wrong field.
    """
    if request.content_type not in FORM_TYPES:
        return await read_body(request, kind)
    try:
        async with request.app[DOOR].clock.timeout(BODY_TIMEOUT):
            fields = await request.post()
    except TimeoutError:
        raise web.HTTPRequestTimeout(reason=f"the body did not arrive within {BODY_TIMEOUT:g} s") from None
    except (ValueError, AssertionError, LookupError, ConnectionError, web.RequestPayloadError) as error:
        raise Malformed("the body is no form that can be read") from error
    if files := sorted(name for name, value in fields.items() if not isinstance(value, str)):
        raise Invalid("a file where a text is expected", problems=[Problem(name[:MAX_STEP], "is a file") for name in files])
    return _of_strings(fields, kind, "the form")


def _of_strings(given: MultiMapping[Any], kind: type[V], what: str) -> V:
    doubled = sorted(name for name in set(given) if len(given.getall(name)) > 1)[:MAX_PROBLEMS]
    if doubled:
        problems = [Problem(name[:MAX_STEP], "is given twice") for name in doubled]
        raise Invalid(f"{what} is ambiguous", problems=problems)
    try:
        return kind.model_validate_strings(dict(given))
    except ValidationError as error:
        raise _invalid(error, kind) from None


class _Doubled(dict[str, object]):
    """A JSON object that named a key twice; `keys_twice` are those."""

    keys_twice: tuple[str, ...] = ()


class _NotANumber:
    """NaN or an infinity, which JSON does not have."""


_MAY_BE_FOUL: Final = (dict, list, _NotANumber)


def _loaded(content: bytes) -> object:
    try:
        return _DECODER.decode(content.decode())
    except UnicodeDecodeError as error:
        raise Malformed(f"the body is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise Malformed(f"the body is not JSON: {error.msg} at line {error.lineno} column {error.colno}") from None
    except (ValueError, RecursionError):
        raise Malformed(_UNREADABLE) from None


def _object(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = dict(pairs)
    if len(found) == len(pairs):
        return found
    doubled = _Doubled(found)
    doubled.keys_twice = tuple(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
    return doubled


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=lambda _: _NotANumber())


def _foul(part: object, path: tuple[str, ...], entries: int) -> Iterator[Problem]:
    if isinstance(part, _NotANumber):
        yield Problem(_dotted(path), "NaN and infinities are not JSON")
    elif isinstance(part, (dict, list)) and len(part) > entries:
        yield Problem(_dotted(path), f"has {len(part)} entries, at most {entries}")
    elif isinstance(part, dict):
        if isinstance(part, _Doubled):
            yield from (Problem(_dotted((*path, name)), "is given twice") for name in part.keys_twice)
        for name, value in part.items():
            if isinstance(value, _MAY_BE_FOUL):
                yield from _foul(value, (*path, name), entries)
    elif isinstance(part, list):
        for index, value in enumerate(part):
            if isinstance(value, _MAY_BE_FOUL):
                yield from _foul(value, (*path, str(index)), entries)


def _dotted(path: Sequence[str]) -> str:
    # what a caller names may be long and deep, and "\\ud800" is JSON for half a character, which no answer can carry
    return ".".join(step[:MAX_STEP] for step in path[:MAX_STEPS]).encode(errors="replace").decode()


def _invalid(error: ValidationError, kind: type[BaseModel]) -> Invalid:
    faults = error.errors(include_url=False, include_input=False)
    told = faults[:MAX_PROBLEMS]
    problems = tuple(Problem(_dotted([str(step) for step in fault["loc"]]), _message(fault, kind)) for fault in told)
    return Invalid("one field is wrong" if len(faults) == 1 else f"{len(faults)} fields are wrong", problems=problems)


def _message(fault: ErrorDetails, kind: type[BaseModel]) -> str:
    if fault["type"] == "missing":
        return "is required"
    if fault["type"] != "extra_forbidden":
        return fault["msg"]
    near = difflib.get_close_matches(str(fault["loc"][-1])[:MAX_STEP], _fields(fault["loc"][:-1], kind), n=1)
    return f"unknown field, did you mean '{near[0]}'?" if near else "unknown field"


def _fields(path: Sequence[int | str], kind: type[BaseModel]) -> Sequence[str]:
    for step in path:
        field = kind.model_fields.get(str(step))
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return ()
        kind = field.annotation
    return tuple(kind.model_fields)
