"""Five parties as real nodes over CURVE align and train on real data, are killed, and come to the same model."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
from cells import BATCH, PARTIES, RATE, STEPS, ended, model, request, rows, share_cells, steps_again
from systems import CLOCK, FAST, connect, until

from node.cli.system import LocalSystem
from node.errors import Conflict, Forbidden, Invalid, NotFound
from node.model.federated import (
    DATA_ROLES,
    AlignmentRequest,
    DatasetRequest,
    PredictionRequest,
    SessionRequest,
)
from node.pipeline.federated.losses import sigmoid
from node.pipeline.federated.metrics import auc
from node.pipeline.federated.split import Batches
from node.pipeline.federated.table import read_table


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    """The breast cancer set of scikit-learn, cut among three parties, each without some of the patients."""
    with LocalSystem(0, [], tmp_path_factory.mktemp("assets"), parties=5, approve="auto", pace=FAST) as running:
        running.start()
        share_cells(running)
        yield running


def plain(system):
    """The same steps on the same rows with floats, and nothing hidden; the weights and the AUC on the test rows."""
    features, truth = rows(system, "train")
    mean, spread = features.mean(0), features.std(0)
    scaled = lambda values: np.column_stack([np.clip((values - mean) / spread, -8, 8), np.ones(len(values))])  # noqa: E731
    weights, batches, known = np.zeros(31), Batches(len(truth), BATCH, "b"), scaled(features)
    for step in range(STEPS):
        which = batches.at(step)
        weights -= RATE / BATCH * known[which].T @ (sigmoid(known[which] @ weights) - truth[which])
    tested, wanted = rows(system, "test")
    return weights, auc(wanted, scaled(tested) @ weights)


def test_a_model_trained_in_private_is_as_good_as_one_trained_on_everything(system):
    with connect(system) as client:
        began = CLOCK.monotonic()
        session = client.create_session(request())
        heard = list(client.follow(session=session.id))
        found = client.session(session.id)
        took = CLOCK.monotonic() - began
        assert (found.state, found.reason, found.epoch) == ("finished", "", 1)
        assert (heard[0].event, heard[-1].event, heard[-1].data["state"]) == ("snapshot", "end", "finished")
        assert [each.data["record"]["step"] for each in heard if each.event == "record"] == [80, 160]
        assert {each.data["party"] for each in heard if each.event == "progress"} == {party.name for party in PARTIES}
        records = client.session_metrics(session.id)
        assert [record.step for record in records] == [80, 160]
        weights, best = plain(system)
        assert abs(records[-1].metrics["auc"] - best) <= 1e-3
        assert np.abs(model(system) - weights).max() < 0.01
        assert took < 30, "eight seconds on a machine with nothing else to do"
        traffic = {each.party: each for each in client.session_traffic(session.id)}
        words = 8 * (31 + 64 + 64)
        assert traffic["f1"].bytes_out < STEPS * words * 1.2 + 8 * 550 * 15 * 1.2 + 20_000
        files = {each.party: {path.rpartition("/")[2] for path in each.files} for each in client.session_outputs(session.id)}
        assert files["f2"] == {"cells_aligned.csv", "train.csv", "test.csv", "model.json"}
        assert files["main"] == files["producer"] == set()
        assert [event.event for event in client.session_events(session.id)] == ["create", "accept", "start", "finish"]
        with connect(system, "party-5") as owner, connect(system, "party-1") as helper:
            assert owner.session_metrics(session.id) == records, "the label's owner has them at its own node"
            assert owner.session(session.id).parties[0].progress.stage == "done"
            (block,) = owner.session_model(session.id)
            assert (block.party, block.columns, block.constant) == ("label", (), model(system)[-1])
            with pytest.raises(NotFound, match="no block of the model"):
                helper.session_model(session.id)
        check_predictions(system, client, session.id)


def check_predictions(system, client, trained):
    """The model answers for all common rows as it would if one party held all of it."""
    owners = [party.replace(output="answers", label="") for party in PARTIES if party.role in DATA_ROLES]
    asked = SessionRequest(
        parties=(PARTIES[0], *owners),
        alignment=AlignmentRequest(fraction=0.0, min_intersection=400),
        prediction=PredictionRequest(model=trained),
    )
    found = ended(client, client.create_session(asked))
    assert (found.state, found.reason) == ("finished", "")
    answers = read_table(system.data_root("party-5") / "answers" / "predictions.csv")
    wanted = dict(zip(answers.ids, answers.values(("prediction",))[:, 0], strict=True))
    training, _ = rows(system, "train")
    for part in ("train", "test"):
        features, _ = rows(system, part)
        ids = read_table(system.data_root("party-5") / "aligned" / "label" / f"{part}.csv").ids
        scaled = np.clip((features - training.mean(0)) / training.std(0), -8, 8)
        for patient, logit in zip(ids, scaled @ model(system)[:-1] + model(system)[-1], strict=True):
            assert abs(wanted[patient] - 1 / (1 + np.exp(-logit))) < 1e-6
    assert not (system.data_root("party-3") / "answers" / "predictions.csv").exists()


@pytest.mark.drill_short
def test_whoever_is_killed_the_open_model_is_the_same_to_the_last_bit(system):
    with connect(system) as client:
        assert ended(client, client.create_session(request("open", steps=360))).state == "finished"
        undisturbed = model(system)
        session = client.create_session(request("open", steps=360))
        for victim, step in (("party-5", 60), ("party-2", 160)):
            until(lambda wanted=step: max(view.progress.step for view in client.session(session.id).parties) >= wanted, 40)
            epoch = client.session(session.id).epoch
            system.kill(victim)
            system.restart(victim)
            began = CLOCK.monotonic()
            until(lambda before=epoch: steps_again(client.session(session.id), before), 20)
            assert CLOCK.monotonic() - began < 12, "five seconds on a machine with nothing else to do"
        found = ended(client, session)
        assert (found.state, found.reason) == ("finished", "")
        assert found.epoch >= 3
        assert (model(system) == undisturbed).all()
        records = client.session_metrics(session.id)
        assert [record.step for record in records] == sorted({record.step for record in records})


def test_a_party_that_does_not_come_back_fails_the_session_for_all_with_its_name(system):
    with connect(system) as client, connect(system, "party-5") as other:
        wanted = request("open", steps=50_000).replace(round_timeout=3.0)
        session = client.create_session(wanted)
        until(lambda: max(view.progress.step for view in client.session(session.id).parties) >= 20, 40)
        system.kill("party-4")
        try:
            found = ended(client, session, 20)
            assert found.state == "failed"
            assert found.reason.startswith("feature_client f2 silent for 3 s in ")
            there = until(lambda: (mine := other.session(session.id)).ended_at and mine, 10)
            assert (there.state, there.reason) == (found.state, found.reason)
        finally:
            system.restart("party-4")
        until(lambda: connected(client, "party-4"), 20)


def connected(client, name):
    return any(view.report.name == name and view.state == "ready" for view in client.nodes())


def test_a_session_is_stopped_for_all_and_its_workers_end(system):
    with connect(system) as client, connect(system, "party-3") as other:
        session = client.create_session(request("open", steps=50_000))
        until(lambda: client.session(session.id).state == "running")
        assert client.stop_session(session.id).state == "stopped"
        assert client.stop_session(session.id).state == "stopped"
        there = until(lambda: (mine := other.session(session.id)).ended_at and mine, 10)
        assert there.state == "stopped"
        with pytest.raises(Forbidden):
            other.stop_session(session.id)


def test_what_cannot_be_is_refused_by_name_and_leaves_nothing(system):
    with connect(system) as client, connect(system, "party-3") as owner:
        gone = PARTIES[2].replace(dataset="gone")
        with pytest.raises(Invalid, match="party-3 refuses: there is no data set 'gone'"):
            client.create_session(request().replace(parties=(*PARTIES[:2], gone, *PARTIES[3:])))
        away = PARTIES[3].replace(node="party-9")
        with pytest.raises(Invalid, match=r"parties\.3\.node: party-9"):
            client.create_session(request().replace(parties=(*PARTIES[:3], away, *PARTIES[4:])))
        with pytest.raises(Forbidden, match="leads out"):
            owner.register_dataset(DatasetRequest(name="x", path="../../../etc/passwd"))
        (system.data_root("party-3") / "twice.csv").write_text("id,a\n1,2\n2,3\n1,4\n")
        with pytest.raises(Invalid, match="line 4 has the id of line 2"):
            owner.register_dataset(DatasetRequest(name="x", path="twice.csv"))
        assert [each.name for each in owner.datasets()] == ["cells"]
        one = client.create_session(request("open", steps=50_000))
        with pytest.raises(Conflict):
            client.create_session(request("open", steps=10).replace(id=one.id))
        client.stop_session(one.id)


def pai(system, method, path, body=None):
    """What the original's client sends with curl."""
    token = system.token_file().read_text().strip()
    content = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    asked = urllib.request.Request(f"{system.url()}{path}", content, headers, method=method)
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return json.load(answer)


def pai_client(system, node, role, **config):
    port = int(system.url(node).rpartition(":")[2])
    return {"role": role, "addr": "127.0.0.1", "http_port": port, "client_config": {"computation_port": 8085, **config}}


def test_a_client_of_the_original_aligns_and_then_trains(system):
    owners = (("f1", "feature_client", "party-3"), ("f2", "feature_client", "party-4"), ("label", "label_client", "party-5"))
    main = pai_client(system, "party-1", "main_client", client_type="alignment_main")
    raw = [
        pai_client(system, node, role, client_type="alignment_data", raw_data_path="cells.csv", out_data_path=f"test-{name}")
        for name, role, node in owners
    ]
    assert pai(system, "GET", "/queryStatus?task_name=gen") == {"status": "ok", "msg": "NotExist"}
    assert pai(system, "POST", "/createTask", {"task_name": "gen", "clients": [main, *raw]})["status"] == "ok"
    assert pai(system, "POST", "/createTask", {"task_name": "gen", "clients": [main, *raw]})["status"] == "err"
    assert pai(system, "GET", "/queryStatus?task_name=gen")["msg"] == "Created"
    assert pai(system, "GET", "/queryDataset?task_name=gen") == {"status": "err", "msg": "NotExist"}
    assert pai(system, "GET", "/startTask?task_name=gen")["status"] == "ok"
    until(lambda: pai(system, "GET", "/queryStatus?task_name=gen")["msg"] == "Finished", 40)
    n_train, n_test = pai(system, "GET", "/queryDataset?task_name=gen")["msg"]
    assert (system.data_root("party-3") / "test-f1" / "train.csv").read_text().count("\n") == n_train + 1
    wrong = {"task_name": "x", "clients": [main, {**raw[0], "client_config": {"client_type": "alignment_data"}}, raw[1]]}
    assert pai(system, "POST", "/createTask", wrong) == {
        "status": "err",
        "msg": "clients.1.client_config.raw_data_path: is required",
    }
    kinds = {"feature_client": "shared_nn_feature", "label_client": "shared_nn_label"}
    clients = [
        pai_client(
            system,
            "party-1",
            "main_client",
            client_type="shared_nn_main",
            in_dim=30,
            out_dim=1,
            layers=[],
            max_iter=120,
            test_per_batches=60,
        ),
        pai_client(system, "party-2", "crypto_producer", client_type="triplet_producer", listen_clients=[]),
        *(pai_client(system, node, role, client_type=kinds[role], data_path=f"test-{name}") for name, role, node in owners),
    ]
    assert pai(system, "POST", "/createTask", {"task_name": "train", "clients": clients}) == {
        "status": "ok",
        "msg": "task train is created",
    }
    pai(system, "GET", "/startTask?task_name=train")
    until(lambda: pai(system, "GET", "/queryStatus?task_name=train")["msg"] == "Finished", 40)
    record = pai(system, "GET", "/queryRecord?task_name=train")["msg"]
    assert [row[1] for row in record] == [60, 120]
    assert record[-1][3] > 0.97
    assert pai(system, "GET", "/queryTask?task_name=train&query=record&client=-1")["msg"] == record
    assert pai(system, "GET", "/queryDataset?task_name=train")["msg"] == [n_train, n_test]


def test_the_command_line_makes_and_follows_a_session(system, tmp_path):
    spec = tmp_path / "cells.json"
    spec.write_text(request("open", steps=100).model_dump_json(exclude_defaults=True))
    base = [sys.executable, "-m", "node", "--url", system.url(), "--token-file", str(system.token_file())]
    made = subprocess.run(
        [*base, "sessions", "create", str(spec), "--watch"], capture_output=True, text=True, timeout=60, check=False
    )
    assert made.returncode == 0, made.stderr
    assert re.search(r"auc [01]\.\d", made.stdout)
    assert "finished" in made.stdout
    told = subprocess.run([*base, "sessions", "metrics", "-o", "json"], capture_output=True, text=True, timeout=20, check=True)
    assert json.loads(told.stdout)[-1]["step"] == 100
