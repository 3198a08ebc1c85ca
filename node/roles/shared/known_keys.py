"""Where does a member keep which keys its clouds have announced?"""

from __future__ import annotations

from collections.abc import Sequence

from node.clock import Clock
from node.model.cluster import Role
from node.model.member import Member, MemberState
from node.storage.members import Members
from node.transport.auth import Directory
from node.transport.keys import fingerprint


class StoredKeys:
    """The announced keys, in the records of the clouds."""

    def __init__(self, store: Members, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def recall(self, directory: Directory) -> None:
        """Has the directory take what was announced before this start."""
        for member in await self._store.all():
            if member.next_keys:
                directory.succeed(member.key, member.next_keys)

    async def succeed(self, public: str, name: str, successors: Sequence[str]) -> None:
        """As `KnownKeys.succeed`."""
        now = self._clock.wall()
        cloud = Member(
            fingerprint=fingerprint(public),
            name=name,
            key=public,
            roles=(Role.CLOUD,),
            state=MemberState.ADMITTED,
            created_at=now,
            changed_at=now,
            next_keys=tuple(successors),
        )
        await self._store.announced(cloud)
