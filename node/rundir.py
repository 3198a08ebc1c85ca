"""Which nodes run on this machine under this user, and where do they answer?

A node writes `NAME.json` into a folder of 0700 when its door is open and removes it when it stops; the command line reads it,
so that `ecnode status` needs no address and no token on the machine of the node.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from node.errors import Forbidden, Invalid, Unavailable

MAX_FILE_BYTES: Final = 64 * 1024
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True)
class Running:
    """A node that says it runs: `started` is wall time in seconds, `token_file` and `data_dir` are absolute paths."""

    name: str
    roles: tuple[str, ...]
    url: str
    token_file: str
    data_dir: str
    pid: int
    started: float


def folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the files lie; not made by this call."""
    base = environment.get("XDG_RUNTIME_DIR", "")
    if base and Path(base).is_dir():
        return Path(base) / "ecnode"
    return Path(tempfile.gettempdir()) / f"ecnode-{os.getuid()}"


def announce(node: Running, environment: Mapping[str, str] = os.environ) -> Path:
    """Writes the file of a node, replacing an older one of the same name.

    Raises:
        Forbidden: the folder is a link, is another user's, or is open to others.
        Unavailable: the folder cannot be written.
    """
    if not _NAME.fullmatch(node.name):
        raise Invalid(f"'{node.name}' is not a node's name")
    place = folder(environment)
    target = place / f"{node.name}.json"
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        if not _is_ours(place):
            raise Forbidden(f"{place} is not a private folder of this user", hint=f"remove it, or chmod 700 {place}")
        handle, temporary = tempfile.mkstemp(dir=place, prefix=f".{node.name}-")  # mkstemp makes it 0600
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(asdict(node), file)
        Path(temporary).replace(target)
    except OSError as error:
        raise Unavailable(f"{target} cannot be written: {error.strerror}") from error
    return target


def forget(name: str, pid: int, environment: Mapping[str, str] = os.environ) -> None:
    """Removes the file of a node if it is still that process's; harmless when it is gone."""
    target = folder(environment) / f"{name}.json"
    found = _read(target)
    if found is not None and found.pid == pid:
        target.unlink(missing_ok=True)


def running(environment: Mapping[str, str] = os.environ) -> tuple[Running, ...]:
    """Every live node of this user: clouds first, then the newest first. Files of dead processes are passed over."""
    place = folder(environment)
    if not _is_ours(place):
        return ()
    found = (node for path in place.glob("*.json") if (node := _read(path)) is not None and _alive(node.pid))
    return tuple(sorted(found, key=lambda node: ("cloud" not in node.roles, -node.started)))


def find(name: str | None = None, environment: Mapping[str, str] = os.environ) -> Running | None:
    """The live node of that name, or the one that a user most likely means."""
    return next((node for node in running(environment) if name in (None, node.name)), None)


def _is_ours(place: Path) -> bool:
    # in a shared temporary folder somebody else may have made it first
    try:
        facts = place.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid() and not facts.st_mode & 0o077


def _read(path: Path) -> Running | None:
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(MAX_FILE_BYTES))
        return _checked(found) if isinstance(found, dict) else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _checked(found: Mapping[str, object]) -> Running:
    roles, pid, started = found["roles"], found["pid"], found["started"]
    if not isinstance(roles, list) or not isinstance(pid, int) or not isinstance(started, int | float):
        raise TypeError("a field is of another kind")
    return Running(
        name=_text(found["name"]),
        roles=tuple(map(_text, roles)),
        url=_text(found["url"]),
        token_file=_text(found["token_file"]),
        data_dir=_text(found["data_dir"]),
        pid=pid,
        started=started,
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a field is not text")
    return value


def _alive(pid: int) -> bool:
    if pid <= 0:
        return False  # 0 and below would ask for whole process groups
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError, OverflowError):
        return False  # the folder is this user's: a process that we may not signal has taken over the number
    return True
