"""Are the figures of a query the figures of its newest results?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from node.model.video import Resolution, Result, Runtime
from node.pipeline.stage import SERVICES
from node.pipeline.video.profile import WINDOW, found_at, held_share, objects_of, runtime_of

DETECTION = SERVICES["face_detection"]
ALIGNMENT = SERVICES["face_alignment"]


def result(number: int = 0, *, boxes: Sequence[Sequence[int]] = (), **changes: Any) -> Result:
    fields: dict[str, Any] = {
        "attempt": 1,
        "n_loop": number,
        "cam_frame_id": number,
        "conf_frame_id": number,
        "captured_at": 100.0 + number / 10,
        "latency": 0.1,
        "delay": 0.04,
        "stage_ms": {"face_detection": 30.0},
        "plan": "0" * 16,
        "plan_epoch": 1,
        "width": 1920,
        "height": 1080,
        "output": {"bbox": [list(box) for box in boxes]},
    }
    return Result.model_validate({**fields, **changes})


BOX = (0, 0, 100, 200)


def test_without_results_every_figure_is_zero() -> None:
    assert runtime_of(()) == Runtime()


def test_objects_are_the_boxes_or_what_was_counted() -> None:
    assert objects_of(result(boxes=[BOX, BOX])) == 2
    assert objects_of(result(output={"count_result": {"car": 3, "truck": 1}})) == 4
    assert objects_of(result(output={})) == 0
    assert objects_of(result(output={"bbox": "none", "count_result": 3})) == 0


def test_no_faces_at_all_is_no_division_by_zero() -> None:
    figures = runtime_of([result(number) for number in range(3)])
    assert (figures.obj_n, figures.obj_size, figures.obj_stable) == (0.0, 0.0, True)


def test_the_rate_is_results_per_second_of_capture() -> None:
    assert runtime_of([result(number) for number in range(11)]).fps == pytest.approx(10.0)
    assert runtime_of([result()]).fps == 0.0


def test_results_that_arrive_out_of_order_do_not_turn_the_rate_negative() -> None:
    assert runtime_of([result(2), result(0), result(1)]).fps == pytest.approx(10.0)


def test_only_the_newest_results_count() -> None:
    old = [result(number, delay=9.0, latency=9.0, boxes=[BOX] * 9) for number in range(20)]
    new = [result(20 + number, boxes=[BOX]) for number in range(WINDOW)]
    figures = runtime_of([*old, *new])
    assert (figures.delay, figures.latency_p95, figures.obj_n) == (pytest.approx(0.04), 0.1, 1.0)


def test_the_size_of_objects_does_not_depend_on_the_resolution() -> None:
    large = runtime_of([result(boxes=[BOX])]).obj_size
    small = runtime_of([result(boxes=[(0, 0, 50, 100)], width=960, height=540)]).obj_size
    assert large == small == 100 * 200


def test_obj_stable_always_true_is_gone_a_count_that_jumps_is_not_stable() -> None:
    assert runtime_of([result(number, boxes=[BOX]) for number in range(10)]).obj_stable
    assert not runtime_of([result(number, boxes=[BOX] * (number % 2)) for number in range(10)]).obj_stable


def test_half_of_the_latencies_are_below_p50_and_few_above_p95() -> None:
    figures = runtime_of([result(number, latency=float(number)) for number in range(WINDOW)])
    assert (figures.latency_p50, figures.latency_p95) == (15.0, 28.0)


def test_reading_the_figures_changes_nothing() -> None:
    results = [result(number, boxes=[BOX]) for number in range(5)]
    assert runtime_of(results) == runtime_of(results)


def test_accuracy_is_what_the_services_find_when_every_frame_is_processed() -> None:
    assert found_at([DETECTION], Resolution.P1080) * held_share(25.0, 25.0, 0.0, 0.0) == 1.0
    assert found_at([DETECTION, ALIGNMENT], Resolution.P360) == pytest.approx(
        DETECTION.accuracy["360p"] * ALIGNMENT.accuracy["360p"]
    )


def test_accuracy_falls_with_the_frame_rate_sooner_for_small_objects_and_for_quick_ones() -> None:
    def held(fps: float, width: float, speed: float = 0.0) -> float:
        return held_share(fps, 30.0, width * width, speed)

    assert held(1, 200) < held(5, 200) <= held(30, 200) == 1.0
    assert held(5, 20) < held(5, 200)
    assert held(5, 200, 600.0) < held(5, 200, 100.0)


def test_the_rendered_scenes_of_the_design_come_out_as_far_apart_as_they_were_measured() -> None:
    slow_and_large, fast_and_small = (300.0**2, 370.0), (60.0**2, 900.0)
    assert held_share(1, 30.0, *slow_and_large) == pytest.approx(0.28, abs=0.05)
    assert held_share(5, 30.0, *slow_and_large) >= 0.98
    assert held_share(1, 30.0, *fast_and_small) == pytest.approx(0.03, abs=0.01)
    assert held_share(5, 30.0, *fast_and_small) == pytest.approx(0.16, abs=0.02)


def test_more_frames_than_the_camera_gives_find_nothing_more() -> None:
    assert held_share(30.0, 15.0, 0.0, 0.0) == held_share(15.0, 15.0, 0.0, 0.0)


def test_a_result_that_comes_late_fits_for_less_time_and_one_that_comes_too_late_only_its_own_frame() -> None:
    on_time, late, too_late = (held_share(5.0, 30.0, 0.0, 0.0, age) for age in (0.0, 0.4, 1.0))
    assert on_time > late > too_late == pytest.approx(5 / 30)


def test_the_speed_of_objects_is_that_of_their_boxes_whatever_the_resolution() -> None:
    def moved(width: int, height: int, number: int) -> Result:
        x = (100 + 30 * number) * width / 1920  # 30 px every quarter of a second: 120 px/s
        box = [x, 0, x + 60 * width / 1920, 60 * height / 1080]
        return result(number, boxes=[box], captured_at=100 + number / 4, width=width, height=height)

    for size in ((1920, 1080), (640, 480)):
        assert runtime_of([moved(*size, number) for number in range(8)]).obj_speed == pytest.approx(120.0)


def test_objects_that_were_seen_once_have_no_speed() -> None:
    assert runtime_of([result(0, boxes=[BOX])]).obj_speed == 0.0


@pytest.mark.parametrize(
    "output",
    [
        {"bbox": [["left", "top", "right", "bottom"], [None] * 4, [1], 7, {}]},
        {"bbox": [[float("nan")] * 4, [0, 0, float("inf"), 1]]},
        {"bbox": [[-1e308, 0, 1e308, 1e300], [0, 0, 10**400, 1]]},
        {"bbox": [[0, 0, 1e5, 1e5]]},
        {"count_result": {"up": 10**18, "total": -5}},
    ],
)
def test_rubbish_from_a_peer_still_gives_figures(output: Any) -> None:
    figures = runtime_of(
        [result(output=output), result(1, output=output, height=1, captured_at=5e-324), result(captured_at=0.0)]
    )
    assert 0 <= figures.obj_n <= 10_000
    assert 0 <= figures.obj_size <= 1e7
    assert figures.fps <= 1000
