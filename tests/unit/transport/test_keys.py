"""Is the node's key made once, kept private, and never guessed?"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest
import zmq

from node.errors import ConfigInvalid, Malformed
from node.transport.keys import fingerprint, load_or_create, new_identity


def test_a_key_is_made_once_and_found_again(tmp_path: Path) -> None:
    first = load_or_create(tmp_path / "keys" / "node.key")
    assert load_or_create(tmp_path / "keys" / "node.key") == first
    assert zmq.curve_public(first.secret.encode()).decode() == first.public


def test_nobody_else_may_read_the_key_even_with_a_wide_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        load_or_create(tmp_path / "keys" / "node.key")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "keys" / "node.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["node.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o644])
def test_a_key_file_wider_than_0600_is_refused_with_the_command_that_mends_it(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "node.key"
    load_or_create(path)
    path.chmod(mode)
    with pytest.raises(ConfigInvalid) as caught:
        load_or_create(path)
    assert f"chmod 600 {path}" in caught.value.hint


def test_a_link_in_place_of_the_key_is_refused(tmp_path: Path) -> None:
    load_or_create(tmp_path / "elsewhere")
    (tmp_path / "node.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigInvalid, match="cannot be opened"):
        load_or_create(tmp_path / "node.key")


@pytest.mark.parametrize("text", ["", "rubbish", "public = 1\nsecret = 2\n", "public = 'x'\nsecret = 'y'\n", "\xff"])
def test_a_file_without_a_key_pair_is_refused_and_kept(tmp_path: Path, text: str) -> None:
    path = tmp_path / "node.key"
    path.write_text(text, encoding="latin-1")
    path.chmod(0o600)
    with pytest.raises(ConfigInvalid, match="holds no key pair"):
        load_or_create(path)
    assert path.read_text(encoding="latin-1") == text


def test_halves_of_two_pairs_are_refused(tmp_path: Path) -> None:
    path, other = tmp_path / "node.key", new_identity()
    mine = load_or_create(path)
    path.write_text(path.read_text().replace(mine.public, other.public))
    with pytest.raises(ConfigInvalid, match="holds no key pair"):
        load_or_create(path)


def test_the_secret_is_in_no_text_form() -> None:
    identity = new_identity()
    assert identity.secret not in f"{identity} {identity!r}"


def test_a_fingerprint_is_four_groups_and_depends_on_every_character() -> None:
    identity = new_identity()
    assert re.fullmatch(r"([A-Z2-7]{7}-){3}[A-Z2-7]{7}", identity.fingerprint)
    changed = identity.public[:-1] + ("0" if identity.public[-1] != "0" else "1")
    assert fingerprint(changed) != identity.fingerprint == fingerprint(identity.public)


@pytest.mark.parametrize("text", ["", "short", "x" * 41, "é" * 40, '"' * 40, "#" * 40])
def test_what_is_not_a_key_has_no_fingerprint(text: str) -> None:
    with pytest.raises(Malformed):
        fingerprint(text)
