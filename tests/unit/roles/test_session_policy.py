"""Who has to be asked before a node takes part in a session."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import Forbidden
from node.model.federated import TABLES, AlignmentRequest, PartyRole, PinnedParty, SessionSpec
from node.pipeline.federated.identity import prove_token
from node.roles.federated.policy import Policy

ROLES = (PartyRole.MAIN, PartyRole.FEATURE, PartyRole.LABEL)
PARTIES = tuple(
    PinnedParty(name=f"p{place}", role=role, node=f"n{place}", dataset="" if role is PartyRole.MAIN else "d", key="0" * 64)
    for place, role in enumerate(ROLES)
)
SPEC = SessionSpec(
    session="s-" + "0" * 26,
    coordinator="n0",
    parties=PARTIES,
    alignment=AlignmentRequest(split_seed="s", min_intersection=50),
    round_timeout=10.0,
    tables=TABLES,
)
PROOF = prove_token("agreed", SPEC.digest)


def policy(approve, allow=(), roles=ROLES, least=5, token=""):
    return Policy(approve, frozenset(allow), frozenset(roles), least, token)


@pytest.mark.parametrize(
    ("rule", "proof", "accepted"),
    [
        (policy("manual", ["n0"], token="agreed"), PROOF, False),
        (policy("auto"), "", True),
        (policy("allow-list", ["n0"]), "", True),
        (policy("allow-list", ["n1"]), PROOF, False),
        (policy("same-token", token="agreed"), PROOF, True),
        (policy("same-token", token="agreed"), "", False),
        (policy("same-token", token="other"), PROOF, False),
        (policy("same-token", ["n0"]), prove_token("", SPEC.digest), False),
        (policy("same-token", token="agreed"), prove_token("agreed", SPEC.replace(round_timeout=11.0).digest), False),
    ],
)
def test_nobody_is_asked_where_the_rule_says_so(rule, proof, accepted):
    assert rule.accepts(SPEC, proof) is accepted


@given(st.text(max_size=70))
def test_no_other_proof_is_taken(proof):
    assert not policy("same-token", token="agreed").accepts(SPEC, proof)


def test_a_role_that_this_node_does_not_play_and_too_few_common_ids_are_refused():
    policy("manual").check(SPEC, PARTIES)
    with pytest.raises(Forbidden, match="does not play label_client"):
        policy("auto", roles=ROLES[:2]).check(SPEC, PARTIES)
    with pytest.raises(Forbidden, match="this node wants 51 at least"):
        policy("auto", least=51).check(SPEC, PARTIES)
