"""What the store keeps of private sessions, over every kind of store."""

import pytest
from wire_examples.session import SESSION, SPEC

from node.clock import ManualClock
from node.errors import Conflict, NotFound, Stale
from node.model.federated import Dataset, PartyView, Record, Session, SessionState
from node.model.wire.session import SessionReport, Signed
from node.storage import open_store

SIGNATURES = [Signed(party=party.name, signature="0a" * 64) for party in SPEC.parties]


@pytest.fixture(params=["sqlite:///node.db", "sqlite:///:memory:"], ids=["file", "memory"])
async def store(request, tmp_path):
    opened = await open_store(request.param, tmp_path, ManualClock())
    yield opened
    await opened.close()


def session(**changes) -> Session:
    views = tuple(PartyView(name=party.name, role=party.role, node=party.node) for party in SPEC.parties)
    fields = {"id": SESSION, "name": "credit", "coordinator": "cloud-1", "state": SessionState.CREATED, "spec": SPEC}
    return Session(**{**fields, "parties": views, "created_at": 1.0, **changes})


async def accepted(store):
    await store.sessions.create(session())
    return await store.sessions.accept(SESSION, SIGNATURES)


async def test_a_session_is_accepted_once_all_parties_have_signed(store):
    created, new = await store.sessions.create(session())
    assert (created.state, new) == (SessionState.CREATED, True)
    assert (await store.sessions.create(session()))[1] is False
    assert (await store.sessions.accept(SESSION, SIGNATURES[:2])).state is SessionState.CREATED
    assert (await store.sessions.accept(SESSION, SIGNATURES[2:])).state is SessionState.ACCEPTED
    with pytest.raises(Conflict):
        await store.sessions.create(session(spec=SPEC.replace(round_timeout=11.0)))


async def test_an_epoch_is_begun_once_and_none_before_it(store):
    with pytest.raises(NotFound):
        await store.sessions.begin(SESSION, 1)
    await store.sessions.create(session())
    with pytest.raises(Conflict):
        await store.sessions.begin(SESSION, 1)
    await store.sessions.accept(SESSION, SIGNATURES)
    assert (await store.sessions.begin(SESSION, 1)).state is SessionState.RUNNING
    assert (await store.sessions.begin(SESSION, 4)).epoch == 4
    for late in (4, 3):
        with pytest.raises(Stale):
            await store.sessions.begin(SESSION, late)
    events = [event.event for event in await store.sessions.events(SESSION)]
    assert events == ["create", "accept", "start", "resume"]


async def test_the_mark_of_used_masks_never_falls(store):
    await store.sessions.burn(SESSION, "f1", 1, 64)
    await store.sessions.burn(SESSION, "f1", 1, 32)
    await store.sessions.burn(SESSION, "f1", 2, 8)
    assert [await store.sessions.burned(SESSION, "f1", epoch) for epoch in (1, 2, 3)] == [64, 8, 0]


async def test_reports_keep_tests_of_every_epoch_and_ends_of_the_present_one(store):
    await accepted(store)
    await store.sessions.begin(SESSION, 2)
    record = Record(seconds=1.0, step=100, loss=0.5, metrics={"auc": 0.7, "ks": None})
    await store.sessions.report(SessionReport(session=SESSION, epoch=1, party="label", records=(record,), done=True))
    again = record.replace(loss=0.4)
    kept = await store.sessions.report(SessionReport(session=SESSION, epoch=2, party="f1", records=(again,), done=True))
    assert await store.sessions.records(SESSION) == (again,)
    assert [view.done for view in kept.parties] == [False, False, True, False]
    assert not any(view.done for view in (await store.sessions.begin(SESSION, 3)).parties)


async def test_the_end_is_the_coordinators_word_and_nobody_elses(store):
    await accepted(store)
    await store.sessions.begin(SESSION, 1)
    change = store.sessions.ended(SESSION, "bank-b", SessionState.FAILED, "no")
    assert await store.sessions._database.write(change) is None
    change = store.sessions.ended(SESSION, "cloud-1", SessionState.FAILED, "f1 is silent")
    ended = await store.sessions._database.write(change)
    assert (ended.state, ended.reason) == (SessionState.FAILED, "f1 is silent")
    assert ended.ended_at is not None
    assert await store.sessions.live() == ()


async def test_a_session_is_found_by_id_beginning_name_and_last(store):
    with pytest.raises(NotFound):
        await store.sessions.resolve("@last")
    await store.sessions.create(session())
    for ref in (SESSION, SESSION[:9], "credit", "@last"):
        assert await store.sessions.resolve(ref) == SESSION
    with pytest.raises(NotFound):
        await store.sessions.resolve("s-9")
    assert [each.id for each in await store.sessions.list(10, None)] == [SESSION]
    assert await store.sessions.list(10, SESSION) == ()


async def test_a_data_set_is_known_by_its_name_and_replaced_by_a_newer_one(store):
    one = Dataset(name="credit", path="a.csv", id="id", columns=("x", "y"), rows=3, digest="0a" * 32, registered_at=1.0)
    await store.datasets.put(one)
    await store.datasets.put(one.replace(rows=4))
    assert (await store.datasets.get("credit")).rows == 4
    assert len(await store.datasets.all()) == 1
    with pytest.raises(NotFound, match="no data set 'other'") as refused:
        await store.datasets.get("other")
    assert "ecnode data register" in refused.value.hint
