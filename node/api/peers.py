"""Who is a member of the system, who waits to be let in, and who lets them in or puts them out?"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from node.api.answer import document, page
from node.api.ports import Members
from node.api.reading import kept_by_clouds, read_body, read_params, read_ref
from node.api.route import API, DOOR, Route, Scope
from node.errors import Busy, ConfigInvalid, Conflict, Forbidden, Invalid, NotFound, StorageFailed
from node.model.document import AuditQuery
from node.model.member import (
    Approval,
    Invitation,
    JoinToken,
    JoinTokenRequest,
    KeyChange,
    KeyState,
    Member,
    MemberEvent,
    NewJoinToken,
    NodeChange,
    Waiting,
)

MAX_REF: Final = 100


def _members(request: web.Request) -> Members:
    return kept_by_clouds(request.app[DOOR].ports.members, "members")


def _ref(request: web.Request) -> str:
    return read_ref(request, MAX_REF, "member and no join token")


async def listing(request: web.Request) -> web.Response:
    """By name, those of the config and those that were put out too; their number is bounded, so there is one page."""
    return page(_members(request).members(), None)


async def pending(request: web.Request) -> web.Response:
    """Members that wait, then the newest refused keys."""
    return page(_members(request).waiting(), None)


async def approve(request: web.Request) -> web.Response:
    """It gets in with its next knock, within ten seconds."""
    return document(await _members(request).approve(_ref(request), await read_body(request, Approval)))


async def revoke(request: web.Request) -> web.Response:
    """Its connection is cut at once, and its key never gets in again."""
    return document(await _members(request).revoke(_ref(request)))


async def change(request: web.Request) -> web.Response:
    """The scheduler acts on it with its next look."""
    wanted = await read_body(request, NodeChange)
    return document(await _members(request).drain(_ref(request), drained=wanted.drained))


async def invite(request: web.Request) -> web.Response:
    """Takes effect at once, also at the other members; the member's link begins anew."""
    wanted = await read_body(request, Invitation)
    return document(await _members(request).invite(_ref(request), wanted.sessions))


async def make_token(request: web.Request) -> web.Response:
    """The secret is in this answer and nowhere else."""
    made = await _members(request).make_token(await read_body(request, JoinTokenRequest))
    return document(made, status=201, headers={"Location": f"{API}/peers/tokens/{made.token.id}"})


async def change_key(request: web.Request) -> web.Response:
    """Announces this cloud's next key; with `switch` it becomes the key from the next start on."""
    wanted = await read_body(request, KeyChange)
    return document(await _members(request).change_key(switch=wanted.switch))


async def tokens(request: web.Request) -> web.Response:
    """Those that can still be used, the oldest first."""
    return page(_members(request).tokens(), None)


async def revoke_token(request: web.Request) -> web.Response:
    """A unique beginning of the id will do."""
    return document(await _members(request).revoke_token(_ref(request)))


async def audit(request: web.Request) -> web.Response:
    """The newest first."""
    return page(await _members(request).events(read_params(request, AuditQuery).limit), None)


_STORE: Final = (Busy, StorageFailed, NotFound)

ROUTES: Final = (
    Route("GET", f"{API}/peers", Scope.READ, listing, "The members.", reply=Member, many=True, raises=(NotFound,)),
    Route(
        "GET",
        f"{API}/peers/pending",
        Scope.READ,
        pending,
        "Who waits to be let in.",
        reply=Waiting,
        many=True,
        raises=(NotFound,),
    ),
    Route(
        "POST",
        f"{API}/peers/tokens",
        Scope.ADMIN,
        make_token,
        "Make a join token.",
        body=JoinTokenRequest,
        reply=NewJoinToken,
        answers=(201,),
        raises=(*_STORE, Forbidden),
        keyed=False,
    ),
    Route(
        "GET", f"{API}/peers/tokens", Scope.ADMIN, tokens, "The join tokens.", reply=JoinToken, many=True, raises=(NotFound,)
    ),
    Route(
        "DELETE",
        f"{API}/peers/tokens/{{ref}}",
        Scope.ADMIN,
        revoke_token,
        "Revoke a join token.",
        reply=JoinToken,
        raises=(*_STORE, Conflict),
    ),
    Route(
        "POST",
        f"{API}/peers/{{ref}}/approve",
        Scope.ADMIN,
        approve,
        "Let a key in.",
        body=Approval,
        reply=Member,
        raises=(*_STORE, Conflict, Forbidden, Invalid),
    ),
    Route(
        "DELETE",
        f"{API}/peers/{{ref}}",
        Scope.ADMIN,
        revoke,
        "Put a member out.",
        reply=Member,
        raises=(*_STORE, Conflict),
    ),
    Route(
        "PUT",
        f"{API}/peers/{{ref}}/sessions",
        Scope.ADMIN,
        invite,
        "Say which private sessions a member may take part in.",
        body=Invitation,
        reply=Member,
        raises=(*_STORE, Conflict),
    ),
    Route(
        "POST",
        f"{API}/peers/key",
        Scope.ADMIN,
        change_key,
        "Announce this cloud's next key, or go over to it.",
        body=KeyChange,
        reply=KeyState,
        raises=(*_STORE, Conflict, ConfigInvalid),
        keyed=False,
    ),
    Route(
        "PATCH",
        f"{API}/nodes/{{ref}}",
        Scope.OPERATE,
        change,
        "Drain a member, or let it have work again.",
        body=NodeChange,
        reply=Member,
        raises=(*_STORE, Conflict),
    ),
    Route(
        "GET",
        f"{API}/audit",
        Scope.ADMIN,
        audit,
        "What happened to members.",
        params=AuditQuery,
        reply=MemberEvent,
        many=True,
        raises=(NotFound, Busy, StorageFailed),
    ),
)
