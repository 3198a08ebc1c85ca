"""How do the owners of a model's blocks predict together? The scripts of those that hold columns, and of the label client.

Each adds up what its own block says of its own columns. The feature clients hide their sums from the label client by words that
each two of them draw alike, one adding and one taking away: the label client learns the total of every row and nothing else. Of
a single feature client's columns it learns that sum, for nobody is there to hide it among.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import ValidationError

from node.errors import Invalid, NotFound
from node.model.block import ModelBlock
from node.model.federated import PartyRole, SessionSpec
from node.pipeline.federated.agreement import Keys
from node.pipeline.federated.losses import LOSSES
from node.pipeline.federated.masks import MaskStream
from node.pipeline.federated.party import Party, expect_words, say_words
from node.pipeline.federated.prepared import write_text
from node.pipeline.federated.ring import WEIGHT_BITS, Reals, Words, decode, encode
from node.pipeline.federated.table import Scaling, Table

PREDICTIONS: Final = "predictions.csv"


def read_block_of_model(path: Path | None) -> ModelBlock:
    """A party's block of a trained model.

    Raises:
        NotFound: this party has none of that session.
        Invalid: the file is no block.
    """
    try:
        if path is None:
            raise FileNotFoundError
        return ModelBlock.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise NotFound(
            "this party has no block of that model", hint="prediction.model is the session that trained it"
        ) from error
    except ValidationError as error:
        raise Invalid(f"{path} is no block of a model", hint="train it again") from error


def predict(party: Party, spec: SessionSpec, keys: Keys, *, block: ModelBlock, table: Table, folder: Path) -> None:
    """One owner's side: `table` has the common rows in the common order; the label client writes `predictions.csv` to `folder`.

    Raises:
        Invalid: a value that the block has no place for, or cells that are no numbers.
        Malformed, DeadlineExceeded: another party breaks the protocol, or is silent.
    """
    party.at("predicting")
    (label,) = (each.name for each in spec.with_role(PartyRole.LABEL))
    features = [each.name for each in spec.with_role(PartyRole.FEATURE)]
    own = _added(block, table)
    if party.name != label:
        say_words(party, label, "sum", 0, own + _hidden(party.name, features, keys, own.shape))
        return
    for name in features:
        own = own + expect_words(party, name, "sum", 0, own.shape, patient=True)
    loss = LOSSES["logistic" if block.model == "logistic" else "mse"]
    mean, spread = block.label or (0.0, 1.0)
    answers = loss.answer(decode(own, WEIGHT_BITS)) * spread + mean
    write_text(folder / PREDICTIONS, _as_csv(table, answers))


def _added(block: ModelBlock, table: Table) -> Words:
    """What this owner's columns add to the logit of each row."""
    total = np.zeros(len(table.ids)) if block.constant is None else np.full(len(table.ids), block.constant)
    if block.columns:
        scaling = Scaling(np.array(block.mean), np.array(block.spread))
        total = total + scaling.applied(table.values(block.columns)) @ np.array(block.weights)
    try:
        return encode(total, WEIGHT_BITS)
    except OverflowError as error:
        raise Invalid("the model's answer is too large for the ring", hint="train it with a lower learning rate") from error


def _hidden(name: str, features: list[str], keys: Keys, shape: tuple[int, ...]) -> Words:
    """The words that hide this feature client's sums; over all feature clients they add up to nothing."""
    total: Words = np.zeros(shape, np.uint64)
    for other in features:
        if other != name:
            drawn = MaskStream(keys.pair(other, "masks of a prediction")).draw("sum", 0, shape)
            total = total + drawn if name < other else total - drawn
    return total


def _as_csv(table: Table, answers: Reals) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((table.id, "prediction"))
    writer.writerows((each, repr(value)) for each, value in zip(table.ids, answers.tolist(), strict=True))
    return text.getvalue()
