"""How does a caller learn what went wrong?

Every answer of 400 and above is `application/problem+json` with a stable `code`, the faults by dotted path, a hint and the
request id; a traceback goes to the log and nowhere else.

Source: RFC 9457 (members type, title, status, detail; the others are ours).
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, Literal

from aiohttp import web
from pydantic_core import to_json

from node.errors import EcnodeError, Internal, NotFound, Rejected, TooLarge, Unavailable
from node.model.value import Value

MAX_PROBLEMS: Final = 50  # a body of 1 MiB can hold 200,000 faults; the first ones are what a reader mends
RETRY_AFTER_S: Final = "1"


class Fault(Value):
    """One wrong field of what the caller sent, by its dotted path."""

    path: str
    message: str


class ProblemDetails(Value):
    """What went wrong. `code` is stable, `hint` names the next step, `request_id` is in this node's log."""

    type: Literal["about:blank"] = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    hint: str
    errors: tuple[Fault, ...]
    request_id: str


class OriginalFailure(Value):
    """How the originals' routes tell a failure: `status` is 1, whatever HTTP says; the rest of it is ours."""

    status: Literal[1] = 1
    error: str
    code: str
    hint: str
    errors: tuple[Fault, ...]
    request_id: str


class OriginalReply(Value):
    """How the original task system's routes tell a failure: `code` is the HTTP status, `msg` what went wrong."""

    code: int
    msg: str
    hint: str
    errors: tuple[Fault, ...]
    request_id: str


class ConsoleFailure(Value):
    """How the routes of the original console tell a failure: in its envelope, with its numbers; the rest of it is ours."""

    data: dict[str, str] = {}
    message: str
    http_code: int
    rsp_code: int
    code: str
    hint: str
    errors: tuple[Fault, ...]
    request_id: str


TASKS_GROUP: Final = "tasks"  # of the originals' routes; its clients read `code` and `msg`
CONSOLE_GROUP: Final = "efls"  # its clients read the envelope
_SHAPES: Final[Mapping[str, type[Value]]] = {"": ProblemDetails, TASKS_GROUP: OriginalReply, CONSOLE_GROUP: ConsoleFailure}
_RSP_CODES: Final[Mapping[int, int]] = {401: 7, 403: 7, 404: 5, 409: 6, 412: 6}
_RSP_INVALID: Final = 3
_RSP_INTERNAL: Final = 13


def failure_of(group: str) -> type[Value]:
    """The shape of a failure on the routes of a group of originals'; of no group, of the native API."""
    return _SHAPES.get(group, OriginalFailure)


def respond(
    error: EcnodeError,
    request_id: str,
    status: int = 0,
    headers: Mapping[str, str] | None = None,
    *,
    original: str = "",
) -> web.Response:
    """The answer that stands for an error; `status` overrides the one of its kind, `original` is the group of originals' routes
    whose shape it has.
    """
    status = status or error.status
    if original == CONSOLE_GROUP and status == HTTPStatus.UNPROCESSABLE_ENTITY:
        status = HTTPStatus.BAD_REQUEST  # the original has no other word for it
    faults = tuple(Fault(path=fault.path, message=fault.message) for fault in error.problems[:MAX_PROBLEMS])
    body: Value
    if original == TASKS_GROUP:
        body = OriginalReply(code=status, msg=error.message, hint=error.hint, errors=faults, request_id=request_id)
    elif original == CONSOLE_GROUP:
        rsp_code = _RSP_CODES.get(status, _RSP_INVALID if status < HTTPStatus.INTERNAL_SERVER_ERROR else _RSP_INTERNAL)
        body = ConsoleFailure(
            message="; ".join((error.message, *map(str, error.problems[:MAX_PROBLEMS]))),
            http_code=status,
            rsp_code=rsp_code,
            code=error.code,
            hint=error.hint,
            errors=faults,
            request_id=request_id,
        )
    elif original:
        body = OriginalFailure(error=error.message, code=error.code, hint=error.hint, errors=faults, request_id=request_id)
    else:
        body = ProblemDetails(
            title=HTTPStatus(status).phrase,
            status=status,
            code=error.code,
            detail=error.message,
            hint=error.hint,
            errors=faults,
            request_id=request_id,
        )
    return web.Response(
        status=status,
        body=to_json(body),
        content_type="application/json" if original else "application/problem+json",
        headers={**_headers(error, status), **(headers or {})},
    )


def _headers(error: EcnodeError, status: int) -> Mapping[str, str]:
    if status == HTTPStatus.UNAUTHORIZED:
        return {"WWW-Authenticate": 'Bearer realm="ecnode"'}
    if isinstance(error, Unavailable):
        return {"Retry-After": RETRY_AFTER_S}
    return {}


def from_framework(request: web.Request, raised: web.HTTPException, request_id: str, *, original: str = "") -> web.Response:
    """The same shape for what the web framework refuses by itself."""
    headers: dict[str, str] = {}
    error: EcnodeError
    if isinstance(raised, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(_methods_of(request) or raised.allowed_methods))
        headers["Allow"] = allowed
        error = Rejected(f"{request.method} is not possible on {request.path}", hint=f"possible here: {allowed}")
    elif isinstance(raised, web.HTTPNotFound):
        error = NotFound(f"there is nothing at {request.path}", hint="the API begins at /api/v1")
    elif isinstance(raised, web.HTTPRequestEntityTooLarge):
        error = TooLarge("the body is larger than this door takes")
    else:
        error = Rejected(raised.reason) if raised.status < HTTPStatus.INTERNAL_SERVER_ERROR else Internal(raised.reason)
    return respond(error, request_id, raised.status, headers, original=original)


def _methods_of(request: web.Request) -> set[str]:
    """What is possible on a path that stands in the table as it is: `/peers/pending` is not a member that could be removed."""
    resources = request.app.router.resources()
    plain = (each for each in resources if isinstance(each, web.PlainResource) and each.canonical == request.path)
    return {route.method for resource in plain for route in resource}


def unknown(request_id: str, *, original: str = "") -> web.Response:
    """The answer for a fault of this program, whose traceback the log holds."""
    error = Internal("this node made a mistake", hint=f"its log has the details: request={request_id}")
    return respond(error, request_id, original=original)
