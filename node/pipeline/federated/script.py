"""What does one party do from the first hello to the last file?

One straight line for every role. An epoch begins anew with fresh keys and masks; what earlier ones left on the disk, the
aligned rows and the shares of the weights, is taken up where all have it, so that an interruption costs a few steps and no
secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np
from pydantic import Field

from node.errors import Invalid, Malformed, NotFound
from node.model.federated import DATA_ROLES, PartyRole, PinnedParty, SessionSpec
from node.model.value import Count, Items, Value
from node.pipeline.federated import sigmoid
from node.pipeline.federated.agreement import Agreement, Keys, Occasion, SessionKey
from node.pipeline.federated.align import align_as_main, align_as_owner
from node.pipeline.federated.beaver import Blocks
from node.pipeline.federated.party import Party, expect_value, say_value
from node.pipeline.federated.prediction import predict, read_block_of_model
from node.pipeline.federated.prepared import ORDER, Block, Order, block_of_model, read_block, read_order, write_text
from node.pipeline.federated.ring import Reals, Words
from node.pipeline.federated.table import Table, read_table
from node.pipeline.federated.training import Computing, Plan, open_columns, own_weights, produce

KEPT_MOST: Final = 16
ROWS_LEAST: Final = 2  # one would have no spread
MODEL: Final = "model.json"


class Have(Value):
    """What a party has from earlier epochs: the digest of its aligned rows, and (epoch, step) of each share of the weights."""

    digest: str = ""
    kept: Annotated[Items[Annotated[Items[Count], Field(min_length=2, max_length=2)]], Field(max_length=KEPT_MOST)] = ()


class Shape(Value):
    """What all must know of a party's data: that its rows are the same in the same order, and how many columns it has."""

    digest: str
    train: Count
    test: Count
    columns: Count


@dataclass(frozen=True, slots=True)
class Ground:
    """Where a party's data lies: its file, the columns in it, and the folder that aligned rows and its model go to.

    `memory` is the session's own folder: what it says was aligned was aligned by this session, whatever else `folder` holds.
    `model` is the party's block of the model that predicts. `label` is the name of the label column, empty for the only one;
    None where the party holds no labels.
    """

    source: Path | None
    id: str
    label: str | None
    folder: Path
    prepared: Path
    memory: Path
    model: Path | None = None


def run(party: Party, spec: SessionSpec, epoch: int, signing_key: bytes, ground: Ground) -> None:
    """The whole session as one party lives it.

    Raises:
        EcnodeError: the session cannot go on; the text is fit for the user.
    """
    me = spec.party(party.name)
    if spec.tables != sigmoid.digest():
        raise Invalid("this release computes the hidden sigmoid from other tables than the spec names", hint="use one release")
    table = _read(me, spec, ground)
    keys = _agree(party, spec, epoch, signing_key)
    owners = [each.name for each in spec.with_role(*DATA_ROLES)]
    others = [name for name in owners if name != party.name]
    if me.role in DATA_ROLES:
        _Owner(party, spec, me, ground, keys).run(table, others)
        return
    haves = {name: expect_value(party, name, "have", 0, Have, patient=True) for name in owners}
    if me.role is PartyRole.MAIN:
        if spec.alignment is not None and not _same_rows(haves):
            party.at("aligning")
            align_as_main(party, owners)
        return
    shapes = {name: expect_value(party, name, "shape", 0, Shape, patient=True) for name in owners}
    if spec.training is not None:
        produce(party, _plan(spec, shapes, haves), keys)


def _read(me: PinnedParty, spec: SessionSpec, ground: Ground) -> Table | None:
    """The party's own file, looked at before anybody waits for it."""
    if me.role not in DATA_ROLES or spec.alignment is None or ground.source is None:
        return None
    table = read_table(ground.source, ground.id)
    if spec.prediction is not None:
        columns = read_block_of_model(ground.model).columns
        return table.picked(np.arange(len(table.ids)), table.column_names(columns) if columns else ())
    names = table.column_names(me.columns)
    if ground.label:
        if ground.label not in table.names:
            raise Invalid(f"there is no label column {ground.label!r}", hint=f"there are {', '.join(table.names[:20])}")
        names = (*(name for name in names if name != ground.label), ground.label)
    return table.picked(np.arange(len(table.ids)), names)


def _agree(party: Party, spec: SessionSpec, epoch: int, signing_key: bytes) -> Keys:
    party.at("agreeing on keys")
    identities = {each.name: bytes.fromhex(each.key) for each in spec.parties if each.name != party.name}
    agreement = Agreement(party.name, signing_key, Occasion(spec.session, spec.digest, epoch))
    for other in identities:
        party.say(other, "hello", 0, agreement.hello)
    hellos = {other: party.expect(other, "hello", 0, patient=True) for other in identities}
    keys = agreement.meet(hellos, identities)
    closing = {other: keys.pair(other, f"words {party.name} {other}") for other in identities}
    party.trust(closing, {other: keys.pair(other, f"words {other} {party.name}") for other in identities})
    return keys


def _session_key(party: Party, keys: Keys, others: Sequence[str]) -> SessionKey:
    for other in others:
        party.say(other, "sealed", 0, keys.sealed(other))
    key = keys.session_key({other: party.expect(other, "sealed", 0) for other in others})
    for other in others:
        party.say(other, "confirmation", 0, key.confirmation(party.name))
    for other in others:
        key.check(other, party.expect(other, "confirmation", 0))
    return key


def _same_rows(haves: Mapping[str, Have]) -> bool:
    digests = {have.digest for have in haves.values()}
    return len(digests) == 1 and "" not in digests


def _plan(spec: SessionSpec, shapes: Mapping[str, Shape], haves: Mapping[str, Have]) -> Plan:
    """The same for all parties, out of what all of them said.

    Raises:
        Malformed: parties do not hold the same rows.
        Invalid: there is nothing to train on.
    """
    assert spec.training is not None, "asked for only where something is trained"
    first = next(iter(shapes.values()))
    for name, shape in shapes.items():
        if (shape.digest, shape.train, shape.test) != (first.digest, first.train, first.test):
            raise Malformed(f"party {name} does not hold the same rows in the same order: align the data sets together first")
    if first.train < ROWS_LEAST:
        raise Invalid(f"{first.train} rows are left for training", hint="lower alignment.fraction, or bring more rows")
    (label,) = (each.name for each in spec.with_role(PartyRole.LABEL))
    feature = spec.with_role(PartyRole.FEATURE)[0].name
    (producer,) = (each.name for each in spec.with_role(PartyRole.PRODUCER))
    owners = tuple(shapes)
    blocks = Blocks(owners, tuple(shapes[owner].columns for owner in owners))
    rows = {"train": first.train, "test": first.test}
    epoch, start = (0, 0)
    if _same_rows(haves):
        common = {tuple(each) for each in haves[label].kept} & {tuple(each) for each in haves[feature].kept}
        epoch, start = max(common, key=lambda each: (each[1], each[0]), default=(0, 0))
    return Plan(spec.training, label, feature, producer, blocks, rows, start, epoch)


class _Owner:
    """A party that holds data."""

    def __init__(self, party: Party, spec: SessionSpec, me: PinnedParty, ground: Ground, keys: Keys) -> None:
        self._party = party
        self._spec = spec
        self._me = me
        self._ground = ground
        self._keys = keys

    def run(self, table: Table | None, others: Sequence[str]) -> None:
        party, spec = self._party, self._spec
        key = _session_key(party, self._keys, others)
        helpers = [each.name for each in spec.parties if each.role not in DATA_ROLES]
        haves = self._compare(others, helpers)
        if spec.alignment is None:
            order = read_order(self._ground.prepared)
            folder = self._ground.prepared
            if order is None:
                raise NotFound(f"party {party.name} has no aligned rows in '{self._me.prepared}'", hint="align first")
        else:
            folder = self._ground.folder if spec.prediction is None else self._ground.memory
            order = self._aligned(table, key, others, haves, folder)
        if spec.prediction is not None:
            self._predict(folder)
        if spec.training is None:
            return
        party.at("reading")
        block = read_block(folder, self._ground.label if self._me.role is PartyRole.LABEL else None)
        block, shift = _scaled_label(block, spec.training.model)
        mine = Shape(digest=order.digest, train=order.train, test=order.test, columns=block.features["train"].shape[1])
        everybody = [*others, *(each.name for each in spec.with_role(PartyRole.PRODUCER))]
        say_value(party, everybody, "shape", 0, mine)
        shapes = {name: expect_value(party, name, "shape", 0, Shape, patient=True) for name in others} | {party.name: mine}
        in_order = {each.name: shapes[each.name] for each in spec.with_role(*DATA_ROLES)}
        weights, steps = self._train(_plan(spec, in_order, haves), block)
        document = block_of_model(
            party.name, block, weights, kind=spec.training.model, steps=steps, shift=shift
        ).model_dump_json(indent=1)
        for place in {self._ground.memory, self._ground.folder}:  # in the session's own folder it stays whatever comes later
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_text(place / MODEL, document)

    def _predict(self, folder: Path) -> None:
        assert self._ground.source is not None, "asked for only where something is aligned"
        aligned = read_table(folder / f"{self._ground.source.stem}_aligned.csv")
        self._ground.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        block = read_block_of_model(self._ground.model)
        predict(self._party, self._spec, self._keys, block=block, table=aligned, folder=self._ground.folder)

    def _compare(self, others: Sequence[str], helpers: Sequence[str]) -> dict[str, Have]:
        """Tells everybody what is left of earlier epochs, and hears it of the other owners."""
        order = read_order(self._ground.memory)
        kept = sorted(self._party.kept(), key=lambda each: (each[1], each[0]))[-KEPT_MOST:]
        mine = Have(digest=order.digest if order is not None and self._spec.alignment is not None else "", kept=tuple(kept))
        if self._spec.alignment is None and (prepared := read_order(self._ground.prepared)) is not None:
            mine = Have(digest=prepared.digest, kept=tuple(kept))
        say_value(self._party, [*others, *helpers], "have", 0, mine)
        haves = {name: expect_value(self._party, name, "have", 0, Have) for name in others}
        return {**haves, self._party.name: mine}

    def _aligned(
        self, table: Table | None, key: SessionKey, others: Sequence[str], haves: Mapping[str, Have], folder: Path
    ) -> Order:
        assert self._spec.alignment is not None, "asked for only where something is aligned"
        order = read_order(self._ground.memory)
        if order is not None and _same_rows(haves):
            return order
        assert table is not None and self._ground.source is not None, "read before the first hello"
        self._party.at("aligning")
        (main,) = (each.name for each in self._spec.with_role(PartyRole.MAIN))
        wanted, target = self._spec.alignment, (folder, self._ground.source.stem)
        order = align_as_owner(self._party, (main, *others), wanted=wanted, key=key, table=table, target=target)
        write_text(self._ground.memory / ORDER, order.model_dump_json())
        return order

    def _train(self, plan: Plan, block: Block) -> tuple[Reals, int]:
        party = self._party
        party.at("setting up")
        if party.name not in {plan.label, plan.feature}:
            open_columns(party, plan, self._keys, block)
            party.at("waiting for the model")
            return own_weights(party, plan, self._keys), plan.wanted.steps
        computing = Computing(party, plan, self._keys, block)
        share: Words = computing.run()
        computing.give_blocks(share)
        return own_weights(party, plan, self._keys, share), plan.wanted.steps


def _scaled_label(block: Block, model: str) -> tuple[Block, tuple[float, float]]:
    """The label as the model is to meet it: classes as they are, numbers standardised.

    Raises:
        Invalid: labels of a logistic model that are not 0 and 1.
    """
    if not block.truth:
        return block, (0.0, 1.0)
    if model == "logistic":
        if any(not np.all(np.isin(truth, (0.0, 1.0))) for truth in block.truth.values()):
            raise Invalid("the labels of a logistic model are 0 and 1, this column has others")
        return block, (0.0, 1.0)
    mean, spread = float(block.truth["train"].mean()), float(block.truth["train"].std()) or 1.0
    truth = {part: (values - mean) / spread for part, values in block.truth.items()}
    return Block(block.names, block.scaling, block.features, truth), (mean, spread)
