"""How does a cloud change its own key without shutting its members out?

In two steps, because a member that does not know the new key cannot even be told about it any more. First the next key is made,
kept beside the present one, and announced with the rosters: members write it down and take both. Once every admitted member
has acknowledged it the cloud may go over; that takes effect at its next start, and members come back as after any restart.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Final

from node.errors import Conflict
from node.model.member import KeyState
from node.roles.cloud.rosters import Rosters
from node.transport.keys import Identity, load_or_create, replace_key

log = logging.getLogger(__name__)

NEXT: Final = ".next"  # what the name of the file with the next key ends with


class Succession:
    """The change of the key that lies in `key_file`."""

    def __init__(self, key_file: Path, rosters: Rosters) -> None:
        self._key_file = key_file
        self._next_file = key_file.with_name(key_file.name + NEXT)
        self._rosters = rosters
        self._switched: Identity | None = None

    def resume(self) -> None:
        """Goes on announcing a key that was announced before this start."""
        if self._next_file.exists():
            self._rosters.announce(load_or_create(self._next_file).public)

    async def change(self, *, switch: bool) -> KeyState:
        """Announces the next key; with `switch` makes it the key from the next start on.

        Raises:
            Conflict: a member has not acknowledged it.
        """
        key = self._switched if self._switched is not None else await asyncio.to_thread(load_or_create, self._next_file)
        self._rosters.announce(key.public)
        unaware = self._rosters.unaware()
        if switch and unaware and self._switched is None:
            raise Conflict(
                f"{', '.join(unaware[:8])} would be shut out: not told of the next key yet",
                hint="wait until they are there, or put them out: ecnode peers remove",
            )
        if switch and self._switched is None:
            await asyncio.to_thread(replace_key, self._key_file, self._next_file)
            self._switched = key
            log.warning("key changed, takes effect at the next start", extra={"fingerprint": key.fingerprint})
        return KeyState(next_key=key.public, fingerprint=key.fingerprint, unaware=unaware, switched=self._switched is not None)
