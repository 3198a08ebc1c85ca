"""How do two parties train a model of what several hold? The scripts of producer, computing parties and column owners.

The label client and the first feature client hold shares of the weights; every owner opens E = X − U to both once. A step is
    1. F: both open w − V, and have shares of the logits;
    2. `open`: the label client is given the other share and takes the slope of the loss; `private`: both open δ = z − r modulo
       one period and come to shares of the slope by the Fourier series;
    3. G: the slope less its mask is opened, and both subtract their shares of the gradient.
In `open` the label client knows the slope, so it may know its mask too: the producer gives it all of V for the way back and
nothing to the other, which saves a message and a draw.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from node.errors import Invalid
from node.model.federated import Record, TrainingRequest
from node.pipeline.federated.agreement import Keys
from node.pipeline.federated.beaver import PHASE_MASK, SETS, Blocks, Dealer, Hand, draw_block, draw_share
from node.pipeline.federated.losses import LOSSES
from node.pipeline.federated.masks import MaskStream
from node.pipeline.federated.metrics import measure
from node.pipeline.federated.party import Party, expect_words, say_words
from node.pipeline.federated.prepared import Block
from node.pipeline.federated.ring import (
    FEATURE_BITS,
    GRADIENT_BITS,
    LOGIT_BITS,
    WEIGHT_BITS,
    WORD_BYTES,
    Reals,
    Rows,
    Words,
    decode,
    encode,
    pack,
    unpack,
)
from node.pipeline.federated.sigmoid import HARMONICS, LOGIT_MOST, PHASE_BITS, Factors, combined
from node.pipeline.federated.split import Batches

DEAL_BYTES: Final = 512 * 1024  # of one message of the producer; one step at the least
DEAL_STEPS: Final = 16
AHEAD: Final = 4  # messages that the producer may be ahead: × 512 KiB wait at the second party
BURN_STEPS: Final = 64  # burned at once: a commit for each step would cost as much as the step


@dataclass(frozen=True, slots=True)
class Plan:
    """What all parties know of a training: who computes, how many rows and columns there are, and where it begins.

    `start` is the step that the weights of `begun_in`, an earlier epoch, are kept for; 0 begins anew.
    """

    wanted: TrainingRequest
    label: str
    feature: str
    producer: str
    blocks: Blocks
    rows: Mapping[str, int]
    start: int = 0
    begun_in: int = 0

    @property
    def batches(self) -> Batches:
        """The rows of each step."""
        return Batches(self.rows["train"], self.wanted.batch_size, self.wanted.batch_seed)

    @property
    def deal_steps(self) -> int:
        """How many steps one message of the producer is for."""
        return max(1, min(DEAL_STEPS, DEAL_BYTES // (self.deal_words * WORD_BYTES)))

    @property
    def deal_words(self) -> int:
        """Words that the second party needs for a step: Z, Z for the way back, and in `private` the waves."""
        size = self.batches.size
        return size + self.blocks.columns + (2 * HARMONICS * size if self.wanted.private else 0)

    def tested_after(self, done: int) -> bool:
        """Whether the test rows are predicted once so many steps are done."""
        due = done % self.wanted.test_every == 0 or done == self.wanted.steps
        return due and self.rows["test"] > 0 and (self.wanted.reveal_test or not self.wanted.private)


# -- the producer


def produce(party: Party, plan: Plan, keys: Keys) -> None:
    """Deals everything, at most `AHEAD` messages before it is used. Learns shapes and the schedule."""
    streams = {owner: _stream(keys, owner) for owner in {*plan.blocks.owners, plan.label, plan.feature}}
    dealer = Dealer(streams[plan.label], streams[plan.feature], streams, plan.blocks)
    for rows in SETS:
        say_words(party, plan.feature, f"share of U {rows}", 0, dealer.set_up(rows, plan.rows[rows]))
    batches = plan.batches
    for number, first in enumerate(range(plan.start, plan.wanted.steps, plan.deal_steps)):
        if number >= AHEAD:
            party.expect(plan.feature, "credit", number - AHEAD, patient=True)
        steps = range(first, min(first + plan.deal_steps, plan.wanted.steps))
        party.at("dealing", first)
        dealt = np.empty((len(steps), plan.deal_words), np.uint64)
        for row, step in zip(dealt, steps, strict=True):
            _deal(dealer, plan, batches.at(step), step, row)
        say_words(party, plan.feature, "deal", first, dealt)
        for done in (at + 1 for at in steps if plan.tested_after(at + 1)):
            say_words(party, plan.feature, "deal for a test", done, dealer.forward("test", None, "test", done))


def _deal(dealer: Dealer, plan: Plan, which: Rows, step: int, row: Words) -> None:
    """Puts what the second party needs for a step into a row of a message."""
    end = which.size + plan.blocks.columns
    row[: which.size] = dealer.forward("train", which, "step", step)
    row[which.size : end] = dealer.backward(which, step, shared=plan.wanted.private)
    if plan.wanted.private:
        row[end:] = dealer.waves(which.size, step).ravel()


def _stream(keys: Keys, other: str) -> MaskStream:
    return MaskStream(keys.pair(other, "masks"))


# -- the owners of columns


def open_columns(party: Party, plan: Plan, keys: Keys, block: Block) -> dict[str, Words]:
    """Opens E of this owner's columns to both computing parties, and gives it."""
    stream = _stream(keys, plan.producer)
    return _open_columns(party, plan, stream, block)


def _open_columns(party: Party, plan: Plan, stream: MaskStream, block: Block) -> dict[str, Words]:
    opened = {}
    for rows in SETS:
        words = encode(block.features[rows], FEATURE_BITS)
        opened[rows] = words - draw_block(stream, rows, *words.shape)
        for other in {plan.label, plan.feature} - {party.name}:
            say_words(party, other, f"E {rows}", 0, opened[rows])
    return opened


def own_weights(party: Party, plan: Plan, keys: Keys, share: Words | None = None) -> Reals:
    """This owner's block of the model, out of the shares that it is given at the end and, where it computes, its own.

    They travel closed: a node that carries both would have the block.
    """
    place = plan.blocks.place(party.name)
    total = np.zeros(place.stop - place.start, np.uint64)
    for other in (plan.label, plan.feature):
        if other == party.name:
            assert share is not None, "a computing party has a share"
            total = total + share[place]
        else:
            content = keys.opened(other, "weights", party.expect(other, "weights", 0, patient=True))
            total = total + unpack(content, total.shape)
    return decode(total, WEIGHT_BITS)


# -- the computing parties


class Computing:
    """A computing party's side of a training; `run` goes through all steps."""

    def __init__(self, party: Party, plan: Plan, keys: Keys, block: Block) -> None:
        self.party = party
        self.plan = plan
        self.first = party.name == plan.label
        self.other = plan.feature if self.first else plan.label
        self.truth = block.truth
        self._batches = plan.batches
        self._keys = keys
        self._stream = _stream(keys, plan.producer)
        self._hand = Hand(self._stream, first=self.first)
        self._columns = plan.blocks.columns
        self._rate = plan.wanted.learning_rate / self._batches.size
        self._factors = Factors(self._rate) if plan.wanted.private else None
        self._dealt: Words = np.zeros(0, np.uint64)
        self._burned = plan.start
        self._set_up(_open_columns(party, plan, self._stream, block))

    def run(self) -> Words:
        """All steps; this party's share of the weights at the end.

        Raises:
            Invalid: the model cannot be trained with these numbers.
            DeadlineExceeded, Malformed: another party is silent, or breaks the protocol.
        """
        weights = self._beginning()
        for step in range(self.plan.start, self.plan.wanted.steps):
            self.party.at("training", step)
            if step >= self._burned:
                self._burned = min(step + BURN_STEPS, self.plan.wanted.steps)
                self.party.burn(self._burned)
            weights = weights - self._gradient(step, weights)
            done = step + 1
            if self.plan.tested_after(done):
                self._test(done, weights)
            if done % self.plan.wanted.checkpoint_every == 0 or done == self.plan.wanted.steps:
                self.party.keep(done, pack(weights))
        return weights

    def give_blocks(self, weights: Words) -> None:
        """Gives every owner this party's share of that owner's block, and of no other."""
        for owner in self.plan.blocks.owners:
            if owner != self.party.name:
                content = pack(weights[self.plan.blocks.place(owner)])
                self.party.say(owner, "weights", 0, self._keys.closed(owner, "weights", content))

    def _set_up(self, own: Mapping[str, Words]) -> None:
        for rows in SETS:
            count = self.plan.rows[rows]
            blocks = [
                own[rows]
                if owner == self.party.name
                else expect_words(self.party, owner, f"E {rows}", 0, (count, width), patient=True)
                for owner, width in zip(self.plan.blocks.owners, self.plan.blocks.widths, strict=True)
            ]
            if self.first:
                share = draw_share(self._stream, rows, count, self._columns)
            else:
                shape = (count, self._columns)
                share = expect_words(self.party, self.plan.producer, f"share of U {rows}", 0, shape, patient=True)
            self._hand.hold(rows, np.concatenate(blocks, axis=1), share)

    def _beginning(self) -> Words:
        if self.plan.start == 0:
            return np.zeros(self._columns, np.uint64)
        return unpack(self.party.kept()[self.plan.begun_in, self.plan.start], (self._columns,))

    def _gradient(self, step: int, weights: Words) -> Words:
        which = self._batches.at(step)
        correlated, back, waves = self._correlated(step, which.size)
        logits = self._logits(("step", step), which, weights, correlated)
        if self._factors is None:
            opened, mask = self._slope_in_the_open(step, which, logits)
        else:
            opened, mask = self._slope_in_private(step, which, logits, waves, self._factors)
        return self._hand.transposed_times("train", which, opened, mask, back)

    def _correlated(self, step: int, size: int) -> tuple[Words, Words, Words]:
        """What belongs to a step: shares of Z, of Z for the way back, and of the waves."""
        if self.first:
            correlated = self._stream.draw("Z step", step, (size,))
            back = self._stream.draw("Z back", step, (self._columns,))
            empty = np.zeros((2 * HARMONICS, 0), np.uint64)
            return correlated, back, self._stream.draw("waves", step, (2 * HARMONICS, size)) if self._factors else empty
        each = self.plan.deal_words
        place = (step - self.plan.start) % self.plan.deal_steps
        if place == 0:
            steps = min(self.plan.deal_steps, self.plan.wanted.steps - step)
            self._dealt = expect_words(self.party, self.plan.producer, "deal", step, (steps, each), patient=True)
            number = (step - self.plan.start) // self.plan.deal_steps
            if step + AHEAD * self.plan.deal_steps < self.plan.wanted.steps:  # the last ones are dealt already
                self.party.say(self.plan.producer, "credit", number, b"")
        row = self._dealt[place]
        end = size + self._columns
        return row[:size], row[size:end], row[end:].reshape(2 * HARMONICS, -1)

    def _logits(self, occasion: tuple[str, int], which: Rows | None, weights: Words, correlated: Words) -> Words:
        """A share of the logits of a batch, or of all test rows, under the name and number of its masks."""
        name, index = occasion
        mask = self._stream.draw(f"V {name}", index, (self._columns,))
        opened = self._exchange(f"F {name}", index, weights - mask)
        return self._hand.times("test" if which is None else "train", which, opened, mask, correlated)

    def _exchange(self, what: str, index: int, share: Words, bits: int = 64) -> Words:
        """Opens a masked word that both have shares of."""
        say_words(self.party, self.other, what, index, share)
        return share + expect_words(self.party, self.other, what, index, share.shape, bits=bits)

    def _slope_in_the_open(self, step: int, which: Rows, share: Words) -> tuple[Words, Words | None]:
        if not self.first:
            say_words(self.party, self.other, "z", step, share)
            return expect_words(self.party, self.other, "G", step, share.shape), None
        logits = decode(share + expect_words(self.party, self.other, "z", step, share.shape), LOGIT_BITS)
        slope = LOSSES[self._loss].slope(logits, self.truth["train"][which])
        mask = self._stream.draw("V back", step, share.shape)
        opened = self._encoded(slope, step) - mask
        say_words(self.party, self.other, "G", step, opened)
        return opened, mask

    def _slope_in_private(
        self, step: int, which: Rows, share: Words, waves: Words, factors: Factors
    ) -> tuple[Words, Words | None]:
        mine = (share - self._stream.draw("r", step, share.shape, PHASE_BITS)) & PHASE_MASK
        delta = self._exchange("delta", step, mine, PHASE_BITS) & PHASE_MASK
        slope = combined(factors.of(delta), waves)
        if self.first:
            slope = slope - self._encoded(self.truth["train"][which] - 0.5, step)
        mask = self._stream.draw("V back", step, share.shape)
        return self._exchange("G", step, slope - mask), mask

    def _encoded(self, slope: Reals, step: int) -> Words:
        try:
            return encode(slope * self._rate, GRADIENT_BITS)
        except OverflowError as error:
            raise Invalid(f"the model diverges in step {step}", hint="lower training.learning_rate") from error

    @property
    def _loss(self) -> str:
        return "logistic" if self.plan.wanted.model == "logistic" else "mse"

    def _test(self, done: int, weights: Words) -> None:
        """Opens the logits of the test rows to the label client, which publishes how good they are."""
        count = self.plan.rows["test"]
        if self.first:
            correlated = self._stream.draw("Z test", done, (count,))
        else:
            correlated = expect_words(self.party, self.plan.producer, "deal for a test", done, (count,), patient=True)
        share = self._logits(("test", done), None, weights, correlated)
        if not self.first:
            say_words(self.party, self.other, "z of the test", done, share)
            return
        logits = decode(share + expect_words(self.party, self.other, "z of the test", done, (count,)), LOGIT_BITS)
        largest = float(np.max(np.abs(logits)))
        if self.plan.wanted.private and largest > LOGIT_MOST:
            raise Invalid(
                f"after step {done} a test logit is {largest:.1f}, beyond ±{LOGIT_MOST:g} the hidden sigmoid is not right",
                hint="lower training.learning_rate or training.steps, or train in mode 'open'",
            )
        self.party.record(self._measured(done, logits))

    def _measured(self, done: int, logits: Reals) -> Record:
        loss, truth = LOSSES[self._loss], self.truth["test"]
        values = measure(self.plan.wanted.metrics, truth, loss.answer(logits)) if self._loss == "logistic" else {}
        told = {name: None if math.isnan(value) else value for name, value in values.items()}
        return Record(seconds=self.party.seconds(), step=done, loss=loss.value(logits, truth), metrics=told)
