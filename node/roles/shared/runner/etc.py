"""What do programs at L3 see as `/etc`?

A copy of the little that any program needs of it, made once: bound as one folder it takes the place of a dozen mounts for every
run. It is named by its content, because a run of an earlier life of the node may still look into an older one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from node.roles.shared.runner.sandbox import ETC

WHERE: Final = Path("/etc")
KEPT: Final = 4  # generations, the newest; half a megabyte each
FILE_MOST: Final = 16 * 2**20
_PRIVATE: Final = "private"  # of /etc/ssl: keys


def keep(root: Path) -> Path:
    """The folder below `root` that holds the copy, made where it is not there yet.

    Raises:
        OSError: the disk refuses.
    """
    new = root / "new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700, parents=True)
    for path in map(Path, ETC):
        _copy(path, new / path.relative_to(WHERE))
    kept = root / _digest(new)
    if kept.exists():
        shutil.rmtree(new)
        kept.touch()
    else:
        new.rename(kept)
    for old in sorted(root.iterdir(), key=lambda each: each.stat().st_mtime, reverse=True)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return kept


def _copy(source: Path, target: Path) -> None:
    if source.is_symlink() and (link := _kept_link(source)):
        target.symlink_to(link)
    elif source.is_dir():
        target.mkdir(mode=0o755)
        for each in sorted(source.iterdir()):
            if each.name != _PRIVATE:
                _copy(each, target / each.name)
    else:
        with suppress(OSError):  # not there, or not for this user to read: then programs do without it too
            if source.stat().st_size <= FILE_MOST:
                target.write_bytes(source.read_bytes())
                target.chmod(0o644)


def _kept_link(source: Path) -> str:
    """Where a link leads if that is there in the box too: beside itself, or below /usr."""
    link = str(source.readlink())
    return link if "/" not in link or (link.startswith("/usr/") and ".." not in link) else ""


def _digest(folder: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        for part in (os.fsencode(path.relative_to(folder)), content):
            found.update(len(part).to_bytes(8, "big") + part)
    return found.hexdigest()[:16]
