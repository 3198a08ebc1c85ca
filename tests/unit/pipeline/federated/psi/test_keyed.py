import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import Malformed
from node.pipeline.federated.psi.keyed import check_places, hidden, intersection, tags_of

KEY = bytes(range(32))
SETS = st.lists(st.sets(st.integers(0, 40), min_size=1), min_size=2, max_size=4)


@given(SETS, st.sampled_from([1, 16]))
def test_all_parties_come_to_the_common_ids_in_one_order(sets, bucket):
    lists = [[f"id{each}" for each in members] for members in sets]
    offered = [hidden(tags_of(ids, KEY), bucket) for ids in lists]
    chosen = [
        check_places(places, rows) for places, (_, rows) in zip(intersection([t for t, _ in offered]), offered, strict=True)
    ]
    found = [[ids[row] for row in rows] for ids, rows in zip(lists, chosen, strict=True)]
    assert all(each == found[0] for each in found)
    assert set(found[0]) == {f"id{each}" for each in set.intersection(*sets)}


def test_what_main_sees_is_padded_and_in_no_order_of_the_owner():
    ids = [f"id{each}" for each in range(1000)]
    tags, rows = hidden(tags_of(ids, KEY), 256)
    assert len(tags) == 1024
    assert sorted(rows[rows >= 0]) == list(range(1000))
    assert abs(np.corrcoef(rows[rows >= 0], np.arange(1000))[0, 1]) < 0.15
    other, _ = hidden(tags_of(ids, bytes(32)), 256)
    assert not set(map(tuple, tags.tolist())) & set(map(tuple, other.tolist()))


def test_equal_beginnings_of_ids_do_not_show():
    """The original's AES-CBC with one fixed vector gave equal blocks for equal first 16 bytes."""
    tags = tags_of([f"customer-number-{each}" for each in range(2000)], KEY)
    assert len({int(word) >> 32 for word in tags[:, 0]}) > 1990
    assert len(np.unique(tags[:, 1])) == 2000


def test_a_tag_that_is_offered_twice_is_refused():
    tags = tags_of(["a", "b", "a"], KEY)
    with pytest.raises(Malformed, match="list 1 of the alignment has a tag twice"):
        intersection([tags_of(["a"], KEY), tags])


@pytest.mark.parametrize("places", [[0, 0], [3], [-1], [9]])
def test_a_choice_that_main_cannot_have_is_refused(places):
    with pytest.raises(Malformed, match="main client chose"):
        check_places(np.array(places), np.array([5, 6, 7, -1]))
