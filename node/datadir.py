"""What lies in a node's data directory besides its key and its database, and who may use it?

`lock` belongs to the one process that runs on the directory, `token` opens the front door, `log/` holds the newest log lines.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path
from typing import IO, Final

from node.errors import Conflict, StorageFailed

LOCK_FILE: Final = "lock"
TOKEN_FILE: Final = "token"  # noqa: S105 - a file name
LOG_FOLDER: Final = "log"


def own(data_dir: Path) -> IO[str]:
    """Holds the directory for this process until the result is closed; the lock goes with the process, however it ends.

    Raises:
        Conflict: another node has it.
        StorageFailed: it cannot be written.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (data_dir / LOCK_FILE).open("a")
    except OSError as error:
        raise StorageFailed(f"node.data_dir: {data_dir} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        hint = "stop it, or give this one its own node.data_dir"
        raise Conflict(f"another node runs on {data_dir}", hint=hint) from error
    return lock


def token(data_dir: Path) -> str:
    """The bearer token of the front door, made on the first start; 0600."""
    path = data_dir / TOKEN_FILE
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
    return path.read_text().strip()
