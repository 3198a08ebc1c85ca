"""What the store keeps of projects, runs and users, over every kind of store."""

from __future__ import annotations

from functools import partial

import pytest

from node.clock import ManualClock
from node.errors import Busy, Conflict, NotFound
from node.model.project import (
    Instance,
    InstanceState,
    Pairing,
    PairState,
    Project,
    ProjectTask,
    Resource,
    StoredObject,
    TaskKind,
    User,
    UserRole,
    new_hex_id,
)
from node.storage import console, open_store
from node.storage.console import ConsoleStore

NOW = ManualClock(100.0).wall()
TIMES = {"created_at": 1.0, "updated_at": 1.0}
project = partial(Project, peer_url="http://bank-b.example", config={"producer": "third"}, **TIMES)
task = partial(ProjectTask, name="align", version="20261201093000", kind=TaskKind.SAMPLE, root=True, **TIMES)
instance = partial(Instance, started_here=True, **TIMES)


@pytest.fixture(params=["sqlite:///node.db", "sqlite:///:memory:"], ids=["file", "memory"])
async def store(request, tmp_path):
    opened = await open_store(request.param, tmp_path, ManualClock(100.0))
    yield opened.console
    await opened.close()


async def test_a_record_comes_back_as_it_was_and_is_found_by_its_columns(store: ConsoleStore):
    one, two = project(id=new_hex_id(), name="one", peer_id="a" * 32), project(id=new_hex_id(), name="two", peer_id="a" * 32)
    part = task(id=new_hex_id(), project=one.id)
    file = StoredObject(id="train.py", blob="0" * 64, size=3, created_at=1.0)
    thing = Resource(id=new_hex_id(), task=part.id, name="script", uri="ecnode://objects/train.py", **TIMES)
    for value in (one, two, part, file, thing):
        await store.write(lambda book, value=value: book.add(value))
    for value in (one, two, part, file, thing):
        assert await store.read(lambda page, value=value: page.get(type(value), value.id)) == value
    assert await store.read(lambda page: page.find(Project, peer_id="a" * 32)) == (one, two)
    assert await store.read(lambda page: page.find(Resource, task=part.id)) == (thing,)
    assert await store.read(lambda page: page.all(Project, 10, one.id)) == (two,)
    await store.write(lambda book: book.drop(file))
    with pytest.raises(NotFound, match=r"no object train\.py"):
        await store.read(lambda page: page.get(StoredObject, "train.py"))
    assert await store.read(lambda page: page.known(StoredObject, "train.py")) is None


async def test_a_status_changes_by_the_life_cycle_alone_and_leaves_its_events(store: ConsoleStore):
    one = instance(id=new_hex_id(), task=new_hex_id(), pairing=new_hex_id())

    def live(book):
        ready = book.step(book.add(one), "pair", "asked for", peer_id="b" * 32)
        return book.step(ready, "start", runs=1, owed=InstanceState.RUNNING)

    running = await store.write(live)
    assert (running.status, running.runs, running.peer_id, running.updated_at) == (InstanceState.RUNNING, 1, "b" * 32, NOW)
    assert await store.read(lambda page: page.running()) == (running,)
    assert await store.read(lambda page: page.owed(10)) == (running,)
    with pytest.raises(Conflict, match="is running cannot take the event 'start'"):
        await store.write(lambda book: book.step(running, "start"))
    await store.write(lambda book: book.step(book.change(running, owed=None), "succeed"))
    assert await store.read(lambda page: (page.running(), page.owed(10))) == ((), ())
    events = await store.read(lambda page: page.events(one.id))
    assert [(event.event, event.state, event.reason) for event in events] == [
        ("create", "draft", ""),
        ("pair", "ready", "asked for"),
        ("start", "running", ""),
        ("succeed", "success", ""),
    ]


async def test_a_write_that_fails_leaves_nothing(store: ConsoleStore):
    one = project(id=new_hex_id())

    def fails(book):
        book.step(book.add(one), "pair")
        book.take_nonce("k", "n", 0.0)
        raise Conflict("the test says so")

    with pytest.raises(Conflict):
        await store.write(fails)
    assert await store.read(lambda page: (page.count(Project), page.events(one.id))) == (0, ())
    await store.write(lambda book: book.take_nonce("k", "n", 0.0))


async def test_a_nonce_is_taken_once_until_its_signature_is_too_old(store: ConsoleStore, monkeypatch):
    await store.write(lambda book: book.take_nonce("k", "n", 0.0))
    with pytest.raises(Conflict, match="taken before"):
        await store.write(lambda book: book.take_nonce("k", "n", 0.0))
    await store.write(lambda book: book.take_nonce("another", "n", 0.0))
    await store.write(lambda book: book.take_nonce("k", "n", NOW + 0.5))
    monkeypatch.setattr(console, "NONCES_MOST", 1)
    with pytest.raises(Busy):
        await store.write(lambda book: book.take_nonce("k", "m", 0.0))


async def test_each_kind_of_record_has_a_limit(store: ConsoleStore, monkeypatch):
    monkeypatch.setitem(console.RECORDS_MOST, Pairing, 1)
    first = Pairing(id=new_hex_id(), task=new_hex_id(), **TIMES)
    assert (await store.write(lambda book: book.add(first))).status is PairState.DRAFT
    with pytest.raises(Busy, match="1 pairings already"):
        await store.write(lambda book: book.add(first.replace(id=new_hex_id())))


async def test_a_log_in_is_its_users_until_it_ends_and_the_oldest_of_too_many_does(store: ConsoleStore, monkeypatch):
    monkeypatch.setattr(console, "LOGINS_MOST", 2)
    ada = User(id=new_hex_id(), name="ada", role=UserRole.ADMIN, password="scrypt$…", **TIMES)
    await store.write(lambda book: book.add(ada))
    ended = [await store.write(lambda book, token=token: book.log_in(ada, token)) for token in ("k-1", "k-2", "k-3")]
    assert ended == [[], [], ["k-1"]]
    assert await store.read(lambda page: page.user_of("k-1")) is None
    found = await store.read(lambda page: page.user_of("k-3"))
    assert (found.id, found.login_at) == (ada.id, NOW)
    await store.write(lambda book: book.log_out("k-3"))
    assert await store.read(lambda page: page.logins(ada.id)) == ["k-2"]
