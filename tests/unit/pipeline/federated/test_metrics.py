import math

import numpy as np
import pytest

from node.pipeline.federated.losses import LOSSES
from node.pipeline.federated.metrics import measure

TRUTH = np.array([1.0, 0, 1, 1, 0, 0, 1, 0])
PREDICTED = np.array([0.9, 0.8, 0.7, 0.4, 0.4, 0.2, 0.9, 0.1])


def test_auc_is_the_part_of_pairs_in_order_with_ties_by_half():
    pairs = [(p > q) + (p == q) / 2 for p in PREDICTED[TRUTH == 1] for q in PREDICTED[TRUTH == 0]]
    assert measure(("auc",), TRUTH, PREDICTED) == {"auc": sum(pairs) / 16}


def test_ks_is_the_widest_gap_of_the_two_distributions():
    gaps = [abs(np.mean(PREDICTED[TRUTH == 1] >= t) - np.mean(PREDICTED[TRUTH == 0] >= t)) for t in PREDICTED]
    assert measure(("ks",), TRUTH, PREDICTED)["ks"] == pytest.approx(max(gaps))


def test_the_counts_of_a_confusion_matrix_are_what_they_are_called():
    found = measure(("acc", "precision", "recall", "f1"), TRUTH, PREDICTED)
    assert found == pytest.approx({"acc": 6 / 8, "precision": 3 / 4, "recall": 3 / 4, "f1": 3 / 4})


def test_logloss_is_the_loss_that_was_trained_and_survives_certainty():
    logits = np.array([-800.0, 3, 0, 800])
    loss = LOSSES["logistic"]
    truth = np.array([0.0, 1, 0, 1])
    assert measure(("logloss",), truth, loss.answer(logits))["logloss"] == pytest.approx(loss.value(logits, truth), rel=1e-9)
    assert measure(("logloss",), 1 - truth, loss.answer(logits))["logloss"] < 40


def test_bundles_are_taken_apart_once():
    found = measure(("auc_ks", "metrics_pack1", "auc"), TRUTH, PREDICTED)
    assert list(found) == ["auc", "ks", "acc", "f1", "precision", "recall"]


def test_what_rows_of_one_class_cannot_tell_is_no_number():
    found = measure(("auc", "ks", "recall"), np.zeros(3), np.zeros(3))
    assert all(math.isnan(value) for value in found.values())


@pytest.mark.parametrize("name", ["logistic", "mse"])
def test_the_slope_is_the_derivative_of_the_loss(name):
    loss, truth = LOSSES[name], np.array([0.0, 1.0])
    for logit in (-3.0, 0.2, 5.0):
        z, step = np.full(2, logit), 1e-6
        rise = (loss.value(z + step, truth) - loss.value(z - step, truth)) / (2 * step)
        assert np.mean(loss.slope(z, truth)) * (1 if name == "logistic" else 2) == pytest.approx(rise, rel=1e-4, abs=1e-7)
