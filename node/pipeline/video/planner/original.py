"""How does a scheduler that was written for the original run here?

Such a scheduler is one function `scheduler(job_uid, dag, resource_info, runtime_info, user_constraint)` over plain dicts, which
answers `(video_conf, flow_mapping)`. This adapter speaks to it in its own words: nodes by role, a node's name where the
original had its address. It is asked from the node's own loop, so it must answer at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from pydantic import ValidationError

from node.errors import Invalid
from node.model.video import Constraint, Placement, Plan, Result, Runtime, StageRole, VideoConf
from node.pipeline.video.planner.base import Choice, ResourceInfo, can_run

Words: TypeAlias = Mapping[str, object]
Function: TypeAlias = Callable[..., tuple[Words, Mapping[str, Words]]]


class Original:
    """A `Scheduler` around such a function."""

    def __init__(self, function: Function) -> None:
        self._function = function

    def plan(
        self,
        job_uid: str,
        dag: Sequence[str],
        resource_info: ResourceInfo,
        runtime_info: Runtime,
        user_constraint: Constraint,
    ) -> Choice | None:
        """See `Scheduler`.

        Raises:
            Invalid: the function answered what is no plan of these stages and nodes.
        """
        if not all(resource_info.offering(stage) for stage in dag):
            return None
        conf, mapping = self._function(
            job_uid=job_uid,
            dag={"generator": "SingleFrameGenerator", "flow": list(dag)},
            resource_info=_by_role(resource_info),
            runtime_info=_figures(runtime_info) if runtime_info.fps or runtime_info.delay else {},
            user_constraint={"delay": user_constraint.delay, "accuracy": user_constraint.accuracy},
        )
        return _choice(conf, mapping, dag, resource_info)

    def observe(self, job_uid: str, plan: Plan, result: Result) -> None:
        """The original's schedulers learn from the runtime figures alone."""

    def failed(self, job_uid: str, plan: Plan, stage: str) -> None:
        """The original's schedulers do not hear of it."""

    def forget(self, job_uid: str) -> None:
        """The original's schedulers keep what they keep."""


def _by_role(info: ResourceInfo) -> dict[str, dict[str, dict[str, Words]]]:
    """`{role: {node: {service: {…}}}}`, every role there."""
    found: dict[str, dict[str, dict[str, Words]]] = {role.value: {} for role in StageRole}
    for node in info.nodes:
        found[node.role.value][node.name] = {
            name: {"n_process": node.workers, "cpu_ratio": node.cpu_fraction, "mem_ratio": 0.0} for name in node.services
        }
    return found


def _figures(runtime: Runtime) -> Words:
    return {name: getattr(runtime, name) for name in ("delay", "obj_n", "obj_size", "obj_stable")}


def _choice(conf: Words, mapping: Mapping[str, Words], dag: Sequence[str], info: ResourceInfo) -> Choice:
    roles = {node.name: node.role for node in info.nodes}
    try:
        chosen = VideoConf.model_validate({name: conf[name] for name in ("fps", "resolution")})
        places = {
            stage: Placement.model_validate(
                {
                    "node": mapping[stage]["node_ip"],
                    "role": roles.get(str(mapping[stage]["node_ip"]), StageRole.HOST),
                    "model_id": mapping[stage].get("model_id", 0),
                }
            )
            for stage in dag
        }
    except (KeyError, ValidationError) as error:
        raise Invalid(f"the scheduler answered no plan: {error}") from error
    if not can_run(places, info):
        raise Invalid(f"the scheduler chose a node that does not offer its stage: {', '.join(roles)} are there")
    return chosen, places
