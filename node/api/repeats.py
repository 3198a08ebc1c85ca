"""How does a call that is sent twice take effect once?

A POST with an `Idempotency-Key` is claimed before it is handled, and its answer kept once it is given; a repeat gets that
answer with `Idempotency-Replayed: true`. Keys belong to the caller's token and are kept for a day. The same key with another
call is a conflict; while the first is under way a repeat waits for it. A call that is refused leaves its key free.

What a crash leaves behind: claim, effect and answer are three commits. A crash after the first has no effect, and the repeat
is handled as a new call. A crash after the second left an effect without an answer: the repeat is handled again, under an id
that is made from the claim and so is the same, and finds its own record. So one key makes one record, always; only the
status of the repeat differs then (200 where the lost answer was 201).
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from node.api.callers import CALLER, LOCAL
from node.api.polls import Polls
from node.api.ports import Answers
from node.api.reading import read_content
from node.api.route import DOOR, Route, RouteHandler
from node.clock import Clock
from node.errors import Conflict, Invalid, Problem, Rejected
from node.model.access import Claim, KeptAnswer
from node.model.document import MAX_WAIT
from node.model.value import new_id

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"
MAX_ANSWER: Final = 64 * 1024  # a larger answer is given, and made anew for a repeat
KEY: Final = "[!-~]{1,200}"  # one word of printable ASCII


@dataclass(frozen=True, slots=True)
class Call:
    """A claimed call: whose, under which key, first seen when (wall seconds)."""

    owner: str
    key: str
    first_at: float

    def identity(self, kind: str) -> str:
        """The id of the one record that this call makes."""
        entropy = hashlib.sha256(f"{self.owner}\0{self.key}\0{self.first_at}".encode()).digest()[:10]
        return new_id(kind, self.first_at, entropy)


CALL: Final = web.RequestKey("call", Call)


def identity(request: web.Request, kind: str) -> str | None:
    """The id that a record of this request gets, None where the caller gave no key and any will do."""
    if HEADER not in request.headers:
        return None
    call = request.get(CALL)
    return call.identity(kind) if call is not None else None


class Repeats:
    """Gives first answers again. The calls under way are those of every route: a key stands for one call at one path."""

    def __init__(self, answers: Answers | None) -> None:
        self._answers = answers
        self._running: dict[tuple[str, str], tuple[str, asyncio.Event]] = {}

    def once(self, route: Route) -> RouteHandler:
        """The handler of a route that changes something, for calls that may come twice."""
        answers, running, handler = self._answers, self._running, route.handler
        if answers is None:
            return handler

        async def handle(request: web.Request) -> web.StreamResponse:
            if HEADER not in request.headers:
                return await handler(request)
            key = _key(request, route)
            owner = request.get(CALLER, LOCAL).name
            digest = await _digest(request)
            door = request.app[DOOR]
            while (held := running.get((owner, key))) is not None:
                await _wait(held, digest, key, door.polls, door.clock)
            done = asyncio.Event()
            running[owner, key] = (digest, done)
            try:
                return await _answer(request, handler, answers, Call(owner, key, door.clock.wall()), digest)
            finally:
                del running[owner, key]
                done.set()

        return handle


async def _answer(request: web.Request, handler: RouteHandler, answers: Answers, call: Call, digest: str) -> web.StreamResponse:
    claim = await answers.claim(call.owner, call.key, digest, call.first_at)
    if claim.answer is not None:
        return _again(claim.answer)
    request[CALL] = Call(call.owner, call.key, claim.first_at)
    try:
        response = await handler(request)
    except Rejected:
        await _release(answers, call, claim)
        raise
    kept = _kept(response)
    if kept is not None:
        await answers.keep(call.owner, call.key, kept)
    return response


async def _release(answers: Answers, call: Call, claim: Claim) -> None:
    # a claim from before this call may stand for an effect whose answer was lost: it stays
    if claim.new:
        await answers.free(call.owner, call.key)


def _key(request: web.Request, route: Route) -> str:
    given = request.headers.getall(HEADER)
    if not route.keyed:
        raise Rejected(f"{HEADER}: what {route.path} answers is kept nowhere and cannot be given again", hint="leave it out")
    if len(given) != 1 or not re.fullmatch(KEY, given[0]):
        fault = Problem(HEADER, "is not one word of 1 to 200 printable ASCII characters")
        raise Invalid(str(fault), problems=[fault])
    return given[0]


async def _digest(request: web.Request) -> str:
    content = await read_content(request)
    return hashlib.sha256(f"{request.method} {request.path_qs}\n".encode() + content).hexdigest()


async def _wait(held: tuple[str, asyncio.Event], digest: str, key: str, polls: Polls, clock: Clock) -> None:
    first, done = held
    if first != digest:
        raise Conflict(f"the idempotency key {key!r} belongs to another request", hint="a new request needs a new key")

    async def ended() -> bool:
        try:
            async with clock.timeout(MAX_WAIT):
                return await done.wait()
        except TimeoutError:
            return False

    if not await polls.run(ended, otherwise=False):
        raise Conflict(f"the first request with the key {key!r} is still under way", hint="repeat it later")


def _kept(response: web.StreamResponse) -> KeptAnswer | None:
    body = response.body if isinstance(response, web.Response) else None
    if response.status >= 300 or not isinstance(body, bytes) or len(body) > MAX_ANSWER:
        return None
    return KeptAnswer(status=response.status, content=body.decode(), location=response.headers.get("Location", ""))


def _again(answer: KeptAnswer) -> web.Response:
    headers = {REPLAYED: "true", **({"Location": answer.location} if answer.location else {})}
    return web.Response(status=answer.status, body=answer.content.encode(), content_type="application/json", headers=headers)
