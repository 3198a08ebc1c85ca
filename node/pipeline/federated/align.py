"""How do the parties of a session find their common rows? The scripts of the main client and of those that hold data."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from node.errors import Invalid, Malformed
from node.model.federated import ROWS_MOST, AlignmentRequest
from node.pipeline.federated.agreement import SessionKey
from node.pipeline.federated.party import Party
from node.pipeline.federated.prepared import Order, write_prepared
from node.pipeline.federated.psi.keyed import TAG_BYTES, check_places, hidden, intersection, read_tags, tags_of
from node.pipeline.federated.split import is_for_test, shuffled
from node.pipeline.federated.table import Table


def align_as_main(party: Party, others: Sequence[str]) -> None:
    """Matches opaque tags; learns how many each party has and which of them overlap."""
    lists = []
    for other in others:
        content = party.expect(other, "tags", 0, patient=True)
        if len(content) > ROWS_MOST * TAG_BYTES:
            raise Malformed(f"party {other} sent {len(content)} bytes of tags")
        lists.append(read_tags(content))
    for other, places in zip(others, intersection(lists), strict=True):
        party.say(other, "places", 0, places.astype("<i8").tobytes())


def align_as_owner(
    party: Party,
    everybody: Sequence[str],
    *,
    wanted: AlignmentRequest,
    key: SessionKey,
    table: Table,
    target: tuple[Path, str],
) -> Order:
    """Finds this party's common rows and writes them to `target`, a folder and the name of the files.

    `everybody` is the main client, then the other owners.

    Raises:
        Invalid: fewer ids in common than the session allows.
        Malformed: main or another party broke the protocol.
    """
    main, *others = everybody
    tags = tags_of(table.ids, key.purpose("psi"))
    offered, rows = hidden(tags, wanted.bucket)
    party.say(main, "tags", 0, offered.astype("<u8").tobytes())
    answer = party.expect(main, "places", 0, patient=True)
    if len(answer) % 8:
        raise Malformed("the main client's choice of rows is cut off")
    chosen = check_places(np.frombuffer(answer, "<i8").astype(np.int64), rows)
    chosen, marks = shuffled(table.ids, chosen, wanted.split_seed)
    digest = hashlib.sha256(tags[chosen].astype("<u8").tobytes()).digest()
    for other in others:
        party.say(other, "order", 0, digest)
    for other in others:
        if party.expect(other, "order", 0, patient=True) != digest:
            raise Malformed(f"party {other} has other rows in common, or in another order: the alignment is not to be trusted")
    if chosen.size < wanted.min_intersection:
        raise Invalid(
            f"the parties have {chosen.size} ids in common, the session wants {wanted.min_intersection} at least",
            hint="check that the id columns hold the same kind of id, or lower alignment.min_intersection",
        )
    aligned = table.picked(chosen, table.names)
    tested = is_for_test(marks, wanted.fraction)
    folder, name = target
    return write_prepared(folder, name, aligned, tested, digest.hex())
