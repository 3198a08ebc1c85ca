import numpy as np
import pytest

from node.errors import Internal
from node.pipeline.federated.masks import MaskStream, derive, keystream


def test_the_keystream_is_that_of_rfc_8439():
    """Appendix A.1, test vectors 1 and 4: key zero with counter 0 and 2 of nonce zero, and a key whose second byte is 0xff."""
    assert keystream(bytes(32), 0, 64).hex().startswith("76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7")
    fourth = keystream(bytes([0, 0xFF]) + bytes(30), 0, 192)[128:]
    assert fourth.hex().startswith("72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca")


def test_keys_are_derived_as_in_rfc_5869():
    """Our purposes begin with a word of ours, so the vector is checked through its primitive."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    found = HKDF(hashes.SHA256(), 42, bytes(range(13)), bytes(range(0xF0, 0xFA))).derive(bytes([11]) * 22)
    assert found.hex().startswith("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf")
    assert derive(b"secret", "one") != derive(b"secret", "other")


def test_twins_draw_alike_and_other_names_and_indexes_differently():
    key = bytes(range(32))
    one, twin = MaskStream(key), MaskStream(key)
    first, second = one.draw("V", 0, (3, 2)), one.draw("V", 7, (3, 2))
    assert (first == twin.draw("V", 0, (3, 2))).all()
    assert (second == twin.draw("V", 7, (3, 2))).all()
    assert (first != second).all()
    assert (first != one.draw("W", 0, (3, 2))).all()


@pytest.mark.parametrize("index", [4, 3])
def test_no_index_is_drawn_twice(index):
    stream = MaskStream(bytes(32))
    stream.draw("V", 4, (1,))
    with pytest.raises(Internal, match="drawn before"):
        stream.draw("V", index, (1,))


def test_fewer_bits_are_uniform_below_their_bound():
    words = MaskStream(bytes(32)).draw("r", 0, (20_000,), 61)
    assert int(words.max()) < 2**61
    counts = np.bincount((words >> np.uint64(57)).astype(int), minlength=16)
    assert ((counts - 1250) ** 2 / 1250).sum() < 37.7  # chi-square, 15 degrees of freedom, 0.1 %
