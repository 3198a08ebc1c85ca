"""Reports of nodes for tests of those who read them."""

from __future__ import annotations

from node.model.cluster import NodeReport, Role


def a_report(name: str, role: Role, /, **changes: object) -> NodeReport:
    report = NodeReport(
        name=name,
        roles=(role,),
        version="0",
        boot=1,
        http="",
        cores=2,
        cpu_fraction=0.1,
        memory_fraction=0.1,
        rss_mib=50.0,
    )
    return report.replace(**changes)


# heartbeats of the links stay out of the way: the registry's own times are what is tested
PATIENT = {"heartbeat": 1000.0, "suspect_after": 5000.0}
