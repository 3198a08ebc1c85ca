"""The data directory: one process at a time, a token that only its owner reads."""

import pytest

from node import datadir
from node.errors import Conflict, StorageFailed


def test_only_one_holder_at_a_time(tmp_path):
    held = datadir.own(tmp_path / "data")
    with pytest.raises(Conflict, match="another node runs on"):
        datadir.own(tmp_path / "data")
    held.close()
    datadir.own(tmp_path / "data").close()


def test_a_place_that_cannot_be_a_directory_is_named(tmp_path):
    (tmp_path / "data").write_text("")
    with pytest.raises(StorageFailed, match=r"node\.data_dir"):
        datadir.own(tmp_path / "data")


def test_the_token_is_made_once_and_is_private(tmp_path):
    made = datadir.token(tmp_path)
    assert len(made) >= 32
    assert datadir.token(tmp_path) == made
    assert (tmp_path / datadir.TOKEN_FILE).stat().st_mode & 0o777 == 0o600
