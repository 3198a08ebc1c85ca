"""What does each setting mean? The models tell; docs/config.md and `ecnode config show` are made from this."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, JsonValue
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from node.config.lines import Location
from node.config.schema import NodeConfig
from node.config.units import duration, duration_text, size, size_text

Unit: TypeAlias = Literal["seconds", "bytes", ""]

_COMPUTED: Final = "computed"
_HEAD: Final = """\
# Settings

Made from `node/config/schema.py`. Spans of time are `"500ms"`, `"2s"`, `"10m"`, `"1h"`, `"14d"` or a number of seconds;
amounts are `"256KiB"`, `"8MiB"`, `"2GiB"` or a number of bytes. Layers: defaults < files < `ECNODE_HTTP__LISTEN` <
`--set http.listen=…`; any text may be `"@file:/path"` or `"@env:NAME"`.
"""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting; NAME stands for a name that the user chooses, `default` is as it would be written."""

    path: str
    type: str
    default: str
    unit: Unit
    description: str


def settings() -> Iterator[Setting]:
    """Every setting, in the order of the file."""
    return _settings(NodeConfig, "")


def markdown() -> str:
    """The reference manual."""
    rows = ["| setting | type | default | meaning |", "|---|---|---|---|"]
    rows += [
        f"| `{each.path}` | {each.type} | {f'`{each.default}`' if each.default else 'required'} | {each.description} |"
        for each in settings()
    ]
    return _HEAD + "\n" + "\n".join(rows) + "\n"


def shape(schema: Mapping[str, JsonValue]) -> str:
    """What a part of a JSON Schema takes, in a few words."""
    match schema:
        case {"x-unit": "seconds"}:
            return "span of time"
        case {"x-unit": "bytes"}:
            return "amount of bytes"
        case {"$ref": str(place)}:
            return "any" if place.endswith("/JsonValue") else place.rpartition("/")[2]
        case {"const": value}:
            return f"`{value if isinstance(value, str) else json.dumps(value)}`"
        case {"enum": [*values]}:
            return " · ".join(f"`{value}`" for value in values)
        case {"anyOf": [*choices]}:
            return " or ".join(shape(choice) for choice in choices if isinstance(choice, dict))
        case {"type": "array", "items": dict(items)}:
            return f"list of {shape(items)}" + _limit(schema, "maxItems", "items")
        case {"type": "object", "additionalProperties": dict(values)}:
            return f"table of {shape(values)}"
        case {"type": str(name)}:
            words = {"string": "text", "integer": "whole number", "boolean": "true or false", "null": "none", "object": "table"}
            return words.get(name, name) + _limit(schema, "maxLength", "characters")
    return "any"


def written(path: Location, value: object) -> str:
    """The value as it would be written in the file."""
    unit = unit_of(path)
    if unit and isinstance(value, (int, float)):
        return json.dumps(duration_text(value) if unit == "seconds" else size_text(int(value)))
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(json.dumps(item, ensure_ascii=False) for item in value) + "]"
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)


def unit_of(path: Location) -> Unit:
    """The unit of a setting, empty where it has none."""
    here: type[BaseModel] | None = NodeConfig
    field: FieldInfo | None = None
    for part in path:
        if isinstance(part, int) or (field is not None and get_origin(field.annotation) is dict and here is _table(field)):
            field = None  # a list position, or a name that the user chose: the table is the same
            continue
        field = here.model_fields.get(part) if here else None
        here = _table(field) if field else None
    return _unit(field) if field else ""


def _limit(schema: Mapping[str, JsonValue], key: str, of: str) -> str:
    return f", at most {schema[key]} {of}" if key in schema else ""


def _settings(model: type[BaseModel], prefix: str) -> Iterator[Setting]:
    shapes = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        path = f"{prefix}{field.alias or name}"
        table = _table(field)
        if table is None:
            yield Setting(
                path, shape(shapes[field.alias or name]), _default(path, field), _unit(field), field.description or ""
            )
            continue
        container = get_origin(field.annotation)
        chosen = ".NAME" if container is dict else "[]" if container is tuple else ""
        yield from _settings(table, f"{path}{chosen}.")


def _table(field: FieldInfo) -> type[BaseModel] | None:
    annotation: object = field.annotation
    if get_origin(annotation) is dict:
        annotation = get_args(annotation)[1]
    elif get_origin(annotation) is tuple:
        annotation = get_args(annotation)[0]
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _unit(field: FieldInfo) -> Unit:
    readers = [each.func for each in field.metadata if isinstance(each, BeforeValidator)]
    return "seconds" if duration in readers else "bytes" if size in readers else ""


def _default(path: str, field: FieldInfo) -> str:
    if field.default_factory is not None:
        return _COMPUTED
    if field.default is PydanticUndefined:
        return ""
    if field.default is None:
        return "none"
    return written(tuple(path.replace("[]", ".0").split(".")), field.default) if field.default != {} else "{}"
