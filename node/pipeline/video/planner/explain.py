"""Why was a plan chosen, in a plain sentence?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from node.model.decision import Considered
from node.model.video import Constraint, Runtime, VideoConf
from node.pipeline.video.planner.base import Explanation, ResourceInfo
from node.pipeline.video.planner.choice import Candidate

CLEARLY_HELD = 0.5  # a chance below it is a reason by itself


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a query: the best combinations, the present one as it is judged now, and the one that was taken.

    `chosen` is None where there was no room, or nothing to choose from; `kept` where there was no plan before, or where it
    cannot run any more: `had` says which.
    """

    dag: Sequence[str]
    info: ResourceInfo
    constraint: Constraint
    runtime: Runtime
    overhead_s: float
    ranked: tuple[Candidate, ...]
    had: tuple[str, ...]
    kept: Candidate | None
    chosen: Candidate | None

    @property
    def same(self) -> bool:
        """Whether the plan stays what it was."""
        return self.kept is not None and self.chosen is self.kept

    def considered(self, candidate: Candidate) -> Considered:
        """One combination for those who read."""
        offered = min(float(candidate.fps), self.info.camera_fps)
        return Considered(
            video_conf=VideoConf(fps=candidate.fps, resolution=candidate.resolution),
            places=dict(zip(self.dag, self.names(candidate), strict=True)),
            delay=candidate.placed.mean / (self.info.camera_fps / offered + 1),
            latency=candidate.placed.mean + self.overhead_s,
            fps=candidate.rate,
            accuracy=candidate.accuracy,
            held=candidate.held,
            utility=candidate.utility,
        )

    def names(self, candidate: Candidate) -> tuple[str, ...]:
        """The node of each stage."""
        return tuple(self.info.nodes[place].name for place in candidate.placed.places)


def explained(look: Look) -> Explanation:
    """The look as a sentence and figures."""
    predicted = look.considered(look.chosen) if look.chosen is not None else None
    before = look.considered(look.kept) if look.kept is not None else None
    best = tuple(look.considered(candidate) for candidate in look.ranked)
    return Explanation(_sentence(look, predicted, before, best), predicted, before, best)


def _sentence(look: Look, predicted: Considered | None, before: Considered | None, best: Sequence[Considered]) -> str:
    if not best:
        offered = {stage for node in look.info.nodes for stage in node.services}
        missing = [stage for stage in look.dag if stage not in offered] or list(look.dag)
        return f"no reachable node offers {', '.join(missing)}"
    if predicted is None:
        return f"held back: other queries leave no room for {_plan(best[0])}"
    if look.same:
        return f"kept: {_promise(predicted, look.constraint)}{_runner_up(predicted, best, look.constraint)}"
    if before is None:
        lost = sorted(set(look.had) - {node.name for node in look.info.nodes})
        begin = "the plan before cannot run" if look.had else "first plan"
        begin = f"{', '.join(lost)} can no longer be used" if lost else begin
        return f"{begin}: {_plan(predicted)} ({_promise(predicted, look.constraint)})"
    return f"{_cause(look, before, predicted)} → {_change(before, predicted)} ({_promise(predicted, look.constraint)})"


def _cause(look: Look, before: Considered, predicted: Considered) -> str:
    limits, seen = look.constraint, look.runtime
    if limits.delay is not None and seen.delay > limits.delay:
        return f"delay {_ms(seen.delay)} > {_ms(limits.delay)}"
    if limits.latency is not None and seen.latency_p50 > limits.latency:
        return f"latency {_ms(seen.latency_p50)} > {_ms(limits.latency)}"
    if before.held < CLEARLY_HELD <= predicted.held:
        return f"the plan would hold its limit in {before.held:.0%} of the frames only"
    if limits.accuracy is not None and before.accuracy < limits.accuracy and predicted.accuracy > before.accuracy:
        return f"accuracy {before.accuracy:.2f} < {limits.accuracy:g}"
    if predicted.held > before.held + 0.01:
        return f"holds its limit in {predicted.held:.0%} of the frames instead of {before.held:.0%}"
    if predicted.accuracy < before.accuracy - 0.01:
        return f"{', '.join(sorted(set(before.places.values())))} would be too busy at {before.video_conf.fps} fps"
    return f"accuracy {predicted.accuracy:.2f} instead of {before.accuracy:.2f}, or for less"


def _change(before: Considered, after: Considered) -> str:
    words = []
    if before.video_conf.resolution != after.video_conf.resolution:
        words.append(f"resolution {before.video_conf.resolution}→{after.video_conf.resolution}")
    if before.video_conf.fps != after.video_conf.fps:
        words.append(f"fps {before.video_conf.fps}→{after.video_conf.fps}")
    words += [f"{stage} {before.places[stage]}→{node}" for stage, node in after.places.items() if before.places[stage] != node]
    return ", ".join(words)


def _promise(plan: Considered, limits: Constraint) -> str:
    words = [f"predicted {_figure(plan, limits)}"]
    if limits.accuracy is None:
        words.append(f"accuracy {plan.accuracy:.2f}")
    else:
        words.append(f"accuracy {plan.accuracy:.2f} {'≥' if plan.accuracy >= limits.accuracy else '<'} {limits.accuracy:g}")
    return ", ".join(words)


def _runner_up(plan: Considered, best: Sequence[Considered], limits: Constraint) -> str:
    others = (each for each in best if (each.video_conf, each.places) != (plan.video_conf, plan.places))
    other = next(others, None)
    if other is None:
        return ""
    apart = (other.latency - plan.latency) if limits.latency is not None else (other.delay - plan.delay)
    does = "add" if apart >= 0 else "save"
    return f"; {_change(plan, other)} would {does} {_ms(abs(apart))} at accuracy {other.accuracy:.2f}"


def _figure(plan: Considered, limits: Constraint) -> str:
    if limits.latency is not None:
        return f"{_ms(plan.latency)} {'≤' if plan.latency <= limits.latency else '>'} {_ms(limits.latency)}"
    if limits.delay is not None:
        return f"{_ms(plan.delay)} {'≤' if plan.delay <= limits.delay else '>'} {_ms(limits.delay)}"
    return _ms(plan.latency)


def _plan(plan: Considered) -> str:
    places = ", ".join(f"{stage} on {node}" for stage, node in plan.places.items())
    return f"{plan.video_conf.resolution} at {plan.video_conf.fps} fps, {places}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
