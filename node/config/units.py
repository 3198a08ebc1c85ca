"""How are spans of time and amounts of memory written in a config?

A span is `"500ms"`, `"2s"`, `"10m"`, `"1h"`, `"14d"` or a plain number of seconds; an amount is `"256KiB"`, `"8MiB"`, `"2GiB"`
or a plain number of bytes. Decimal units (kB, MB) are refused: they are what people write when they mean the binary ones.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

LONGEST_SPAN: Final = 1e9  # seconds, 31 years: anything above it is a slip of the pen
LARGEST_AMOUNT: Final = 2**53  # bytes; every whole number up to here survives JSON
_LONGEST_TEXT: Final = 32

_SECONDS: Final = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600), "d": Decimal(86400)}
_BYTES: Final = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_NUMBER_AND_UNIT: Final = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)(?P<unit>[A-Za-z]*)")

DURATION_PATTERN: Final = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)?$"
SIZE_PATTERN: Final = r"^[0-9]+(\.[0-9]+)?(B|KiB|MiB|GiB|TiB)?$"


def duration(value: object) -> float:
    """Seconds.

    Raises:
        ValueError: not a span of time, or one outside 0 … `LONGEST_SPAN`.
    """
    wanted = 'a span of time such as "500ms", "2s", "10m", "1h", "14d", or a number of seconds'
    number, unit = _split(value, wanted)
    if unit not in ("", *_SECONDS):
        raise ValueError(f"{_shown(value)} has the unit '{unit}'; the units of time are {', '.join(_SECONDS)}")
    seconds = float(number * _SECONDS[unit or "s"])
    if not 0.0 <= seconds <= LONGEST_SPAN:
        raise ValueError(f"{_shown(value)} is out of range: 0 to {LONGEST_SPAN:g} seconds")
    return seconds


def size(value: object) -> int:
    """Bytes.

    Raises:
        ValueError: not an amount, not a whole number of bytes, or above `LARGEST_AMOUNT`.
    """
    wanted = 'an amount such as "256KiB", "8MiB", "2GiB", or a number of bytes'
    number, unit = _split(value, wanted)
    if unit not in ("", *_BYTES):
        binary = next((name for name in _BYTES if name != "B" and name[0] == unit[0].upper()), "")
        advice = f", did you mean '{binary}'?" if binary else ""
        raise ValueError(f"{_shown(value)} has the unit '{unit}'; the units of size are {', '.join(_BYTES)}{advice}")
    amount = number * _BYTES[unit or "B"]
    if amount != int(amount):
        raise ValueError(f"{_shown(value)} is not a whole number of bytes")
    if not 0 <= amount <= LARGEST_AMOUNT:
        raise ValueError(f"{_shown(value)} is out of range: 0 to {LARGEST_AMOUNT} bytes")
    return int(amount)


def duration_text(seconds: float) -> str:
    """The shortest text that `duration` reads back as the same number."""
    for unit, length in reversed(_SECONDS.items()):
        count = Decimal(repr(seconds)) / length
        if count >= 1 and count == int(count):
            return f"{int(count)}{unit}"
    return f"{Decimal(repr(seconds)):f}s"


def size_text(amount: int) -> str:
    """The shortest text that `size` reads back as the same number."""
    unit = next(name for name, length in reversed(_BYTES.items()) if amount % length == 0 and (amount >= length or name == "B"))
    return f"{amount // _BYTES[unit]}{unit}"


def _split(value: object, wanted: str) -> tuple[Decimal, str]:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"{_shown(value)} is not {wanted}")
    if not isinstance(value, str):
        number = Decimal(repr(value))
        if not number.is_finite():
            raise ValueError(f"{_shown(value)} is not {wanted}")
        return number, ""
    found = _NUMBER_AND_UNIT.fullmatch(value) if len(value) <= _LONGEST_TEXT and value.isascii() else None
    if found is None:
        raise ValueError(f"{_shown(value)} is not {wanted}")
    return Decimal(found["number"]), found["unit"]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_TEXT + 8 else text[:_LONGEST_TEXT] + "…"
