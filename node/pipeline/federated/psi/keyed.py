"""How does a main client without the key match ids that it cannot read?

Tag = BLAKE2b-128 of the NFC-normalised id, keyed by a key of the parties that hold data. Each shuffles its tags and may pad
them with random ones; main intersects and answers with row numbers only, in the order of the tags, so that all come to one
order. Main sees padded sizes and which opaque tags overlap; together with a party that has the key it could try ids one by one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from node.errors import Malformed
from node.pipeline.federated.order import order_of
from node.pipeline.federated.ring import WORD_BYTES, Rows

Tags: TypeAlias = NDArray[np.uint64]
"""Two words a tag, (n, 2)."""

TAG_BYTES: Final = 16


def tags_of(ids: Iterable[str], key: bytes) -> Tags:
    """The tags of normalised ids; a copied state of the hash makes 1.2 million a second."""
    base = hashlib.blake2b(key=key, digest_size=TAG_BYTES, person=b"ecnode psi")
    copy = base.copy
    content = bytearray()
    for each in ids:
        digest = copy()
        digest.update(each.encode())
        content += digest.digest()
    return read_tags(bytes(content))


def read_tags(content: bytes) -> Tags:
    """Tags as they travel.

    Raises:
        Malformed: that is no whole number of tags.
    """
    if len(content) % TAG_BYTES:
        raise Malformed(f"{len(content)} bytes are no whole number of tags")
    return np.frombuffer(content, "<u8").reshape(-1, 2)


def hidden(tags: Tags, bucket: int) -> tuple[Tags, Rows]:
    """The tags shuffled among random ones up to a multiple of `bucket`, and the row of each, −1 for padding.

    The shuffle and the padding come from the operating system: the order of the rows is a part of the data.
    """
    padded = -(-len(tags) // bucket) * bucket
    padding = read_tags(os.urandom((padded - len(tags)) * TAG_BYTES))
    shuffle = order_of(np.frombuffer(os.urandom(padded * WORD_BYTES), np.uint64))
    return np.concatenate([tags, padding]).take(shuffle, axis=0), np.where(shuffle < len(tags), shuffle, -1)


def intersection(lists: Sequence[Tags]) -> list[Rows]:
    """For each list the places of the tags that all have, in the order of the tags.

    Raises:
        Malformed: a list has a tag twice.
    """
    orders = [order_of(tags[:, 0]) for tags in lists]
    # `take` gathers in a seventh of the time that an index takes
    ordered = [tags.take(order, axis=0) for tags, order in zip(lists, orders, strict=True)]
    for number, tags in enumerate(ordered):
        if np.any(_same(tags[1:], tags[:-1])):
            raise Malformed(f"list {number} of the alignment has a tag twice")
    common = ordered[0]
    for tags in ordered[1:]:
        common = common[_found(common, tags) >= 0]
    return [order[_found(common, tags)] for tags, order in zip(ordered, orders, strict=True)]


def _found(wanted: Tags, among: Tags) -> Rows:
    """The place of each wanted tag, −1 where it is not among them; both sorted by their first words.

    Two different tags with one first word, once in 2^64 pairs, would lose one common id, and give no wrong one.
    """
    if not len(among):
        return np.full(len(wanted), -1)
    places = np.minimum(np.searchsorted(among[:, 0], wanted[:, 0]), len(among) - 1)
    return np.where(_same(among.take(places, axis=0), wanted), places, -1)


def _same(some: Tags, others: Tags) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (some[:, 0] == others[:, 0]) & (some[:, 1] == others[:, 1])
    return found


def check_places(places: Rows, rows: Rows) -> Rows:
    """The rows that main chose by their places, where these can be meant.

    Raises:
        Malformed: a place beyond the list, a padding, or one place twice.
    """
    if places.size and (int(places.min()) < 0 or int(places.max()) >= rows.size):
        raise Malformed("the main client chose a row that was not offered")
    chosen = rows[places]
    once = np.zeros(rows.size, bool)
    once[places] = True  # a tenth of what sorting them takes
    if int(np.count_nonzero(once)) != places.size or np.any(chosen < 0):
        raise Malformed("the main client chose a row twice, or a padding")
    return chosen
