"""How good are the predictions of a model on rows that it has not seen?

Each metric takes the truth (0 or 1) and the predicted probability of 1. A metric that the rows cannot tell, such as an AUC
where all are of one class, is NaN, never a made-up number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from node.pipeline.federated.ring import Reals

THRESHOLD: Final = 0.5
LEAST_PROBABILITY: Final = 1e-15  # the logarithm of nothing is not taken


def auc(truth: Reals, predicted: Reals) -> float:
    """The probability that a row of class 1 is rated above one of class 0, ties counting half."""
    positives = int(np.sum(truth > THRESHOLD))
    negatives = truth.size - positives
    if positives == 0 or negatives == 0:
        return math.nan
    _, place, count = np.unique(predicted, return_inverse=True, return_counts=True)
    mean_rank = (np.cumsum(count) - (count - 1) / 2)[place]
    above = float(np.sum(mean_rank[truth > THRESHOLD])) - positives * (positives + 1) / 2
    return above / (positives * negatives)


def ks(truth: Reals, predicted: Reals) -> float:
    """The largest distance between the distributions of the two classes (Kolmogorov and Smirnov)."""
    positives = int(np.sum(truth > THRESHOLD))
    negatives = truth.size - positives
    if positives == 0 or negatives == 0:
        return math.nan
    order = np.argsort(-predicted, kind="stable")
    ordered, values = truth[order] > THRESHOLD, predicted[order]
    ends = np.append(np.nonzero(np.diff(values))[0], values.size - 1)  # ties move both curves at once
    caught, alarmed = np.cumsum(ordered)[ends] / positives, np.cumsum(~ordered)[ends] / negatives
    return float(np.max(np.abs(caught - alarmed)))


def accuracy(truth: Reals, predicted: Reals) -> float:
    """The part of the rows whose class was said."""
    return float(np.mean((predicted >= THRESHOLD) == (truth > THRESHOLD))) if truth.size else math.nan


def precision(truth: Reals, predicted: Reals) -> float:
    """Of those that were called 1, the part that is."""
    called = predicted >= THRESHOLD
    return float(np.mean(truth[called] > THRESHOLD)) if np.any(called) else math.nan


def recall(truth: Reals, predicted: Reals) -> float:
    """Of those that are 1, the part that was called so."""
    real = truth > THRESHOLD
    return float(np.mean(predicted[real] >= THRESHOLD)) if np.any(real) else math.nan


def f1(truth: Reals, predicted: Reals) -> float:
    """The harmonic mean of precision and recall."""
    hits = float(np.sum((predicted >= THRESHOLD) & (truth > THRESHOLD)))
    whole = float(np.sum(predicted >= THRESHOLD) + np.sum(truth > THRESHOLD))
    return 2 * hits / whole if whole else math.nan


def logloss(truth: Reals, predicted: Reals) -> float:
    """The mean negative logarithm of the probability that was given to what is."""
    if not truth.size:
        return math.nan
    sure = np.clip(np.where(truth > THRESHOLD, predicted, 1.0 - predicted), LEAST_PROBABILITY, 1.0)
    return float(-np.mean(np.log(sure)))


METRICS: Final[Mapping[str, Callable[[Reals, Reals], float]]] = {
    "auc": auc,
    "ks": ks,
    "acc": accuracy,
    "f1": f1,
    "precision": precision,
    "recall": recall,
    "logloss": logloss,
}
BUNDLES: Final[Mapping[str, Sequence[str]]] = {
    "auc_ks": ("auc", "ks"),
    "metrics_pack1": ("auc", "ks", "acc", "f1", "precision", "recall"),
}


def names_of(wanted: Sequence[str]) -> tuple[str, ...]:
    """Bundles taken apart, each metric once, in order."""
    single = [name for each in wanted for name in BUNDLES.get(each, (each,))]
    return tuple(dict.fromkeys(single))


def measure(wanted: Sequence[str], truth: Reals, predicted: Reals) -> dict[str, float]:
    """The value of each metric of `wanted`, bundles taken apart."""
    return {name: METRICS[name](truth, predicted) for name in names_of(wanted)}
