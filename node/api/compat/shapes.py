"""How do our records look in the original's words?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import JsonValue

from node.api.compat.addresses import doors, hosts
from node.api.compat.replies import OriginalRuntime
from node.model.cluster import NodeReport, Role
from node.model.document import Document
from node.model.video import Plan, Query, QueryState, Result, Runtime

MIB_PER_GIB: Final = 1024
_STATES: Final[Mapping[QueryState, int | str]] = {
    QueryState.UNSCHEDULED: 0,
    QueryState.READY: 1,
    QueryState.RUNNING: 2,
    QueryState.FINISHED: "done",
    QueryState.FAILED: "failed",
    QueryState.STOPPED: "cancelled",
}


def state_shape(query: Query) -> int | str:
    """The original's number of a state; for the ends, which it did not have, a word and the reason."""
    state = _STATES[query.state]
    return f"{state}({query.reason})" if query.state is QueryState.FAILED else state


def plan_shape(plan: Plan, addresses: Mapping[str, str]) -> Document:
    """A plan with the members' addresses, which are given by their names."""
    return {
        "flow_mapping": {
            stage: {
                "model_id": place.model_id,
                "node_ip": addresses.get(place.node, place.node),
                "node_role": place.role.value,
            }
            for stage, place in plan.flow_mapping.items()
        },
        "video_conf": plan.video_conf.model_dump(mode="json"),
    }


def runtime_shape(runtime: Runtime) -> Document:
    """The original's four figures."""
    return runtime.model_dump(mode="json", include=set(OriginalRuntime.model_fields))


def result_shape(result: Result, runtime: Runtime, plan: JsonValue) -> Document:
    """One frame's result: the figures that its last stage counted, and what it took to get them."""
    counted: Document = {name: value for name, value in result.output.items() if name.endswith("_result")}
    return {
        "count_result": {},
        **counted,
        "delay": result.delay,
        "ext_plan": plan,
        "ext_runtime": runtime_shape(runtime),
        "frame_id": result.cam_frame_id,
        "n_loop": result.n_loop,
        "cam_frame_id": result.cam_frame_id,
        "conf_frame_id": result.conf_frame_id,
        "latency": result.latency,
        "stage_ms": dict(result.stage_ms),
        "plan": result.plan,
    }


def videos_shape(reports: Sequence[NodeReport]) -> Document:
    """The sources of every edge by their numbers."""
    return {
        address: {str(source.id): {"type": source.kind} for source in report.sources}
        for address, report in doors(reports).items()
        if Role.EDGE in report.roles
    }


def resources_shape(reports: Sequence[NodeReport]) -> Document:
    """Per role and node, the services. The workers of a node serve all its services, so the figures are the node's own."""
    found: dict[str, dict[str, JsonValue]] = {}
    for address, report in hosts(reports).items():
        figures: Document = {
            "n_process": report.workers,
            "cpu_ratio": _percent(report.cpu_fraction),
            "mem_ratio": _percent(report.memory_fraction),
        }
        found.setdefault(_role(report), {})[address] = {service.name: dict(figures) for service in report.services}
    return {**found}


def cluster_shape(reports: Sequence[NodeReport]) -> Document:
    """Per node, its machine: ratios in per cent, `mem` in GiB."""
    return {
        address: {
            "node_role": _role(report),
            "n_cpu": report.cores,
            "cpu_ratio": _percent(report.cpu_fraction),
            "mem": round(report.memory_mib / MIB_PER_GIB, 2),
            "mem_ratio": _percent(report.memory_fraction),
        }
        for address, report in hosts(reports).items()
    }


def _role(report: NodeReport) -> str:
    return Role.CLOUD.value if Role.CLOUD in report.roles else Role.EDGE.value


def _percent(fraction: float) -> float:
    return round(fraction * 100, 1)
