"""What the readers make of real logs, in pieces and from any place on."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.model.plot import LogPlace, Plotter, PlotTime, wide
from node.pipeline.plot.lines import At, Closed, Cursor, Found, LogEvent, Stalled, Took
from node.pipeline.plot.log import DIALECTS, LINE_MOST, LogReader

LOGS = Path(__file__).parent / "logs"
PLOT_ID = "d21b32d7037fc43d1f52630f07ea2fa25b59c45c4e061262a69b9a4ab314a6c6"


def events(name: str, plotter: Plotter) -> tuple[list[LogEvent], LogPlace]:
    reader = LogReader(plotter)
    return reader.feed((LOGS / name).read_bytes()), reader.place


def columns(found: list[LogEvent]) -> dict[str, float | None]:
    rows = {(one.phase, one.table, one.kind): one for one in found if isinstance(one, Took)}
    return wide(
        tuple(
            PlotTime(phase=one.phase, table=one.table, kind=one.kind, seconds=one.seconds, cpu=one.cpu) for one in rows.values()
        )
    )


def values(found: list[LogEvent]) -> dict[str, object]:
    return {one.column: one.value for one in found if isinstance(one, Found)}


def test_every_handler_reads_its_own_sample() -> None:
    for dialect in set(DIALECTS.values()):
        for lines in dialect.lines.values():
            for line in lines:
                cursor = Cursor(phase=2, table=2)
                line.act(cursor, line.pattern.match(line.sample) or pytest.fail(line.sample))
                read = Cursor(phase=2, table=2)
                assert dialect.read(read, line.sample), line.sample
                assert cursor.events == read.events, line.sample


def test_a_log_with_bitfield_gives_every_column_that_it_can() -> None:
    found, place = events("chiapos_bitfield.txt", Plotter.BUILTIN)
    told = values(found)
    assert (told["ksize"], told["buffer"], told["buckets"], told["threads"], told["stripe_size"]) == (18, 100, 16, 2, 8192)
    assert told["p1_table_1_now_size"] == 208294
    times = columns(found)
    missing = {name for name, value in times.items() if value is None}
    assert missing == {"p2_t1_time", "p2_t1_cpu", "copy_time", "copy_cpu"}, "table 1 is never scanned; the copy is ours"
    assert times["p1_t1_time"] == 0.054
    assert times["p2_t6_time"] == pytest.approx(0.035 + 0.132)
    assert times["p2_t6_cpu"] == pytest.approx((0.035 * 9.01 + 0.132 * 11.46) / 0.167)
    assert times["p2_t7_time"] == 0.035, "table 7 is scanned and not sorted"
    assert (times["p3_t1_2_time"], times["p3_t1_2_cpu"]) == (0.876, 10.61), "the whole counts, not its passes as well"
    assert times["total_time"] == 18.582
    assert place.unknown == 0
    assert [one for one in found if isinstance(one, Closed)] != []


def test_a_log_without_bitfield_tells_table_1_by_the_entries_that_were_written() -> None:
    found, place = events("chiapos_without_bitfield.txt", Plotter.BUILTIN)
    assert values(found)["p1_table_1_now_size"] == 209269
    times = columns(found)
    assert times["p2_t7_time"] == 0.272
    assert times["p2_t1_time"] is None
    assert times["p4_total_time"] == 0.583
    assert place.unknown == 0


def test_a_wrapped_log_of_2021_has_odd_numbers_and_loses_nothing_else() -> None:
    found, place = events("chia_2021.txt", Plotter.CHIA)
    times = columns(found)
    assert (times["p1_t1_time"], times["p1_t1_cpu"]) == (117.5, 170.0)
    assert (times["p1_t3_time"], times["p1_t3_cpu"]) == (1000.0, None), "nan is no share"
    assert times["p1_t4_time"] is None, "a negative time is none"
    assert times["p1_t6_time"] == 2000.0, "behind a time stamp"
    assert values(found)["plot_id"] == PLOT_ID
    assert place.unknown == 1
    assert (place.phase, place.table) == (1, 6), "through colours"


def test_madmax_and_bladebit_give_their_tables() -> None:
    found, place = events("madmax.txt", Plotter.MADMAX)
    times = columns(found)
    assert values(found) == {"ksize": 32, "plot_id": PLOT_ID, "threads": 16, "buckets": 256}
    assert {name for name, value in times.items() if value is None and name.endswith("_time")} == {"p2_t1_time", "copy_time"}
    assert times["p3_t6_7_time"] == 75.5 + 93.5
    assert place.unknown == 0
    found, place = events("bladebit.txt", Plotter.BLADEBIT)
    times = columns(found)
    assert values(found)["plot_id"] == PLOT_ID
    assert times["p1_t1_time"] == 25.0
    assert times["p2_t6_time"] == 0.75
    assert times["total_time"] == 386.25
    assert place.phase == 4


def test_a_full_disk_is_told() -> None:
    line = b'Only wrote 0 of 4096 bytes at offset 1 to "/a/x.tmp"with length 4096. Error 28. Retrying in five minutes.\n'
    assert any(isinstance(one, Stalled) for one in LogReader(Plotter.BUILTIN).feed(line))


def settled(found: list[LogEvent]) -> list[LogEvent]:
    return [one for one in found if not isinstance(one, At)]  # how far a table is depends on when somebody looks


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(min_value=0, max_value=12_000), max_size=40), stop=st.integers(min_value=0, max_value=40))
def test_pieces_and_a_new_beginning_give_the_same_as_the_whole(cuts: list[int], stop: int) -> None:
    content = (LOGS / "chiapos_bitfield.txt").read_bytes()
    whole = LogReader(Plotter.BUILTIN)
    expected = settled(whole.feed(content))
    reader, found = LogReader(Plotter.BUILTIN), []
    ends = sorted({min(cut, len(content)) for cut in cuts} | {len(content)})
    for turn, end in enumerate(ends):
        if turn == stop:
            reader = LogReader(Plotter.BUILTIN, LogPlace.model_validate_json(reader.place.model_dump_json()))
        found += reader.feed(content[reader.wanted : end])
    assert settled(found) == expected
    assert reader.place == whole.place


@given(content=st.binary(max_size=4000))
def test_no_bytes_break_a_reader(content: bytes) -> None:
    for plotter in Plotter:
        reader = LogReader(plotter)
        reader.feed(content + b"\n")
        assert reader.place.offset == len(content) + 1


def test_a_line_without_an_end_is_passed_over_and_never_held() -> None:
    reader = LogReader(Plotter.BUILTIN)
    for _ in range(3):
        reader.feed(b"x" * LINE_MOST)
    found = reader.feed(b"y\nComputing table 3\n")
    assert At(1, 3) in found
    assert reader.place.offset == 3 * LINE_MOST + len(b"y\nComputing table 3\n")
