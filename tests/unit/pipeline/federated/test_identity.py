import pytest

from node.errors import Malformed, StorageFailed
from node.pipeline.federated.identity import check_spec, knows_token, load_or_create, prove_token


def test_the_key_is_made_once_for_its_owner_only(tmp_path):
    path = tmp_path / "signing.key"
    key = load_or_create(path)
    assert load_or_create(path).public == key.public
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    with pytest.raises(StorageFailed, match="read by others"):
        load_or_create(path)


def test_a_torn_key_is_not_replaced(tmp_path):
    path = tmp_path / "signing.key"
    load_or_create(path)
    path.write_bytes(b"half")
    with pytest.raises(StorageFailed, match="holds 4 bytes"):
        load_or_create(path)


def test_a_signature_stands_for_one_spec_and_one_key(tmp_path):
    key, other = load_or_create(tmp_path / "a"), load_or_create(tmp_path / "b")
    signature = key.sign_spec(bytes(32))
    check_spec(bytes(32), signature, key.public)
    for digest, public in ((b"\1" * 32, key.public), (bytes(32), other.public)):
        with pytest.raises(Malformed, match="not signed"):
            check_spec(digest, signature, public)


def test_a_proof_of_the_token_is_good_for_one_token_and_one_spec():
    proof = prove_token("agreed", bytes(32))
    assert "agreed" not in proof
    assert knows_token(proof, "agreed", bytes(32))
    assert not knows_token(proof, "other", bytes(32))
    assert not knows_token(proof, "agreed", b"\1" * 32)
    assert not knows_token(prove_token("", bytes(32)), "", bytes(32)), "a node without a token is shown nothing"
