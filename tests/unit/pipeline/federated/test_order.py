import numpy as np
import pytest

from node.pipeline.federated.order import order_of


@pytest.mark.parametrize("size", [0, 1, 2, 3, 255, 256, 257, 5000])
def test_the_order_is_that_of_argsort(size):
    words = np.random.default_rng(size).integers(0, 2**64, size, np.uint64)
    assert (order_of(words) == np.argsort(words)).all()


def test_words_that_differ_in_their_last_bits_only_are_told_apart():
    words = np.array([5, 2**63 + 1, 4, 2**63, 7], np.uint64)
    assert order_of(words).tolist() == [2, 0, 4, 3, 1]
    assert words.tolist() == [5, 2**63 + 1, 4, 2**63, 7]
    assert sorted(order_of(np.zeros(9, np.uint64)).tolist()) == list(range(9))
