"""Which sources has this edge, those of its config and those that came at run time?

What was added is kept in a file beside the database and is there again after a restart. A look at a source (a probe, a
snapshot) is a tap like that of a job, for a moment.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from node.clock import Clock
from node.config import SourceConfig
from node.errors import Conflict, Forbidden, NotFound, StorageFailed, Unavailable
from node.model.cluster import SourceReport
from node.model.source import SourceProbe, SourceRequest
from node.model.video import Resolution, VideoConf
from node.roles.edge.allowed import check_url
from node.roles.edge.source_reader import Capture, SourceReader

log = logging.getLogger(__name__)

KEPT_FILE: Final = "sources.json"
MOST: Final = 256  # as many as a heartbeat tells of
LOOK_S: Final = 12.0  # for the first picture: a decoder that opens an address gives up after ten
PROBE_S: Final = 2.0
LOOKS: Final = 4  # at once; each may cost a capture process
_KEPT: Final = TypeAdapter(tuple[SourceRequest, ...])
_FIELDS: Final = frozenset(SourceConfig.model_fields)


@dataclass(frozen=True, slots=True)
class Rules:
    """What may be added: hosts and folders besides those that everybody may use, and where it is kept."""

    hosts: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()
    kept: Path | None = None


@dataclass(slots=True)
class _Look:
    """A taker that looks at pictures and lets go of them at once."""

    first: bytes = b""
    times: list[float] = field(default_factory=list)
    reason: str | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def took(self, capture: Capture) -> None:
        if not self.first:
            self.first = bytes(capture.frame.lease.read(capture.frame.size))
        self.times.append(capture.captured)
        capture.frame.lease.release()
        self.news.set()

    def counted(self, number: int) -> None:
        """Of no interest here."""

    def source_ended(self, reason: str | None) -> None:
        self.reason = reason or "end of stream"
        self.news.set()


class Sources:
    """The sources of one edge; `make` gives a reader for a name and its settings."""

    def __init__(
        self,
        config: Mapping[str, SourceConfig],
        make: Callable[[str, SourceConfig], SourceReader],
        clock: Clock,
        rules: Rules = Rules(),
    ) -> None:
        self._make = make
        self._clock = clock
        self._rules = rules
        self._readers = {name: make(name, source) for name, source in config.items()}
        self._added: dict[str, SourceRequest] = {}
        self._changing = asyncio.Lock()
        self._looking = asyncio.Semaphore(LOOKS)
        self._looks = 0

    async def recall(self) -> None:
        """Takes up what earlier lives of this node were given; a name that the config has now is the config's."""
        for request in await asyncio.to_thread(_read, self._rules.kept):
            if request.name not in self._readers:
                self._take_up(request)

    def reader(self, name: str) -> SourceReader:
        """The reader of a source.

        Raises:
            NotFound: there is no such source.
        """
        try:
            return self._readers[name]
        except KeyError:
            there = ", ".join(self._readers)
            raise NotFound(f"this edge has no source '{name}'", hint=f"it has: {there or 'none'}") from None

    def reports(self) -> tuple[SourceReport, ...]:
        """What the heartbeat says of the sources."""
        return tuple(reader.report() for reader in self._readers.values())

    def is_added(self, name: str) -> bool:
        """Whether a source came at run time."""
        return name in self._added

    async def add(self, request: SourceRequest) -> SourceReport:
        """A new source; the same one again changes nothing.

        Raises:
            Conflict: another one has that name or number, or there are as many as may be.
            Forbidden, Invalid, Unavailable: as `check_url` says.
            StorageFailed: it could not be kept.
        """
        async with self._changing:
            known = self._added.get(request.name)
            if known is not None and known.replace(id=request.id) == request:
                return self._readers[request.name].report()
            if request.name in self._readers:
                raise Conflict(f"there is a source '{request.name}' already", hint="remove it first, or choose another name")
            if request.id in {report.id for report in self.reports()}:
                raise Conflict(f"there is a source with the id {request.id} already")
            if len(self._readers) >= MOST:
                raise Conflict(f"{MOST} sources are there already")
            await asyncio.to_thread(check_url, request.url, self._rules.hosts, self._rules.folders)
            await self._keep({**self._added, request.name: self._numbered(request)})
            self._take_up(self._numbered(request))
        log.info("source added", extra={"source": request.name})
        return self._readers[request.name].report()

    async def remove(self, name: str) -> SourceReport:
        """Ends a source that was added; its jobs fail.

        Raises:
            NotFound: there is no such source.
            Forbidden: it stands in the config.
            StorageFailed: its end could not be kept.
        """
        async with self._changing:
            reader = self.reader(name)
            if name not in self._added:
                raise Forbidden(f"source '{name}' stands in the config", hint="take it out there")
            await self._keep({kept: request for kept, request in self._added.items() if kept != name})
            del self._added[name], self._readers[name]
            report = reader.report()
            await reader.close(f"source '{name}' was removed")
        log.info("source removed", extra={"source": name})
        return report

    async def snapshot(self, name: str) -> bytes:
        """The next picture as a JPEG of 720p.

        Raises:
            NotFound: there is no such source.
            Unavailable: it gives no picture.
        """
        _, look = await self._look(name, 0.0)
        return look.first

    async def probe(self, name: str) -> SourceProbe:
        """How quickly a source opens, and how many pictures it gives; raises as `snapshot` does."""
        first_s, look = await self._look(name, PROBE_S)
        spent = look.times[-1] - look.times[0]
        report = self.reader(name).report()
        return SourceProbe(
            name=name,
            first_s=first_s,
            pictures=len(look.times),
            seconds=max(spent, 0.0),
            fps=(len(look.times) - 1) / spent if spent > 0 else 0.0,
            announced_fps=report.fps,
            height=report.height,
            reason=look.reason or "",
        )

    async def stop(self) -> None:
        """Ends every capture process. Harmless when repeated."""
        for reader in self._readers.values():
            await reader.stop()

    async def _look(self, name: str, seconds: float) -> tuple[float, _Look]:
        reader, look = self.reader(name), _Look()
        async with self._looking:
            self._looks += 1
            key, began = f"look {self._looks}", self._clock.monotonic()
            reader.tap(key, look, (VideoConf(fps=30, resolution=Resolution.P720), 0, "jpeg"))
            try:
                await self._until(look, LOOK_S, first=True)
                took = self._clock.monotonic() - began
                if not look.times:
                    why = look.reason or reader.report().reason or f"no picture for {LOOK_S:.0f} s"
                    raise Unavailable(f"source '{name}' gives no picture: {why}")
                await self._until(look, seconds, first=False)
            finally:
                reader.untap(key)
        return took, look

    async def _until(self, look: _Look, seconds: float, *, first: bool) -> None:
        """Looks so long, or until the source ends or has given its first picture."""
        try:
            async with self._clock.timeout(seconds):
                while look.reason is None and not (first and look.times):
                    look.news.clear()
                    await look.news.wait()
        except TimeoutError:
            return

    def _numbered(self, request: SourceRequest) -> SourceRequest:
        taken = {report.id for report in self.reports()}
        free = next(number for number in range(len(taken) + 1) if number not in taken)
        return request if request.id is not None else request.replace(id=free)

    def _take_up(self, request: SourceRequest) -> None:
        self._added[request.name] = request
        self._readers[request.name] = self._make(request.name, request)

    async def _keep(self, added: Mapping[str, SourceRequest]) -> None:
        if self._rules.kept is not None:
            await asyncio.to_thread(_write, self._rules.kept, tuple(added.values()))


def _read(place: Path | None) -> tuple[SourceRequest, ...]:
    try:
        return _KEPT.validate_json(place.read_bytes()) if place is not None else ()
    except FileNotFoundError:
        return ()
    except (OSError, ValidationError) as error:
        log.error("added sources cannot be read, none is there", extra={"file": str(place), "reason": str(error)[:200]})
        return ()


def _write(place: Path, added: tuple[SourceRequest, ...]) -> None:
    """The whole file or the one before it.

    Raises:
        StorageFailed: neither.
    """
    draft = place.with_suffix(".new")
    try:
        draft.touch(mode=0o600)  # an address may hold a camera's password
        draft.write_bytes(_KEPT.dump_json(added, indent=1))
        draft.replace(place)
    except OSError as error:
        raise StorageFailed(f"{place} cannot be written: {error.strerror}") from error
