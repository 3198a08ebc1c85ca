"""How far are predictions from the truth, and which way is less?

`slope` is the derivative of the loss by the logit; times the features it is the gradient of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from node.pipeline.federated.ring import Reals


@dataclass(frozen=True, slots=True)
class Loss:
    """What a logit is worth: `value` is the mean over all rows, `slope` one number a row, `answer` what a logit predicts."""

    value: Callable[[Reals, Reals], float]
    slope: Callable[[Reals, Reals], Reals]
    answer: Callable[[Reals], Reals]


def sigmoid(logits: Reals) -> Reals:
    """1 / (1 + e^−z), without overflow at either end."""
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1.0, small) / (1.0 + small)


def _logistic_value(logits: Reals, truth: Reals) -> float:
    return float(np.mean(np.maximum(logits, 0.0) - logits * truth + np.log1p(np.exp(-np.abs(logits)))))


def _logistic_slope(logits: Reals, truth: Reals) -> Reals:
    return sigmoid(logits) - truth


def _squared_value(logits: Reals, truth: Reals) -> float:
    return float(np.mean((logits - truth) ** 2))


def _squared_slope(logits: Reals, truth: Reals) -> Reals:
    return logits - truth  # of half the square, so that a learning rate means the same for both losses


LOSSES: Final[Mapping[str, Loss]] = {
    "logistic": Loss(_logistic_value, _logistic_slope, sigmoid),
    "mse": Loss(_squared_value, _squared_slope, lambda logits: logits),
}
