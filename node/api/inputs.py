"""How do the inputs of a service come out of a JSON body, and its outputs go into one?

A picture is base64 of a JPEG, or, as the original sends it, the text of a list: either the bytes of a JPEG or the pixels, rows
of (blue, green, red). Lists that are not wrapped into a text are taken as well. Pixels become a PNG, which loses nothing and
is decoded in a worker process like every other picture.
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, cast

from pydantic import ConfigDict, JsonValue

from node.api.compat.literal import looks_like_literal, read_literal
from node.api.ports import Served
from node.errors import EcnodeError, Invalid, Problem, TooLarge
from node.model.document import Document
from node.model.value import Value
from node.pipeline.stage import PICTURES

MAX_TEXT_PIXELS: Final = 2**19  # as numbers; a base64 JPEG may have as many as the decoder takes
MAX_PICTURES: Final = 256  # as many as one call of a service may carry


class ServiceInput(Value):
    """The inputs of a service by name, pictures among them."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a call of a service is made with; pictures are JPEG or PNG."""

    values: Mapping[str, JsonValue]
    pictures: Mapping[str, Sequence[bytes]]


def read_inputs(given: Mapping[str, JsonValue], needs: Collection[str]) -> Inputs:
    """The inputs that a service needs; what it does not need is passed over, for clients hand on what a stage before gave.

    Raises:
        Invalid: every input that is missing or cannot be read, by name.
        TooLarge: a picture beyond a limit.
    """
    values: dict[str, JsonValue] = {}
    pictures: dict[str, Sequence[bytes]] = {}
    problems = [Problem(name, "is required") for name in sorted(needs) if name not in given]
    for name in sorted(set(needs) & set(given)):
        try:
            if name == "image":
                pictures[name] = (_picture(given[name]),)
            elif name in PICTURES:
                pictures[name] = _pictures(given[name])
            else:
                values[name] = _plain(given[name])
        except TooLarge:
            raise
        except EcnodeError as error:
            problems.append(Problem(name, error.message))
    if problems:
        raise Invalid(
            "; ".join(map(str, problems)), problems=problems, hint="a picture is base64 of a JPEG, or the text of a list"
        )
    return Inputs(values, pictures)


def write_outputs(served: Served) -> Document:
    """The outputs of a service, pictures as base64."""
    pictures: Document = {
        name: [base64.b64encode(picture).decode() for picture in given] for name, given in served.pictures.items()
    }
    return {**served.values, **pictures}


def _plain(value: JsonValue) -> JsonValue:
    return read_literal(value) if isinstance(value, str) and looks_like_literal(value) else value


def _pictures(value: JsonValue) -> tuple[bytes, ...]:
    found = _plain(value)
    if not isinstance(found, list):
        raise Invalid("is not a list of pictures")
    if len(found) > MAX_PICTURES:
        raise TooLarge(f"{len(found)} pictures, at most {MAX_PICTURES}")
    return tuple(_picture(one) for one in found)


def _picture(value: JsonValue) -> bytes:
    if isinstance(value, str) and not looks_like_literal(value):
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise Invalid(f"is neither base64 nor the text of a list: {error}") from None
    found = _plain(value)
    if not isinstance(found, list) or not found:
        raise Invalid("is not a picture")
    try:
        return _png(cast(list[list[list[int]]], found)) if _depth(found) == 3 else _bytes(found)
    except (TypeError, ValueError):  # a text, a float, a number above 255 where a byte belongs
        raise Invalid("holds something that is not a number from 0 to 255") from None


def _depth(value: JsonValue) -> int:
    depth = 0
    while isinstance(value, list) and value:
        value = value[0]
        depth += 1
    return depth


def _bytes(numbers: Sequence[JsonValue]) -> bytes:
    """The bytes of a file, each a number, or a list of one number as OpenCV 4 gave them out."""
    flat = [number[0] if isinstance(number, list) and len(number) == 1 else number for number in numbers]
    return bytes(cast(list[int], flat))


def _png(rows: Sequence[Sequence[Sequence[int]]]) -> bytes:
    """Rows of pixels, blue first, as a PNG.

    Source: RFC 2083, 3.2 (layout), 4.1.1 (IHDR), 6.2 (a row begins with its filter, 0 is none).
    """
    height, width = len(rows), len(rows[0])
    if width * height > MAX_TEXT_PIXELS:
        hint = "send the picture as base64 of a JPEG"
        raise TooLarge(f"{width} × {height} pixels as numbers, at most {MAX_TEXT_PIXELS}", hint=hint)
    if any(len(row) != width or any(len(pixel) != 3 for pixel in row) for row in rows):
        raise Invalid("is not a picture: rows of one length, of pixels of three numbers")
    content = bytearray()
    for row in rows:
        line = bytes(chain.from_iterable(row))
        turned = bytearray(len(line))
        turned[0::3], turned[1::3], turned[2::3] = line[2::3], line[1::3], line[0::3]
        content += b"\0" + turned
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(content, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
