"""What can users of the original console do about themselves and others?

A log-in gives a token of this node with the scope of the user's role. The first administrator is made by the link that
`ecnode projects administrator` shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from aiohttp import web

from node.api.callers import CALLER, LOCAL
from node.api.compat import EFLS
from node.api.compat.efls_bodies import ConsoleAnswer, LogIn, NewUser, SetupQuery, UserUpdate
from node.api.compat.efls_shapes import COOKIE, ROLE_SCOPES, asker, console_of, hex_id, present, told, user_shape
from node.api.reading import read_body, read_params
from node.api.route import DOOR, Route, Scope
from node.errors import Busy, Conflict, Forbidden, NotFound, StorageFailed, Unauthorized
from node.model.access import TokenRequest, TokenScope
from node.model.project import UserRole, number_of, word_of

LOGIN_S: Final = 12 * 3600.0


async def sign_up(request: web.Request) -> web.Response:
    """The first administrator by the secret of a link, `?setup=…`; others by the token of an administrator."""
    wanted, params, users = await read_body(request, NewUser), read_params(request, SetupQuery), console_of(request).users
    if params.setup:
        return told(user_shape(await users.make_first(params.setup, wanted.name, wanted.password)))
    await present(request)
    by, role = await asker(request), word_of(UserRole, wanted.role) or UserRole.DEFAULT
    return told(user_shape(await users.make(by.role, wanted.name, wanted.password, role)))


async def me(request: web.Request) -> web.Response:
    """Who the token belongs to."""
    by = await asker(request)
    if not by.id:
        return told({"id": None, "name": None, "role": number_of(by.role), "info": "a token of the node, no user's log-in"})
    return told(user_shape(await console_of(request).users.get(by.id)))


async def change(request: web.Request) -> web.Response:
    """One's own password and description; a root changes others', and their roles."""
    wanted, by = await read_body(request, UserUpdate), await asker(request)
    user, ended = await console_of(request).users.change(
        by.role,
        by.id,
        hex_id(request),
        old_password=wanted.origin_password,
        password=wanted.password,
        role=None if wanted.role is None else word_of(UserRole, wanted.role),
        info=wanted.info,
    )
    await _revoke(request, ended)
    return told(user_shape(user))


async def drop(request: web.Request) -> web.Response:
    """A root takes a user away; every log-in of it ends."""
    await _revoke(request, await console_of(request).users.drop((await asker(request)).role, hex_id(request)))
    return told({"result": True})


async def log_in(request: web.Request) -> web.Response:
    """The token is in the answer and in a cookie; either is shown from then on."""
    wanted, users, door = await read_body(request, LogIn), console_of(request).users, request.app[DOOR]
    user = await users.log_in(wanted.name, wanted.password)
    scope = TokenScope(ROLE_SCOPES[user.role].name.lower())
    made = await door.keyring.make(TokenRequest(label=f"log-in of {user.name}"[:200], scope=scope, ttl=LOGIN_S))
    await _revoke(request, await users.note_log_in(user, made.token.id))
    response = told({"token": made.secret, "id": user.id, "name": user.name, "role": number_of(user.role)})
    response.set_cookie(COOKIE, made.secret, max_age=int(LOGIN_S), httponly=True, samesite="Strict", path="/")
    return response


async def log_out(request: web.Request) -> web.Response:
    """Ends the log-in that the token is of."""
    caller, users = request.get(CALLER, LOCAL), console_of(request).users
    if await users.of_token(caller.name) is None:
        raise Forbidden("the token is no log-in's", hint="ecnode token revoke ends others")
    await users.note_log_out(caller.name)
    await _revoke(request, [caller.name])
    response = told({"result": True})
    response.del_cookie(COOKIE, path="/")
    return response


async def permissions(request: web.Request) -> web.Response:
    """The numbers of the roles."""
    console_of(request)
    return told({"permission_list": [number_of(role) for role in UserRole]})


async def _revoke(request: web.Request, ended: Sequence[str]) -> None:
    keyring = request.app[DOOR].keyring
    for token in ended:
        try:
            await keyring.revoke(token)
        except NotFound:
            continue  # it had expired


_KEPT: Final = (Busy, StorageFailed, NotFound)
_route = partial(Route, group=EFLS.name, reply=ConsoleAnswer, keyed=False)

ROUTES: Final = (
    _route(
        "POST",
        "/user",
        scope=Scope.OPEN,
        handler=sign_up,
        summary="Make a user.",
        body=NewUser,
        params=SetupQuery,
        raises=(*_KEPT, Conflict, Unauthorized),
    ),
    _route("GET", "/user", scope=Scope.READ, handler=me, summary="Who I am.", raises=_KEPT),
    _route("GET", "/user/permission", scope=Scope.READ, handler=permissions, summary="The roles.", raises=_KEPT),
    _route(
        "POST",
        "/user/session",
        scope=Scope.OPEN,
        handler=log_in,
        summary="Log in.",
        body=LogIn,
        raises=(*_KEPT, Unauthorized),
    ),
    _route("DELETE", "/user/session", scope=Scope.READ, handler=log_out, summary="Log out.", raises=_KEPT),
    _route("PUT", "/user/{id}", scope=Scope.READ, handler=change, summary="Change a user.", body=UserUpdate, raises=_KEPT),
    _route("DELETE", "/user/{id}", scope=Scope.ADMIN, handler=drop, summary="Take a user away.", raises=_KEPT),
)
