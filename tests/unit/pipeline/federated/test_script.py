"""Whole sessions in one process: what comes out, what an observer sees, and what happens when somebody breaks off or lies."""

import json

import numpy as np
import pytest
from parties import Room, Table

from node.errors import DeadlineExceeded, Invalid, Malformed
from node.model.federated import AlignmentRequest, PartyRole, TrainingRequest
from node.pipeline.federated.agreement import Agreement, Occasion
from node.pipeline.federated.losses import sigmoid
from node.pipeline.federated.ring import Words
from node.pipeline.federated.split import Batches
from node.pipeline.federated.table import read_table

ROLES = {
    "main": PartyRole.MAIN,
    "producer": PartyRole.PRODUCER,
    "f1": PartyRole.FEATURE,
    "f2": PartyRole.FEATURE,
    "label": PartyRole.LABEL,
}
OWNERS = ("f1", "f2", "label")
COLUMNS = {"f1": ["a", "b", "c"], "f2": ["d", "e"], "label": ["y"]}
STEPS, BATCH, RATE = 120, 64, 0.3


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Three files, shuffled, with ids of which 540 of 600 are in all."""
    folder = tmp_path_factory.mktemp("sources")
    random = np.random.default_rng(3)
    features = random.normal(size=(600, 5))
    label = (random.random(600) < sigmoid(features @ [1.0, -2, 0.5, 1, 0] + 0.3)).astype(float)
    values = np.column_stack([features, label])
    for owner, columns in COLUMNS.items():
        places = ["abcdey".index(column) for column in columns]
        rows = random.permutation(np.concatenate([np.arange(540), 540 + 20 * OWNERS.index(owner) + np.arange(20)]))
        lines = [",".join(["id", *columns])]
        lines += [",".join([f"u{row}", *(repr(float(values[row, place])) for place in places)]) for row in rows]
        (folder / f"{owner}.csv").write_text("\n".join(lines))
    return {owner: folder / f"{owner}.csv" for owner in OWNERS}


def table_of(folder, sources, mode="open", model="logistic", **changes):
    training = {"mode": mode, "model": model, "steps": STEPS, "batch_size": BATCH, "learning_rate": RATE, "batch_seed": "b"}
    training |= {"checkpoint_every": 20, "test_every": 50, **changes}
    alignment = AlignmentRequest(split_seed="s", bucket=64)
    return Table(folder, ROLES, sources, alignment=alignment, training=TrainingRequest(**training))


def model_of(table, owner):
    return json.loads((table.grounds[owner].folder / "model.json").read_text())


def weights_of(table):
    found = [model_of(table, owner) for owner in ("f1", "f2", "label")]
    return np.array([*found[0]["weights"], *found[1]["weights"], found[2]["constant"]])


def rows_of(table, part="train"):
    read = {owner: read_table(table.grounds[owner].folder / f"{part}.csv") for owner in OWNERS}
    assert read["f1"].ids == read["f2"].ids == read["label"].ids
    values = np.concatenate([read[owner].values(COLUMNS[owner]) for owner in OWNERS], axis=1)
    return values[:, :5], values[:, 5]


def trained_plainly(table, model="logistic"):
    """The same steps on the same rows with floats, and nothing hidden."""
    features, truth = rows_of(table)
    if model == "linear":
        truth = (truth - truth.mean()) / truth.std()
    scaled = np.column_stack([(features - features.mean(0)) / features.std(0), np.ones(len(features))])
    batches, weights = Batches(len(scaled), BATCH, "b"), np.zeros(6)
    for step in range(STEPS):
        which = batches.at(step)
        logits = scaled[which] @ weights
        slope = (logits if model == "linear" else sigmoid(logits)) - truth[which]
        weights -= RATE / BATCH * scaled[which].T @ slope
    return weights


@pytest.fixture(scope="module", params=["open", "private"])
def played(request, sources, tmp_path_factory):
    table = table_of(tmp_path_factory.mktemp(request.param), sources, request.param)
    done = table.play()
    assert not done.errors
    return table, done, request.param


# -- what comes out


def test_the_weights_are_those_of_plain_training_on_the_same_rows(played):
    table, _, mode = played
    assert np.abs(weights_of(table) - trained_plainly(table)).max() < (5e-3 if mode == "private" else 1e-3)


def test_a_linear_model_is_trained_like_a_plain_one(sources, tmp_path):
    table = table_of(tmp_path, sources, model="linear")
    assert not table.play().errors
    assert np.abs(weights_of(table) - trained_plainly(table, "linear")).max() < 1e-3
    assert model_of(table, "label")["label"][1] > 0


def test_rows_are_aligned_by_id_and_split_by_the_seed(played):
    table, _, _ = played
    counts = [len(rows_of(table, part)[1]) for part in ("train", "test")]
    assert sum(counts) == 540
    assert abs(counts[1] / 540 - 0.2) < 0.05
    aligned = read_table(table.grounds["f1"].folder / "f1_aligned.csv")
    assert len(aligned.ids) == 540


def test_every_owner_has_its_own_block_and_no_other(played):
    table, done, _ = played
    assert model_of(table, "f2")["columns"] == ["d", "e"]
    assert model_of(table, "f1")["constant"] is None
    told = {(sender, to) for sender, to, what, _ in done.room.said if what == "weights"}
    assert told == {("label", "f1"), ("label", "f2"), ("f1", "f2"), ("f1", "label")}
    assert len(done.room.said["label", "f2", "weights", 0]) == 2 * 8 + 16  # closed


def test_tests_are_published_by_the_label_client_only(played):
    _, done, _ = played
    assert [record.step for record in done.parties["label"].records] == [50, 100, 120]
    last = done.parties["label"].records[-1]
    assert last.metrics["auc"] > 0.8
    assert 0 < last.loss < 0.6
    assert not any(done.parties[name].records for name in ROLES if name != "label")


# -- what an observer sees


def words_of(said, *kinds) -> Words:
    once = {(sender, what, index): content for (sender, _, what, index), content in said.items() if what in kinds}
    return np.concatenate([np.frombuffer(content, "<u8") for content in once.values()])


OPENED = ("E train", "E test", "F step", "F test", "G", "z", "delta", "share of U train", "weights")


def chi_square(words, bits):
    """Over the top and the bottom byte of the words' own width; one in 10^8 uniform ones is above 403 at 255 degrees."""
    found = []
    for shift in (0, bits - 8):
        counts = np.bincount(((words >> np.uint64(shift)) & np.uint64(255)).astype(int), minlength=256)
        found.append(float(((counts - words.size / 256) ** 2).sum() / (words.size / 256)))
    return max(found)


def test_every_word_that_a_party_is_shown_is_uniform(played):
    _, done, mode = played
    for kind, bits in (("E train", 64), ("F step", 64), ("G", 64), ("share of U train", 64), ("deal", 64)):
        words = words_of(done.room.said, kind)
        assert words.size > 1000
        assert chi_square(words, bits) < 403, kind
    if mode == "private":
        words = words_of(done.room.said, "delta")
        assert int(words.max()) < 2**61
        assert chi_square(words, 61) < 403
    else:
        assert chi_square(words_of(done.room.said, "z"), 64) < 403  # one share of the logits


def test_no_column_and_no_label_correlates_with_what_others_see(played):
    """The original shares X·uniform(0,1): every sign shows at once, and every value after some visits."""
    table, done, mode = played
    features, truth = rows_of(table)
    values = np.column_stack([features, truth])
    seen = [
        np.frombuffer(done.room.said[owner, "label", "E train", 0], "<i8").reshape(len(truth), -1) for owner in ("f1", "f2")
    ]
    batches = Batches(len(truth), BATCH, "b")
    which = np.concatenate([batches.at(step) for step in range(STEPS)])
    for what, sender, receiver in (("G", "label", "f1"), ("delta" if mode == "private" else "z", "f1", "label")):
        parts = [np.frombuffer(done.room.said[sender, receiver, what, step], "<u8") for step in range(STEPS)]
        signed = np.concatenate(parts) << np.uint64(3 if what == "delta" else 0)
        for column in values.T:
            both = np.corrcoef(signed.view(np.int64).astype(float), column[which])[0, 1]
            assert abs(both) <= 0.05, what
            assert abs(np.mean((signed.view(np.int64) > 0) == (column[which] > np.median(column))) - 0.5) <= 0.05
    for opened in seen:
        for column in opened.T:
            for value in values.T:
                assert abs(np.corrcoef(column.astype(float), value)[0, 1]) <= 4.5 / np.sqrt(len(truth))


def test_a_batch_cannot_be_solved_for_from_what_a_feature_client_receives(played):
    """The original broadcasts the gradient and X-transposed times it in the clear: one message gave the whole minibatch."""
    table, done, _ = played
    features, _ = rows_of(table)
    opened = np.frombuffer(done.room.said["f2", "f1", "E train", 0], "<i8").reshape(len(features), 2)
    slopes = np.stack([np.frombuffer(done.room.said["label", "f1", "G", step], "<i8") for step in range(STEPS)])
    which = np.stack([Batches(len(features), BATCH, "b").at(step) for step in range(STEPS)])
    for column in range(2):
        guessed = np.zeros(len(features))
        np.add.at(guessed, which.ravel(), (slopes / 2.0**63).ravel())
        guessed += opened[:, column] / 2.0**63
        assert abs(np.corrcoef(guessed, features[:, 3 + column])[0, 1]) <= 4.5 / np.sqrt(len(features))


def test_labels_cannot_be_told_from_the_slopes(played):
    """The original's main client reads the labels off the signs of the gradient that it is sent."""
    table, done, mode = played
    _, truth = rows_of(table)
    batches = Batches(len(truth), BATCH, "b")
    signs = np.concatenate([np.frombuffer(done.room.said["label", "f1", "G", step], "<i8") < 0 for step in range(STEPS)])
    labels = np.concatenate([truth[batches.at(step)] for step in range(STEPS)])
    assert abs(np.mean(signs == (labels > 0.5)) - 0.5) < 0.03
    assert mode == "open" or not any(what == "z" for _, _, what, _ in done.room.said)


def test_helpers_hear_no_word_of_the_data(played):
    _, done, _ = played
    to_producer = {what for _, to, what, _ in done.room.said if to == "producer"}
    assert to_producer == {"hello", "have", "shape", "credit"}
    assert {what for _, to, what, _ in done.room.said if to == "main"} == {"hello", "have", "tags"}


# -- breaking off and lying


@pytest.mark.parametrize("mode", ["open", "private"])
def test_whoever_is_killed_the_session_goes_on_to_the_same_model(mode, sources, tmp_path):
    undisturbed = table_of(tmp_path / "one", sources, mode)
    assert not undisturbed.play().errors
    disturbed = table_of(tmp_path / "two", sources, mode)
    first = Room()
    rooms = [first]
    assert set(disturbed.play(first, {"label": ("training", 47)}).errors) == set(ROLES) - {"main"}
    for killed in ({"f1": ("training", 83)}, {"producer": ("dealing", 112)}, {}):
        rooms.append(Room())
        last = disturbed.play(rooms[-1], killed)
    assert not last.errors
    assert last.parties["f1"].burned[0] > 60  # it did not begin anew
    difference = np.abs(weights_of(disturbed) - weights_of(undisturbed)).max()
    assert difference == 0 if mode == "open" else difference <= 1e-3
    by_place = {}
    for room in rooms:
        once = {(sender, what, index): content for (sender, _, what, index), content in room.said.items() if what in OPENED}
        for place, content in once.items():
            by_place.setdefault(place, []).append(content)
    again = [contents for contents in by_place.values() if len(contents) > 1]
    assert len(again) > 20, "some steps were done twice"
    assert all(len(set(contents)) == len(contents) for contents in again), "a mask was used twice"


def broken(table, change):
    room = Room(deadline=0.5)
    room.tamper = change
    done = table.play(room)
    assert done.errors
    return done.errors


def test_a_message_of_the_wrong_shape_names_its_sender(sources, tmp_path):
    change = lambda sender, _to, what, index, content: content[8:] if (what, index, sender) == ("G", 5, "label") else content  # noqa: E731
    error = broken(table_of(tmp_path, sources), change)["f1"]
    assert isinstance(error, Malformed)
    assert "party label sent G 5: 504 bytes where 64 words" in error.message


def test_a_word_outside_the_ring_names_its_sender(sources, tmp_path):
    change = lambda _from, to, what, index, content: b"\xff" * 512 if (what, index, to) == ("delta", 3, "label") else content  # noqa: E731
    error = broken(table_of(tmp_path, sources, "private"), change)["label"]
    assert isinstance(error, Malformed)
    assert "party f1 sent delta 3: a word outside the ring of 2^61" in error.message


def test_a_row_that_is_another_persons_ends_the_session_before_training(sources, tmp_path):
    def swap(_from, to, what, _index, content):
        if (what, to) != ("places", "f2"):
            return content
        places = np.frombuffer(content, "<i8").copy()
        places[0] = min(set(range(576)) - set(places.tolist()))
        return places.tobytes()

    errors = broken(table_of(tmp_path, sources), swap)
    told = [error.message for error in errors.values() if isinstance(error, Malformed)]
    assert any("not to be trusted" in message or "or a padding" in message for message in told)
    assert not (tmp_path / "f2" / "train.csv").exists()


def test_a_silent_party_is_named_with_the_step(sources, tmp_path):
    table = table_of(tmp_path, sources)
    room = Room(deadline=0.3)

    class Deaf(dict):
        def __setitem__(self, key, content):
            if key != ("f1", "label", "F step", 12):
                super().__setitem__(key, content)

    room.said = Deaf()
    late = [error for error in table.play(room).errors.values() if isinstance(error, DeadlineExceeded)]
    assert late
    assert all("silent for 0.3 s in ('training', 12)" in error.message for error in late)


def test_a_party_with_a_changed_spec_is_refused_at_the_first_word(sources, tmp_path):
    table = table_of(tmp_path, sources)
    other = table.spec.replace(round_timeout=11.0)
    room = Room()

    def forge(sender, _to, what, _index, content):
        if (sender, what) == ("f2", "hello"):
            return Agreement("f2", table.keys["f2"].private_bytes_raw(), Occasion(other.session, other.digest, 1)).hello
        return content

    room.tamper = forge
    errors = table.play(room).errors
    assert any("hello of party f2 is not signed for this session, spec" in error.message for error in errors.values())


def test_too_small_an_intersection_and_labels_that_are_no_classes_are_refused(sources, tmp_path):
    table = table_of(tmp_path / "small", sources)
    table.spec = table.spec.replace(alignment=table.spec.alignment.replace(min_intersection=541))
    errors = table.play().errors
    assert any(
        isinstance(error, Invalid) and "540 ids in common, the session wants 541" in error.message for error in errors.values()
    )
    other = tmp_path / "label.csv"
    other.write_text(sources["label"].read_text().replace(",1.0", ",2.0"))
    errors = table_of(tmp_path / "classes", {**sources, "label": other}).play().errors
    assert "0 and 1" in errors["label"].message
