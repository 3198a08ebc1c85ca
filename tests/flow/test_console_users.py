"""Who may log in at a console, who makes users, and what the original's other open doors are here."""

from __future__ import annotations

import pytest
from console_pair import BASE, TOKEN, Side

from node.roles.federated.console import users

NAME, PASSWORD = "ada", "correct horse battery staple"


@pytest.fixture(autouse=True)
def light(monkeypatch):
    """Hashes of a hundredth of the work; that of a node is looked at in its own test."""
    monkeypatch.setattr(users, "SCRYPT_N", 2**8)


async def first(one: Side) -> str:
    """The first administrator's token."""
    link = (await one.ask("POST", "/users/link", base="/api/v1")).body["path"]
    made = await one.ask("POST", link, {"name": NAME, "password": PASSWORD}, base="", token=None)
    assert made.data["role"] == 0
    assert "password" not in made.data
    return await log_in(one, NAME, PASSWORD)


async def log_in(one: Side, name: str, password: str) -> str:
    return (await one.ask("POST", "/user/session", {"name": name, "password": password}, token=None)).data["token"]


async def test_nobody_makes_themselves_a_user_let_alone_an_administrator(pair):
    a, _ = pair
    for body in ({"name": "eve", "password": PASSWORD}, {"name": "eve", "password": PASSWORD, "role": 0}):
        refused = await a.ask("POST", "/user", body, token=None)
        assert (refused.status, refused.body["rsp_code"]) == (401, 7)
    await first(a)
    assert (await a.ask("GET", "/users", base="/api/v1")).body["items"][0]["name"] == NAME


async def test_the_link_makes_one_administrator_once(pair):
    a, _ = pair
    old = (await a.ask("POST", "/users/link", base="/api/v1")).body["path"]
    link = (await a.ask("POST", "/users/link", base="/api/v1")).body["path"]
    assert link.startswith(f"{BASE}/user?setup=")
    body = {"name": NAME, "password": PASSWORD}
    assert (await a.ask("POST", old, body, base="", token=None)).status == 403
    assert (await a.ask("POST", link, body, base="", token=None)).status == 200
    assert (await a.ask("POST", link, {**body, "name": "eve"}, base="", token=None)).status == 403
    assert (await a.ask("POST", "/users/link", base="/api/v1", token=await log_in(a, NAME, PASSWORD))).status == 201


async def test_a_users_role_is_the_scope_of_the_log_in(pair):
    a, b = pair
    root = await first(a)
    for name, role in (("adam", 1), ("dora", 2)):
        assert (await a.ask("POST", "/user", {"name": name, "password": PASSWORD, "role": role}, token=root)).data[
            "role"
        ] == role
    admin, default = await log_in(a, "adam", PASSWORD), await log_in(a, "dora", PASSWORD)
    project = {"name": "cells", "peer_url": b.url}
    assert (await a.ask("POST", "/project", project, token=default)).status == 403
    made = (await a.ask("POST", "/project", project, token=admin)).data
    me = (await a.ask("GET", "/user", token=admin)).data
    assert (me["name"], me["role"], made["owner_id"]) == ("adam", 1, me["id"])
    task = {"project_id": made["id"], "name": "align", "type": 0, "task_root": True}
    assert (await a.ask("POST", "/task", task, token=default)).status == 200
    for token, role, status in ((default, 2, 403), (admin, 2, 200), (admin, 1, 403), (admin, 0, 403)):
        body = {"name": f"new of {role} {status}", "password": PASSWORD, "role": role}
        assert (await a.ask("POST", "/user", body, token=token)).status == status
    assert (await a.ask("POST", "/users/link", base="/api/v1", token=admin)).status == 403


async def test_nobody_raises_themselves_and_only_a_root_changes_others(pair):
    a, _ = pair
    root = await first(a)
    dora = (await a.ask("POST", "/user", {"name": "dora", "password": PASSWORD}, token=root)).data["id"]
    ada = (await a.ask("GET", "/user", token=root)).data["id"]
    token = await log_in(a, "dora", PASSWORD)
    assert (await a.ask("PUT", f"/user/{dora}", {"role": 0}, token=token)).status == 403
    assert (await a.ask("PUT", f"/user/{ada}", {"info": "x"}, token=token)).status == 403
    assert (await a.ask("PUT", f"/user/{ada}", {"role": 2}, token=None)).status == 401
    assert (await a.ask("DELETE", f"/user/{ada}", token=token)).status == 403
    assert (await a.ask("PUT", f"/user/{dora}", {"role": 1}, token=root)).data["role"] == 1
    assert (await a.ask("GET", "/user", token=token)).status == 401, "a log-in of the old role has ended"
    await a.ask("DELETE", f"/user/{dora}", token=root)
    assert (await a.ask("POST", "/user/session", {"name": "dora", "password": PASSWORD}, token=None)).status == 401


async def test_a_new_password_needs_the_old_one_and_ends_every_log_in(pair):
    a, _ = pair
    root = await first(a)
    id = (await a.ask("GET", "/user", token=root)).data["id"]
    new = "another horse entirely"
    wrong = await a.ask("PUT", f"/user/{id}", {"password": new, "origin_password": "x"}, token=root)
    assert (wrong.status, wrong.body["rsp_code"]) == (401, 7)
    short = await a.ask("PUT", f"/user/{id}", {"password": "short", "origin_password": PASSWORD}, token=root)
    assert (short.status, short.body["rsp_code"]) == (400, 3)
    assert (await a.ask("PUT", f"/user/{id}", {"password": new, "origin_password": PASSWORD}, token=root)).status == 200
    assert (await a.ask("GET", "/user", token=root)).status == 401
    await log_in(a, NAME, new)


async def test_a_log_in_is_shown_by_the_originals_cookie_and_ends(pair):
    a, _ = pair
    await first(a)
    answer = await a.ask("POST", "/user/session", {"name": NAME, "password": PASSWORD}, token=None)
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    shown = {"Cookie": f"token={answer.data['token']}"}
    assert (await a.ask("GET", "/user", token=None, **shown)).data["name"] == NAME
    assert (await a.ask("GET", "/api/v1/projects", token=None, base="", **shown)).status == 401, "of this group only"
    foreign = await a.ask("DELETE", "/user/session", token=None, Origin="http://evil.example", **shown)
    assert foreign.status == 403
    assert (await a.ask("DELETE", "/user/session", token=None, **shown)).data == {"result": True}
    assert (await a.ask("GET", "/user", token=None, **shown)).status == 401
    assert (await a.ask("DELETE", "/user/session", token=TOKEN)).status == 403


async def test_guessing_is_slowed_down_and_tells_nothing(pair):
    a, _ = pair
    await first(a)
    answers = [await a.ask("POST", "/user/session", {"name": NAME, "password": f"guess {n}"}, token=None) for n in range(6)]
    nobody = await a.ask("POST", "/user/session", {"name": "nobody", "password": "guess"}, token=None)
    assert [answer.status for answer in answers] == [401] * 5 + [503]
    assert nobody.body["message"] == answers[0].body["message"]
    assert (await a.ask("POST", "/user/session", {"name": NAME, "password": PASSWORD}, token=None)).status == 503


async def test_passwords_are_kept_as_salted_hashes(pair, monkeypatch):
    a, _ = pair
    monkeypatch.undo()
    await first(a)
    (user,) = await a.console.users.all()
    kind, n, r, p, salt, digest = user.password.split("$")
    assert (kind, int(n) * int(r) * 128, int(p), len(salt), len(digest)) == ("scrypt", 32 * 2**20, 1, 32, 64)
    for file in a.folder.glob("node.db*"):
        assert PASSWORD.encode() not in file.read_bytes()


async def test_nothing_drops_the_tables_and_nothing_is_told_without_a_token(pair):
    a, _ = pair
    for method in ("POST", "PUT", "DELETE", "GET"):
        assert (await a.ask(method, "/db")).status == 404
    for path in ("/project/list", "/task/list", "/user", f"/task_instance/{'0' * 32}", "/resource/object?name=x"):
        refused = await a.ask("GET", path, token=None)
        assert (refused.status, refused.body["rsp_code"], refused.body["data"]) == (401, 7, {})


async def test_files_are_kept_under_names_and_named_by_resources(pair):
    a, b = pair
    made = (await a.ask("POST", "/project", {"name": "cells", "peer_url": b.url})).data
    body = {"project_id": made["id"], "name": "align", "type": 0, "task_root": True}
    task = (await a.ask("POST", "/task", body)).data["id"]
    form = (
        b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\ntrain.py\r\n'
        b'--x\r\nContent-Disposition: form-data; name="data"; filename="t.py"\r\n\r\nprint()\r\n--x--\r\n'
    )
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    uri = (await a.ask("POST", "/resource/object", content=form, **kind)).data["uri"]
    assert uri == "ecnode://objects/train.py"
    assert (await a.ask("POST", "/resource/object", content=form, **kind)).status == 409
    assert (await a.ask("POST", "/resource/object", content=b"--x--\r\n", **kind)).status == 400
    assert (await a.ask("GET", "/resource/object?name=train.py")).body == b"print()"
    resource = {"task_intra_id": task, "name": "script", "uri": uri}
    kept = (await a.ask("POST", "/resource", resource)).data
    assert (await a.ask("POST", "/resource", {**resource, "uri": "ecnode://objects/gone"})).status == 404
    listed = (await a.ask("GET", f"/resource/list/{task}")).data
    assert (listed["total"], listed["resource_list"][0]["uri"]) == (1, uri)
    assert (await a.ask("PUT", f"/resource/{kept['id']}", {"comment": "of May"})).data["comment"] == "of May"
    assert (await a.ask("DELETE", f"/resource/{kept['id']}")).data == {"result": True}
    assert (await a.ask("DELETE", "/resource/object?name=train.py")).data == {"result": True}
    assert (await a.ask("GET", "/resource/object?name=train.py")).status == 404


async def test_the_originals_routes_stand_below_the_prefix_too(pair):
    a, _ = pair
    assert (await a.ask("GET", "/health", base="/host", token=None)).data == {"status": "ok", "key": a.key.public}
    assert (await a.ask("GET", "/project/list", base="/host")).data["total"] == 0
