"""How does one blob come in from several peers, some of which may be slow, dead or lying?

The id binds the whole and the last digest of the list, so the others are one source's word. What follows from that:
- a chunk that does not fit the list puts its author aside: it, or the author of the list, is wrong;
- once all who answer are aside, the list is given up, a source that stands by it is dropped, and the list of another source
  takes its place; chunks that the new list agrees with stay. A false list cannot be fitted to its end: that is the id;
- so each liar costs one download at the most, and the right bytes win as long as one source has them.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from node.clock import Clock
from node.errors import Malformed, NotFound, Rejected, StorageFailed, Unavailable
from node.model.blob import BlobInfo, Manifest
from node.model.wire.blob import BLOB_MANIFEST, BlobRequest
from node.roles.shared.blob_pull import ASK_S, RETRY_S, Figures, Pull, Source
from node.storage.blobs import BlobStore
from node.transport.base import Transport

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Fetch:
    """One blob on its way here; runs until it is there, refused by all, or cancelled."""

    id: str
    store: BlobStore
    transport: Transport
    clock: Clock
    figures: Figures
    most_bytes: int
    sources: list[Source] = field(default_factory=list)
    watchers: list[Callable[[int, int], None]] = field(default_factory=list)
    _given_up: set[bytes] = field(default_factory=set)
    _pull: Pull | None = None

    def add(self, names: Sequence[str], watcher: Callable[[int, int], None] | None, most: int) -> None:
        """More peers that may have it, `most` together, and somebody who wants to hear of (received, size)."""
        known = {source.name for source in self.sources}
        added = [Source(name) for name in dict.fromkeys(names) if name not in known][: most - len(known)]
        self.sources += added
        if watcher is not None:
            self.watchers.append(watcher)
        if self._pull is not None:
            for source in added:
                self._pull.employ(source)

    @property
    def excuse(self) -> str:
        """What the sources said last."""
        return "; ".join(f"{source.name}: {source.excuse}" for source in self.sources if source.excuse)

    async def run(self) -> BlobInfo:
        """The complete blob.

        Raises:
            NotFound: no source has it.
            Unavailable: none has it as its id says.
            StorageFailed: no room, or the disk refused.
        """
        manifest = await self.store.begun(self.id)
        while True:
            info = await self._follow(manifest or await self._any_manifest())
            if info is not None:
                return info
            manifest = None

    async def _follow(self, manifest: Manifest) -> BlobInfo | None:
        """The blob by that list; None where the list is given up."""
        try:
            part = await self.store.receive(manifest)
        except StorageFailed as error:
            self._give_up(manifest)
            if not await self._says_less(manifest.size):
                raise
            log.warning("no room for what a source says of a blob", extra={"blob": self.id, "reason": error.message})
            return None
        self._pull = Pull(part, self.transport, self.clock, self.figures, self._tell, most_bytes=self.most_bytes)
        try:
            info = await part.finish() if await self._pull.run(self.sources) else None
        finally:
            self._pull = None
            await part.close()
        if info is None:
            log.warning("a list of digests of a blob was given up", extra={"blob": self.id, "reason": self.excuse})
            self._give_up(manifest)
        return info

    def _give_up(self, manifest: Manifest) -> None:
        self._given_up.add(_key(manifest))
        self.figures.false_lists += 1
        for source in self.sources:
            source.aside = False

    async def _says_less(self, size: int) -> bool:
        """Whether a source says that the blob is smaller: a list may lie about the size."""
        said = [await self._manifest_of(source) for source in self.sources]
        return any(manifest is not None and manifest.size < size for manifest in said)

    async def _any_manifest(self) -> Manifest:
        while True:
            for source in self.sources:
                manifest = await self._manifest_of(source)
                if manifest is not None:
                    return manifest
            if all(source.gone for source in self.sources):
                kind = NotFound if all(source.lacks for source in self.sources) else Unavailable
                raise kind(f"nobody that was asked has blob {self.id[:12]}", hint=self.excuse)
            await self.clock.sleep(RETRY_S)

    async def _manifest_of(self, source: Source) -> Manifest | None:
        """What a source says of the blob, as far as it can be believed."""
        if source.gone:
            return None
        try:
            answer = await self.transport.call(source.name, BLOB_MANIFEST, BlobRequest(blob=self.id), timeout=ASK_S)
            if len(answer.blobs) != 1:
                raise Malformed(f"a manifest with {len(answer.blobs)} blobs")
            manifest = Manifest(self.id, answer.body.size, bytes(answer.blobs[0]))
            if _key(manifest) in self._given_up:
                raise Malformed("its list of digests is not that of this blob")
        except Rejected as error:
            source.refuse(error)
            return None
        except Unavailable as error:
            source.excuse = error.message
            return None
        return manifest

    def _tell(self, received: int, size: int) -> None:
        for watcher in self.watchers:
            watcher(received, size)


def _key(manifest: Manifest) -> bytes:
    return hashlib.sha256(manifest.size.to_bytes(8, "big") + manifest.digests).digest()
