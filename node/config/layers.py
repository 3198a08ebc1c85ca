"""From which files, variables and options does a setting come, and who has the last word?

Defaults < files, in order < environment (`ECNODE_HTTP__LISTEN`) < `--set http.listen=…`. Tables are merged key by key; every
other value, a list too, replaces what stood there. Each value remembers the place that it came from.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias, cast

from node.config.lines import Location, find_keys
from node.config.problems import ConfigProblem, Origin, dotted

MAX_FILE_BYTES: Final = 2**20  # the largest sensible config, 4096 allowed peers, is about 700 KiB
MAX_DEPTH: Final = 16  # the deepest setting, [edge.sources.NAME] url, is 4 deep; a stack of Python ends near 1000
MAX_SECRET_BYTES: Final = 64 * 2**10
PREFIX: Final = "ECNODE_"

Table: TypeAlias = dict[str, object]

_KEY: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_PLACE_IN_COMPLAINT: Final = re.compile(r"(?P<what>.*?) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)")
_NEXT_STEPS: Final = {  # what the standard reader says → what to do about it
    "Invalid value": 'put text in quotes: name = "edge-1"; a list goes in brackets, truth values are true and false',
    "Expected '=' after a key": "write key = value; a table starts with its name in brackets: [node]",
    "Invalid initial character for a key": "names are letters, digits, - and _; quote others",
    "Invalid statement": "a line is a table's name in brackets, key = value, or a comment after #",
    "Expected newline or end of document": "one setting a line; quote the whole text",
    "Illegal character": "the text misses its closing quote, or holds a control character",
    "Unterminated string": "the text misses its closing quote",
    "Unclosed array": "the list misses its closing bracket",
    "Unclosed inline table": "the table misses its closing brace",
    "Expected ']'": "a table's name ends with a bracket: [node]",
    "Unescaped '\\'": "write \\\\ for a backslash, or use single quotes",
}


@dataclass
class Merged:
    """The layers so far: values, where each came from, what was wrong with the layers themselves."""

    values: Table = field(default_factory=dict)
    origins: dict[Location, Origin] = field(default_factory=dict)
    raw: dict[Location, str] = field(default_factory=dict)
    references: dict[Location, str] = field(default_factory=dict)
    problems: list[ConfigProblem] = field(default_factory=list)

    def origin(self, path: Location) -> Origin | None:
        """Where the value, or the innermost table around it that was given, came from."""
        return next((self.origins[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.origins), None)

    def lay(self, table: Mapping[str, object], place: Callable[[Location], Origin]) -> None:
        """Puts one more layer on top."""
        self._lay(self.values, table, (), place)

    def _lay(self, under: Table, table: Mapping[str, object], at: Location, place: Callable[[Location], Origin]) -> None:
        for key, value in table.items():
            path = (*at, key)
            below = under.get(key)
            if isinstance(value, dict) and isinstance(below, dict):
                self.origins[path] = place(path)
                self._lay(below, value, path, place)
                continue
            self._forget(path)
            under[key] = self._taken(value, path, place)

    def _taken(self, value: object, path: Location, place: Callable[[Location], Origin]) -> object:
        """A copy of the value whose places are recorded."""
        self.origins[path] = place(path)
        if len(path) > MAX_DEPTH:
            self.problems.append(ConfigProblem(dotted(path[:2]), f"is nested deeper than {MAX_DEPTH} tables", place(path)))
            return None
        if isinstance(value, dict):
            return {key: self._taken(item, (*path, key), place) for key, item in value.items()}
        if isinstance(value, list):
            return [self._taken(item, (*path, number), place) for number, item in enumerate(value)]
        return value

    def _forget(self, path: Location) -> None:
        for known in (self.origins, self.raw):
            for gone in [key for key in known if key[: len(path)] == path]:
                del known[gone]


def read_file(merged: Merged, file: Path) -> None:
    """Lays the file on top, or notes why it cannot be read."""
    text = _file_text(merged, file)
    if text is None:
        return
    try:
        table = tomllib.loads(text)
        places = find_keys(text)
    except RecursionError:
        merged.problems.append(ConfigProblem("", f"is nested deeper than {MAX_DEPTH} tables", Origin(str(file))))
        return
    except tomllib.TOMLDecodeError as error:
        merged.problems += _syntax_problems(file, text, str(error))
        return
    rows = text.split("\n")

    def place(path: Location) -> Origin:
        line = places.nearest(path)
        return Origin(str(file), line, rows[line - 1].strip() if line else "")

    merged.lay(table, place)


def read_environment(merged: Merged, environment: Mapping[str, str]) -> None:
    """Lays every variable `ECNODE_TABLE__KEY` on top."""
    for name in sorted(environment):
        keys = name.removeprefix(PREFIX).lower().split("__")
        if name.startswith(PREFIX) and len(keys) > 1:
            _read_text(merged, keys, environment[name], Origin(f"environment {name}"))


def read_sets(merged: Merged, sets: Sequence[str]) -> None:
    """Lays every `table.key=value` on top."""
    for text in sets:
        key, divider, value = text.partition("=")
        key = key.strip()
        if not divider or not _KEY.fullmatch(key):
            message = f"'{text[:80]}' is not table.key=value"
            merged.problems.append(ConfigProblem("", message, Origin("--set")))
            continue
        _read_text(merged, key.split("."), value, Origin("--set"))


def resolve_references(merged: Merged, environment: Mapping[str, str]) -> None:
    """Replaces every text `@file:/path` and `@env:NAME` by what it stands for."""

    def resolved(value: object, path: Location) -> object:
        if isinstance(value, dict):
            return {key: resolved(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [resolved(item, (*path, number)) for number, item in enumerate(value)]
        if not isinstance(value, str) or not value.startswith(("@file:", "@env:")):
            return value
        try:
            text = _referred(value, environment)
        except ValueError as error:
            merged.problems.append(ConfigProblem(dotted(path), str(error), merged.origin(path)))
            return value
        merged.references[path] = value
        return text

    merged.values = cast("Table", resolved(merged.values, ()))


def _referred(reference: str, environment: Mapping[str, str]) -> str:
    kind, _, name = reference.partition(":")
    if kind == "@env":
        if name not in environment:
            raise ValueError(f"the environment has no variable '{name}'")
        return environment[name]
    file = Path(name).expanduser()
    if not file.is_absolute():
        raise ValueError(f"'{reference}' must name an absolute path")
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_SECRET_BYTES + 1)
        if len(content) > MAX_SECRET_BYTES:
            raise ValueError(f"'{file}' is larger than {MAX_SECRET_BYTES} bytes")
        return content.decode().rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"'{file}' cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ValueError(f"'{file}' is not UTF-8 text") from None


def _file_text(merged: Merged, file: Path) -> str | None:
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ValueError(f"is larger than {MAX_FILE_BYTES} bytes, this is no config file")
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except FileNotFoundError:
        message = f"there is no such file; `ecnode init --out {file}` writes one"
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError as error:
        message = f"byte {error.start} is not UTF-8 text; save the file as UTF-8"
    except ValueError as error:
        message = str(error)
    merged.problems.append(ConfigProblem("", message, Origin(str(file))))
    return None


def _syntax_problems(file: Path, text: str, complaint: str) -> list[ConfigProblem]:
    found = _PLACE_IN_COMPLAINT.fullmatch(complaint)
    what = found["what"] if found else complaint
    rows = text.split("\n")
    line = int(found["line"]) if found and found["line"] else max(1, len(text.rstrip().split("\n")))
    repeats = find_keys("\n".join(rows[:line])).repeats
    if repeats and any(word in what for word in ("overwrite", "twice", "Duplicate", "mutable", "declare")):
        return [
            ConfigProblem(
                dotted(repeat.path),
                f"is given twice, first on line {repeat.first}; keep one of them",
                Origin(str(file), repeat.again, rows[repeat.again - 1].strip()),
            )
            for repeat in repeats
        ]
    column = f"column {found['column']}" if found and found["column"] else "end of the file"
    advice = next((step for start, step in _NEXT_STEPS.items() if what.startswith(start)), "see https://toml.io for the format")
    message = f"{column}: {what[:1].lower()}{what[1:]}; {advice}"
    return [ConfigProblem("", message, Origin(str(file), line, rows[line - 1].strip()))]


def _read_text(merged: Merged, keys: Sequence[str], text: str, origin: Origin) -> None:
    value: object = _parsed(text)
    for key in reversed(keys[1:]):
        value = {key: value}
    merged.lay({keys[0]: value}, lambda _: origin)
    if not isinstance(_parsed(text), str):
        merged.raw[tuple(keys)] = text


def _parsed(text: str) -> object:
    """JSON where it is JSON, otherwise the plain text."""
    try:
        return cast(object, json.loads(text, parse_constant=_no_constant))
    except (ValueError, RecursionError):
        return text


def _no_constant(name: str) -> object:
    raise ValueError(name)  # NaN and Infinity are no JSON
