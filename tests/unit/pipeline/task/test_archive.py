from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from node.errors import Malformed, TooLarge
from node.pipeline.task.archive import is_archive, unpack

Make = Callable[[dict[str, bytes]], io.BytesIO]


def zipped(files: dict[str, bytes]) -> io.BytesIO:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, each in files.items():
            archive.writestr(name, each)
    content.seek(0)
    return content


def tarred(files: dict[str, bytes], mode: str = "w:gz") -> io.BytesIO:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as archive:  # type: ignore[call-overload]
        for name, each in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(each)
            archive.addfile(info, io.BytesIO(each))
    content.seek(0)
    return content


@pytest.mark.parametrize("make", [zipped, tarred])
def test_an_archive_becomes_files_below_the_folder(make: Make, tmp_path: Path) -> None:
    content = make({"main.py": b"print()", "./lib/a.txt": b"a", "lib/deep/b": b""})
    assert is_archive(content.read(512))
    content.seek(0)
    assert unpack(content, tmp_path) == 8
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()} == {
        "main.py",
        "lib/a.txt",
        "lib/deep/b",
    }


@pytest.mark.parametrize("make", [zipped, tarred])
@pytest.mark.parametrize("name", ["../out", "a/../../out", "/tmp/out", "a\\..\\out", "C:out", "a\nb"])
def test_no_name_leads_out_of_the_folder(make: Make, name: str, tmp_path: Path) -> None:
    with pytest.raises(Malformed):
        unpack(make({name: b"x"}), tmp_path / "in")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(kind: bytes, tmp_path: Path) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    content.seek(0)
    with pytest.raises(Malformed, match="neither"):
        unpack(content, tmp_path)


def test_a_symbolic_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    content.seek(0)
    with pytest.raises(Malformed, match="neither"):
        unpack(content, tmp_path)


@pytest.mark.parametrize("make", [zipped, tarred])
def test_a_bomb_is_refused_before_it_fills_the_disk(make: Make, tmp_path: Path) -> None:
    with pytest.raises(TooLarge):
        unpack(make({"zeros": bytes(1 << 20)}), tmp_path / "a", bytes_most=1 << 16)
    with pytest.raises(TooLarge):
        unpack(make({str(number): b"" for number in range(20)}), tmp_path / "b", files_most=10)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= 1 << 16


@pytest.mark.parametrize("content", [b"PK\x03\x04 cut", b"\x1f\x8b cut", b""])
def test_what_is_no_archive_is_malformed(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(Malformed):
        unpack(io.BytesIO(content), tmp_path)


def test_a_name_that_comes_twice_is_malformed(tmp_path: Path) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
        archive.addfile(tarfile.TarInfo("a"))
    content.seek(0)
    with pytest.raises(Malformed, match="twice"):
        unpack(content, tmp_path)
