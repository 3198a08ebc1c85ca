"""Are earlier figures of this machine found again, and never those of another, of another model or of long ago?"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from node.model.video import Resolution
from node.roles.shared import measured
from node.roles.shared.measured import MOST_AGE_S, Profile, keep, recall

NOW = 1_795_300_801.0


def profile(seconds: float) -> Profile:
    return Profile(seconds=dict.fromkeys(Resolution, seconds), objects=7)


FOUND = {"face_detection": profile(0.05), "face_alignment": profile(0.01)}


def the_file(folder: Path) -> Path:
    (place,) = folder.iterdir()
    return place


def test_what_was_kept_is_recalled(tmp_path: Path) -> None:
    assert recall(tmp_path, NOW) is None
    keep(tmp_path, FOUND, NOW)
    assert recall(tmp_path, NOW + 60) == FOUND


def test_what_is_old_or_of_a_future_that_the_clock_has_left_is_measured_again(tmp_path: Path) -> None:
    keep(tmp_path, FOUND, NOW)
    assert recall(tmp_path, NOW + MOST_AGE_S + 1) is None
    assert recall(tmp_path, NOW - 1) is None


def test_another_machine_does_not_believe_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(tmp_path, FOUND, NOW)
    monkeypatch.setattr(measured, "_processor", lambda: "another one")
    assert recall(tmp_path, NOW) is None
    keep(tmp_path, {"face_detection": profile(0.5)}, NOW)
    assert recall(tmp_path, NOW) == {"face_detection": profile(0.5)}
    monkeypatch.undo()
    assert recall(tmp_path, NOW) == FOUND


def test_another_library_does_not_believe_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(tmp_path, FOUND, NOW)
    monkeypatch.setattr(measured, "_version", lambda library: "99" if library == "numpy" else None)
    assert recall(tmp_path, NOW) is None


def test_models_that_have_come_or_were_replaced_since_are_measured(tmp_path: Path) -> None:
    keep(tmp_path, FOUND, NOW)
    (tmp_path / "helmets.onnx").write_bytes(b"a model of the user's own")
    assert recall(tmp_path, NOW) is None
    keep(tmp_path, FOUND, NOW)
    assert recall(tmp_path, NOW) == FOUND
    (tmp_path / "helmets.onnx").write_bytes(b"another model")
    assert recall(tmp_path, NOW) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"measured_at": 1}',
        b'{"circumstances":{},"measured_at":1795300801.0,"services":{"face_detection":{"seconds":{},"objects":1}}}',
        b'{"circumstances":{},"measured_at":1795300801.0,"services":{"face_detection":{"seconds":{"360p":-1},"objects":1}}}',
    ],
    ids=range(7),
)
def test_a_file_that_cannot_be_read_is_as_good_as_none_and_is_replaced(tmp_path: Path, content: bytes) -> None:
    keep(tmp_path, FOUND, NOW)
    the_file(tmp_path).write_bytes(content)
    assert recall(tmp_path, NOW) is None
    keep(tmp_path, FOUND, NOW)
    assert recall(tmp_path, NOW) == FOUND


@pytest.mark.parametrize("change", [{"circumstances": {}}, {"services": {"helmets": FOUND["face_detection"].model_dump()}}])
def test_a_file_that_was_copied_or_made_by_hand_is_not_believed(tmp_path: Path, change: dict[str, object]) -> None:
    keep(tmp_path, FOUND, NOW)
    place = the_file(tmp_path)
    place.write_text(json.dumps({**json.loads(place.read_text()), **change}))
    assert recall(tmp_path, NOW) is None


def test_nodes_that_write_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    def write_and_read(number: int) -> bool:
        keep(tmp_path, {"face_detection": profile(0.001 * (number + 1))}, NOW)
        found = recall(tmp_path, NOW)
        return found is not None and 1 <= round(found["face_detection"].seconds[Resolution.P360] * 1000) <= 64

    with ThreadPoolExecutor(8) as nodes:
        assert all(nodes.map(write_and_read, range(64)))
    assert the_file(tmp_path).name.startswith("measured-")


def test_a_folder_that_cannot_be_written_only_means_to_measure_again(tmp_path: Path) -> None:
    keep(tmp_path / "not there", FOUND, NOW)
    assert recall(tmp_path / "not there", NOW) is None


def test_what_other_releases_left_is_dropped_once_it_is_old(tmp_path: Path) -> None:
    keep(tmp_path, FOUND, NOW)
    left = the_file(tmp_path).rename(tmp_path / "measured-0123456789abcdef.json")
    (tmp_path / "yunet.onnx").write_bytes(b"a model")
    keep(tmp_path, FOUND, left.stat().st_mtime + MOST_AGE_S - 60)
    assert left.exists()
    keep(tmp_path, FOUND, left.stat().st_mtime + MOST_AGE_S + 60)
    assert not left.exists()
    assert (tmp_path / "yunet.onnx").exists()


def test_what_was_measured_on_a_busy_machine_is_not_for_tomorrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "_cores", lambda: 2)
    monkeypatch.setattr("os.getloadavg", lambda: (3.5, 9.0, 9.0))
    assert not measured.disturbed()
    monkeypatch.setattr("os.getloadavg", lambda: (4.5, 0.0, 0.0))
    assert measured.disturbed()
