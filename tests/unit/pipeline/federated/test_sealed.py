import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import Malformed
from node.pipeline.federated.sealed import TAG_BYTES, close_word, open_word

KEY = bytes(range(32))


@given(st.binary(max_size=300), st.text(max_size=20))
def test_a_closed_word_is_opened_under_its_own_name_and_key(content, name):
    closed = close_word(KEY, name, content)
    assert open_word(KEY, name, closed) == content
    assert len(closed) == len(content) + TAG_BYTES
    for key, other in ((KEY, name + "1"), (KEY[::-1], name)):
        with pytest.raises(Malformed, match="cannot be opened"):
            open_word(key, other, closed)


def test_a_changed_word_is_none():
    closed = bytearray(close_word(KEY, "G 5 0", b"words"))
    closed[2] ^= 1
    with pytest.raises(Malformed, match="'G 5 0' cannot be opened"):
        open_word(KEY, "G 5 0", bytes(closed))
