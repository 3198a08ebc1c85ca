"""Do chunks, pieces and marks add up, whatever the size?"""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import Invalid
from node.model.blob import BLOB_MOST, CHUNK_BYTES, DIGEST_BYTES, PIECE_BYTES, Layout, Manifest, Marks, check_id

ID = hashlib.sha256(b"abc").hexdigest()
SIZES = st.one_of(
    st.integers(0, 20 * CHUNK_BYTES),
    st.builds(lambda pieces, more: max(pieces * PIECE_BYTES + more, 0), st.integers(0, 40), st.integers(-1, 1)),
)


@given(SIZES)
def test_the_chunks_cover_every_byte_once(size: int) -> None:
    layout, end = Layout(size), 0
    for chunk in range(layout.chunks):
        offset, length = layout.chunk(chunk)
        assert offset == end
        assert 0 < length <= CHUNK_BYTES
        end += length
    assert end == size


@given(SIZES)
def test_the_pieces_of_the_chunks_cover_every_byte_once(size: int) -> None:
    layout, end = Layout(size), 0
    for chunk in range(layout.chunks):
        pieces = layout.pieces_of(chunk)
        assert {layout.chunk_of(piece) for piece in pieces} == {chunk}
        assert layout.span(pieces) == layout.chunk(chunk)
        for piece in pieces:
            offset, length = layout.span(range(piece, piece + 1))
            assert offset == end
            assert 0 < length <= PIECE_BYTES
            end += length
    assert end == size


@given(SIZES, st.data())
def test_marks_tell_what_is_there_and_what_is_missing(size: int, data: st.DataObject) -> None:
    layout = Layout(size)
    marks, there = Marks(layout), set()
    for _ in range(data.draw(st.integers(0, 12))):
        if not layout.pieces:
            break
        start = data.draw(st.integers(0, layout.pieces - 1))
        chunk = layout.chunk_of(start)
        if data.draw(st.booleans()):
            pieces = range(start, data.draw(st.integers(start, layout.pieces_of(chunk).stop)))
            marks.add(pieces)
            there.update(pieces)
        else:
            marks.drop(chunk)
            there.difference_update(layout.pieces_of(chunk))
    again = Marks(layout, bytes(marks))
    assert {piece for piece in range(layout.pieces) if piece in again} == there
    assert marks.received == sum(layout.span(range(piece, piece + 1))[1] for piece in there)
    for chunk in range(layout.chunks):
        missing = [piece for run in marks.missing(chunk) for piece in run]
        assert missing == [piece for piece in layout.pieces_of(chunk) if piece not in there]
        assert marks.has(chunk) == (not missing)


@given(st.binary(max_size=64), SIZES)
def test_marks_of_any_bytes_have_the_right_length(found: bytes, size: int) -> None:
    layout = Layout(size)
    marks = Marks(layout, found)
    assert len(bytes(marks)) == layout.pieces
    assert 0 <= marks.received <= size


@pytest.mark.parametrize(
    "text", ["", ID[:-1], ID + "0", ID.upper(), "../" + ID[3:], ID[:60] + "/../", ID + "\n", "٣" * 64, "0" * 63 + "\0"]
)
def test_only_sixty_four_digits_are_an_id(text: str) -> None:
    with pytest.raises(Invalid):
        check_id(text)
    assert check_id(ID) == ID


@pytest.mark.parametrize(
    ("size", "digests"),
    [(0, 1), (1, 0), (CHUNK_BYTES, 2), (CHUNK_BYTES + 1, 1), (-1, 0), (BLOB_MOST + 1, BLOB_MOST // CHUNK_BYTES + 1)],
)
def test_a_manifest_whose_parts_do_not_fit_is_refused(size: int, digests: int) -> None:
    with pytest.raises(Invalid):
        Manifest(ID, size, bytes(DIGEST_BYTES * digests))


def test_the_last_digest_of_a_manifest_is_the_id() -> None:
    assert Manifest(ID, 3, bytes.fromhex(ID)).digest(0).hex() == ID
    assert Manifest(hashlib.sha256().hexdigest(), 0, b"").layout.chunks == 0
    for id, size, digests in [(ID, 0, b""), (ID, 3, bytes(32)), (ID, CHUNK_BYTES + 1, bytes.fromhex(ID) + bytes(32))]:
        with pytest.raises(Invalid, match="last digest"):
            Manifest(id, size, digests)
