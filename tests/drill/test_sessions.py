"""Whoever of a session is killed, at whatever step, it goes on; whoever breaks the protocol, it ends for all at once."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import cheat
import numpy as np
import pytest
from cells import PARTIES, ended, model, request, share_cells, steps_again
from systems import CLOCK, FAST, connect, until

from node.cli.system import LocalSystem

STEPS = 900
RESUME_S = 5.0
ABORT_S = 5.0
SLACK = 2.0  # other work on the same cores
CHEAT = "party-5"  # label


class CheatingSystem(LocalSystem):
    """One of its nodes does what a file says."""

    @property
    def cheat(self) -> Path:
        return self.folder / "cheat"

    def _launch(self, member):
        if member.name != CHEAT:
            super()._launch(member)
            return
        config = member.folder / "node.toml"
        config.write_text(self._config(member))
        with (member.folder / "stderr").open("ab") as stderr:
            member.process = subprocess.Popen(
                [sys.executable, cheat.__file__, str(self.cheat), "up", "--dev", "--attached", "-c", str(config)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,
            )


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    with CheatingSystem(0, [], tmp_path_factory.mktemp("assets"), parties=5, approve="auto", pace=FAST) as running:
        running.start()
        share_cells(running)
        yield running


@pytest.mark.drill
@pytest.mark.parametrize("mode", ["open", "private"])
def test_whoever_is_killed_at_whatever_step_the_model_is_the_same(system, mode, record_property):
    seed = random.randrange(10**6)
    record_property("seed", seed)
    chance = random.Random(seed)
    with connect(system) as client:
        undisturbed_session = client.create_session(request(mode, steps=STEPS))
        assert ended(client, undisturbed_session, 120).state == "finished"
        undisturbed, best = model(system), client.session_metrics(undisturbed_session.id)[-1].metrics["auc"]
        session = client.create_session(request(mode, steps=STEPS, checkpoint_every=10))
        took = {}
        victims = [party.node for party in PARTIES if party.role != "main_client"]
        steps = sorted(chance.sample(range(30, STEPS - 100), len(victims)))
        for victim, step in zip(chance.sample(victims, len(victims)), steps, strict=True):
            until(lambda wanted=step: max(view.progress.step for view in client.session(session.id).parties) >= wanted, 60)
            epoch = client.session(session.id).epoch
            system.kill(victim)
            system.restart(victim)
            began = CLOCK.monotonic()
            until(lambda before=epoch: steps_again(client.session(session.id), before), 30)
            took[victim] = round(CLOCK.monotonic() - began, 2)
        record_property("seconds until steps are taken again", str(took))
        found = ended(client, session, 120)
        assert (found.state, found.reason) == ("finished", "")
        assert max(took.values()) < RESUME_S * SLACK
        difference = np.abs(model(system) - undisturbed).max()
        assert difference == 0 if mode == "open" else difference <= 1e-3
        assert abs(client.session_metrics(session.id)[-1].metrics["auc"] - best) <= (0 if mode == "open" else 1e-4)


@pytest.mark.drill
def test_a_killed_main_client_begins_the_alignment_again(system):
    with connect(system) as client:
        session = client.create_session(request("open", steps=100))
        until(lambda: any(view.progress.stage for view in client.session(session.id).parties), 20)
        system.kill("party-1")
        system.restart("party-1")
        assert ended(client, session, 60).state == "finished"


@pytest.mark.drill
@pytest.mark.parametrize(
    ("kind", "mode", "told"),
    [
        ("shape", "open", "party label sent G 40: 504 bytes where 64 words"),
        ("ring", "private", "party label sent delta 40: a word outside the ring of 2^61"),
        ("round", "open", "label_client label silent for 2 s in step 4"),
        ("spec", "open", "party label is not signed for this session, spec and epoch"),
    ],
)
def test_whoever_breaks_the_protocol_ends_the_session_for_all_at_once(system, kind, mode, told, record_property):
    done = system.cheat.with_suffix(".done")
    done.unlink(missing_ok=True)
    system.cheat.write_text(kind)
    try:
        with connect(system) as client:
            session = client.create_session(request(mode, steps=STEPS).replace(round_timeout=2.0))
            until(done.exists, 40)
            began = CLOCK.monotonic()
            for party in PARTIES:
                with connect(system, party.node) as other:
                    there = ended(other, session, ABORT_S * SLACK)
                    assert (there.state, told in there.reason) == ("failed", True), there.reason
            over = CLOCK.monotonic() - began
            record_property("seconds until all parties know", f"{over:.2f}")
            assert over < ABORT_S * SLACK
    finally:
        system.cheat.unlink()
