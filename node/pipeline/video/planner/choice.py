"""Which frame rate, resolution and placement serve a query best?

Every combination is judged by one figure: the chance that the limits hold, times how much of the asked accuracy is expected,
plus a little for accuracy itself, minus what bytes, nodes and links cost. Up to `EXACT_PLANS` combinations all are judged, and
those left out that cannot beat the best few; beyond it only the placements that `paths.py` finds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import erfc, inf, log, log1p, prod, sqrt
from typing import Final, NamedTuple

from node.model.video import FPS_CHOICES, Constraint, Fps, Resolution
from node.pipeline.video.planner.accuracy import Scene
from node.pipeline.video.planner.forks import Takes, every_fork, moves, time_of_fork
from node.pipeline.video.planner.lognormal import LEAST_S, chance_below
from node.pipeline.video.planner.market import CAP
from node.pipeline.video.planner.offers import Offers, Option
from node.pipeline.video.planner.paths import likely_paths

EXACT_PLANS: Final = 10_000
BEST: Final = 5  # remembered with a decision
ACCURACY_WEIGHT: Final = 0.02
BYTE_PRICE: Final = 4e-9  # utility per byte and second that leaves the host: 1 MB/s costs a fifth of a switch
BROKEN_WORTH: Final = 0.1  # what a plan that surely breaks a limit may still be worth, the less the further it is beyond
LIMIT_LEAST_S: Final = 1e-3  # where a limit leaves no time at all, the quickest plan is still the least bad one
OVERLOAD: Final = 0.5  # utility for each whole resource above the cap


class Placed(NamedTuple):
    """A place for every stage at one resolution: time per frame, bytes sent, price and shares per frame and second."""

    places: tuple[int, ...]
    mean: float
    variance: float
    sent: float
    price: float
    rate_most: float
    sure: float


class Candidate(NamedTuple):
    """A combination and what is expected of it. `held` is the chance that the limits hold, `rate` results a second."""

    utility: float
    fps: Fps
    resolution: Resolution
    placed: Placed
    held: float
    accuracy: float
    rate: float


class Moments(NamedTuple):
    """A chain of options with mean and variance of its time, and of its lognormal the middle and the steepness."""

    mean: float
    middle: float
    steepness: float
    chain: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class Goal:
    """What a choice must serve.

    `overhead_s` is what a frame's latency has beside its stages; `price` and `room` say for a place what its use costs and
    how much of it is free; `link_price` and `link_room` the same for the way there, `between` room and price of the link from
    one place to another: what it does not name is free. `takes` are the stages that each takes from where the pipeline forks,
    nothing for a list.
    """

    constraint: Constraint
    camera_fps: float
    in_flight: int
    overhead_s: float
    scene: Scene
    room: Sequence[float]
    price: Sequence[float]
    link_room: Sequence[float]
    link_price: Sequence[float]
    between: Mapping[tuple[int, int], tuple[float, float]] = field(default_factory=dict)
    takes: Takes = ()

    def judge(self, placed: Placed, fps: Fps, resolution: Resolution) -> Candidate:
        """What is expected of one combination."""
        _, mean, variance, sent, price, rate_most, sure = placed
        offered = min(float(fps), self.camera_fps)
        rate = min(offered, self.in_flight / max(mean, LEAST_S), rate_most / CAP)
        held, excess = 1.0, 1.0
        for limit in self.limits(offered):
            held = min(held, chance_below(limit, mean, variance))
            excess = max(excess, mean / limit)
        held *= sure
        age = 0.0 if self.constraint.latency is None else mean + self.overhead_s
        accuracy = self.scene.expected(resolution, rate, age)
        utility = self.worth(accuracy) * held + (self.worth(accuracy) * BROKEN_WORTH + ACCURACY_WEIGHT * accuracy) / excess
        utility -= rate * (BYTE_PRICE * sent + price)
        if offered > rate_most:
            utility -= OVERLOAD * min(CAP * (offered / rate_most - 1), 1.0)
        return Candidate(utility, fps, resolution, placed, held, accuracy, rate)

    def worth(self, accuracy: float) -> float:
        """How much of the asked accuracy that is."""
        asked = self.constraint.accuracy
        return min(accuracy / asked, 1.0) if asked else accuracy

    def limits(self, offered: float) -> list[float]:
        """What the time of a frame must stay below, in seconds, where `offered` frames a second are taken; each above 0."""
        found = []
        if self.constraint.delay is not None:
            found.append(max(self.constraint.delay * (self.camera_fps / offered + 1), LIMIT_LEAST_S))
        if self.constraint.latency is not None:
            found.append(max(self.constraint.latency - self.overhead_s, LIMIT_LEAST_S))
        return found


def rank(  # noqa: PLR0912 - one loop, in which a step that was a function would cost more than it does
    offers: Offers, goal: Goal, known: Iterable[Candidate] = ()
) -> list[Candidate]:
    """The best `BEST` combinations, the best first; none where a stage has no option.

    What cannot beat them is not judged: first by what rate and resolution can be worth at most, then by the chance to hold.
    `known` were the best a moment ago, as they are judged now: with them hardly another one is to be judged.
    """
    best = sorted(known, key=_utility, reverse=True)
    had = {(each.fps, each.resolution, each.placed.places) for each in best}
    del best[BEST:]
    exact = offers.count() * len(FPS_CHOICES) <= EXACT_PLANS
    found: dict[Resolution, list[Moments]] = {}
    placed: dict[int, Placed] = {}  # by the identity of the chain, which `found` keeps
    full: dict[int, float] = {}  # the same: the accuracy with as many results as there can be, whatever the frame rate
    floor, late = best[-1].utility if len(best) == BEST else -inf, goal.constraint.latency is not None
    for bound, accuracy, fps, resolution in _bounds(offers, goal):
        if bound <= floor:
            break
        moments = found.get(resolution)
        if moments is None:
            stages = offers.at(resolution)
            moments = found[resolution] = every_chain(stages, goal.takes) if exact else likely_chains(stages, goal)
        worth, little = goal.worth(accuracy), ACCURACY_WEIGHT * accuracy
        offered = min(float(fps), goal.camera_fps)
        limits = goal.limits(offered)
        limit = min(limits) if limits else inf
        log_limit = log(limit) if limit < inf else limit
        even = (floor - little) / worth - BROKEN_WORTH > 0.5 if worth > 0.0 else False  # less than an even chance is too little
        for mean, middle, steepness, chain in moments:
            if even and middle >= log_limit:
                continue
            held = 0.5 * erfc((middle - log_limit) * steepness) if log_limit < inf else 1.0
            excess = mean / limit  # max() and min() would cost as much as all the rest of what most combinations see
            chance = held + (BROKEN_WORTH / excess if excess > 1.0 else BROKEN_WORTH)
            if worth * chance + little <= floor:
                continue
            most = worth * chance + little
            if late or goal.in_flight < offered * mean:  # late or lacking results: the accuracy is not reached either
                age, lacking = mean + goal.overhead_s if late else 0.0, goal.in_flight < offered * mean
                real = full.get(id(chain)) if lacking else None
                if real is None:
                    real = goal.scene.expected(resolution, goal.in_flight / mean if lacking else offered, age)
                    if lacking:
                        full[id(chain)] = real
                most = goal.worth(real) * chance + ACCURACY_WEIGHT * real
                if most <= floor:
                    continue
            if (at := placed.get(id(chain))) is None:
                at = placed[id(chain)] = placed_at(chain, goal)
            rate = min(offered, goal.in_flight / mean, at.rate_most / CAP)
            if most - rate * (BYTE_PRICE * at.sent + at.price) <= floor or (fps, resolution, at.places) in had:
                continue
            candidate = goal.judge(at, fps, resolution)
            if candidate.utility > floor:
                best.append(candidate)
                best.sort(key=_utility, reverse=True)
                del best[BEST:]
                floor = best[-1].utility if len(best) == BEST else -inf
    return best


def _bounds(offers: Offers, goal: Goal) -> list[tuple[float, float, Fps, Resolution]]:
    """For every rate and resolution what no placement can exceed, and with which accuracy; the highest first."""
    found = []
    for resolution in offers.resolutions:
        for fps in FPS_CHOICES:
            accuracy = goal.scene.expected(resolution, min(float(fps), goal.camera_fps), 0.0)
            bound = goal.worth(accuracy) * (1.0 + BROKEN_WORTH) + ACCURACY_WEIGHT * accuracy
            found.append((bound, accuracy, fps, resolution))
    found.sort(key=_first, reverse=True)
    return found


def every_chain(stages: Sequence[Sequence[Option]], takes: Takes = ()) -> list[Moments]:
    """Every way to place the stages, the quickest first."""
    if takes:
        return sorted((_moments(*time, chain) for time, chain in every_fork(stages, takes)), key=_first)
    first, *rest = stages
    chains: list[tuple[float, float, tuple[Option, ...]]]
    chains = [(one.stay[0] + one.enter[0], one.stay[1] + one.enter[1], (one,)) for one in first]
    for options in rest:
        longer = []
        for mean, variance, chain in chains:
            place, leave = chain[-1].place, chain[-1].leave
            for option in options:
                more, spread = option.stay
                if option.place != place:
                    if option.straight and (way := option.straight.get(place)) is not None:
                        more, spread = more + way.time.mean, spread + way.time.variance
                    else:
                        more, spread = more + option.enter[0] + leave[0], spread + option.enter[1] + leave[1]
                longer.append((mean + more, variance + spread, (*chain, option)))
        chains = longer
    chains.sort(key=_first)
    return [_moments(mean, variance, chain) for mean, variance, chain in chains]


def likely_chains(stages: Sequence[Sequence[Option]], goal: Goal) -> list[Moments]:
    """The placements worth a look where there are too many to look at all."""
    found = []
    for chain in likely_paths(stages, goal.price):
        placed = placed_at(chain, goal)
        found.append(_moments(placed.mean, placed.variance, chain))
    return sorted(found, key=_first)


def every_placement(stages: Sequence[Sequence[Option]], goal: Goal) -> list[Placed]:
    """Every way to place the stages, in full."""
    return [placed_at(moments.chain, goal) for moments in every_chain(stages, goal.takes)]


def _moments(mean: float, variance: float, chain: tuple[Option, ...]) -> Moments:
    """As `lognormal.chance_below` has them."""
    mean = max(mean, LEAST_S)
    log_variance = log1p(variance / (mean * mean)) or 1e-12
    return Moments(mean, log(mean) - log_variance / 2, 1 / sqrt(2 * log_variance), chain)


def placed_at(chain: Sequence[Option], goal: Goal) -> Placed:
    """What the stages take together at those places: neighbours at one place need no way between them."""
    if goal.takes:
        return _fork_at(tuple(chain), goal)
    mean = variance = sent = price = 0.0
    sure = 1.0
    work: dict[int, float] = {}
    ways: dict[int, float] = {}
    straight: dict[tuple[int, int], float] = {}
    before: Option | None = None
    for option in chain:
        place = option.place
        mean += option.stay.mean
        variance += option.stay.variance
        sure *= option.sure
        work[place] = work.get(place, 0.0) + option.work
        price += option.work * goal.price[place]
        way = option.straight.get(before.place) if option.straight and before is not None else None
        if way is not None and before is not None:
            mean += way.time.mean
            variance += way.time.variance
            straight[before.place, place] = straight.get((before.place, place), 0.0) + way.share
        elif before is None or before.place != place:
            if before is not None and before.leave_bytes:
                mean += before.leave.mean
                variance += before.leave.variance
                sent += before.leave_bytes
                ways[before.place] = ways.get(before.place, 0.0) + before.leave_share
            if option.enter_bytes:
                mean += option.enter.mean
                variance += option.enter.variance
                sent += option.enter_bytes
                ways[place] = ways.get(place, 0.0) + option.enter_share
        before = option
    rate_most, dear = _limits(goal, work, ways, straight)
    return Placed(tuple(option.place for option in chain), mean, variance, sent, price + dear, rate_most, sure)


def _fork_at(chain: tuple[Option, ...], goal: Goal) -> Placed:
    """As `placed_at`, of a pipeline that forks."""
    time, shares = time_of_fork(chain, goal.takes), uses(chain, goal.takes)
    rate_most, dear = _limits(goal, shares.work, shares.ways, shares.straight)
    price = dear + sum(share * goal.price[place] for place, share in shares.work.items())
    sure = prod(option.sure for option in chain)
    return Placed(tuple(option.place for option in chain), time.mean, time.variance, shares.sent, price, rate_most, sure)


class Shares(NamedTuple):
    """What one frame a second takes: of each place, of the way there, of the ways between two, and the bytes by the host."""

    work: dict[int, float]
    ways: dict[int, float]
    straight: dict[tuple[int, int], float]
    sent: float


def uses(chain: Sequence[Option], takes: Takes) -> Shares:
    """The shares that stages take at those places; `takes` is empty for a list."""
    takes = takes or [(stage - 1,) if stage else () for stage in range(len(chain))]
    work, ways, straight, sent, back = dict[int, float](), dict[int, float](), dict[tuple[int, int], float](), 0.0, set[int]()
    for stage, option in enumerate(chain):
        work[option.place] = work.get(option.place, 0.0) + option.work
        returning, enters, way = moves(chain, takes, stage)
        if way is not None:
            pair = chain[takes[stage][0]].place, option.place
            straight[pair] = straight.get(pair, 0.0) + way.share
        if enters and option.enter_bytes:
            ways[option.place] = ways.get(option.place, 0.0) + option.enter_share
            sent += option.enter_bytes
        for one in {*returning} - back:
            if chain[one].leave_bytes:
                ways[chain[one].place] = ways.get(chain[one].place, 0.0) + chain[one].leave_share
                sent += chain[one].leave_bytes
        back.update(returning)
    return Shares(work, ways, straight, sent)


def _limits(
    goal: Goal, work: Mapping[int, float], ways: Mapping[int, float], straight: Mapping[tuple[int, int], float]
) -> tuple[float, float]:
    """How many frames a second there is room for, and what the links cost for each."""
    rate_most = min(goal.room[place] / max(share, LEAST_S) for place, share in work.items())
    price = 0.0
    for place, share in ways.items():
        rate_most = min(rate_most, goal.link_room[place] / share)
        price += share * goal.link_price[place]
    for pair, share in straight.items():
        room, dear = goal.between.get(pair, (CAP, 0.0))
        rate_most = min(rate_most, room / share)
        price += share * dear
    return rate_most, price


def _utility(candidate: Candidate) -> float:
    return candidate.utility


def _first(found: tuple[float, *tuple[object, ...]]) -> float:
    return found[0]
