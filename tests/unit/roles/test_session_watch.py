"""Who is to blame, and may it pass? The judgement of a coordinator, without nodes."""

import pytest
from wire_examples.session import SESSION, SPEC

from node.model.federated import PartyProgress
from node.model.wire.session import SessionReport
from node.roles.federated.watch import SETTLE_S, START_S, Fate, Watch


@pytest.fixture
def watch():
    started = Watch(SPEC, 1, 100.0)
    for party in SPEC.parties:
        started.pulse(party.name, PartyProgress(stage="training", step=812), 110.0)
    return started


def report(party, **changes):
    return SessionReport(session=SESSION, epoch=1, party=party, **changes)


def test_it_goes_on_while_all_are_heard_and_is_finished_when_all_are_done(watch):
    assert watch.verdict(111.0).fate is Fate.GOES_ON
    for party in SPEC.parties:
        watch.report(report(party.name, done=True), 112.0)
    assert watch.verdict(500.0).fate is Fate.FINISHED


def test_a_party_that_is_not_heard_fails_it_by_its_title_and_step(watch):
    for party in ("main", "producer", "label"):
        watch.pulse(party, PartyProgress(stage="training", step=813), 119.0)
    found = watch.verdict(120.5)
    assert (found.fate, found.reason) == (Fate.FAILED, "feature_client f1 silent for 10 s in step 812")


def test_who_has_never_been_heard_gets_the_time_to_begin():
    fresh = Watch(SPEC, 1, 100.0)
    assert fresh.verdict(100.0 + START_S + 9).fate is Fate.GOES_ON
    assert fresh.verdict(100.0 + START_S + 11).reason == "main_client main silent for 10 s in the beginning"


def test_a_lost_node_interrupts_it_at_once_but_not_where_its_party_was_done(watch):
    watch.report(report("main", done=True), 111.0)
    watch.link("party-1", False, 111.5)
    assert watch.verdict(112.0).fate is Fate.GOES_ON
    watch.link("bank-a", False, 113.0)
    found = watch.verdict(113.0)
    assert (found.fate, found.reason) == (Fate.INTERRUPTED, "feature_client f1 was lost in step 812")


def test_an_error_for_good_goes_before_the_complaints_that_follow_from_it(watch):
    watch.report(report("label", error="feature_client f1 silent for 10 s in step 812"), 111.0)
    assert watch.verdict(111.1).fate is Fate.GOES_ON
    watch.report(report("f1", error="party label sent G 5: 504 bytes where 64 words of 8 belong"), 111.3)
    found = watch.verdict(111.1 + SETTLE_S)
    assert found.fate is Fate.FAILED
    assert found.reason == "feature_client f1: party label sent G 5: 504 bytes where 64 words of 8 belong"


def test_the_silent_one_is_who_the_chain_of_waiting_ends_at(watch):
    watch.pulse("f1", PartyProgress(stage="training", step=812, waits_for="producer"), 111.0)
    watch.pulse("producer", PartyProgress(stage="dealing", step=816), 111.0)
    watch.report(report("label", error="feature_client f1 silent for 10 s in step 812"), 111.0)
    found = watch.verdict(112.0)
    assert (found.fate, found.reason) == (Fate.FAILED, "crypto_producer producer silent for 10 s in step 816")


def test_what_may_pass_interrupts(watch):
    watch.report(report("f1", error="the worker process of feature_client f1 has gone", interruption=True), 111.0)
    assert watch.verdict(112.0).fate is Fate.INTERRUPTED
