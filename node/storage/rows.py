"""How does a value object become a row, and a row a value object?

The model is the only list of fields: a scalar field is a column, a nested one a column of JSON text. What was stored is
checked by the model again when it is read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum
from functools import cache
from typing import Annotated, Final, TypeVar, get_args, get_origin

import peewee
from pydantic import ValidationError
from pydantic_core import to_json

from node.errors import Internal
from node.model.value import Value
from node.storage.connection import Row, Scalar

V = TypeVar("V", bound=Value)


class JsonField(peewee.TextField):
    """A column of JSON text."""


_SCALARS: Final[tuple[tuple[type, type[peewee.Field]], ...]] = (
    (str, peewee.TextField),
    (int, peewee.IntegerField),
    (float, peewee.FloatField),
)


def columns(
    kind: type[Value], *, unique: Collection[str] = (), indexed: Collection[str] = (), later: Mapping[str, str] = {}
) -> dict[str, peewee.Field]:
    """A column for every field of `kind`, in its order; `later` has what older rows hold in one that a migration added."""
    return {
        name: _column(_plain(field.annotation))(
            null=type(None) in get_args(field.annotation),
            unique=name in unique,
            index=name in indexed,
            constraints=[peewee.SQL(f"DEFAULT '{later[name]}'")] if name in later else None,
        )
        for name, field in kind.model_fields.items()
    }


def _plain(annotation: object) -> object:
    """The annotation without `Annotated` and `| None`."""
    inner = [part for part in get_args(annotation) if part is not type(None)]
    if get_origin(annotation) is Annotated or (len(inner) == 1 and type(None) in get_args(annotation)):
        return _plain(inner[0])
    return annotation


def _column(annotation: object) -> type[peewee.Field]:
    for scalar, column in _SCALARS:
        if isinstance(annotation, type) and issubclass(annotation, scalar):
            return column
    return JsonField


@cache
def _nested(kind: type[Value]) -> frozenset[str]:
    return frozenset(name for name, column in columns(kind).items() if isinstance(column, JsonField))


@cache
def _flags(kind: type[Value]) -> frozenset[str]:
    """The fields that are true or false, which SQLite keeps as 1 or 0."""
    return frozenset(name for name, field in kind.model_fields.items() if _plain(field.annotation) is bool)


def encode(value: Value, only: Collection[str] | None = None) -> dict[str, Scalar]:
    """The columns of `value`, or only some of them."""
    dumped = value.model_dump(mode="json", include=None if only is None else set(only))
    nested = _nested(type(value))
    return {name: to_json(field).decode() if name in nested and field is not None else field for name, field in dumped.items()}


def in_order(value: Value) -> list[Scalar]:
    """The columns of `value` in the order of its fields; `encode` gives the same by name, at three times the cost."""
    held = value.__dict__
    return [held[name] if write is None else write(held[name]) for name, write in _places(type(value))]


@cache
def _places(kind: type[Value]) -> tuple[tuple[str, Callable[[object], Scalar] | None], ...]:
    return tuple((name, _writer(name in _nested(kind), field.annotation)) for name, field in kind.model_fields.items())


def _writer(nested: bool, annotation: object) -> Callable[[object], Scalar] | None:
    """How a field becomes a column; None where it is one."""
    if nested:
        return _as_json
    plain = _plain(annotation)
    return _as_word if isinstance(plain, type) and issubclass(plain, StrEnum) else None


def _as_json(field: object) -> Scalar:
    return None if field is None else to_json(field).decode()


def _as_word(field: object) -> Scalar:
    return None if field is None else str(field)


def decode(kind: type[V], row: Sequence[Scalar]) -> V:
    """The value whose columns `row` holds, in the order of its fields.

    Raises:
        Internal: this release does not understand what is stored.
    """
    nested, flags = _nested(kind), _flags(kind)
    fields = (
        f'"{name}":{str(column) if name in nested and column is not None else json.dumps(column)}'
        for name, column in zip(kind.model_fields, (row if not flags else _as_flags(kind, flags, row)), strict=True)
    )
    return parse(kind, "{" + ",".join(fields) + "}")


def _as_flags(kind: type[Value], flags: frozenset[str], row: Sequence[Scalar]) -> list[Scalar]:
    return [
        bool(column) if name in flags and column is not None else column
        for name, column in zip(kind.model_fields, row, strict=True)
    ]


def parse(kind: type[V], text: str) -> V:
    """The value that JSON text holds; raises as `decode` does."""
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise Internal(f"a stored {kind.__name__.lower()} cannot be read: {error}") from error


def text(row: Row, column: int) -> str:
    """A column that is declared as text and NOT NULL."""
    found = row[column]
    assert isinstance(found, str)
    return found
