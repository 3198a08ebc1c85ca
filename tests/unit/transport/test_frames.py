"""Do messages survive the wire, and is everything else refused as what it is?"""

from __future__ import annotations

import contextlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_examples import EXAMPLES

from node.errors import Malformed, Rejected, TooLarge
from node.transport import limits
from node.transport.bodies import pack_value
from node.transport.frames import NO_DEADLINE, OPENING, Kind, Message, check_size, decode, encode, pack_body, unpack_body

MOST = limits.MESSAGE_BYTES
NOW = 1000.0

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=30,
)
messages = st.builds(
    Message,
    kind=st.sampled_from(Kind),
    id=st.integers(0, 2**63 - 1),
    word=st.text(max_size=limits.WORD_CHARS),
    body=plain.map(pack_body) | st.just(b""),
    blobs=st.lists(st.binary(max_size=200), max_size=5).map(tuple),
)


bursts = st.lists(messages, min_size=1, max_size=5)


def fields(message: Message) -> tuple[object, ...]:
    return message.kind, message.id, message.word, message.body, message.blobs, message.size


@given(bursts)
def test_a_burst_survives_the_wire(burst: list[Message]) -> None:
    arrived = decode(encode(burst, NOW), NOW, MOST)
    assert [fields(message) for message in arrived] == [fields(message) for message in burst]


@given(plain)
def test_a_body_survives_the_wire(value: object) -> None:
    assert unpack_body(pack_body(value)) == value


@given(st.lists(st.binary(max_size=300), max_size=6))
def test_any_bytes_are_a_message_or_a_clean_refusal(frames: list[bytes]) -> None:
    with contextlib.suppress(Rejected):
        for message in decode(frames, NOW, MOST):
            unpack_body(message.body)


@given(bursts, st.data())
def test_a_flipped_byte_is_a_message_or_a_clean_refusal(burst: list[Message], data: st.DataObject) -> None:
    frames = [bytearray(frame) for frame in encode(burst, NOW)]
    frame = data.draw(st.sampled_from([frame for frame in frames if frame]))
    frame[data.draw(st.integers(0, len(frame) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(Rejected):
        for message in decode(frames, NOW, MOST):
            unpack_body(message.body)


@given(st.binary(max_size=2000))
def test_any_body_is_a_value_or_malformed(body: bytes) -> None:
    with contextlib.suppress(Malformed):
        unpack_body(body)


@given(st.floats(-10, 1e6), st.floats(0, 1e9))
def test_a_deadline_travels_as_the_time_that_remains(remaining: float, there: float) -> None:
    request = Message(Kind.REQUEST, 1, "m", deadline=NOW + remaining)
    (found,) = decode(encode([request], NOW), there, MOST)
    arrived = found.deadline - there
    expected = min(max(remaining, 0), limits.DEADLINE_MS / 1000)
    assert expected - 0.002 <= arrived <= expected + 0.001


def test_only_a_request_has_a_deadline() -> None:
    (reply,) = decode(encode([Message(Kind.REPLY, 1, deadline=NOW + 1)], NOW), NOW, MOST)
    assert reply.deadline == NO_DEADLINE


def test_blobs_are_frames_of_their_own_and_are_not_copied() -> None:
    picture = bytearray(100_000)
    frames = encode([Message(Kind.PING), Message(Kind.REQUEST, 1, "m", b"\xc0", (picture,))], NOW)
    assert frames[1:] == [picture]
    assert frames[1] is picture
    assert decode(frames, NOW, MOST)[1].blobs[0] is picture


def test_another_version_and_another_magic_are_told_apart() -> None:
    with pytest.raises(Malformed, match="wire version 7") as caught:
        decode([b"\xec\x07\x90", b""], NOW, MOST)
    assert "version 2" in caught.value.hint
    with pytest.raises(Malformed, match="0xEC"):
        decode([b"\xed\x01\x90", b""], NOW, MOST)


RECORD = [4, 1, "m", 0, b"", 0]


def record(**changed: object) -> list[object]:
    names = ("kind", "id", "word", "remaining", "body", "blobs")
    return [changed.get(name, value) for name, value in zip(names, RECORD, strict=True)]


@pytest.mark.parametrize(
    "head",
    [
        [],
        RECORD,
        [RECORD, RECORD[:5]],
        [[*RECORD, 0]],
        [record(kind=99)],
        [record(kind=True)],
        [record(kind=[4])],
        [record(id=-1)],
        [record(id=2**63)],
        [record(word=5)],
        [record(word="m" * 129)],
        [record(remaining=-5)],
        [record(remaining=1.5)],
        [record(body="text")],
        [record(blobs=2)],
        [record(blobs=-1)],
        [record(blobs=1), record(blobs=1)],
        [{"kind": 4}],
        {"kind": 4},
        [RECORD] * 129,
    ],
)
def test_a_head_of_another_shape_is_malformed(head: object) -> None:
    with pytest.raises(Malformed):
        decode([OPENING + msgpack.packb(head), b"one blob"], NOW, MOST)


def test_every_blob_belongs_to_a_message() -> None:
    with pytest.raises(Malformed, match="more blobs"):
        decode([OPENING + msgpack.packb([RECORD]), b"one blob"], NOW, MOST)


def test_a_head_that_would_grow_in_memory_is_malformed() -> None:
    nested = b"\xdd" + (60_000).to_bytes(4, "big") + b"\x91\x90" * 60_000
    for hostile in (nested, b"\x91" * 100_000, b"\xdc\x00\x80" + (b"\xdc\x00\x80" + b"\x90" * 128) * 128):
        with pytest.raises(Malformed):
            decode([OPENING + hostile], NOW, MOST)


def test_every_size_has_its_limit() -> None:
    with pytest.raises(TooLarge, match="body"):
        check_size(Message(Kind.REQUEST, body=bytes(limits.BODY_BYTES + 1)), MOST)
    with pytest.raises(TooLarge, match="blobs"):
        check_size(Message(Kind.REQUEST, blobs=(b"",) * (limits.BLOBS + 1)), MOST)
    with pytest.raises(TooLarge, match="121024 bytes"):
        check_size(Message(Kind.REQUEST, blobs=(bytes(60_000), bytes(60_000))), 100_000)
    with pytest.raises(Malformed, match="frames"):
        decode([], NOW, MOST)
    with pytest.raises(TooLarge):
        pack_body({"number": 2**70})


def test_a_view_with_gaps_is_refused_before_it_is_sent() -> None:
    with pytest.raises(Malformed, match="one piece"):
        check_size(Message(Kind.REQUEST, blobs=(memoryview(b"abcdef")[::2],)), MOST)


@pytest.mark.parametrize(
    "body",
    [
        b"\x91" * 5000 + b"\xc0",  # deeper than the decoder's stack
        b"\xdc\xff\xff" + b"\x80" * 65535,  # 64 KiB that would become 5 MB of maps
        b"\xdd\xff\xff\xff\xff",  # promises four thousand million items
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc4\x01x",  # binary: that is what blobs are for
        b"\xd4\x05x",  # an extension
        b"\xc7\x00\x05",  # an empty one
        b"\xd6\xff\x00\x00\x00\x00",  # a timestamp
        b"\x81\x01\x01",  # a key that is not text
        b"\xa1\xff",  # not UTF-8
        b"\xc0\xc0",  # two values
        b"\xc1",  # never used
        b"\x92\xc0",  # cut off
    ],
)
def test_a_hostile_body_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        unpack_body(body)


@pytest.mark.parametrize("filler", [0, 300])
@pytest.mark.parametrize("value", [1, "x", [], {}, {"b": 1}])
def test_a_key_given_twice_is_malformed_in_short_and_long_bodies(filler: int, value: object) -> None:
    pair = msgpack.packb("a") + msgpack.packb(value)
    with pytest.raises(Malformed, match="'a' given twice"):
        unpack_body(b"\x83" + pair + msgpack.packb("fill") + msgpack.packb("x" * filler) + pair)


@pytest.mark.parametrize("method", sorted(EXAMPLES))
def test_the_packer_takes_the_fields_of_a_value_as_a_dump_of_it_would(method: str) -> None:
    for value in EXAMPLES[method]:
        assert pack_value(value) == pack_body(value.model_dump())


@pytest.mark.parametrize("body", [{"a": [1]}, {"a": {"b": 1}}, {"a": 1.5, "b": None, "c": True, "d": "x"}, [1], "x", {}])
def test_a_short_body_is_read_the_same_on_either_way(body: object) -> None:
    assert unpack_body(pack_body(body)) == body


@pytest.mark.parametrize("body", [b"\x81\xa1a\xc4\x01x", b"\x81\xa1a\xd4\x05x", b"\x81\xa1a\xd6\xff\0\0\0\0"])
def test_a_short_body_with_bytes_an_extension_or_a_time_is_refused(body: bytes) -> None:
    with pytest.raises(Malformed):
        unpack_body(body)
