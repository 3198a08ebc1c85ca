"""The scheduler that knows how sure it is.

Times are lognormal (`delay.py`), accuracy is expected and then checked (`accuracy.py`), every combination is judged by the
chance that its limits hold (`choice.py`), other queries show in loads and prices (`market.py`). A better plan must be better by
`SWITCH_GAIN` to be worth a switch. What it would like to know it asks for with `wish`; why it chose, `explain` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from node.model.video import FPS_CHOICES, Constraint, Fps, Placement, Plan, Resolution, Result, Runtime, VideoConf
from node.pipeline.graph import graph_of
from node.pipeline.stage import SERVICES, ServiceSpec
from node.pipeline.video.planner.accuracy import Bias, Biased, Curves, HeldResults
from node.pipeline.video.planner.base import Choice, Explanation, ResourceInfo, Safe
from node.pipeline.video.planner.choice import Candidate, Goal, placed_at, rank, uses
from node.pipeline.video.planner.delay import Asked, DelayModel, ShadowRun, link_residual, stage_residual
from node.pipeline.video.planner.explain import Look, explained
from node.pipeline.video.planner.market import CAP, Market, link
from node.pipeline.video.planner.offers import Offers, Option
from node.pipeline.video.planner.residual import Residual
from node.pipeline.video.planner.wishes import Golden, Shadow, Wish, Wishes
from node.pipeline.video.profile import objects_of

SWITCH_GAIN: Final = 0.02
SETTLE_S: Final = 5.0  # after a switch what is learned of the new plan comes in; until then a better one must be
SETTLE_GAIN: Final = 0.1  # clearly better
WAIT_S: Final = 1.0  # how long a query that is held back has waited when it asks again
ROOM_LEAST: Final = 0.02  # of a resource that others have filled: a plan there is bad, not impossible
LOST_S: Final = 2.0  # a frame that was lost in a stage took at least as long there
HOP_FACTOR: Final = 6.0  # times its expected time: then a frame that is away is given up, and the query taken home
HOP_LEAST_S, HOP_MOST_S = 2.0, 4.0  # a busy machine is no reason yet
OBJECTS_RATE: Final = 0.5  # of a new count of objects that is believed at once; a leap of a third is believed whole
OVERHEAD_RATE: Final = 0.1
OVERHEAD_MOST_S: Final = 5.0

Key: TypeAlias = tuple[Fps, Resolution, tuple[str, ...]]
"""A choice in short: frame rate, resolution, the node of each stage."""


@dataclass(slots=True)
class _Query:
    """What is remembered of one query."""

    host: str = ""
    chosen: Key | None = None
    constraint: Constraint | None = None
    switched_at: float = float("-inf")
    objects: float | None = None
    overhead_s: float = 0.0
    bias: Bias = field(default_factory=Bias)
    look: Look | None = None
    known: tuple[Asked, Goal, Offers] | None = None

    def gain_wanted(self, constraint: Constraint, now: float) -> float:
        """By how much another plan must be better to be worth a switch; not at all where the user wants something else."""
        if constraint != self.constraint:
            return 0.0
        return SWITCH_GAIN if now - self.switched_at >= SETTLE_S else SETTLE_GAIN


class Robust:
    """See the module.

    `services` and `curves` are what is known of stages and scenes, `make_stage` and `make_link` the filters of what is learned;
    `telemetry` says whether the heartbeats' load is believed, `curious` whether it wishes for shadow runs and golden samples.
    """

    def __init__(
        self,
        services: Mapping[str, ServiceSpec] = SERVICES,
        curves: Curves | None = None,
        *,
        make_stage: Callable[[], Residual] = stage_residual,
        make_link: Callable[[], Residual] = link_residual,
        telemetry: bool = True,
        curious: bool = True,
    ) -> None:
        self._services = services
        self._curves = curves or HeldResults()
        self._market = Market()
        self._delays = DelayModel(services, self._market, telemetry, make_stage, make_link)
        self._wishes = Wishes(self._delays) if curious else None
        self._queries: dict[str, _Query] = {}
        self._now = float("-inf")

    # What every scheduler does

    def plan(
        self,
        job_uid: str,
        dag: Sequence[str],
        resource_info: ResourceInfo,
        runtime_info: Runtime,
        user_constraint: Constraint,
    ) -> Choice | None:
        """See `Scheduler`; None also while other queries leave no room for this one."""
        query = self._queries.setdefault(job_uid, _Query())
        query.host = resource_info.host
        self._pass_time(resource_info.at)
        asked = Asked(job_uid, dag, resource_info, _objects(query, resource_info))
        self._delays.learn(asked)
        goal = self._goal(query, asked, runtime_info, user_constraint)
        offers = self._delays.offers(asked)
        kept = _again(query.chosen, offers, goal, asked)
        ranked = tuple(rank(offers, goal, _known(query, kept, offers, goal, asked)))
        best = None
        if ranked:
            gain = query.gain_wanted(user_constraint, resource_info.at)
            best = ranked[0] if kept is None or ranked[0].utility - kept.utility >= gain else kept
            if self._is_full(job_uid, best):
                for node in {resource_info.nodes[place].name for place in best.placed.places}:
                    self._market.wanted(node, WAIT_S)
                best = None
        had = query.chosen[2] if query.chosen else ()
        query.known, query.constraint = (asked, goal, offers), user_constraint
        query.look = Look(dag, resource_info, user_constraint, runtime_info, query.overhead_s, ranked, had, kept, best)
        if best is None:
            self._drop(job_uid, query)
            return None
        if query.chosen is not None and best is not kept:
            query.switched_at = resource_info.at
        query.chosen = _key(best, asked)
        self._market.takes(job_uid, _uses(best, offers.at(best.resolution), asked))
        return _choice(best, offers.at(best.resolution), asked)

    def observe(self, job_uid: str, plan: Plan, result: Result) -> None:
        """See `Scheduler`."""
        query = self._queries.setdefault(job_uid, _Query())
        graph = graph_of(query.known[0].dag if query.known is not None else tuple(plan.flow_mapping))
        self._delays.observe(job_uid, query.host, plan, result, graph)
        overhead = min(max(result.latency - graph.longest(result.stage_ms) / 1000, 0.0), OVERHEAD_MOST_S)
        query.overhead_s += OVERHEAD_RATE * (overhead - query.overhead_s)
        query.objects = _believed(query.objects, objects_of(result))

    def failed(self, job_uid: str, plan: Plan, stage: str) -> None:
        """See `Scheduler`."""
        place, query = plan.flow_mapping.get(stage), self._queries.get(job_uid)
        if place is not None and query is not None:
            self._delays.lost(_sender(query, plan, stage), place.node, stage, LOST_S)

    def forget(self, job_uid: str) -> None:
        """See `Scheduler`."""
        self._queries.pop(job_uid, None)
        self._market.takes(job_uid, {})
        if self._wishes is not None:
            self._wishes.forget(job_uid)

    # What this one can do besides

    def wish(self, job_uid: str) -> Wish | None:
        """What it would like to be tried for this query now; asking is taking."""
        query = self._queries.get(job_uid)
        if self._wishes is None or query is None or query.look is None or query.look.chosen is None:
            return None
        return self._wishes.next(job_uid, query.host, query.look, self._now)

    def tried(self, job_uid: str, wish: Shadow, run: ShadowRun) -> None:
        """A wished shadow run was made."""
        query = self._queries.get(job_uid)
        if query is not None:
            self._delays.tried(job_uid, query.host, wish.node, run)

    def judged(self, job_uid: str, _wish: Golden, seen: float, objects: int) -> None:
        """A wished golden sample found `objects` objects; the query's result of that moment had the fraction `seen` of them."""
        query = self._queries.get(job_uid)
        if query is not None and query.look is not None and query.look.chosen is not None:
            query.bias.read(seen, query.look.chosen.accuracy / query.bias.factor, objects)

    def safe(self, job_uid: str) -> Safe | None:
        """What the host does when it is on its own, and when it is; None where it cannot do everything alone."""
        query = self._queries.get(job_uid)
        if query is None or query.known is None:
            return None
        asked, goal, offers = query.known
        home = next((place for place, node in enumerate(asked.info.nodes) if node.name == asked.info.host), -1)
        ranked = rank(offers.only(home), goal)
        if not ranked or query.look is None or query.look.chosen is None:
            return None
        patience = HOP_FACTOR * query.look.chosen.placed.mean
        return Safe(_choice(ranked[0], offers.at(ranked[0].resolution), asked), max(HOP_LEAST_S, min(patience, HOP_MOST_S)))

    def explain(self, job_uid: str) -> Explanation | None:
        """Why the query has the plan that it has; None before the first."""
        query = self._queries.get(job_uid)
        return explained(query.look) if query is not None and query.look is not None else None

    # The parts of a choice

    def _pass_time(self, now: float) -> None:
        gone = now - self._now
        if gone > 0:
            if gone < float("inf"):
                self._delays.age(gone)
                self._market.pass_time(gone)
                for query in self._queries.values():
                    query.bias.age(gone)
            self._now = now

    def _goal(self, query: _Query, asked: Asked, runtime: Runtime, constraint: Constraint) -> Goal:
        info, market, weight = asked.info, self._market, constraint.weight or 1.0
        scene = self._curves.scene([self._services[stage] for stage in asked.dag], info.camera_fps, runtime)
        names = [node.name for node in info.nodes]
        links = [link(info.host, name) for name in names]
        places = {name: place for place, name in enumerate(names)}
        between = {
            (places[node.name], places[peer]): link(node.name, peer)
            for node in info.nodes
            for peer in node.links
            if peer in places
        }
        graph = graph_of(asked.dag)
        return Goal(
            constraint,
            info.camera_fps,
            info.in_flight,
            query.overhead_s,
            Biased(scene, query.bias.factor),
            room=[max(CAP - market.others(asked.job_uid, name), ROOM_LEAST) for name in names],
            price=[market.price(name) / weight for name in names],
            link_room=[max(CAP - market.others(asked.job_uid, way), ROOM_LEAST) for way in links],
            link_price=[market.price(way) / weight for way in links],
            between={
                pair: (max(CAP - market.others(asked.job_uid, way), ROOM_LEAST), market.price(way) / weight)
                for pair, way in between.items()
            },
            takes=graph.takes if graph.forks else (),
        )

    def _is_full(self, job_uid: str, best: Candidate) -> bool:
        """Whether what is left for a newcomer is not even enough for the lowest frame rate."""
        if self._market.alone(job_uid) or self._market.runs(job_uid):
            return False
        return best.placed.rate_most / CAP < FPS_CHOICES[0]

    def _drop(self, job_uid: str, query: _Query) -> None:
        query.chosen = None
        self._market.takes(job_uid, {})


def _objects(query: _Query, info: ResourceInfo) -> float:
    """How many objects a picture shows; as many as calibration saw until a result says otherwise."""
    if query.objects is not None:
        return query.objects
    return float(max((service.profile_objects for node in info.nodes for service in node.services.values()), default=0))


def _believed(before: float | None, seen: float) -> float:
    if before is None or abs(seen - before) > max(before, 2.0) / 3:
        return float(seen)
    return before + OBJECTS_RATE * (seen - before)


def _key(candidate: Candidate, asked: Asked) -> Key:
    return candidate.fps, candidate.resolution, tuple(asked.info.nodes[place].name for place in candidate.placed.places)


def _chain(key: Key, offers: Offers, asked: Asked) -> list[Option] | None:
    """The options of a choice, None where one of them is not there any more."""
    _, resolution, names = key
    if resolution not in offers.resolutions or len(names) != len(asked.dag):
        return None
    found, nodes = [], asked.info.nodes
    for name, offered in zip(names, offers.at(resolution), strict=True):
        for option in offered:
            if nodes[option.place].name == name:
                found.append(option)
                break
        else:
            return None
    return found


def _again(key: Key | None, offers: Offers, goal: Goal, asked: Asked) -> Candidate | None:
    """The present choice as it is judged now, None where it cannot run any more."""
    chain = _chain(key, offers, asked) if key is not None else None
    return goal.judge(placed_at(chain, goal), key[0], key[1]) if key is not None and chain is not None else None


def _known(query: _Query, kept: Candidate | None, offers: Offers, goal: Goal, asked: Asked) -> list[Candidate]:
    """What was best when the query was last looked at, as it is judged now, and the present choice `kept`."""
    look = query.look
    had = [(each.fps, each.resolution, look.names(each)) for each in look.ranked] if look is not None else []
    judged = [kept if key == query.chosen else _again(key, offers, goal, asked) for key in had]
    if query.chosen not in had:
        judged.append(kept)
    return [each for each in judged if each is not None]


def _uses(candidate: Candidate, stages: Sequence[Sequence[Option]], asked: Asked) -> dict[str, float]:
    """The share of every node and link that a choice takes."""
    names, host, rate = [node.name for node in asked.info.nodes], asked.info.host, candidate.rate
    graph = graph_of(asked.dag)
    shares = uses(_options(candidate, stages), graph.takes if graph.forks else ())
    found = {names[place]: rate * share for place, share in shares.work.items()}
    found |= {link(host, names[place]): rate * share for place, share in shares.ways.items()}
    return found | {link(names[one], names[other]): rate * share for (one, other), share in shares.straight.items()}


def _options(candidate: Candidate, stages: Sequence[Sequence[Option]]) -> list[Option]:
    places = zip(candidate.placed.places, stages, strict=True)
    return [next(option for option in offered if option.place == place) for place, offered in places]


def _choice(candidate: Candidate, stages: Sequence[Sequence[Option]], asked: Asked) -> Choice:
    chain, info = _options(candidate, stages), asked.info
    places = {}
    for stage, takes, option in zip(asked.dag, graph_of(asked.dag).takes, chain, strict=True):
        node = info.nodes[option.place]
        before = [chain[one].place for one in takes]
        slower = any(node.name in info.nodes[one].links and one not in option.straight for one in before if one != option.place)
        by_host = slower and node.name != info.host and all(info.nodes[one].name != info.host for one in before)
        places[stage] = Placement(node=node.name, role=node.role, by_host=by_host)
    return VideoConf(fps=candidate.fps, resolution=candidate.resolution), places


def _sender(query: _Query, plan: Plan, stage: str) -> str:
    """The node that a stage's input comes from under a plan."""
    if query.known is None or stage not in query.known[0].dag:
        return query.host
    asked = query.known[0]
    graph, place = graph_of(asked.dag), plan.flow_mapping[stage]
    before = [plan.flow_mapping[one].node for one in graph.before[graph.stages.index(stage)] if one in plan.flow_mapping]
    links = {node.name: node.links for node in asked.info.nodes}
    if len(before) == 1 and before[0] != place.node and not place.by_host and place.node in links.get(before[0], {}):
        return before[0]
    return query.host
