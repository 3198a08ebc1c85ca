"""The breast cancer set of scikit-learn, cut among the parties of a session, and what sessions over it come to."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from systems import connect, until

from node.model.federated import AlignmentRequest, DatasetRequest, Party, PartyRole, SessionRequest, TrainingRequest
from node.pipeline.federated.table import read_table

OWNERS = {"f1": "party-3", "f2": "party-4", "label": "party-5"}
STEPS, BATCH, RATE = 160, 64, 0.3
PARTIES = (
    Party(name="main", role=PartyRole.MAIN, node="party-1"),
    Party(name="producer", role=PartyRole.PRODUCER, node="party-2"),
    Party(name="f1", role=PartyRole.FEATURE, node="party-3", dataset="cells", output="aligned/f1"),
    Party(name="f2", role=PartyRole.FEATURE, node="party-4", dataset="cells", output="aligned/f2"),
    Party(name="label", role=PartyRole.LABEL, node="party-5", dataset="cells", output="aligned/label", label="benign"),
)


def share_cells(system):
    """Gives three parties their columns, each without some of the patients, and registers them."""
    data = pytest.importorskip("sklearn.datasets").load_breast_cancer()
    random = np.random.default_rng(11)
    parts = {"f1": data.data[:, :15], "f2": data.data[:, 15:], "label": data.target[:, None]}
    for owner, values in parts.items():
        names = ["benign"] if owner == "label" else [f"{owner}_{place}" for place in range(values.shape[1])]
        with (system.data_root(OWNERS[owner]) / "cells.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["patient", *names])
            for row in random.permutation(len(values))[:550]:
                writer.writerow([f"p{row}", *map(float, values[row])])
        with connect(system, OWNERS[owner]) as client:
            found = client.register_dataset(DatasetRequest(name="cells", path="cells.csv", id="patient"))
            assert (found.rows, len(found.columns)) == (550, values.shape[1])


def request(mode="private", **changes) -> SessionRequest:
    training = {"mode": mode, "steps": STEPS, "batch_size": BATCH, "learning_rate": RATE, "test_every": 80, "batch_seed": "b"}
    training |= {"checkpoint_every": 20, **changes}
    alignment = AlignmentRequest(split_seed="s", min_intersection=400)
    return SessionRequest(name="cells", parties=PARTIES, alignment=alignment, training=TrainingRequest(**training))


def ended(client, session, seconds=60.0):
    return until(lambda: (found := client.session(session.id)).ended_at and found, seconds)


def model(system):
    parts = {
        owner: json.loads((system.data_root(node) / "aligned" / owner / "model.json").read_text())
        for owner, node in OWNERS.items()
    }
    return np.array([*parts["f1"]["weights"], *parts["f2"]["weights"], parts["label"]["constant"]])


def rows(system, part):
    tables = [read_table(system.data_root(node) / "aligned" / owner / f"{part}.csv") for owner, node in OWNERS.items()]
    assert tables[0].ids == tables[1].ids == tables[2].ids
    values = [table.values(table.names) for table in tables]
    return np.concatenate(values[:2], axis=1), values[2][:, 0]


def steps_again(session, epoch):
    return session.epoch > epoch and any(view.progress.stage == "training" for view in session.parties)
