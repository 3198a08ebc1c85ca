"""Owners of a model's blocks predict together, and the label client learns the totals only."""

import csv
import json

import numpy as np
import pytest
from parties import Room, Table

from node.errors import Invalid, NotFound
from node.model.federated import AlignmentRequest, PartyRole, PredictionRequest
from node.pipeline.federated.losses import sigmoid

ROLES = {"main": PartyRole.MAIN, "f1": PartyRole.FEATURE, "f2": PartyRole.FEATURE, "label": PartyRole.LABEL}
WEIGHTS = {"f1": [0.5, -1.0], "f2": [2.0], "label": []}
COLUMNS = {"f1": ["a", "b"], "f2": ["c"], "label": []}
MEAN, SPREAD, CONSTANT = 1.0, 2.0, -0.25


def table_of(tmp_path, model="logistic", **changes):
    """Blocks that somebody has trained, and new rows of which 30 are common; a column `unused` stands before the others."""
    sources, values = {}, np.random.default_rng(5).normal(size=(40, 3))
    for place, (owner, columns) in enumerate(COLUMNS.items()):
        start = sum(len(COLUMNS[each]) for each in list(COLUMNS)[:place])
        rows = [row for row in range(40) if row % 12 != place]
        lines = [",".join(["id", "unused", *columns])]
        lines += [
            ",".join([f"u{row}", "x", *(repr(float(values[row, start + at])) for at in range(len(columns)))])
            for row in reversed(rows)
        ]
        sources[owner] = tmp_path / f"{owner}.csv"
        sources[owner].write_text("\n".join(lines))
    alignment = AlignmentRequest(split_seed="s", fraction=0.0, min_intersection=5)
    table = Table(tmp_path, ROLES, sources, label="", alignment=alignment, prediction=PredictionRequest(model="s-" + "1" * 26))
    for owner, columns in COLUMNS.items():
        block = {
            "model": model,
            "steps": 3,
            "columns": columns,
            "mean": [MEAN] * len(columns),
            "spread": [SPREAD] * len(columns),
            "weights": WEIGHTS[owner],
            "constant": CONSTANT if owner == "label" else None,
            "label": [10.0, 3.0] if owner == "label" and model == "linear" else None,
        }
        path = tmp_path / f"{owner}.model.json"
        path.write_text(json.dumps(block | changes.get(owner, {})))
        table.give_model(owner, path)
    wanted = {
        f"u{row}": float((values[row] - MEAN) / SPREAD @ [0.5, -1.0, 2.0] + CONSTANT) for row in range(40) if row % 12 > 2
    }
    return table, wanted


def predictions(table):
    with (table.grounds["label"].folder / "predictions.csv").open() as file:
        return {row["id"]: float(row["prediction"]) for row in csv.DictReader(file)}


@pytest.mark.parametrize("model", ["logistic", "linear"])
def test_the_answers_are_those_of_the_whole_model_on_the_common_rows(model, tmp_path):
    table, wanted = table_of(tmp_path, model)
    assert not table.play().errors
    found = predictions(table)
    assert found.keys() == wanted.keys()
    for row, logit in wanted.items():
        answer = float(sigmoid(np.array([logit]))[0]) if model == "logistic" else logit * 3.0 + 10.0
        assert abs(found[row] - answer) < 1e-9
    assert not (tmp_path / "f1" / "predictions.csv").exists()


def test_the_sums_of_one_owner_are_hidden_from_the_label_client(tmp_path):
    table, wanted = table_of(tmp_path)
    room = Room()
    assert not table.play(room).errors
    assert {(sender, to) for sender, to, what, _ in room.said if what == "sum"} == {("f1", "label"), ("f2", "label")}
    again = Room()
    table.play(again)
    for sender in ("f1", "f2"):
        one, other = (np.frombuffer(each.said[sender, "label", "sum", 0], "<u8") for each in (room, again))
        assert one.size == len(wanted)
        assert not (one == other).any(), "a fresh mask for each epoch"
        assert abs(np.mean(one >> np.uint64(63)) - 0.5) < 0.35


def test_a_party_without_its_block_or_a_column_of_it_is_named(tmp_path):
    table, _ = table_of(tmp_path, f2={"columns": ["gone"]})
    error = table.play().errors["f2"]
    assert isinstance(error, Invalid)
    assert "there is no column 'gone'" in error.message
    table.give_model("f2", tmp_path / "none.json")
    assert isinstance(table.play().errors["f2"], NotFound)


def test_a_logit_without_a_place_in_the_ring_ends_the_session(tmp_path):
    table, _ = table_of(tmp_path, f2={"weights": [1e6]})
    assert "too large for the ring" in table.play().errors["f2"].message
