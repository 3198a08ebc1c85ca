"""How does one request reach a node, and how does its refusal come back?"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Generic, Self, TypeVar
from urllib.parse import urlencode, urlsplit

from node.errors import (
    DeadlineExceeded,
    EcnodeError,
    Invalid,
    Malformed,
    PeerUnreachable,
    Problem,
    TooLarge,
    from_wire,
)
from node.model.document import (
    Document,
    from_document,
)
from node.model.value import Value

V = TypeVar("V", bound=Value)

API: Final = "/api/v1"
TIMEOUT: Final = 10.0
MAX_ANSWER: Final = 32 * 2**20  # a page of 500 results with 100 boxes each is 5 MiB
BLOCK: Final = 2**20
BYTES: Final = "application/octet-stream"
SILENCE: Final = 40.0  # a stream says something every 15 s
REDIALS: Final = 20  # in a row, before a node that went away is given up: 20 s, a restart takes five
REDIAL_AFTER: Final = 1.0


@dataclass(frozen=True, slots=True)
class Page(Generic[V]):
    """Part of a list; `following` is what to pass as `after` to go on, None at the end."""

    items: tuple[V, ...]
    following: str | int | None


class Connection:
    """One line to a node's HTTP API, kept open.

    Args:
        url: `http://HOST:PORT`, or https.
        token: sent as a bearer; empty sends none.
        timeout: seconds to wait for an answer, on top of what a long poll waits.

    Raises:
        Whatever the node reports, and PeerUnreachable where nothing listens, DeadlineExceeded where nothing answers.
    """

    def __init__(self, url: str, token: str = "", timeout: float = TIMEOUT) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise Invalid(f"'{url}' is not an address such as http://127.0.0.1:7480")
        self.url = url.rstrip("/")
        self._token = token
        self._timeout = timeout
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Hangs up; the next request dials again."""
        self._connection.close()

    @contextmanager
    def _line(self, method: str, target: str, headers: Mapping[str, str]) -> Iterator[http.client.HTTPConnection]:
        """A connection of its own for one large request, whose head is sent."""
        line = type(self._connection)(self._connection.host, self._connection.port, timeout=SILENCE)
        try:
            line.putrequest(method, target, skip_accept_encoding=True)
            for name, value in {**headers, **({"Authorization": f"Bearer {self._token}"} if self._token else {})}.items():
                line.putheader(name, value)
            line.endheaders()
            yield line
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            line.close()

    def _get(self, path: str, parameters: Mapping[str, object] | None = None, timeout: float = 0.0) -> Document:
        given = {name: value for name, value in (parameters or {}).items() if value is not None}
        target = f"{API}{path}?{urlencode(given)}" if given else f"{API}{path}"
        return self._answered("GET", target, None, timeout or self._timeout)

    def _send(self, method: str, path: str, body: Document | None) -> Document:
        return self._answered(method, f"{API}{path}", body, self._timeout)

    def _answered(self, method: str, target: str, body: Document | None, timeout: float) -> Document:
        status, content = self._exchange(method, target, body, timeout)
        if status not in {200, 201, 202}:
            raise refusal(status, content)
        return document(content)

    def _exchange(self, method: str, target: str, body: Document | None, timeout: float) -> tuple[int, bytes]:
        kept = self._connection.sock is not None
        try:
            return self._once(method, target, body, timeout)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
            self.close()
            if not kept:
                raise self._unreachable(error) from error
        except TimeoutError as error:
            self.close()
            raise DeadlineExceeded(f"{self.url} did not answer within {timeout:g} s", hint="try a longer --timeout") from error
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._unreachable(error) from error
        return self._exchange(method, target, body, timeout)  # the node had closed the idle connection: once more, dialled anew

    def _once(self, method: str, target: str, body: Document | None, timeout: float) -> tuple[int, bytes]:
        self._connection.timeout = timeout
        if isinstance(self._connection.sock, socket.socket):
            self._connection.sock.settimeout(timeout)
        headers = {"Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        self._connection.request(method, target, None if body is None else json.dumps(body), headers)
        answer = self._connection.getresponse()
        content = answer.read(MAX_ANSWER + 1)
        if len(content) > MAX_ANSWER:
            self.close()
            raise TooLarge(f"the answer is larger than {MAX_ANSWER} bytes", hint="ask for fewer items with limit")
        return answer.status, content

    def _unreachable(self, error: Exception) -> PeerUnreachable:
        return PeerUnreachable(
            f"no node answers at {self.url}: {error}",
            hint="start one with `ecnode up -c FILE` or try `ecnode dev`; another address: --url",
        )


def document(content: bytes) -> Document:
    """The JSON object in an answer."""
    try:
        found = json.loads(content)
    except ValueError as error:
        raise Malformed("the answer is not JSON: is this an ecnode's address?") from error
    if not isinstance(found, dict):
        raise Malformed("the answer is not a JSON object: is this an ecnode's address?")
    return found


def page_of(kind: type[V], found: Document) -> Page[V]:
    """The list in an answer."""
    items, following = found.get("items"), found.get("next")
    if not isinstance(items, list) or not isinstance(following, str | int | None):
        raise Malformed("the answer is not a list")
    return Page(tuple(from_document(kind, item) for item in items), following)


def refusal(status: int, content: bytes) -> EcnodeError:
    """The error that an answer tells of."""
    try:
        found = document(content)
    except Malformed:
        return Malformed(f"HTTP {status} without an explanation: is this an ecnode's address?")
    error = from_wire(str(found.get("code", "")), str(found.get("detail", "")), str(found.get("hint", "")))
    error.problems = tuple(_problems(found.get("errors")))
    return error


def _problems(faults: object) -> Sequence[Problem]:
    if not isinstance(faults, list):
        return ()
    return [Problem(str(fault.get("path", "")), str(fault.get("message", ""))) for fault in faults if isinstance(fault, dict)]
