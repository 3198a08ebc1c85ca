"""What is a value object here, and what text may name things?

Every noun that crosses a module border, the wire, the HTTP door or the database is one pydantic model: frozen, no unknown
field, no coercion of one type into another. `Word` and `Items` are the two exceptions that the doors need: a word arrives
as text, a tuple as a list.
"""

from __future__ import annotations

import os
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, Final, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, Strict, StringConstraints
from pydantic_core import CoreSchema, core_schema

T = TypeVar("T")

Items = Annotated[tuple[T, ...], Strict(False)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Word63 = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_]{0,62}$")]
Fraction = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0.0, le=1e11, allow_inf_nan=False)]
Duration = Annotated[float, Field(ge=1e-6, le=1e9, allow_inf_nan=False)]
COUNT_MOST: Final = 2**53  # what JSON carries exactly
Count = Annotated[int, Field(ge=0, le=COUNT_MOST)]
QueryId = Annotated[str, StringConstraints(pattern=r"^q-[0-9a-hjkmnp-tv-z]{26}$")]
SessionId = Annotated[str, StringConstraints(pattern=r"^s-[0-9a-hjkmnp-tv-z]{26}$")]
Text = Annotated[str, StringConstraints(max_length=2000)]


class Value(BaseModel):
    """Base of all value objects."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    def replace(self, **changes: object) -> Self:
        """The same value with some fields changed, checked again."""
        return type(self).model_validate({**dict(self), **changes})


class Word(StrEnum):
    """A fixed set of words; accepted as text at every door."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.enum_schema(cls, list(cls.__members__.values()), sub_type="str", strict=False)


_CROCKFORD: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS: Final = tuple(high + low for high in _CROCKFORD for low in _CROCKFORD)
_SIGNS: Final = _CROCKFORD.encode() * 8  # a random byte as a random sign: 256 is a multiple of 32
_TIME_BITS: Final = 50
_RANDOM_BITS: Final = 80

RANDOM_AT_HAND: Final = 256  # parts of ids: a system call for each is felt, also because it lets another thread in
_drawn: Final[list[str]] = []
os.register_at_fork(after_in_child=_drawn.clear)  # or parent and child would make the same ids


def _random() -> str:
    try:
        return _drawn.pop()
    except IndexError:
        size = _RANDOM_BITS // 5
        signs = os.urandom(size * RANDOM_AT_HAND).translate(_SIGNS).decode()
        _drawn.extend(signs[place : place + size] for place in range(size, len(signs), size))
        return signs[:size]


def _spelled(number: int, bits: int) -> str:
    return "".join([_PAIRS[(number >> shift) & 1023] for shift in range(bits - 10, -1, -10)])


@lru_cache(maxsize=4)  # what is made in one millisecond begins alike
def _moment(milliseconds: int) -> str:
    return _spelled(milliseconds, _TIME_BITS)


def new_id(kind: str, wall_seconds: float, entropy: bytes = b"") -> str:
    """A fresh id such as `q-01jd…`: the kind's letter and 26 characters, sortable by the given time of making.

    `entropy`, ten bytes, stands for the random part where the id must come out the same again.

    Source: ULID, 48 bits of milliseconds and 80 random bits in Crockford's base 32, lower case.
    """
    random = _spelled(int.from_bytes(entropy, "big"), _RANDOM_BITS) if entropy else _random()
    return f"{kind}-{_moment(int(wall_seconds * 1000))}{random}"
