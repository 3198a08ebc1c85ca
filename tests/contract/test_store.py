"""Do the file store and the memory store keep the same promises about queries?"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from node.clock import ManualClock
from node.errors import Busy, Conflict, Invalid, NotFound, StorageFailed
from node.model.decision import Decision
from node.model.value import new_id
from node.model.video import (
    QUERY_LIFE,
    Constraint,
    Placement,
    Plan,
    Query,
    QueryState,
    Resolution,
    Result,
    Runtime,
    StageRole,
    Tally,
    VideoConf,
)
from node.storage import Store, history, open_store, queries

UNKNOWN = "q-" + "0" * 26
EVENTS = tuple(dict.fromkeys(event for _, event in QUERY_LIFE.table))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["sqlite:///node.db", "sqlite:///:memory:"], ids=["file", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Store]:
    opened = await open_store(request.param, tmp_path, clock)
    yield opened
    await opened.close()


def a_query(name: str = "", **changes: object) -> Query:
    query = Query(
        id=new_id("q", 1_700_000_000.0),
        name=name,
        node="edge-1",
        source="door",
        pipeline=("face_detection", "face_alignment"),
        constraint=Constraint(delay=0.5),
        state=QueryState.UNSCHEDULED,
        created_at=1_700_000_000.5,
    )
    return query.replace(**changes)


def a_plan(epoch: int, node: str = "edge-1") -> Plan:
    place = Placement(node=node, role=StageRole.HOST)
    return Plan(epoch=epoch, video_conf=VideoConf(fps=5, resolution=Resolution.P720), flow_mapping={"face_detection": place})


def a_result(n_loop: int, attempt: int = 1) -> Result:
    return Result(
        attempt=attempt,
        n_loop=n_loop,
        cam_frame_id=n_loop * 2,
        conf_frame_id=n_loop,
        captured_at=1_700_000_001.25,
        latency=0.125,
        delay=0.0625,
        stage_ms={"face_detection": 12.5},
        plan="0123456789abcdef",
        plan_epoch=1,
        width=1280,
        height=720,
        output={"bbox": [[1, 2, 3, 4]], "prob": [0.5], "count_result": {"up": 1, "total": 2}, "note": "„ünïcode“"},
    )


async def stored(store: Store, **changes: object) -> Query:
    query, _ = await store.queries.create(a_query(**changes))
    return query


async def in_state(store: Store, state: QueryState) -> Query:
    path = {
        QueryState.UNSCHEDULED: (),
        QueryState.READY: ("plan",),
        QueryState.RUNNING: ("plan", "start"),
        QueryState.FINISHED: ("plan", "start", "end"),
        QueryState.FAILED: ("fail",),
        QueryState.STOPPED: ("stop",),
    }[state]
    query = await stored(store)
    for event in path:
        query = await store.queries.transition(query.id, event)
    return query


async def test_a_created_query_comes_back_as_it_was(store: Store) -> None:
    query = a_query("front door")
    assert await store.queries.create(query) == (query, True)
    assert await store.queries.get(query.id) == query


async def test_repeating_a_create_gives_the_stored_query(store: Store) -> None:
    query = await stored(store)
    await store.queries.transition(query.id, "plan")
    again, created = await store.queries.create(query)
    assert not created
    assert again.state == QueryState.READY


async def test_a_create_repeated_after_the_constraint_changed_is_still_the_same_request(store: Store) -> None:
    query = await stored(store)
    await store.queries.set_constraint(query.id, Constraint(accuracy=0.9))
    again, created = await store.queries.create(query.replace(created_at=query.created_at + 60))
    assert not created
    assert again.constraint == Constraint(accuracy=0.9)


@pytest.mark.parametrize("change", [{"name": "other"}, {"node": "edge-2"}, {"pipeline": ("face_detection",)}])
async def test_the_same_id_with_another_request_is_a_conflict(store: Store, change: dict[str, object]) -> None:
    query = await stored(store)
    with pytest.raises(Conflict, match=query.id):
        await store.queries.create(query.replace(**change))
    assert await store.queries.get(query.id) == query


async def test_two_creates_at_once_store_one_query(store: Store) -> None:
    query = a_query()
    outcomes = await asyncio.gather(*(store.queries.create(query) for _ in range(8)))
    assert sorted(created for _, created in outcomes) == [False] * 7 + [True]


async def test_a_new_query_is_told_of_once_even_where_its_caller_has_gone(store: Store) -> None:
    told: list[tuple[str, Query]] = []
    store.queries.watch(lambda what, query: told.append((what, query)))
    query = a_query()
    gone = asyncio.ensure_future(store.queries.create(query))
    again = asyncio.ensure_future(store.queries.create(query))
    gone.cancel()
    assert await again == (query, False)
    assert told == [("query", query)]


async def test_a_create_that_is_refused_harms_none_of_those_at_the_same_moment(store: Store) -> None:
    old, others = await stored(store), [a_query() for _ in range(3)]
    wanted = [others[0], old, others[1], old.replace(source="elsewhere"), a_query(state=QueryState.RUNNING), others[2]]
    outcomes = await asyncio.gather(*map(store.queries.create, wanted), return_exceptions=True)
    assert [outcomes[place] for place in (0, 1, 2, 5)] == [
        (others[0], True),
        (old, False),
        (others[1], True),
        (others[2], True),
    ]
    assert isinstance(outcomes[3], Conflict)
    assert isinstance(outcomes[4], Conflict)
    assert {query.id for query in await store.queries.live()} == {query.id for query in (old, *others)}


async def test_as_many_creates_at_one_moment_as_there_is_room_for_are_taken(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "LIVE_MOST", 3)
    outcomes = await asyncio.gather(*(store.queries.create(a_query()) for _ in range(5)), return_exceptions=True)
    assert [isinstance(outcome, Busy) for outcome in outcomes] == [False] * 3 + [True] * 2
    assert len(await store.queries.live()) == 3


async def test_a_query_cannot_be_created_in_a_later_state(store: Store) -> None:
    with pytest.raises(Conflict, match="unscheduled"):
        await store.queries.create(a_query(state=QueryState.RUNNING))


async def test_more_live_queries_than_the_bound_are_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "LIVE_MOST", 1)
    first = await stored(store)
    with pytest.raises(Busy):
        await stored(store)
    await store.queries.transition(first.id, "stop")
    await stored(store)


async def test_a_full_store_still_knows_the_queries_that_it_has(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "LIVE_MOST", 2)
    first, _ = await stored(store), await stored(store)
    assert await store.queries.create(first) == (first, False)
    with pytest.raises(Conflict):
        await store.queries.create(first.replace(source="elsewhere"))
    for _ in range(3):  # the room of one that ended is found, each time anew
        await store.queries.transition((await store.queries.live())[0].id, "stop")
        await stored(store)
        with pytest.raises(Busy):
            await stored(store)


@pytest.mark.parametrize(("state", "event"), list(itertools.product(QueryState, EVENTS)))
async def test_the_store_takes_exactly_the_events_of_the_table(store: Store, state: QueryState, event: str) -> None:
    query = await in_state(store, state)
    before = await store.queries.events(query.id)
    target = QUERY_LIFE.table.get((state, event))
    if target is None:
        with pytest.raises(Conflict):
            await store.queries.transition(query.id, event)
        assert await store.queries.get(query.id) == query
        assert await store.queries.events(query.id) == before
    else:
        after = await store.queries.transition(query.id, event, "because")
        assert (after.state, after.reason) == (target, "because")
        assert await store.queries.get(query.id) == after
        newest = (await store.queries.events(query.id))[-1]
        assert (newest.event, newest.state, newest.reason) == (event, target, "because")


async def test_a_final_state_sets_the_time_of_the_end(store: Store, clock: ManualClock) -> None:
    query = await in_state(store, QueryState.RUNNING)
    assert query.ended_at is None
    await clock.advance(5)
    ended = await store.queries.transition(query.id, "end")
    assert ended.ended_at == clock.wall()


async def test_one_of_two_opposite_events_at_once_wins(store: Store) -> None:
    query = await in_state(store, QueryState.RUNNING)
    outcomes = await asyncio.gather(
        store.queries.transition(query.id, "end"), store.queries.transition(query.id, "stop"), return_exceptions=True
    )
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 1


async def test_an_overlong_reason_is_cut(store: Store) -> None:
    query = await stored(store)
    failed = await store.queries.transition(query.id, "fail", "x" * 10_000)
    assert len(failed.reason) == queries.REASON_MOST


async def test_events_tell_the_life_in_order_and_are_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "EVENTS_KEPT", 3)
    query = await in_state(store, QueryState.RUNNING)
    for event in ("interrupt", "start", "end"):
        await store.queries.transition(query.id, event)
    assert [event.event for event in await store.queries.events(query.id)] == ["interrupt", "start", "end"]


async def test_a_plan_needs_a_newer_epoch(store: Store) -> None:
    query = await stored(store)
    assert (await store.queries.set_plan(query.id, a_plan(3))).plan == a_plan(3)
    for epoch in (2, 3):
        with pytest.raises(Conflict, match="epoch"):
            await store.queries.set_plan(query.id, a_plan(epoch, "edge-2"))
    assert (await store.queries.get(query.id)).plan == a_plan(3)


async def test_the_newest_decisions_are_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "DECISIONS_KEPT", 3)
    query = await stored(store)
    made = [Decision(time=float(at), epoch=at, kept=False, reason=f"number {at}", observed=Runtime()) for at in range(5)]
    for decision in made:
        await store.queries.decide(query.id, decision)
    assert await store.queries.decisions(query.id, 9) == tuple(made[2:])
    assert await store.queries.decisions(query.id, 1) == (made[4],)


async def test_the_plan_history_holds_the_newest_plans_with_their_times(
    store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "PLANS_KEPT", 2)
    query = await stored(store)
    times = []
    for epoch in (1, 4, 9):
        await clock.advance(1)
        times.append(clock.wall())
        await store.queries.set_plan(query.id, a_plan(epoch))
    assert await store.queries.plans(query.id) == ((times[1], a_plan(4)), (times[2], a_plan(9)))


@pytest.mark.parametrize("state", sorted(QUERY_LIFE.terminal))
async def test_a_final_query_takes_no_plan_constraint_or_attempt(store: Store, state: QueryState) -> None:
    query = await in_state(store, state)
    for change in (
        store.queries.set_plan(query.id, a_plan(1)),
        store.queries.set_constraint(query.id, Constraint()),
        store.queries.begin_attempt(query.id),
    ):
        with pytest.raises(Conflict, match=state):
            await change


async def test_results_come_back_under_strictly_increasing_cursors(store: Store) -> None:
    query = await stored(store)
    await store.queries.begin_attempt(query.id)
    for start in (0, 3, 6):
        await store.queries.append(query.id, 1, [a_result(n) for n in range(start, start + 3)], Tally())
    found = await store.queries.results(query.id, 0, 100)
    cursors = [cursor for cursor, _ in found]
    assert cursors == sorted(set(cursors))
    assert [result for _, result in found] == [a_result(n) for n in range(9)]
    assert await store.queries.results(query.id, cursors[3], 2) == found[4:6]
    assert await store.queries.results(query.id, cursors[-1], 10) == ()
    assert await store.queries.results(query.id, 2**70, 10) == ()


async def test_a_result_that_arrives_twice_is_kept_once(store: Store) -> None:
    query = await stored(store)
    await store.queries.begin_attempt(query.id)
    await store.queries.append(query.id, 1, [a_result(0), a_result(1)], Tally())
    await store.queries.append(query.id, 1, [a_result(1), a_result(2)], Tally())
    found = await store.queries.results(query.id, 0, 100)
    assert [result.n_loop for _, result in found] == [0, 1, 2]


async def test_the_same_frame_number_of_another_attempt_is_another_result(store: Store) -> None:
    query = await stored(store)
    for attempt in (1, 2):
        assert (await store.queries.begin_attempt(query.id)).attempt == attempt
        await store.queries.append(query.id, attempt, [a_result(0, attempt)], Tally())
    assert [result.attempt for _, result in await store.queries.results(query.id, 0, 9)] == [1, 2]


async def test_only_the_newest_results_are_kept_and_dropped_ones_do_not_return(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "RESULTS_KEPT", 4)
    query = await stored(store)
    await store.queries.begin_attempt(query.id)
    for n in range(0, 10, 2):
        await store.queries.append(query.id, 1, [a_result(n), a_result(n + 1)], Tally())
    await store.queries.append(query.id, 1, [a_result(0), a_result(5), a_result(9)], Tally())
    found = await store.queries.results(query.id, 0, 100)
    assert [result.n_loop for _, result in found] == [6, 7, 8, 9]


async def test_the_tally_sums_the_newest_of_each_attempt(store: Store) -> None:
    query = await stored(store)
    await store.queries.begin_attempt(query.id)
    await store.queries.append(query.id, 1, [], Tally(captured=5, processed=4, skipped=1))
    await store.queries.append(query.id, 1, [], Tally(captured=9, processed=7, skipped=2, in_flight=1))
    await store.queries.begin_attempt(query.id)
    await store.queries.append(query.id, 2, [], Tally(captured=3, processed=3, bytes_moved=100))
    late = await store.queries.append(query.id, 1, [], Tally(captured=10, processed=8, skipped=2))
    assert late.tally == Tally(captured=13, processed=11, skipped=2, bytes_moved=100)
    assert (await store.queries.get(query.id)).tally == late.tally


@pytest.mark.parametrize(("event", "last"), [("fail", Tally(failed=1)), ("stop", Tally(skipped=1))])
async def test_frames_in_flight_when_an_attempt_ends_have_failed_or_were_given_up(
    store: Store, event: str, last: Tally
) -> None:
    query = await stored(store)
    await store.queries.begin_attempt(query.id)
    await store.queries.append(query.id, 1, [], Tally(captured=5, processed=4, skipped=1, in_flight=2))
    query = await store.queries.begin_attempt(query.id)
    assert query.tally == Tally(captured=7, processed=4, skipped=1, failed=2)
    await store.queries.append(query.id, 2, [], Tally(captured=1, processed=1, in_flight=1))
    ended = await store.queries.transition(query.id, event)
    assert ended.tally == Tally(captured=9, processed=5, skipped=1, failed=2) + last
    assert (await store.queries.get(query.id)).tally == ended.tally


async def test_the_newest_results_come_oldest_first(store: Store) -> None:
    query = await stored(store)
    await store.queries.begin_attempt(query.id)
    await store.queries.append(query.id, 1, [a_result(n) for n in range(6)], Tally())
    assert [result.n_loop for result in await store.queries.newest(query.id, 3)] == [3, 4, 5]
    assert await store.queries.newest(query.id, 0) == ()


async def test_an_overtaken_tally_changes_nothing(store: Store) -> None:
    query = await stored(store)
    await store.queries.begin_attempt(query.id)
    newest = Tally(captured=9, processed=9)
    await store.queries.append(query.id, 1, [], newest)
    assert (await store.queries.append(query.id, 1, [], Tally(captured=4, processed=4))).tally == newest


async def test_results_of_an_attempt_that_never_began_are_refused(store: Store) -> None:
    query = await stored(store)
    with pytest.raises(Conflict, match="never begun"):
        await store.queries.append(query.id, 1, [a_result(0)], Tally())


async def test_results_under_the_wrong_attempt_are_refused_whole(store: Store) -> None:
    query = await stored(store)
    await store.queries.begin_attempt(query.id)
    with pytest.raises(Invalid, match="attempt 2"):
        await store.queries.append(query.id, 1, [a_result(0), a_result(1, attempt=2)], Tally(captured=1, processed=1))
    assert await store.queries.results(query.id, 0, 9) == ()


async def test_results_that_come_after_the_end_are_kept(store: Store) -> None:
    query = await stored(store)
    await store.queries.begin_attempt(query.id)
    await store.queries.transition(query.id, "stop")
    after = await store.queries.append(query.id, 1, [a_result(0)], Tally(captured=1, processed=1))
    assert (after.state, after.tally.processed) == (QueryState.STOPPED, 1)


async def test_a_reference_may_be_an_id_a_prefix_a_name_or_the_last(store: Store) -> None:
    first = await stored(store, name="door", id="q-" + "0" * 25 + "1")
    last = await stored(store, name="gate", id="q-" + "1" * 26)
    for ref, query in ((first.id, first), ("q-0", first), ("door", first), ("q-1", last), ("gate", last), ("@last", last)):
        assert await store.queries.resolve(ref) == query.id


async def test_an_ambiguous_reference_names_its_candidates(store: Store) -> None:
    twins = [await stored(store, name="door") for _ in range(2)]
    for ref in ("door", "q-"):
        with pytest.raises(Conflict) as refused:
            await store.queries.resolve(ref)
        assert all(twin.id in refused.value.hint for twin in twins)


@pytest.mark.parametrize("ref", ["", "%", "_", "q-zz", "nobody", "@last", "' OR 1=1 --"])
async def test_a_reference_to_nothing_is_not_found(store: Store, ref: str) -> None:
    if ref != "@last":
        await stored(store, name="door")
    with pytest.raises(NotFound):
        await store.queries.resolve(ref)


async def test_the_list_is_newest_first_and_pages_without_gap_or_overlap(store: Store) -> None:
    made = [await stored(store, name=f"n{n}", id=new_id("q", 2e9 - n)) for n in range(7)]
    seen: list[Query] = []
    while page := await store.queries.list(None, 3, seen[-1].id if seen else None):
        assert len(page) <= 3
        seen += page
    assert seen == made[::-1]


async def test_the_list_can_be_narrowed_to_a_state(store: Store) -> None:
    made = {state: await in_state(store, state) for state in QueryState}
    for state, query in made.items():
        assert await store.queries.list(state, 10, None) == (query,)
    assert await store.queries.list(QueryState.READY, 10, made[QueryState.READY].id) == ()


async def test_live_are_all_queries_that_are_not_final(store: Store) -> None:
    made = [await in_state(store, state) for state in QueryState]
    assert await store.queries.live() == tuple(query for query in made if query.state not in QUERY_LIFE.terminal)


async def test_everything_about_an_unknown_query_is_not_found(store: Store) -> None:
    asked = (
        store.queries.get(UNKNOWN),
        store.queries.list(None, 1, UNKNOWN),
        store.queries.transition(UNKNOWN, "plan"),
        store.queries.set_constraint(UNKNOWN, Constraint()),
        store.queries.set_plan(UNKNOWN, a_plan(1)),
        store.queries.begin_attempt(UNKNOWN),
        store.queries.append(UNKNOWN, 1, [], Tally()),
        store.queries.results(UNKNOWN, 0, 1),
        store.queries.plans(UNKNOWN),
        store.queries.events(UNKNOWN),
    )
    for call in asked:
        with pytest.raises(NotFound):
            await call


async def test_the_boot_epoch_counts_up(store: Store) -> None:
    assert [await store.cluster.next_boot() for _ in range(3)] == [1, 2, 3]


async def test_aliases_count_up_and_a_record_has_one(store: Store) -> None:
    ids = [a_query().id for _ in range(5)]
    given = await asyncio.gather(*(store.aliases.give(id, "GLOBAL_ID_") for id in (*ids, *ids)))
    assert given[:5] == given[5:]
    assert sorted(given[:5]) == [f"GLOBAL_ID_{number}" for number in range(1, 6)]
    assert [await store.aliases.native(alias) for alias in given[:5]] == ids
    assert await store.aliases.native("GLOBAL_ID_6") is None
    assert await store.aliases.give("t-1", "") == "1"


async def test_aliases_outlive_the_store_that_gave_them(tmp_path: Path, clock: ManualClock) -> None:
    first = await open_store("sqlite:///node.db", tmp_path, clock)
    await first.aliases.give("q-1", "GLOBAL_ID_")
    await first.close()
    second = await open_store("sqlite:///node.db", tmp_path, clock)
    assert await second.aliases.native("GLOBAL_ID_1") == "q-1"
    assert await second.aliases.give("q-2", "GLOBAL_ID_") == "GLOBAL_ID_2"
    await second.close()


async def test_a_read_sees_every_write_acknowledged_before_it(store: Store) -> None:
    query = await stored(store)
    for _ in range(50):
        attempt = (await store.queries.begin_attempt(query.id)).attempt
        assert (await store.queries.get(query.id)).attempt == attempt


async def test_a_store_is_healthy_until_it_is_closed_and_may_be_closed_twice(store: Store) -> None:
    assert store.healthy() is None
    await asyncio.gather(store.close(), store.close())
    await store.close()
    assert store.healthy() == "the store is closed"
    with pytest.raises(StorageFailed, match="closed"):
        await store.queries.live()


async def test_old_results_are_deleted_but_for_the_newest_and_never_come_back(store: Store, monkeypatch) -> None:
    monkeypatch.setattr(history, "EXPIRED_AT_ONCE", 3)
    query, _ = await store.queries.create(a_query())
    lone, _ = await store.queries.create(a_query())
    for each in (query, lone):
        await store.queries.begin_attempt(each.id)
    results = [a_result(n).replace(captured_at=1000.0 + n) for n in range(1, 11)]
    await store.queries.append(query.id, 1, results, Tally())
    await store.queries.append(lone.id, 1, results[:1], Tally())
    assert await store.queries.expire(1008.0) == 7
    assert await store.queries.expire(1008.0) == 0
    await store.queries.append(query.id, 1, results, Tally())  # a delivery that is repeated
    assert [cursor for cursor, _ in await store.queries.results(query.id, 0, 100)] == [8, 9, 10]
    assert await store.queries.expire(1e9) == 2
    await store.queries.append(query.id, 1, [a_result(11)], Tally())
    assert [cursor for cursor, _ in await store.queries.results(query.id, 0, 100)] == [10, 11]
    assert len(await store.queries.newest(lone.id, 5)) == 1
