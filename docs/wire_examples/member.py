"""How do members report, join and learn of each other?"""

from __future__ import annotations

from typing import Final

from node.model.cluster import JobReport, LinkReport, NodeReport, Received, Role, ServiceReport, SourceReport, SourceState
from node.model.member import Card, MemberState
from node.model.video import Resolution
from node.model.wire.member import MEMBER_JOIN, MEMBER_ROSTER, NODE_REPORT, JoinReply, JoinRequest, Report, ReportReply, Roster
from wire_examples.pair import QUERY, Examples

_REPORT: Final = NodeReport(
    name="edge-1",
    roles=(Role.EDGE,),
    labels={"site": "hq"},
    version="0.1.0",
    boot=7,
    http="http://127.0.0.1:7480",
    cores=4,
    workers=3,
    cpu_fraction=0.31,
    memory_fraction=0.22,
    rss_mib=61.5,
    services=(
        ServiceReport(name="face_detection", profile={Resolution.P480: 0.021}, profile_objects=6, wait_ms=0.4, calls=412),
    ),
    sources=(SourceReport(id=0, name="lobby", kind="people indoor", fps=25.0, height=720, state=SourceState.OPEN),),
    jobs=(JobReport(query=QUERY, attempt=1),),
    links=(LinkReport(peer="cloud-1", rtt_ms=1.2, bytes_out=120_000, bytes_in=40_000),),
)

_KEY: Final = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"  # of ZeroMQ RFC 26, nobody's

EXAMPLES: Final[Examples] = {
    NODE_REPORT.name: (Report(report=_REPORT), ReportReply(name="cloud-1")),
    MEMBER_JOIN.name: (
        JoinRequest(name="edge-2", key=_KEY, roles=(Role.EDGE,), version="0.1.0"),
        JoinReply(name="cloud-1", roles=(Role.CLOUD,), state=MemberState.ADMITTED),
    ),
    MEMBER_ROSTER.name: (
        Roster(boot=7, number=3, members=(Card(name="edge-2", key=_KEY, roles=(Role.EDGE,), address="tcp://10.0.0.7:7440"),)),
        Received(),
    ),
}
