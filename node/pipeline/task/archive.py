"""How does an archive from a stranger become files below one folder, and none anywhere else?

Names are checked before anything is written, only plain files and folders are taken, and what comes out is counted while it is
written, because a header may lie about it.
"""

from __future__ import annotations

import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, BinaryIO, Final

from node.errors import Malformed, TooLarge

FILES_MOST: Final = 20_000
BYTES_MOST: Final = 4 * 2**30
NAME_MOST: Final = 500
_BLOCK: Final = 2**20
_ZIP: Final = b"PK\x03\x04"
_GZIP, _BZIP, _XZ = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00"
_USTAR_AT: Final = 257
_STEP_UP: Final = re.compile(r"(^|/)\.\.(/|$)")
_Member = tuple[str, bool, int, IO[bytes] | None, bool]  # name, whether a folder, size, content, whether it may be executed


def is_archive(head: bytes) -> bool:
    """Whether a file that begins so (512 bytes are enough) is a zip or tar archive."""
    return head.startswith((_ZIP, _GZIP, _BZIP, _XZ)) or head[_USTAR_AT : _USTAR_AT + 5] == b"ustar"


def unpack(file: BinaryIO, target: Path, *, bytes_most: int = BYTES_MOST, files_most: int = FILES_MOST) -> int:
    """Writes the files of an archive below the empty folder `target`; how many bytes they have.

    Raises:
        Malformed: no archive, or one with a name, a link or a device that has no place below a folder.
        TooLarge: more bytes or files than may be.
    """
    written = count = 0
    try:
        for name, is_folder, size, content, executable in _members(file):
            count += 1
            if count > files_most or written + size > bytes_most:
                raise TooLarge(f"the archive holds more than {files_most} files or {bytes_most} bytes")
            place = target.joinpath(*_checked(name))
            if is_folder:
                place.mkdir(parents=True, exist_ok=True)
            elif content is not None:
                place.parent.mkdir(parents=True, exist_ok=True)
                with content, place.open("xb") as out:
                    written += _copied(content, out, bytes_most - written)
                place.chmod(0o700 if executable else 0o600)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise Malformed(f"the archive cannot be read: {error}") from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise Malformed(f"the archive has '{Path(str(error.filename)).name[:60]}' twice, or as a file and a folder") from error
    return written


def _members(file: BinaryIO) -> Iterator[_Member]:
    head = file.read(4)
    file.seek(0)
    return _of_zip(file) if head == _ZIP else _of_tar(file)


def _of_zip(file: BinaryIO) -> Iterator[_Member]:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            mode = info.external_attr >> 16
            if mode and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_IFMT(mode) == 0):
                raise Malformed(f"'{info.filename[:60]}' is neither a file nor a folder")
            content = None if info.is_dir() else archive.open(info)
            yield info.filename, info.is_dir(), info.file_size, content, bool(mode & 0o111)


def _of_tar(file: BinaryIO) -> Iterator[_Member]:
    with ExitStack() as held:
        archive = held.enter_context(tarfile.open(fileobj=file, mode="r:*"))
        for info in archive:
            if not (info.isreg() or info.isdir()):
                raise Malformed(f"'{info.name[:60]}' is neither a file nor a folder")
            yield info.name, info.isdir(), info.size, archive.extractfile(info), bool(info.mode & 0o111)


def _checked(name: str) -> list[str]:
    if (
        name.startswith("/")
        or len(name) > NAME_MOST
        or "\\" in name
        or ":" in name
        or not name.isprintable()
        or _STEP_UP.search(name)
    ):
        raise Malformed(f"{name[:60]!r} is no name for a file below a folder")
    return [step for step in name.split("/") if step not in {"", "."}]


def _copied(content: IO[bytes], out: BinaryIO, most: int) -> int:
    written = 0
    while block := content.read(_BLOCK):
        written += len(block)
        if written > most:
            raise TooLarge("the archive holds more than it says, or than may be")
        out.write(block)
    return written


def copy(file: BinaryIO, target: Path) -> None:
    """Writes a file's content to a new file, with the folders above it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as out:
        shutil.copyfileobj(file, out, _BLOCK)
