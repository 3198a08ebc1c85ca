"""Who starts, who waits, and is the reason one that a person understands?"""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from node.pipeline.plot.schedule import Cache, Decision, Destination, Limits, Running, Snapshot, Waiting, decide, promises

GIB = 2**30
NVME = Cache("/mnt/nvme", 1, 600 * GIB)
SSD = Cache("/mnt/ssd", 2, 600 * GIB)
MANY = Limits(10)
FARM = Destination("/farm", 9, 1000 * GIB)


def plot(name: str, **more: object) -> Waiting:
    return replace(Waiting(name, need1=180 * GIB, need2=110 * GIB, need_dest=110 * GIB), **more)


def runs(name: str, cache: str = "/mnt/nvme", phase: int = 1, started_at: float = 0.0, left: int = 290) -> Running:
    return Running(name, cache, cache, "/farm", phase, started_at, (left - 110) * GIB, 110 * GIB, 110 * GIB)


def look(
    waiting: list[Waiting],
    running: tuple[Running, ...] = (),
    limits: Limits = MANY,
    caches: tuple[Cache, ...] = (NVME, SSD),
    dests: tuple[Destination, ...] = (FARM,),
) -> Decision:
    return decide(limits, Snapshot(100.0, caches, dests, running), waiting)


def test_plots_are_spread_over_directories_while_there_is_room() -> None:
    done = look([plot(f"p{n}") for n in range(5)])
    assert [start.cache1 for start in done.starts] == ["/mnt/nvme", "/mnt/ssd", "/mnt/nvme", "/mnt/ssd"]
    assert "290.0 GiB are needed in /mnt/nvme" in done.reasons["p4"]
    assert "of which plots that run need 580.0 GiB" in done.reasons["p4"]


def test_what_running_plots_will_still_write_is_not_given_away() -> None:
    assert look([plot("p")], (runs("r", left=200),), caches=(NVME,)).starts
    small = replace(NVME, free=400 * GIB)
    assert not look([plot("p")], (runs("r", left=200),), caches=(small,)).starts
    assert look([plot("p")], (runs("r", left=110),), caches=(small,)).starts, "nearly done, it needs no more than that"


def test_limits_are_named() -> None:
    assert "1 of 1 plots run here" in look([plot("p")], (runs("r"),), Limits(1)).reasons["p"]
    one = replace(NVME, max_parallel=1)
    assert "/mnt/nvme: 1 of 1 plots run there" in look([plot("p")], (runs("r", left=0),), caches=(one,)).reasons["p"]
    disk = (NVME, Cache("/mnt/nvme/2", 1, 600 * GIB))
    assert "on its disk" in look([plot("p")], (runs("r"),), Limits(9, max_per_device=1), disk).reasons["p"]
    full = replace(FARM, free=200 * GIB)
    assert "/farm" in look([plot("p")], (runs("r"),), dests=(full,)).reasons["p"], "the running plot goes there too"
    away = replace(FARM, problem="is not mounted")
    assert "/farm: is not mounted" in look([plot("p")], dests=(away,)).reasons["p"]
    assert "no temp directory /x" in look([plot("p", cache1="/x")]).reasons["p"]
    assert "no destination /y" in look([plot("p", dest="/y")]).reasons["p"]


def test_starts_are_staggered_until_the_time_or_the_phase_is_over() -> None:
    limits = Limits(9, stagger_s=600.0)
    waits = look([plot("p")], (runs("r", started_at=0.0),), limits, (NVME,))
    assert "staggered, the next start is in 8m20s" in waits.reasons["p"]
    assert waits.again_s == 500.0
    assert look([plot("p")], (runs("r", phase=2),), limits, (NVME,)).starts
    assert look([plot("p")], (runs("r", started_at=-500.0),), limits, (NVME,)).starts
    assert "are in phase 1" in look([plot("p")], (runs("r"),), Limits(9, max_first_phase=1), (NVME,)).reasons["p"]
    assert len(look([plot("p"), plot("q")], (), limits, (NVME,)).starts) == 1


def test_one_that_cannot_start_does_not_hold_up_the_next() -> None:
    done = look([plot("big", need1=9999 * GIB), plot("small")])
    assert [start.id for start in done.starts] == ["small"]


def test_a_file_that_stays_on_its_disk_needs_no_room_at_its_destination() -> None:
    here = Destination("/mnt/nvme/farm", 1, 600 * GIB)
    tight = replace(NVME, free=295 * GIB)
    assert look([plot("p")], caches=(tight,), dests=(replace(here, free=295 * GIB),)).starts


@given(
    frees=st.lists(st.integers(0, 2000), min_size=1, max_size=4),
    needs=st.lists(st.tuples(st.integers(1, 300), st.integers(0, 200)), max_size=12),
    most=st.integers(1, 6),
)
def test_no_disk_is_ever_promised_more_than_it_has(frees: list[int], needs: list[tuple[int, int]], most: int) -> None:
    caches = tuple(Cache(f"/c{n}", n % 2, frees[n % 2 % len(frees)], max_parallel=3) for n in range(len(frees)))
    dests = (Destination("/d", 1, frees[1 % len(frees)]), Destination("/e", 7, 500))
    waiting = [Waiting(f"p{n}", one, two, two) for n, (one, two) in enumerate(needs)]
    done = decide(Limits(most), Snapshot(0.0, caches, dests, ()), waiting)
    assert {start.id for start in done.starts} | set(done.reasons) == {one.id for one in waiting}
    assert len(done.starts) <= most
    by_id = {one.id: one for one in waiting}
    devices = {cache.path: cache.device for cache in caches}
    ends = {dest.path: dest.device for dest in dests}
    running = [
        Running(
            start.id,
            start.cache1,
            start.cache2,
            start.dest,
            1,
            0.0,
            by_id[start.id].need1,
            by_id[start.id].need2,
            0 if ends[start.dest] == devices[start.cache2] else by_id[start.id].need_dest,
        )
        for start in done.starts
    ]
    free = {cache.device: cache.free for cache in caches} | {dest.device: dest.free for dest in dests}
    assert all(size <= free[device] for device, size in promises(Snapshot(0.0, caches, dests, running)).items())
