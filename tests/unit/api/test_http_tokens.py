"""Which token opens which route, and for how long?"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from node.api.callers import USE_EVERY, Keyring
from node.api.route import Route, Scope
from node.api.server import ROUTES
from node.clock import ManualClock
from node.errors import Conflict, NotFound
from node.model.access import TokenRequest, TokenScope
from node.storage import open_store

TOKENS = "/api/v1/tokens"


def make(door: Any, **request: Any) -> Any:
    reply = door.raw("POST", TOKENS, json.dumps(request).encode())
    assert reply.status == 201, reply.body
    return reply.json


@pytest.fixture
def secrets(door: Any) -> dict[Scope, str]:
    return {scope: make(door, scope=scope.name.lower())["secret"] for scope in Scope if scope > Scope.OPEN}


def ask(door: Any, route: Route, token: str | None) -> int:
    path = re.sub(r"{\w+(:[^}]*)?}", "1", route.path)
    query = "?follow=false" if path.endswith("/v1/events") else ""
    body = b"{}" if route.method in {"POST", "PATCH"} else None
    status: int = door.raw(route.method, path + query, body, token=token).status
    return status


def test_every_route_is_open_to_the_scopes_from_its_own_on_and_to_no_other(door: Any, secrets: dict[Scope, str]) -> None:
    for route in ROUTES:
        assert (ask(door, route, None) == 401) == (route.scope > Scope.OPEN), route
        for scope, secret in secrets.items():
            allowed = ask(door, route, secret) not in {401, 403}
            assert allowed == (scope >= route.scope), (route.method, route.path, scope)


def test_a_token_that_may_not_is_told_which_scope_would(door: Any, secrets: dict[Scope, str]) -> None:
    reply = door.raw("POST", "/api/v1/queries", b"{}", token=secrets[Scope.READ])
    assert (reply.status, reply.json["code"]) == (403, "EC-FORBIDDEN")
    assert "submit" in reply.json["detail"]


def test_a_token_shows_its_secret_once(door: Any) -> None:
    made = make(door, scope="read", label="ci", ttl=3600)
    listed = door.raw("GET", TOKENS)
    assert made["secret"].startswith("ec1_")
    assert made["secret"].encode() not in listed.body
    (token,) = listed.json["items"]
    assert token == {**made["token"], "used_at": None}
    assert token["label"] == "ci"
    assert token["expires_at"].endswith("Z")


def test_a_revoked_token_is_refused_from_the_next_request_on(door: Any) -> None:
    made = make(door, scope="read")
    assert door.raw("GET", "/api/v1/node", token=made["secret"]).status == 200
    assert door.raw("GET", TOKENS).json["items"][0]["used_at"] is not None
    assert door.raw("DELETE", f"{TOKENS}/{made['token']['id']}").status == 200
    assert door.raw("GET", "/api/v1/node", token=made["secret"]).status == 401
    assert door.raw("DELETE", f"{TOKENS}/{made['token']['id']}").status == 404


@pytest.mark.parametrize("body", [{}, {"scope": "root"}, {"scope": "read", "ttl": 0}, {"scope": "read", "ttl": 1e12}])
def test_a_wrong_request_for_a_token_is_explained(door: Any, body: dict[str, Any]) -> None:
    assert door.raw("POST", TOKENS, json.dumps(body).encode()).status == 422


async def test_tokens_outlive_a_restart_expire_and_note_their_use_sparingly(tmp_path: Path) -> None:
    clock = ManualClock()
    store = await open_store("sqlite:///node.db", tmp_path, clock)
    first = Keyring("", store.tokens, clock)
    made = await first.make(TokenRequest(scope=TokenScope.READ, ttl=600.0))
    keyring = Keyring("", store.tokens, clock)
    assert await keyring.find(made.secret) is None
    await keyring.load()
    caller = await keyring.find(made.secret)
    assert caller is not None
    assert (caller.name, caller.scope) == (made.token.id, Scope.READ)
    (first_use,) = [token.used_at for token in keyring.tokens()]
    await clock.advance(USE_EVERY - 1)
    await keyring.find(made.secret)
    assert [token.used_at for token in (await store.tokens.load()).values()] == [first_use]
    await clock.advance(2)
    await keyring.find(made.secret)
    assert [token.used_at for token in (await store.tokens.load()).values()] == [clock.wall()]
    assert await keyring.find("") is None
    await clock.advance(600)
    assert await keyring.find(made.secret) is None
    assert keyring.tokens() == ()
    await store.close()


def holding(folder: Path, secret: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


async def test_the_file_on_the_disk_holds_no_secret(tmp_path: Path) -> None:
    clock = ManualClock()
    store = await open_store("sqlite:///node.db", tmp_path, clock)
    made = await Keyring("", store.tokens, clock).make(TokenRequest(scope=TokenScope.ADMIN))
    await store.close()
    assert not holding(tmp_path, made.secret)


async def test_a_token_is_revoked_by_a_unique_beginning_of_its_id(tmp_path: Path) -> None:
    store = await open_store("sqlite:///:memory:", tmp_path, ManualClock())
    keyring = Keyring("", store.tokens, ManualClock())
    first, _ = await asyncio.gather(*(keyring.make(TokenRequest(scope=TokenScope.READ)) for _ in range(2)))
    with pytest.raises(Conflict):
        await keyring.revoke("k-")
    with pytest.raises(NotFound):
        await keyring.revoke("k-nothing")
    assert (await keyring.revoke(first.token.id)).id == first.token.id
    await store.close()
