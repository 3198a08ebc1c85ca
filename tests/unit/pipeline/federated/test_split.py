import numpy as np

from node.pipeline.federated.split import Batches, is_for_test

IDS = [f"u{each}" for each in range(5000)]


def test_an_id_is_on_one_side_whoever_else_is_in_the_list():
    all_of_them = dict(zip(IDS, is_for_test(IDS, "seed", 0.2), strict=True))
    part = IDS[100:900:3]
    assert is_for_test(part, "seed", 0.2) == [all_of_them[each] for each in part]
    assert abs(sum(all_of_them.values()) / 5000 - 0.2) < 0.02
    assert is_for_test(IDS, "another seed", 0.2) != list(all_of_them.values())


def test_the_first_split_stays_what_it_is():
    """What was split once is split so for ever: releases may not change it."""
    assert [each for each, chosen in zip(IDS, is_for_test(IDS, "seed", 0.2), strict=True) if chosen][:4] == [
        "u3",
        "u8",
        "u15",
        "u24",
    ]


def test_every_row_is_visited_once_a_pass_in_an_order_of_its_own():
    batches = Batches(100, 30, "seed")
    first, second = ([int(row) for step in steps for row in batches.at(step)] for steps in (range(3), range(3, 6)))
    assert len(set(first)) == len(set(second)) == 90
    assert first != second
    assert (batches.at(1) == np.array(first[30:60])).all()
    assert (Batches(100, 30, "seed").at(4) == batches.at(4)).all()


def test_a_batch_is_no_larger_than_what_there_is():
    batches = Batches(7, 64, "seed")
    assert batches.size == 7
    assert sorted(batches.at(3)) == list(range(7))
