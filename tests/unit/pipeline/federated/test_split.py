import numpy as np

from node.pipeline.federated import split
from node.pipeline.federated.split import Batches, is_for_test, marks_of, shuffled

IDS = [f"u{each}" for each in range(5000)]


def for_test(ids, seed="seed"):
    return dict(zip(ids, is_for_test(marks_of(ids, seed), 0.2).tolist(), strict=True))


def test_an_id_is_on_one_side_whoever_else_is_in_the_list():
    part = IDS[100:900:3]
    assert for_test(part) == {each: for_test(IDS)[each] for each in part}
    assert abs(sum(for_test(IDS).values()) / 5000 - 0.2) < 0.02
    assert for_test(IDS, "another seed") != for_test(IDS)


def test_the_order_is_the_same_for_all_who_have_the_same_ids():
    one, other = IDS[:300], IDS[:300][::-1]
    orders = []
    for ids in (one, other):
        rows, marks = shuffled(ids, np.random.default_rng(1).permutation(300), "seed")
        orders.append([ids[row] for row in rows])
        assert (marks == marks_of(orders[-1], "seed")).all()
    assert orders[0] == orders[1] != one
    assert sorted(orders[0]) == sorted(one)


def test_two_ids_with_one_place_still_have_one_order(monkeypatch):
    marks = {"a": (9, 5), "b": (3, 5), "c": (1, 2)}
    monkeypatch.setattr(split, "marks_of", lambda ids, _seed: np.array([marks[each] for each in ids], np.uint64))
    for ids in ("abc", "cba", "bac"):
        rows, found = shuffled(list(ids), np.arange(3), "seed")
        assert [ids[row] for row in rows] == ["c", "b", "a"]
        assert found.tolist() == [[1, 2], [3, 5], [9, 5]]


def test_the_first_split_stays_what_it_is():
    """What was split once is split so for ever: releases may not change it."""
    assert [each for each, chosen in for_test(IDS).items() if chosen][:4] == ["u6", "u15", "u25", "u27"]


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
