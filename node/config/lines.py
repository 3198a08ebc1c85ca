"""On which line of a TOML text does a key stand?

The standard reader gives values without places. This scanner knows only as much TOML as places need: where keys, strings and
brackets begin and end. It runs on text that the reader has accepted, or on the part of a text before the reader's complaint,
so it never complains itself: where it cannot go on, it stops with what it has.
"""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeAlias

Location: TypeAlias = tuple[str | int, ...]
"""Keys and list positions from the root; `("edge", "sources", "lobby", "url")`."""

_BLANK: Final = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_SPACE: Final = re.compile(r"[ \t]*")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR: Final = re.compile(r"[^,\]}#\n]*")
_STRINGS: Final = (  # the long forms first: a short one would match their first two quotes
    re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}', re.DOTALL),
    re.compile(r"'''.*?'{3,5}", re.DOTALL),
    re.compile(r'"(?:[^"\\\n]|\\.)*"'),
    re.compile(r"'[^'\n]*'"),
)


@dataclass(frozen=True, slots=True)
class Repeat:
    """A key that is given a second time."""

    path: Location
    first: int
    again: int


@dataclass(frozen=True, slots=True)
class Places:
    """Where the keys of one text stand; lines count from 1."""

    lines: Mapping[Location, int]
    repeats: tuple[Repeat, ...]

    def nearest(self, path: Location) -> int | None:
        """The line of the path, or of the innermost table around it that the text names."""
        return next((self.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.lines), None)


def find_keys(text: str) -> Places:
    """The places of all keys and list items of a TOML text."""
    scanner = _Scanner(text)
    with suppress(_Stop):  # the end of a text that the reader has refused: what was found before it still counts
        scanner.document()
    return Places(scanner.lines, tuple(scanner.repeats))


class _Stop(Exception):
    """The text ends or is no TOML from here on."""


def _unquoted(key: str) -> str:
    try:
        return str(tomllib.loads(f"key = {key}")["key"])
    except tomllib.TOMLDecodeError:
        raise _Stop from None


class _Scanner:
    """Walks once through the text; every method starts at `self.at` and leaves it behind what it read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Location, int] = {}
        self.repeats: list[Repeat] = []
        self._given: set[Location] = set()
        self._tables: dict[Location, int] = {}  # arrays of tables → how many so far
        self._line = 1
        self._counted = 0

    def document(self) -> None:
        table: Location = ()
        while True:
            self._skip(_BLANK)
            if self.at >= len(self.text):
                return
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> Location:
        line = self._line_here()
        many = self.text.startswith("[[", self.at)
        self.at += 2 if many else 1
        keys = self._keys()
        self._expect("]]" if many else "]")
        path: Location = ()
        for key in keys[:-1]:
            path = self._inside((*path, key))
            self.lines.setdefault(path, line)
        path = (*path, keys[-1])
        if many:
            self._tables[path] = self._tables.get(path, 0) + 1
            self.lines.setdefault(path, line)
            path = self._inside(path)
            self.lines[path] = line
        else:
            self._give(path, line)
        return path

    def _inside(self, path: Location) -> Location:
        """The newest item, where the path names an array of tables."""
        return (*path, self._tables[path] - 1) if path in self._tables else path

    def _pair(self, table: Location) -> None:
        line = self._line_here()
        path = table
        keys = self._keys()
        for key in keys[:-1]:
            path = (*path, key)
            self.lines.setdefault(path, line)
        path = (*path, keys[-1])
        self._give(path, line)
        self._expect("=")
        self._skip(_SPACE)
        self._value(path)

    def _give(self, path: Location, line: int) -> None:
        if path in self._given:
            self.repeats.append(Repeat(path, self.lines[path], line))
            return
        self._given.add(path)
        self.lines[path] = line  # a table's own header counts more than the first header below it

    def _keys(self) -> list[str]:
        keys = [self._key()]
        while self.text.startswith(".", self.at):
            self.at += 1
            keys.append(self._key())
        return keys

    def _key(self) -> str:
        self._skip(_SPACE)
        if found := _BARE.match(self.text, self.at):
            key = found.group()
        elif found := self._string():
            key = _unquoted(found.group())
        else:
            raise _Stop
        self.at = found.end()
        self._skip(_SPACE)
        return key

    def _value(self, path: Location) -> None:
        if self.text.startswith("[", self.at):
            self._array(path)
        elif self.text.startswith("{", self.at):
            self._inline_table(path)
        else:
            found = self._string() or _SCALAR.match(self.text, self.at)
            if found is None or found.end() == self.at:
                raise _Stop
            self.at = found.end()

    def _array(self, path: Location) -> None:
        self.at += 1
        for place in itertools.count():
            self._skip(_BLANK)
            if self._take("]"):
                return
            item = (*path, place)
            self.lines[item] = self._line_here()
            self._value(item)
            self._skip(_BLANK)
            if not self._take(","):
                self._expect("]")
                return

    def _inline_table(self, path: Location) -> None:
        self.at += 1
        self._skip(_BLANK)
        while not self._take("}"):
            self._pair(path)
            self._skip(_BLANK)
            if not self._take(","):
                self._expect("}")
                return
            self._skip(_BLANK)

    def _string(self) -> re.Match[str] | None:
        return next((found for pattern in _STRINGS if (found := pattern.match(self.text, self.at))), None)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        if found := pattern.match(self.text, self.at):
            self.at = found.end()

    def _take(self, token: str) -> bool:
        if not self.text.startswith(token, self.at):
            return False
        self.at += len(token)
        return True

    def _expect(self, token: str) -> None:
        if not self._take(token):
            raise _Stop

    def _line_here(self) -> int:
        self._line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self._line
