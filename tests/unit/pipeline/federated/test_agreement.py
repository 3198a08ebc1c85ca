import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from node.errors import Malformed
from node.pipeline.federated.agreement import Agreement, Occasion

NAMES = ("main", "producer", "f1", "label")
SIGNING = {name: Ed25519PrivateKey.from_private_bytes(bytes([place]) * 32) for place, name in enumerate(NAMES)}
IDENTITIES = {name: key.public_key().public_bytes_raw() for name, key in SIGNING.items()}
OCCASION = Occasion("s-1", bytes(32), 1)


def without(items, name):
    return {other: item for other, item in items.items() if other != name}


def met(occasions=None):
    sides = {name: Agreement(name, SIGNING[name].private_bytes_raw(), (occasions or {}).get(name, OCCASION)) for name in NAMES}
    hellos = {name: side.hello for name, side in sides.items()}
    return {name: side.meet(without(hellos, name), without(IDENTITIES, name)) for name, side in sides.items()}


def test_x25519_is_that_of_rfc_7748_section_5_2():
    scalar = bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
    point = bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
    shared = X25519PrivateKey.from_private_bytes(scalar).exchange(X25519PublicKey.from_public_bytes(point))
    assert shared.hex() == "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"


def test_ed25519_is_that_of_rfc_8032_section_7_1():
    key = Ed25519PrivateKey.from_private_bytes(
        bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    )
    assert key.public_key().public_bytes_raw().hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert key.sign(b"").hex().startswith("e5564300c360ac729086e2cc806e828a")


def test_two_have_one_key_for_each_purpose_and_nobody_else_has_it():
    keys = met()
    assert keys["f1"].pair("label", "masks") == keys["label"].pair("f1", "masks")
    assert keys["f1"].pair("label", "masks") != keys["f1"].pair("label", "other")
    assert keys["f1"].pair("label", "masks") != keys["f1"].pair("producer", "masks")
    assert len({each.transcript for each in keys.values()}) == 1


def test_those_who_hold_data_come_to_one_session_key_and_confirm_it():
    keys = met()
    f1 = keys["f1"].session_key({"label": keys["label"].sealed("f1")})
    label = keys["label"].session_key({"f1": keys["f1"].sealed("label")})
    f1.check("label", label.confirmation("label"))
    label.check("f1", f1.confirmation("f1"))
    with pytest.raises(Malformed, match="another session key"):
        f1.check("label", label.confirmation("f1"))


def test_who_carries_a_sealed_contribution_cannot_open_it():
    keys = met()
    with pytest.raises(Malformed, match="cannot be opened"):
        keys["producer"].session_key({"label": keys["label"].sealed("f1")})


@pytest.mark.parametrize(
    "other", [Occasion("s-2", bytes(32), 1), Occasion("s-1", b"\1" * 32, 1), Occasion("s-1", bytes(32), 2)]
)
def test_a_hello_for_another_session_spec_or_epoch_is_refused(other):
    with pytest.raises(Malformed, match="hello of party"):
        met({"f1": other})


def test_a_hello_of_somebody_else_is_refused():
    side = Agreement("f1", SIGNING["f1"].private_bytes_raw(), OCCASION)
    stranger = Agreement("label", Ed25519PrivateKey.generate().private_bytes_raw(), OCCASION)
    with pytest.raises(Malformed, match="party label"):
        side.meet({"label": stranger.hello}, IDENTITIES)
    with pytest.raises(Malformed, match="127 bytes"):
        side.meet({"label": stranger.hello[:-1]}, IDENTITIES)


def test_a_key_of_low_order_is_refused():
    side = Agreement("f1", SIGNING["f1"].private_bytes_raw(), OCCASION)
    fresh = bytes(64)
    hello = fresh + SIGNING["label"].sign(OCCASION.bytes_of("label") + fresh)
    with pytest.raises(Malformed, match="low order"):
        side.meet({"label": hello}, IDENTITIES)
