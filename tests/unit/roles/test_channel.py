"""The channel between a node and its children: every message arrives whole, every length is bounded."""

import asyncio
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import ChildLost, TooLarge
from node.roles.shared.channel import BLOBS, HEADER_BYTES, BlockingChannel, Message, pack, receive

headers = st.dictionaries(st.text(max_size=8), st.one_of(st.integers(-(2**53), 2**53), st.text(), st.booleans()), max_size=5)
blobs = st.lists(st.binary(max_size=300), max_size=4)


def through_a_stream(data: bytes) -> Message | None:
    async def read():
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        return await receive(reader)

    return asyncio.run(read())


@given(headers, blobs)
def test_what_was_packed_is_what_arrives(header, parts):
    data = b"".join(bytes(piece) for piece in pack(header, parts))
    assert through_a_stream(data) == Message(header, tuple(parts))


@given(headers, blobs)
def test_the_childs_end_speaks_the_same_protocol(header, parts):
    ours, theirs = socket.socketpair()
    with ours:
        channel = BlockingChannel(theirs.detach())
        ours.sendall(b"".join(bytes(piece) for piece in pack(header, parts)))
        assert channel.receive() == Message(header, tuple(parts))
        channel.send(header, parts)
        ours.shutdown(socket.SHUT_WR)
        assert channel.receive() is None
        channel.close()


def test_messages_that_came_together_are_read_one_by_one_with_blobs_of_any_size():
    ours, theirs = socket.socketpair()
    sent = [({"number": number}, (bytes(size),)) for number, size in enumerate((0, 1, 4087, 4096, 4097, 60_000, 5))]
    with ours:
        channel = BlockingChannel(theirs.detach())
        ours.sendall(b"".join(bytes(piece) for header, parts in sent for piece in pack(header, parts)))
        assert [channel.receive() for _ in sent] == [Message(header, parts) for header, parts in sent]
        channel.close()


def test_the_end_is_seen_behind_what_nobody_has_read():
    ours, theirs = socket.socketpair()
    channel = BlockingChannel(theirs.detach())
    ours.sendall(b"".join(bytes(piece) for piece in pack({"op": "run"})))
    ours.close()
    channel.wait_end()
    assert channel.receive() == Message({"op": "run"})
    channel.close()


@given(headers, blobs, st.integers(0, 40))
def test_a_cut_message_is_the_end_and_no_message(header, parts, cut):
    data = b"".join(bytes(piece) for piece in pack(header, parts))
    assert through_a_stream(data[: max(0, len(data) - 1 - cut)]) is None


def test_lengths_beyond_the_limits_are_refused_before_they_are_read():
    with pytest.raises(ChildLost, match="message of"):
        through_a_stream((HEADER_BYTES + 1).to_bytes(4, "big") + bytes(4))
    with pytest.raises(ChildLost, match="blob of"):
        through_a_stream((2).to_bytes(4, "big") + (1).to_bytes(4, "big") + b"\xff\xff\xff\xff{}")


@pytest.mark.parametrize("header", [b"[]", b"{", b"\xff\xff"])
def test_a_header_that_is_no_object_is_refused(header):
    with pytest.raises(ChildLost):
        through_a_stream(len(header).to_bytes(4, "big") + bytes(4) + header)


def test_too_much_is_not_sent():
    with pytest.raises(TooLarge):
        pack({}, [b""] * (BLOBS + 1))
