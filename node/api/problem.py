"""How does a caller learn what went wrong?

Every answer of 400 and above is `application/problem+json` with a stable `code`, the faults by dotted path, a hint and the
request id; a traceback goes to the log and nowhere else.

Source: RFC 9457 (members type, title, status, detail; the others are ours).
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from aiohttp import web
from pydantic_core import to_json

from node.errors import EcnodeError, Internal, NotFound, Rejected, TooLarge, Unavailable

MAX_PROBLEMS: Final = 50  # a body of 1 MiB can hold 200,000 faults; the first ones are what a reader mends
RETRY_AFTER_S: Final = "1"


def respond(error: EcnodeError, request_id: str, status: int = 0, headers: Mapping[str, str] | None = None) -> web.Response:
    """The answer that stands for an error; `status` overrides the one of its kind."""
    status = status or error.status
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": error.code,
        "detail": error.message,
        "hint": error.hint,
        "errors": [{"path": fault.path, "message": fault.message} for fault in error.problems[:MAX_PROBLEMS]],
        "request_id": request_id,
    }
    return web.Response(
        status=status,
        body=to_json(body),
        content_type="application/problem+json",
        headers={**_headers(error, status), **(headers or {})},
    )


def _headers(error: EcnodeError, status: int) -> Mapping[str, str]:
    if status == HTTPStatus.UNAUTHORIZED:
        return {"WWW-Authenticate": 'Bearer realm="ecnode"'}
    if isinstance(error, Unavailable):
        return {"Retry-After": RETRY_AFTER_S}
    return {}


def from_framework(request: web.Request, raised: web.HTTPException, request_id: str) -> web.Response:
    """The same shape for what the web framework refuses by itself."""
    headers: dict[str, str] = {}
    error: EcnodeError
    if isinstance(raised, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(raised.allowed_methods))
        headers["Allow"] = allowed
        error = Rejected(f"{request.method} is not possible on {request.path}", hint=f"possible here: {allowed}")
    elif isinstance(raised, web.HTTPNotFound):
        error = NotFound(f"there is nothing at {request.path}", hint="the API begins at /api/v1")
    elif isinstance(raised, web.HTTPRequestEntityTooLarge):
        error = TooLarge("the body is larger than this door takes")
    else:
        error = Rejected(raised.reason) if raised.status < HTTPStatus.INTERNAL_SERVER_ERROR else Internal(raised.reason)
    return respond(error, request_id, raised.status, headers)


def unknown(request_id: str) -> web.Response:
    """The answer for a fault of this program, whose traceback the log holds."""
    return respond(Internal("this node made a mistake", hint=f"its log has the details: request={request_id}"), request_id)
