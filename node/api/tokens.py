"""Who gives callers a token, and who takes it away?"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from node.api.answer import document, page
from node.api.reading import read_body
from node.api.route import API, DOOR, Route, Scope
from node.errors import Busy, Conflict, NotFound, StorageFailed
from node.model.access import NewToken, Token, TokenRequest


async def make(request: web.Request) -> web.Response:
    """The secret is in this answer and nowhere else."""
    made = await request.app[DOOR].keyring.make(await read_body(request, TokenRequest))
    return document(made, status=201, headers={"Location": f"{API}/tokens/{made.token.id}"})


async def listing(request: web.Request) -> web.Response:
    """The oldest first; their number is bounded, so there is one page."""
    return page(request.app[DOOR].keyring.tokens(), None)


async def revoke(request: web.Request) -> web.Response:
    """Takes effect with the next request; a unique beginning of the id will do."""
    return document(await request.app[DOOR].keyring.revoke(request.match_info["id"]))


_KEPT: Final = (Busy, StorageFailed)

ROUTES: Final = (
    Route(
        "POST",
        f"{API}/tokens",
        Scope.ADMIN,
        make,
        "Make a token.",
        body=TokenRequest,
        reply=NewToken,
        answers=(201,),
        raises=_KEPT,
        keyed=False,
    ),
    Route("GET", f"{API}/tokens", Scope.ADMIN, listing, "The tokens.", reply=Token, many=True),
    Route(
        "DELETE",
        f"{API}/tokens/{{id}}",
        Scope.ADMIN,
        revoke,
        "Revoke a token.",
        reply=Token,
        raises=(*_KEPT, NotFound, Conflict),
    ),
)
