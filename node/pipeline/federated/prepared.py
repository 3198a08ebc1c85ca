"""What does an alignment leave in a party's folder, and how is it read for training?

`<file>_aligned.csv` has the common rows in the common order, `train.csv` and `test.csv` the two parts of it, `order.json` the
digest by which the parties know that their rows belong together.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from node.errors import Invalid, StorageFailed
from node.model.block import ModelBlock
from node.model.federated import Hex64
from node.model.value import Count, Value
from node.pipeline.federated.ring import Reals
from node.pipeline.federated.table import Scaling, Table, read_table, write_table

ORDER: Final = "order.json"
TRAIN: Final = "train.csv"
TEST: Final = "test.csv"


class Order(Value):
    """What an alignment came to: the digest of the tags in order, and how many rows each part has."""

    digest: Hex64
    train: Count
    test: Count


def write_prepared(folder: Path, name: str, aligned: Table, tested: NDArray[np.bool_], digest: str) -> Order:
    """Writes an alignment's files, `order.json` last, so that a folder that has it is complete; blocks.

    Raises:
        StorageFailed: the disk did not take them.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / ORDER).unlink(missing_ok=True)
    except OSError as error:
        raise StorageFailed(f"{folder.name} cannot be used: {error.strerror}") from error
    write_table(aligned, folder / f"{name}_aligned.csv")
    write_table(aligned.picked(np.nonzero(~tested)[0], aligned.names), folder / TRAIN)
    write_table(aligned.picked(np.nonzero(tested)[0], aligned.names), folder / TEST)
    order = Order(digest=digest, train=int(np.sum(~tested)), test=int(np.sum(tested)))
    write_text(folder / ORDER, order.model_dump_json())
    return order


def read_order(folder: Path) -> Order | None:
    """What stands in `order.json`; None where no alignment was completed there."""
    try:
        return Order.model_validate_json((folder / ORDER).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def write_text(path: Path, text: str) -> None:
    """Puts a small file in place at once.

    Raises:
        StorageFailed: the disk did not take it.
    """
    beside = path.with_name(f"{path.name}.new")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.chmod(0o600)
        beside.replace(path)
    except OSError as error:
        raise StorageFailed(f"{path.name} cannot be written: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class Block:
    """One owner's part of the data, ready for training: standardised features of the training and the test rows.

    `truth` is the label client's alone: the labels of both sets, empty arrays elsewhere.
    """

    names: tuple[str, ...]
    scaling: Scaling
    features: dict[str, Reals]
    truth: dict[str, Reals]


def read_block(folder: Path, label: str | None) -> Block:
    """The block of a party; `label` is the name of the label column, empty for the only one, None where the party has none.

    The label client's block ends with a column of ones: the model's constant.

    Raises:
        Invalid, NotFound: the folder holds no alignment that can be trained on.
    """
    parts = {"train": read_table(folder / TRAIN), "test": read_table(folder / TEST)}
    names = parts["train"].names
    if label is not None:
        label = _label_name(label, names)
        names = tuple(name for name in names if name != label)
    raw = {part: table.values(names) for part, table in parts.items()}
    scaling = Scaling.of(raw["train"])
    features = {part: scaling.applied(values) for part, values in raw.items()}
    if label is None:
        return Block(names, scaling, features, {})
    truth = {part: table.values((label,))[:, 0] for part, table in parts.items()}
    with_ones = {part: np.column_stack([values, np.ones(len(values))]) for part, values in features.items()}
    return Block(names, scaling, with_ones, truth)


def _label_name(label: str, names: tuple[str, ...]) -> str:
    if label in names:
        return label
    if not label and len(names) == 1:
        return names[0]
    raise Invalid(
        f"there is no label column {label!r}" if label else "which column is the label?",
        hint=f"name it as the party's 'label': {', '.join(names[:20])}",
    )


def block_of_model(
    party: str, block: Block, weights: Reals, *, kind: Literal["logistic", "linear"], steps: int, shift: tuple[float, float]
) -> ModelBlock:
    """An owner's part of the model: what it needs for its part of a prediction, in the units of its own columns.

    `shift` is mean and spread of a linear model's label. The last weight of the label client's block is the constant.
    """
    return ModelBlock(
        party=party,
        model=kind,
        steps=steps,
        columns=block.names,
        mean=tuple(block.scaling.mean.tolist()),
        spread=tuple(block.scaling.spread.tolist()),
        weights=tuple(weights[: len(block.names)].tolist()),
        constant=float(weights[-1]) if block.truth else None,
        label=shift if block.truth else None,
    )
