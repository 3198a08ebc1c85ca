"""Which error is whose fault, and does it survive the wire?"""

from __future__ import annotations

import pytest

from node import errors
from node.errors import EcnodeError, Internal, Problem, Rejected, Unavailable, every_error, from_wire

KINDS = list(every_error())
UNBLAMED = {EcnodeError, Internal}


def test_every_code_stands_for_one_error() -> None:
    codes = [kind.code for kind in KINDS]
    assert sorted(set(codes)) == sorted(codes)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in UNBLAMED])
def test_every_error_but_our_own_faults_is_of_one_family(kind: type[EcnodeError]) -> None:
    assert issubclass(kind, Rejected) != issubclass(kind, Unavailable)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not errors.NotBuilt])
def test_the_status_tells_the_family(kind: type[EcnodeError]) -> None:
    assert kind.status // 100 == (4 if issubclass(kind, Rejected) else 5)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_comes_back_from_the_wire_as_itself(kind: type[EcnodeError]) -> None:
    again = from_wire(kind.code, "it broke", "mend it")
    assert (type(again), again.message, again.hint, str(again)) == (kind, "it broke", "mend it", "it broke")


def test_an_error_of_a_newer_release_is_internal_and_keeps_its_code() -> None:
    again = from_wire("EC-TOMORROW", "too new", "wait")
    assert type(again) is Internal
    assert again.message == "EC-TOMORROW: too new"
    assert again.hint == "wait"


def test_the_tree_is_told_parents_first() -> None:
    for place, kind in enumerate(KINDS[1:], 1):
        assert kind.__base__ in KINDS[:place]


def test_an_error_holds_every_problem() -> None:
    problems = [Problem("a.b", "is wrong"), Problem("c", "is missing")]
    assert errors.Invalid("bad", problems=problems).problems == tuple(problems)
