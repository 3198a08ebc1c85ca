"""How does a node remember the cloud that it joined, before it runs for the first time?"""

from __future__ import annotations

from pathlib import Path

from node.clock import Clock
from node.model.member import Member
from node.storage.store import open_store


async def remember_cloud(url: str, data_dir: Path, clock: Clock, member: Member) -> None:
    """Writes the record of a cloud that this node shall dial from now on; harmless when repeated.

    Raises:
        StorageFailed, Conflict, Forbidden: the store refuses it.
    """
    store = await open_store(url, data_dir, clock)
    try:
        await store.members.enrol(member, f"joined at {member.address}")
    finally:
        await store.close()
