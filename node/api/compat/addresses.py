"""Which member does a client of the original mean by an address, and by which address does it learn of one?

The original knew nodes by `ip:port` or by `ip`. Here a member's address is the one at which it reports its HTTP door. Where two
members report the same one (each its own loopback) they go by their names, in answers and in requests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from node.api.ports import Nodes
from node.errors import NotFound, Problem
from node.model.cluster import NodeReport


def members(nodes: Nodes) -> tuple[NodeReport, ...]:
    """This node and the ones that report to it."""
    return (nodes.here(), *(view.report for view in nodes.views()))


def doors(reports: Sequence[NodeReport]) -> Mapping[str, NodeReport]:
    """The members by `ip:port`."""
    return _unique(reports, (_door, _name))


def hosts(reports: Sequence[NodeReport]) -> Mapping[str, NodeReport]:
    """The members by `ip`, by `ip:port` where several share one."""
    return _unique(reports, (_host, _door, _name))


def host_of_each(reports: Sequence[NodeReport]) -> Mapping[str, str]:
    """The addresses of `hosts` by the members' names."""
    return {report.name: address for address, report in hosts(reports).items()}


def find_door(reports: Sequence[NodeReport], address: str, field: str) -> NodeReport:
    """The member at `ip:port`.

    Raises:
        NotFound: there is none; the hint names those that there are.
    """
    return _find(doors(reports), reports, address.replace("localhost:", "127.0.0.1:"), field)


def find_host(reports: Sequence[NodeReport], address: str, field: str) -> NodeReport:
    """The member at `ip`; raises as `find_door` does."""
    return _find(hosts(reports), reports, address, field)


def _find(known: Mapping[str, NodeReport], reports: Sequence[NodeReport], address: str, field: str) -> NodeReport:
    by_name = {report.name: report for report in reports}
    found = known.get(address) or by_name.get(address)
    if found is None:
        fault = f"no node of this system is at '{address}'"
        raise NotFound(fault, problems=[Problem(field, fault)], hint=f"there are: {', '.join(known)}")
    return found


def _unique(reports: Sequence[NodeReport], ways: Sequence[Callable[[NodeReport], str]]) -> Mapping[str, NodeReport]:
    *ways_before, last = ways
    counts = [Counter(way(report) for report in reports) for way in ways_before]
    found: dict[str, NodeReport] = {}
    for report in reports:
        address = next(
            (way(report) for way, seen in zip(ways_before, counts, strict=True) if way(report) and seen[way(report)] == 1),
            last(report),
        )
        found[address] = report
    return found


def _door(report: NodeReport) -> str:
    return urlsplit(report.http).netloc


def _host(report: NodeReport) -> str:
    return urlsplit(report.http).hostname or ""


def _name(report: NodeReport) -> str:
    return report.name
