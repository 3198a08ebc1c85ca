import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from node.errors import Malformed
from node.pipeline.federated import ring

WORDS = st.integers(0, 2**64 - 1)


def exact(left, right):
    found = left.astype(object) @ right.astype(object)
    return np.array(found % 2**64, dtype=np.uint64)


@given(arrays(np.uint64, (3, 5), elements=WORDS), arrays(np.uint64, (5, 2), elements=WORDS))
def test_both_ways_to_multiply_are_exact(left, right):
    assert (ring.product(left, right) == exact(left, right)).all()
    assert (ring._by_limbs(left, right) == exact(left, right)).all()


def test_a_long_sum_of_the_largest_words_is_exact_through_limbs():
    left, right = np.full((2, 1500), 2**64 - 1, np.uint64), np.full(1500, 2**64 - 1, np.uint64)
    assert (ring._by_limbs(left, right) == left @ right).all()


def test_a_large_product_goes_through_limbs_and_gives_the_same(monkeypatch):
    words = np.random.default_rng(0).integers(0, 2**64, (40, 30), np.uint64)
    plain = ring.product(words, words.T)
    monkeypatch.setattr(ring, "PLAIN_MOST", 0)
    assert (ring.product(words, words.T) == plain).all()


@given(st.floats(-8, 8), st.integers(10, 44))
def test_a_number_comes_back_within_half_of_the_last_bit(value, bits):
    back = ring.decode(ring.encode(np.array([value]), bits), bits)[0]
    assert abs(back - value) <= 2.0 ** -(bits + 1)


@pytest.mark.parametrize("value", [np.nan, np.inf, 2.0**40, -(2.0**40)])
def test_what_has_no_place_in_a_word_is_refused(value):
    with pytest.raises(OverflowError):
        ring.encode(np.array([0.0, value]), 34)


def test_words_travel_and_wrong_ones_are_refused():
    words = np.array([[1, 2**61 - 1]], np.uint64)
    assert (ring.unpack(ring.pack(words), (1, 2), 61) == words).all()
    with pytest.raises(Malformed, match="16 bytes where 3 words"):
        ring.unpack(ring.pack(words), (3,))
    with pytest.raises(Malformed, match=r"2\^61"):
        ring.unpack(ring.pack(words + np.uint64(1)), (2,), 61)
