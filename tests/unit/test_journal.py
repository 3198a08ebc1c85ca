"""Do the log lines say what happened, and only that?"""

from __future__ import annotations

import io
import json
import logging
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node import journal
from node.errors import Internal, Unavailable

log = logging.getLogger("node.roles.edge.job")


@pytest.fixture
def configure() -> Iterator[Callable[..., io.StringIO]]:
    opened: list[journal.Journal] = []

    def start(form: journal.LogFormat = "json", folder: Path | None = None, level: str = "info") -> io.StringIO:
        stream = io.StringIO()
        opened.append(journal.configure(level=level, form=form, here="edge-1", folder=folder, stream=stream))
        return stream

    before = logging.getLogger().level
    yield start
    for each in opened:
        each.close()
    logging.getLogger().setLevel(before)


def test_an_event_is_one_json_line_with_its_fields(configure: Callable[..., io.StringIO]) -> None:
    stream = configure()
    log.info("job started", extra={"query": "q-1", "fps": 10, "peer": None})
    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "node.roles.edge.job",
        "event": "job started",
        "here": "edge-1",
        "query": "q-1",
        "fps": 10,
        "peer": None,
    }


def test_a_secret_is_hidden_and_a_long_field_is_cut(configure: Callable[..., io.StringIO]) -> None:
    stream = configure()
    log.warning("odd", extra={"token": "abc", "reason": "x" * 10_000, "level": "mine"})
    line = json.loads(stream.getvalue())
    assert (line["token"], len(line["reason"])) == ("(hidden)", journal.MAX_FIELD)
    assert (line["level"], line["level_"]) == ("warning", "mine")


def test_an_event_below_the_level_is_not_written(configure: Callable[..., io.StringIO]) -> None:
    stream = configure(level="warning")
    log.info("quiet")
    assert stream.getvalue() == ""


def test_text_for_the_eye_cannot_steer_the_terminal(configure: Callable[..., io.StringIO]) -> None:
    stream = configure("text")
    log.info("peer\nrefused", extra={"peer": "\x1b[2J", "reason": "two words"})
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert "\x1b" not in text
    assert 'reason="two words"' in text
    assert "roles.edge.job" in text


def test_auto_means_json_where_no_terminal_reads(configure: Callable[..., io.StringIO]) -> None:
    stream = configure("auto")
    log.info("job started")
    assert json.loads(stream.getvalue())["event"] == "job started"


def test_a_traceback_stays_one_json_line(configure: Callable[..., io.StringIO]) -> None:
    stream = configure()
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("job died")
    assert stream.getvalue().count("\n") == 1
    line = json.loads(stream.getvalue())
    assert "ValueError: broken" in line["traceback"]
    assert "    ValueError: broken" in journal.readable(line, colour=False)


def test_the_file_is_private_bounded_and_read_back(
    configure: Callable[..., io.StringIO], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "MAX_FILE_BYTES", 2_000)
    folder = tmp_path / "data" / "log"
    configure(folder=folder)
    for number in range(100):
        log.info("event", extra={"number": number})
    files = sorted(folder.iterdir())
    assert [path.name for path in files] == ["node.jsonl", "node.jsonl.1"]
    assert all(path.stat().st_size <= 2_000 for path in files)
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [entry["number"] for entry in journal.newest(folder, 3)] == [97, 98, 99]
    assert len(journal.newest(folder, 1000)) > 10


def test_a_torn_line_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / journal.FILE).write_text('{"event":"a"}\n[1]\n{"event":"b"}\n{"eve')
    assert [entry["event"] for entry in journal.newest(tmp_path, 10)] == ["a", "b"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="file"):
        journal.configure(level="info", form="json", folder=tmp_path / "file" / "log", stream=io.StringIO())


def test_each_process_part_has_figures_of_its_own() -> None:
    first, second = journal.Metrics(), journal.Metrics()
    first.counter("frames", "Frames.", ("state",)).labels("done").inc(3)
    assert first.counter("frames", "Frames.", ("state",)) is first.counter("frames", "Frames.", ("state",))
    first.gauge("queue", "Waiting.").set(2)

    assert b'ecnode_frames_total{state="done"} 3.0' in first.text()
    assert b"ecnode_queue 2.0" in first.text()
    assert b"ecnode_frames_total" not in second.text()
    with pytest.raises(Internal):
        first.counter("frames", "Frames.", ("other",))
