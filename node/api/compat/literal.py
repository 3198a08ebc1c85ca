"""What did a client mean who wrote a value as the text of a Python literal?

The original ran `eval` on what it received. Here a small reader takes lists, tuples, numbers and plain strings, within bounds,
and refuses all else: no names, no calls, no operators, no escapes, no other containers.
"""

from __future__ import annotations

import json
import math
import re
from typing import Final

from pydantic import JsonValue

from node.errors import Malformed, TooLarge

MAX_DEPTH: Final = 5  # a list of pictures is four deep: pictures, rows, pixels, colours
MAX_NUMBERS: Final = 3 * 2**19  # the colours of a picture of half a million pixels
MAX_PARTS: Final = 2**16  # what is taken one by one: texts, mixed numbers, and lists, where a row of pixels counts as one
NUMBER_MOST: Final = 2**53
_SHOWN: Final = 20

_CLOSER: Final = {"[": "]", "(": ")"}
# A whole row of pixels, and a whole list of numbers, at one go: token by token a picture of 640 × 480 takes seconds. What `row`
# matches is JSON.
_PIXEL: Final = r"\[\s*+\d{1,15}+(?:\s*+,\s*+\d{1,15}+)*+\s*+\]"
_TOKEN: Final = re.compile(
    rf"""\s*+(?:
        (?P<row>\[\s*+{_PIXEL}(?:\s*+,\s*+{_PIXEL})*+\s*+\])
      | (?P<flat>[\[(][\d\s,.eE+-]+[\])])
      | (?P<open>[\[(])
      | (?P<close>[\])])
      | (?P<comma>,)
      | (?P<number>[+-]?\d[\d.eE+-]*)
      | (?P<string>'[^'\\\n]*'|"[^"\\\n]*")
    )""",
    re.VERBOSE,
)


def looks_like_literal(text: str) -> bool:
    """Whether a text begins as a list or a tuple does; base64 does not."""
    return text.lstrip()[:1] in _CLOSER


def read_literal(text: str) -> JsonValue:
    """The value, tuples as lists.

    Raises:
        Malformed: anything but nested lists and tuples of numbers and strings.
        TooLarge: more of them than a picture has, or nested more deeply.
    """
    reader = _Reader()
    place = 0
    while (token := _TOKEN.match(text, place)) is not None:
        kind = str(token.lastgroup)
        if not reader.take(kind, token[kind]):
            break
        place = token.end()
    if text[place:].strip() or not reader.whole:
        raise Malformed(
            f"no list of numbers or texts: stopped at character {place}, before {text[place:].lstrip()[:_SHOWN]!r}",
            hint="send lists, tuples, numbers and plain strings only; nothing else is read, and nothing is evaluated",
        )
    return reader.value


class _Reader:
    """Lists that are still open, and whether a value or a comma must come next."""

    def __init__(self) -> None:
        self._root: list[JsonValue] = []
        self._open: list[tuple[list[JsonValue], str]] = []
        self._here = self._root
        self._wants_value = True
        self._numbers = 0
        self._parts = 0

    @property
    def whole(self) -> bool:
        return len(self._root) == 1 and not self._open

    @property
    def value(self) -> JsonValue:
        return self._root[0]

    def take(self, kind: str, text: str) -> bool:
        """Takes one token over, False where it cannot stand there."""
        if kind == "close":
            return self._close(text)
        if kind == "comma":
            fits = bool(self._open) and not self._wants_value
            self._wants_value = True
            return fits
        if not self._wants_value or (self._here is self._root and self._root):
            return False
        if kind == "open":
            self._begin(text)
            return True
        self._wants_value = False
        if kind == "row":
            self._here.append(self._row(text))
            return True
        if kind == "flat":
            self._count_part()
            self._here.append(self._flat(text))
            return text[-1] == _CLOSER[text[0]]
        self._count_part()
        self._here.append(text[1:-1] if kind == "string" else _number(text))
        return True

    def _begin(self, bracket: str) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise TooLarge(f"lists nested more than {MAX_DEPTH} deep")
        self._count_part()
        inner: list[JsonValue] = []
        self._here.append(inner)
        self._open.append((self._here, _CLOSER[bracket]))
        self._here = inner

    def _close(self, bracket: str) -> bool:
        if not self._open or self._open[-1][1] != bracket:
            return False
        self._here, _ = self._open.pop()
        self._wants_value = False
        return True

    def _count_part(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise TooLarge(f"more than {MAX_PARTS} lists and texts in one text", hint="send the picture as base64 of a JPEG")

    def _row(self, text: str) -> JsonValue:
        self._count_part()
        self._count_numbers(text.count(",") + 1)
        try:
            row: JsonValue = json.loads(text)
        except ValueError:
            raise Malformed("a number begins with a zero") from None
        return row

    def _flat(self, text: str) -> list[JsonValue]:
        pieces = text[1:-1].split(",")
        if len(pieces) > 1 and not pieces[-1].strip():
            pieces.pop()  # a comma behind the last one is allowed
        self._count_numbers(len(pieces))
        try:
            whole = list(map(int, pieces))
        except ValueError:
            return [_number(piece) for piece in pieces]
        if max(whole) > NUMBER_MOST or min(whole) < -NUMBER_MOST:
            raise TooLarge(f"a number beyond {NUMBER_MOST}")
        return list(whole)

    def _count_numbers(self, more: int) -> None:
        self._numbers += more
        if self._numbers > MAX_NUMBERS:
            raise TooLarge(f"more than {MAX_NUMBERS} numbers in one text", hint="send the picture as base64 of a JPEG")


def _number(text: str) -> int | float:
    """One number.

    Raises:
        Malformed: no number, or an infinite one.
        TooLarge: one that JSON cannot carry exactly.
    """
    try:
        number = int(text)
    except ValueError:
        try:
            broken = float(text)
        except ValueError:
            raise Malformed(f"{text.strip()[:_SHOWN]!r} is no number") from None
        if not math.isfinite(broken):
            raise Malformed(f"{text.strip()[:_SHOWN]!r} is not finite") from None
        return broken
    if abs(number) > NUMBER_MOST:
        raise TooLarge(f"a number beyond {NUMBER_MOST}")
    return number
