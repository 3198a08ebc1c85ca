"""How does a command or a script talk to a node?

Plain blocking HTTP over the standard library, one connection kept open. What the node refuses comes back as the same error that
it raised there. Every request may be repeated: ids are made by the caller, so a lost answer is asked for again once.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Generic, Self, TypeVar
from urllib.parse import quote, urlencode, urlsplit

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
from node.model.access import NewToken, Token, TokenRequest
from node.model.blob import BlobInfo
from node.model.cluster import NodeView
from node.model.document import (
    BlobPull,
    Document,
    NodeCard,
    PlanItem,
    Readiness,
    ResultItem,
    from_document,
    to_document,
)
from node.model.event import StreamEvent
from node.model.member import Approval, JoinToken, JoinTokenRequest, KeyState, Member, NewJoinToken, Waiting
from node.model.value import Value
from node.model.video import Constraint, Event, Plan, Query, QueryRequest, QueryState, Runtime

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


class Client:
    """A node's HTTP API.

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

    def ready(self) -> Readiness:
        """Whether the node can work; not an error when it cannot."""
        status, content = self._exchange("GET", "/readyz", None, self._timeout)
        if status not in {200, 503}:
            raise _refusal(status, content)
        return from_document(Readiness, _document(content))

    def node(self) -> NodeCard:
        """The node that answers here."""
        return from_document(NodeCard, self._get("/node"))

    def nodes(self) -> tuple[NodeView, ...]:
        """The nodes it knows."""
        return _page(NodeView, self._get("/nodes")).items

    def submit(self, request: QueryRequest | Document) -> Query:
        """Submits a query, as a value or as the document a user wrote; give it an id, so that a repeat is harmless."""
        body = to_document(request) if isinstance(request, QueryRequest) else request
        return from_document(Query, self._send("POST", "/queries", body))

    def queries(self, state: QueryState | None = None, limit: int = 50, after: str | None = None) -> Page[Query]:
        """Queries, newest first."""
        return _page(Query, self._get("/queries", {"state": state, "limit": limit, "after": after}))

    def query(self, ref: str) -> Query:
        """One query."""
        return from_document(Query, self._get(f"/queries/{quote(ref, safe='')}"))

    def constrain(self, ref: str, change: Constraint) -> Query:
        """Changes the fields that were set on `change`, and only those."""
        body = {field: value for field, value in to_document(change).items() if field in change.model_fields_set}
        return from_document(Query, self._send("PATCH", f"/queries/{quote(ref, safe='')}/constraint", body))

    def stop(self, ref: str) -> Query:
        """Stops a query."""
        return from_document(Query, self._send("POST", f"/queries/{quote(ref, safe='')}/stop", None))

    def results(self, ref: str, after: int = 0, limit: int = 100, wait: float = 0.0) -> Page[ResultItem]:
        """Results behind a cursor; waits up to `wait` seconds for the first of them."""
        parameters = {"after": after, "limit": limit, "wait": wait}
        return _page(ResultItem, self._get(f"/queries/{quote(ref, safe='')}/results", parameters, self._timeout + wait))

    def runtime(self, ref: str) -> Runtime:
        """What the newest results say."""
        return from_document(Runtime, self._get(f"/queries/{quote(ref, safe='')}/runtime"))

    def plans(self, ref: str) -> tuple[Plan | None, tuple[PlanItem, ...]]:
        """The plan of now and every plan with its moment, in order."""
        found = self._get(f"/queries/{quote(ref, safe='')}/plan")
        current, history = found.get("current"), found.get("history")
        if not isinstance(history, list):
            raise Malformed("the answer has no plan history")
        return (
            from_document(Plan, current) if current is not None else None,
            tuple(from_document(PlanItem, item) for item in history),
        )

    def picture(self, ref: str) -> bytes:
        """The newest annotated frame as JPEG."""
        status, content = self._exchange("GET", f"{API}/queries/{quote(ref, safe='')}/picture.jpg", None, self._timeout)
        if status != 200:
            raise _refusal(status, content)
        return content

    def events(self, ref: str) -> tuple[Event, ...]:
        """Every transition of a query."""
        return _page(Event, self._get(f"/queries/{quote(ref, safe='')}/events")).items

    def follow(self, topics: str = "", query: str | None = None, *, follow: bool = True) -> Iterator[StreamEvent]:
        """Events as they come; without `follow` those that the node still has at hand.

        A line that breaks is dialled again and goes on behind the last event; ends with the event `end` of the one query.

        Raises:
            PeerUnreachable: the node stays away.
        """
        given: dict[str, str] = {"follow": "true" if follow else "false"}
        given |= {"topics": topics} if topics else {}
        given |= {"query": query} if query is not None else {}
        last, tries = "", 0
        while True:
            try:
                for event in self._stream(f"{API}/events?{urlencode(given)}", last):
                    last, tries = event.id or last, 0
                    yield event
                    if event.event == "end":
                        return
            except (OSError, http.client.HTTPException) as error:
                if tries >= REDIALS:
                    raise self._unreachable(error) from error
            if not follow:
                return
            tries += 1
            threading.Event().wait(REDIAL_AFTER)

    def _stream(self, target: str, last: str) -> Iterator[StreamEvent]:
        line = type(self._connection)(self._connection.host, self._connection.port, timeout=SILENCE)
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        try:
            line.request("GET", target, headers=headers)
            answer = line.getresponse()
            if answer.status != 200:
                raise _refusal(answer.status, answer.read(MAX_ANSWER))
            yield from _events(answer)
        finally:
            line.close()

    def make_token(self, request: TokenRequest) -> NewToken:
        """A new token; it exists twice where the answer to the first try was lost, `tokens` shows it."""
        found = self._send("POST", "/tokens", to_document(request))
        return NewToken(token=from_document(Token, found.get("token")), secret=str(found.get("secret", "")))

    def tokens(self) -> tuple[Token, ...]:
        """The tokens that were made at this door."""
        return _page(Token, self._get("/tokens")).items

    def revoke_token(self, ref: str) -> Token:
        """Takes away the token whose id begins so."""
        return from_document(Token, self._send("DELETE", f"/tokens/{quote(ref, safe='')}", None))

    def blobs(self) -> Iterator[BlobInfo]:
        """The blobs of the node by id, those that come in too."""
        after: str | int | None = None
        while True:
            found = _page(BlobInfo, self._get("/blobs", {"limit": 500, "after": after}))
            yield from found.items
            if (after := found.following) is None:
                return

    def has_blob(self, id: str) -> bool:
        """Whether the node has that blob complete."""
        status, _ = self._exchange("HEAD", f"{API}/blobs/{quote(id, safe='')}", None, self._timeout)
        return status == 200

    def put_blob(self, content: Iterable[bytes], id: str, size: int) -> BlobInfo:
        """Stores content of that id and size; repeating it changes nothing."""
        with self._line("POST", f"{API}/blobs?id={id}", {"Content-Type": BYTES, "Content-Length": str(size)}) as line:
            try:
                for block in content:
                    line.send(block)
            except (BrokenPipeError, ConnectionResetError):
                pass  # refused before its end: the answer says why
            answer = line.getresponse()
            body = answer.read(MAX_ANSWER)
        if answer.status not in {200, 201}:
            raise _refusal(answer.status, body)
        return from_document(BlobInfo, _document(body))

    def get_blob(self, id: str, start: int = 0) -> Iterator[bytes]:
        """The content of a blob from the byte `start` on, in blocks.

        Raises:
            PeerUnreachable: the line broke before the end.
        """
        given = {"Range": f"bytes={start}-"} if start else {}
        with self._line("GET", f"{API}/blobs/{quote(id, safe='')}", given) as line:
            answer = line.getresponse()
            if answer.status != (206 if start else 200):
                raise _refusal(answer.status, answer.read(MAX_ANSWER))
            while block := answer.read(BLOCK):
                yield block

    def delete_blob(self, id: str) -> BlobInfo:
        """Deletes a blob, or what came in of it."""
        return from_document(BlobInfo, self._send("DELETE", f"/blobs/{quote(id, safe='')}", None))

    def pull_blob(self, id: str, request: BlobPull) -> BlobInfo:
        """Has the node fetch a blob from its peers."""
        path = f"{API}/blobs/{quote(id, safe='')}/pull"
        found = self._answered("POST", path, to_document(request), self._timeout + request.wait)
        return from_document(BlobInfo, found)

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

    def members(self) -> tuple[Member, ...]:
        """The members of a cloud, by name."""
        return _page(Member, self._get("/peers")).items

    def waiting(self) -> tuple[Waiting, ...]:
        """Who waits to be let in."""
        return _page(Waiting, self._get("/peers/pending")).items

    def approve(self, ref: str, approval: Approval) -> Member:
        """Lets in who waits under that fingerprint or name."""
        return from_document(Member, self._send("POST", f"/peers/{quote(ref, safe='')}/approve", to_document(approval)))

    def remove(self, ref: str) -> Member:
        """Puts a member out for good."""
        return from_document(Member, self._send("DELETE", f"/peers/{quote(ref, safe='')}", None))

    def drain(self, ref: str, *, drained: bool) -> Member:
        """Has a member get no work, or work again."""
        return from_document(Member, self._send("PATCH", f"/nodes/{quote(ref, safe='')}", {"drained": drained}))

    def change_key(self, *, switch: bool) -> KeyState:
        """Announces a cloud's next key, or has it go over to it."""
        return from_document(KeyState, self._send("POST", "/peers/key", {"switch": switch}))

    def make_join_token(self, request: JoinTokenRequest) -> NewJoinToken:
        """A new join token; it exists twice where the answer to the first try was lost."""
        found = self._send("POST", "/peers/tokens", to_document(request))
        return NewJoinToken(token=from_document(JoinToken, found.get("token")), secret=str(found.get("secret", "")))

    def join_tokens(self) -> tuple[JoinToken, ...]:
        """The join tokens that can still be used."""
        return _page(JoinToken, self._get("/peers/tokens")).items

    def revoke_join_token(self, ref: str) -> JoinToken:
        """Takes away the join token whose id begins so."""
        return from_document(JoinToken, self._send("DELETE", f"/peers/tokens/{quote(ref, safe='')}", None))

    def ask(self, method: str, target: str, body: Document | None = None) -> bytes:
        """The content of any answer below 300; `target` is a path with its query string."""
        status, content = self._exchange(method, target, body, self._timeout)
        if status >= 300:
            raise _refusal(status, content)
        return content

    def metrics(self) -> str:
        """The node's figures in the Prometheus text format."""
        status, content = self._exchange("GET", "/metrics", None, self._timeout)
        if status != 200:
            raise _refusal(status, content)
        return content.decode()

    def _get(self, path: str, parameters: Mapping[str, object] | None = None, timeout: float = 0.0) -> Document:
        given = {name: value for name, value in (parameters or {}).items() if value is not None}
        target = f"{API}{path}?{urlencode(given)}" if given else f"{API}{path}"
        return self._answered("GET", target, None, timeout or self._timeout)

    def _send(self, method: str, path: str, body: Document | None) -> Document:
        return self._answered(method, f"{API}{path}", body, self._timeout)

    def _answered(self, method: str, target: str, body: Document | None, timeout: float) -> Document:
        status, content = self._exchange(method, target, body, timeout)
        if status not in {200, 201}:
            raise _refusal(status, content)
        return _document(content)

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


def _events(lines: Iterable[bytes]) -> Iterator[StreamEvent]:
    # server-sent events as this node writes them: one line each of id, event and data, then an empty one
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name:
            fields[name] = value  # a comment has no name and is passed over with the next empty line
        elif not value and "data" in fields:
            yield StreamEvent(
                id=fields.get("id", ""), event=fields.get("event", "message"), data=_document(fields["data"].encode())
            )
            fields = {}


def _document(content: bytes) -> Document:
    try:
        found = json.loads(content)
    except ValueError as error:
        raise Malformed("the answer is not JSON: is this an ecnode's address?") from error
    if not isinstance(found, dict):
        raise Malformed("the answer is not a JSON object: is this an ecnode's address?")
    return found


def _page(kind: type[V], found: Document) -> Page[V]:
    items, following = found.get("items"), found.get("next")
    if not isinstance(items, list) or not isinstance(following, str | int | None):
        raise Malformed("the answer is not a list")
    return Page(tuple(from_document(kind, item) for item in items), following)


def _refusal(status: int, content: bytes) -> EcnodeError:
    try:
        found = _document(content)
    except Malformed:
        return Malformed(f"HTTP {status} without an explanation: is this an ecnode's address?")
    error = from_wire(str(found.get("code", "")), str(found.get("detail", "")), str(found.get("hint", "")))
    error.problems = tuple(_problems(found.get("errors")))
    return error


def _problems(faults: object) -> Sequence[Problem]:
    if not isinstance(faults, list):
        return ()
    return [Problem(str(fault.get("path", "")), str(fault.get("message", ""))) for fault in faults if isinstance(fault, dict)]
