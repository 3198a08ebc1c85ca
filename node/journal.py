"""What happened here, and how much of it? The log lines and the metrics of one process.

Convention of the whole tree: a logger per module, a constant message, and everything that varies as a field:
`log.info("job started", extra={"query": query.id, "peer": name})`. Field names that `logging` keeps for itself (`name`, `args`,
`msg`, `message`, `module`, `process`, `thread`) cannot be used. Never log a key, a token, a payload or a column value.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TextIO, TypeAlias, TypeVar

from node.clock import rfc3339
from node.errors import Internal, Unavailable

if TYPE_CHECKING:
    from prometheus_client import Counter, Gauge
    from prometheus_client.registry import Collector

LogFormat: TypeAlias = Literal["auto", "text", "json"]
Entry: TypeAlias = Mapping[str, object]
M = TypeVar("M")

FILE: Final = "node.jsonl"
MAX_FILE_BYTES: Final = 8 * 2**20  # two files of it: 16 MiB of log is the most that a node leaves on disk
MAX_FIELD: Final = 2_000  # characters of one field: an error text of a peer may be long
MAX_FIELDS: Final = 32  # with the cap above a line stays below 64 KiB and its traceback
READ_CHARACTERS: Final = 2**20
MAX_TRACEBACK: Final = 16_000
HIDDEN: Final = frozenset({"token", "secret", "password", "private_key", "authorization"})

_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_HEAD: Final = ("time", "level", "logger", "event", "here", "traceback")
_COLOURS: Final = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}


class Journal:
    """The installed handlers; `close` takes them off again. Repeating it is harmless."""

    def __init__(self, handlers: Sequence[logging.Handler]) -> None:
        self._handlers = tuple(handlers)
        for handler in self._handlers:
            logging.getLogger().addHandler(handler)

    def close(self) -> None:
        """Flushes and removes what `configure` installed."""
        for handler in self._handlers:
            logging.getLogger().removeHandler(handler)
            handler.close()


def configure(
    *, level: str, form: LogFormat, here: str = "", folder: Path | None = None, stream: TextIO | None = None
) -> Journal:
    """Sends every log line of this process to `stream` (standard error) and, with `folder`, to its `node.jsonl`.

    Args:
        level: a level's name, lower case.
        form: auto means coloured text on a terminal and JSON lines otherwise.
        here: this node's name, a field of every JSON line.
        folder: made with mode 0700; holds `node.jsonl` and the one before it.
        stream: closed by whoever opened it.

    Raises:
        Unavailable: the folder cannot be written.
    """
    target = sys.stderr if stream is None else stream
    console: logging.Handler = logging.StreamHandler(target)
    text = form == "text" or (form == "auto" and target.isatty())
    console.setFormatter(_Text(target.isatty() and "NO_COLOR" not in os.environ) if text else _Json(here))
    handlers = [console]
    if folder is not None:
        handlers.append(_file_handler(folder, here))
    logging.getLogger().setLevel(level.upper())
    return Journal(handlers)


def _file_handler(folder: Path, here: str) -> logging.Handler:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handler = _PrivateFile(folder / FILE, maxBytes=MAX_FILE_BYTES, backupCount=1, encoding="utf-8")
    except OSError as error:
        raise Unavailable(f"the log folder {folder} cannot be written: {error.strerror}") from error
    handler.setFormatter(_Json(here))
    return handler


class _PrivateFile(RotatingFileHandler):
    """A log file that only its owner may read; a disk that takes no more is reported once, not with every line."""

    broken = False

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding="utf-8", opener=_private)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        if not self.broken:
            self.broken = True
            super().handleError(record)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


class _Json(logging.Formatter):
    def __init__(self, here: str) -> None:
        super().__init__()
        self._here = here

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(_entry(record, self._here), ensure_ascii=False, separators=(",", ":"))


class _Text(logging.Formatter):
    def __init__(self, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        return readable(_entry(record, ""), colour=self._colour)


def _entry(record: logging.LogRecord, here: str) -> Entry:
    entry: dict[str, object] = {
        "time": rfc3339(record.created),
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": record.getMessage()[:MAX_FIELD],
    }
    if here:
        entry["here"] = here
    for name, value in list(_fields(record))[:MAX_FIELDS]:
        entry[name if name not in entry else f"{name}_"] = value
    if record.exc_info:
        entry["traceback"] = logging.Formatter().formatException(record.exc_info)[-MAX_TRACEBACK:]
    return entry


def _fields(record: logging.LogRecord) -> Iterator[tuple[str, object]]:
    for name, value in vars(record).items():
        if name in _OWN:
            continue
        if name in HIDDEN:
            yield name, "(hidden)"
        elif value is None or isinstance(value, bool | int | float):
            yield name, value
        else:
            yield name, str(value)[:MAX_FIELD]


def readable(entry: Entry, *, colour: bool) -> str:
    """One event as a line for the eye: local time, level, module, message, fields; a traceback follows indented."""
    level = str(entry.get("level", "info"))
    label = f"{level.upper():<7}"
    if colour:
        label = f"\x1b[{_COLOURS.get(level, '0')}m{label}\x1b[0m"
    logger = plain(str(entry.get("logger", ""))).removeprefix("node.")
    fields = " ".join(f"{plain(name)}={_quoted(value)}" for name, value in entry.items() if name not in _HEAD)
    line = f"{_local(str(entry.get('time', '')))} {label} {logger:<24} {plain(str(entry.get('event', '')))}  {fields}".rstrip()
    trace = [f"    {plain(row)}" for row in str(entry.get("traceback", "")).splitlines()]
    return "\n".join([line, *trace])


def _local(moment: str) -> str:
    try:
        return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return "-"


def _quoted(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if text and text.isprintable() and not set(text) & set(" \"'=") else json.dumps(text)


def plain(text: str) -> str:
    """The text with control characters spelled out: what a peer or a file name carries must not steer the terminal."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def newest(folder: Path, count: int, names: Sequence[str] = (f"{FILE}.1", FILE)) -> tuple[Entry, ...]:
    """The last `count` events of a log folder, oldest first; torn or foreign lines are passed over."""
    entries: deque[Entry] = deque(maxlen=count)
    for path in map(folder.joinpath, names):
        if path.is_file():
            with path.open(encoding="utf-8", errors="replace") as file:
                entries.extend(_parsed(file))
    return tuple(entries)


def follow(folder: Path, count: int, *, pause: Callable[[], object]) -> Iterator[Entry]:
    """The last `count` events, then every later one, over changes of the file; calls `pause` when there is nothing new."""
    with ExitStack() as held:
        entries: deque[Entry] = deque(maxlen=count)
        file, rest = _opened(folder, held), ""
        if file is not None:
            entries.extend(newest(folder, count, names=(f"{FILE}.1",)))
            *lines, rest = file.read().split("\n")
            entries.extend(_parsed(lines))
        yield from entries
        while True:
            piece = file.read(READ_CHARACTERS) if file is not None else ""
            *lines, rest = (rest + piece).split("\n")
            yield from _parsed(lines)
            if not piece and (file is None or _is_replaced(folder / FILE, file)):
                if file is not None:
                    yield from _parsed((rest + file.read()).split("\n"))  # what came between the last look and the change
                held.close()
                file, rest = _opened(folder, held), ""
                if file is not None:
                    continue
            if not piece:
                pause()


def _opened(folder: Path, held: ExitStack) -> TextIO | None:
    try:
        return held.enter_context((folder / FILE).open(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return None


def _is_replaced(path: Path, file: TextIO) -> bool:
    try:
        return path.stat().st_ino != os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False  # between the two renames of a rotation


def _parsed(lines: Iterable[str]) -> Iterator[Entry]:
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # the last line of a node that was killed while it wrote
        if isinstance(entry, dict):
            yield entry


class Metrics:
    """The figures of one process, in a registry of their own that is passed around.

    Asking twice for a name gives the same figure. Label values must come from a small fixed set (a route, a stage, a state),
    never from a caller.
    """

    def __init__(self) -> None:
        # imported here: a child process logs but measures nothing, and this costs 30 ms
        from prometheus_client import CollectorRegistry, ProcessCollector

        self._registry = CollectorRegistry()
        self._known: dict[str, tuple[tuple[str, ...], object]] = {}
        ProcessCollector(registry=self._registry)

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        """A figure that only grows; `ecnode_` and `_total` are added to its name."""
        from prometheus_client import Counter

        known = self._find(name, labels)
        if isinstance(known, Counter):
            return known
        return self._keep(name, labels, Counter(f"ecnode_{name}", text, labels, registry=self._registry))

    def gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        """A figure that goes up and down; `ecnode_` is added to its name."""
        from prometheus_client import Gauge

        known = self._find(name, labels)
        if isinstance(known, Gauge):
            return known
        return self._keep(name, labels, Gauge(f"ecnode_{name}", text, labels, registry=self._registry))

    def add(self, collector: Collector) -> None:
        """Takes figures that are made when they are asked for."""
        self._registry.register(collector)

    def text(self) -> bytes:
        """Everything in the Prometheus text format 0.0.4."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)

    def _find(self, name: str, labels: Sequence[str]) -> object:
        known_labels, known = self._known.get(name, (tuple(labels), None))
        if known_labels != tuple(labels):
            raise Internal(f"metric {name} has the labels {known_labels}, not {tuple(labels)}")
        return known

    def _keep(self, name: str, labels: Sequence[str], made: M) -> M:
        self._known[name] = (tuple(labels), made)
        return made
