import numpy as np
import pytest

from node.errors import Invalid
from node.model.federated import TABLES
from node.pipeline.federated import ring, sigmoid
from node.pipeline.federated.losses import sigmoid as plain


def hidden_sigmoid(logits, rate=0.5):
    phases = np.random.default_rng(1).integers(0, 2**61, logits.size, dtype=np.uint64)
    deltas = (ring.encode(logits, 54) - phases) & np.uint64(2**61 - 1)
    shares = sigmoid.waves(phases)
    return ring.decode(sigmoid.combined(sigmoid.Factors(rate).of(deltas), shares), 34) / rate + 0.5


def test_the_series_is_right_within_its_bound_up_to_the_largest_logit():
    logits = np.linspace(-54, 54, 4001)
    error = np.abs(hidden_sigmoid(logits) - plain(logits))
    assert error.max() < 1.5e-3
    assert error.mean() < 2.5e-4


def test_the_coefficients_are_those_of_the_folded_sigmoid():
    place = np.arange(2**14) * 128 / 2**14
    x = np.where(place > 64, place - 128, place)
    folded = np.where(np.abs(x) > 32, np.sign(x) * (64 - np.abs(x)), x)
    for number, coefficient in enumerate(sigmoid.COEFFICIENTS):
        exact = 2 * np.mean((plain(folded) - 0.5) * np.sin(2 * np.pi * (2 * number + 1) * place / 128))
        assert abs(coefficient - exact * 2**32) <= 1


def test_the_table_is_the_sine_to_its_last_bit_and_its_digest_is_known():
    turn = 2 * np.pi * np.arange(2**16) / 2**16
    assert np.abs(sigmoid.table() - np.sin(turn) * 2**30).max() < 0.51
    assert sigmoid.digest() == TABLES  # parties of different releases could not compute together any more


def test_the_slope_at_the_ends_keeps_its_bits_for_the_least_rate():
    logits = np.linspace(-8, 8, 101)
    assert np.abs(hidden_sigmoid(logits, sigmoid.RATE_LEAST) - plain(logits)).max() < 0.02
    with pytest.raises(Invalid, match="too small"):
        sigmoid.Factors(sigmoid.RATE_LEAST / 2)
