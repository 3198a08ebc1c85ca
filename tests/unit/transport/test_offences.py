"""Does the audit hear of every member that was cut, and is it never filled by one?"""

from __future__ import annotations

from node.model.cluster import Role
from node.transport import limits
from node.transport.base import Peer
from node.transport.offences import LINE_EVERY_S, Offences


def a_peer(name: str) -> Peer:
    return Peer(name, frozenset({Role.EDGE}), "F")


def test_a_peer_that_is_cut_again_and_again_has_a_line_a_minute_with_the_number() -> None:
    offences, edge = Offences(), a_peer("edge-1")
    offences.note(edge, "first")
    (line,) = offences.due(now=100.0)
    assert (line.peer, line.reason, line.times) == (edge, "first", 1)
    for _ in range(40):
        offences.note(edge, "again")  # one of them before the line was written
    offences.told(line, now=100.0)
    assert offences.due(now=100.0 + LINE_EVERY_S / 2) == ()
    (line,) = offences.due(now=100.0 + LINE_EVERY_S)
    assert (line.reason, line.times) == ("again", 40)
    offences.told(line, now=200.0)
    assert offences.due(now=1000.0) == ()


def test_a_line_that_could_not_be_written_is_due_again() -> None:
    offences = Offences()
    offences.note(a_peer("edge-1"), "rubbish")
    assert offences.due(now=1.0) == offences.due(now=2.0) != ()


def test_the_newest_offenders_push_out_the_oldest() -> None:
    offences = Offences()
    for number in range(2 * limits.OFFENDERS):
        offences.note(a_peer(f"edge-{number}"), "rubbish")
        for line in offences.due(now=1.0)[:-1]:
            offences.told(line, now=1.0)
    assert len(offences._newest) <= limits.OFFENDERS
    assert len(offences._told) <= limits.OFFENDERS
    assert offences.due(now=1.0)[-1].peer.name == f"edge-{2 * limits.OFFENDERS - 1}"
