"""How does a file that describes a query or a session become a document?"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from typing import Final

from node.errors import Invalid, Malformed
from node.model.document import Document

MAX_SPEC: Final = 2**20


def read_spec(content: bytes, name: str) -> Document:
    """The object in TOML where the name ends in .toml, in JSON otherwise.

    Raises:
        Invalid: it is too large.
        Malformed: it is no such object, or has a key twice.
    """
    if len(content) > MAX_SPEC:
        raise Invalid(f"{name} is larger than {MAX_SPEC} bytes")
    try:
        found: object = (
            tomllib.loads(content.decode()) if name.endswith(".toml") else json.loads(content, object_pairs_hook=_once)
        )
        text = json.dumps(found, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise Malformed(f"{name} cannot be read: {error}", hint="TOML where the name ends in .toml, JSON otherwise") from error
    document = json.loads(text)
    if not isinstance(document, dict):
        raise Malformed(f"{name} holds no object")
    return document


def _once(pairs: Sequence[tuple[str, object]]) -> Mapping[str, object]:
    names = [name for name, _ in pairs]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise Malformed(f"given twice: {', '.join(doubled)}")
    return dict(pairs)
