"""What does a planner hear of machines and of the links between them?"""

from __future__ import annotations

import pytest
from reports import a_report

from node.model.cluster import LinkReport, Role
from node.roles.cloud.planning import MIN_RTT_S, _busy, _links


@pytest.mark.parametrize(
    ("cores", "fraction", "running", "lacks"),
    [
        (16, 0.5, 8.0, 0.0),  # eight cores are free
        (16, 0.97, 15.5, 0.03),  # one is not quite free: 16 threads for 16 cores and one more
        (16, 1.0, 16.0, 1 / 17),
        (16, 1.0, 63.0, 0.75),  # the same CPU, four times as full
        (2, 1.0, 1e6, 0.95),
        (2, 1.0, 0.0, 0.5),  # a node that does not tell its run queue
    ],
)
def test_a_full_cpu_is_told_apart_by_its_run_queue(cores: int, fraction: float, running: float, lacks: float) -> None:
    report = a_report("edge-2", Role.EDGE, cores=cores, others_fraction=fraction, others_running=running)
    assert _busy(report) == pytest.approx(lacks, abs=0.03)


def test_a_link_between_two_others_is_as_wide_as_either_end_says() -> None:
    here = a_report("edge-2", Role.EDGE, links=(LinkReport(peer="edge-3", rtt_ms=0.0), LinkReport(peer="edge-1", rtt_ms=1.0)))
    there = a_report("edge-3", Role.EDGE, links=(LinkReport(peer="edge-2", rtt_ms=2.0, bytes_s=5e6, measured_s=3.0),))
    told = {"edge-2": (here, 100.0), "edge-3": (there, 99.0)}
    (link,) = _links("edge-2", told).values()  # edge-1, the host, is not among them
    assert (link.rtt_s, link.bytes_s, link.probed_at) == (MIN_RTT_S, 5e6, 96.0)
    assert _links("edge-3", told)["edge-2"].probed_at == 96.0
