"""How does a picture become bytes, how does it come back, and how does it change its size?

A picture that came from outside is measured by its header before a single pixel is decoded: a file of a few hundred bytes may
claim gigapixels.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np

from node.errors import Invalid, TooLarge
from node.pipeline.video.opencv import MAX_PICTURE_PIXELS, cv2
from node.pipeline.video.service import Picture, Pictures

Bytes: TypeAlias = bytes | bytearray | memoryview

_SOF: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame; the three are DHT, JPG and DAC
_BARE: Final = frozenset({0x01, *range(0xD0, 0xD9)})  # markers that carry no length
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_TRAILER_BYTES: Final = 4096  # what a camera may add behind the end marker


def encode_jpeg(picture: Picture, quality: int = 80) -> bytes:
    """The picture as JPEG.

    Raises:
        Invalid: not a picture of height × width × 3 bytes.
    """
    check_picture(picture)
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise Invalid(f"a picture of {picture.shape[1]} × {picture.shape[0]} cannot be encoded as JPEG")
    return data.tobytes()


def decode_jpeg(data: Bytes) -> Picture:
    """The picture in a JPEG, turned upright if its header says how.

    Raises:
        Invalid: rubbish, or a file that ends too early.
        TooLarge: more than `MAX_PICTURE_PIXELS`; nothing was decoded.
    """
    width, height = jpeg_size(data)
    check_pixels(width, height)
    if bytes(data[-_TRAILER_BYTES:]).rfind(b"\xff\xd9") < 0:
        raise Invalid("the JPEG ends before its end marker")
    return decode_checked(data)


def decode_picture(data: Bytes) -> Picture:
    """The picture in a JPEG or a PNG.

    Raises:
        Invalid: neither of them, rubbish, or a file that ends too early.
        TooLarge: more than `MAX_PICTURE_PIXELS`; nothing was decoded.
    """
    if bytes(data[: len(_PNG)]) != _PNG:
        return decode_jpeg(data)
    check_pixels(*png_size(data))
    return decode_checked(data)


def decode_checked(data: Bytes) -> Picture:
    """Decodes a picture of any format whose header was checked already.

    Raises:
        Invalid: the decoder finds no picture.
    """
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as fault:
        raise Invalid("the picture cannot be decoded") from fault
    if picture is None:
        raise Invalid("the picture cannot be decoded")
    return np.asarray(picture, np.uint8)


def jpeg_size(data: Bytes) -> tuple[int, int]:
    """Width and height as the header claims them.

    Raises:
        Invalid: no JPEG, or one without a frame header.
    Source: ITU-T T.81, B.1.1 and B.2.2.
    """
    view = memoryview(data)
    if bytes(view[:2]) != b"\xff\xd8":
        raise Invalid("no JPEG: it does not begin with FF D8")
    place = 2
    while place + 9 <= len(view) and view[place] == 0xFF:
        marker = view[place + 1]
        if marker in _SOF:
            height, width = struct.unpack_from(">HH", view, place + 5)
            return width, height
        if marker == 0xFF:  # fill byte
            place += 1
        elif marker in _BARE:
            place += 2
        else:
            place += 2 + max(2, struct.unpack_from(">H", view, place + 2)[0])
    raise Invalid("no JPEG: it has no frame header")


def png_size(data: Bytes) -> tuple[int, int]:
    """Width and height as the header claims them.

    Raises:
        Invalid: no PNG.
    Source: RFC 2083, 3.2 and 4.1.1.
    """
    view = memoryview(data)
    if len(view) < 24 or bytes(view[: len(_PNG)]) != _PNG or bytes(view[12:16]) != b"IHDR":
        raise Invalid("no PNG: it does not begin with a PNG header")
    width, height = struct.unpack_from(">II", view, 16)
    return width, height


def check_pixels(width: int, height: int) -> None:
    """Refuses a claimed size that no child should try to decode.

    Raises:
        Invalid: no pixels at all.
        TooLarge: more than `MAX_PICTURE_PIXELS`.
    """
    if width < 1 or height < 1:
        raise Invalid(f"the picture claims {width} × {height} pixels")
    if width * height > MAX_PICTURE_PIXELS:
        hint = f"send at most {MAX_PICTURE_PIXELS} pixels, such as 8192 × 4096"
        raise TooLarge(f"the picture claims {width} × {height} pixels", hint=hint)


def check_together(pictures: Sequence[Bytes]) -> None:
    """Refuses JPEGs and PNGs that are decoded at once and claim more pixels than one picture may.

    Raises:
        Invalid: one of them is none.
        TooLarge: `MAX_PICTURE_PIXELS` are exceeded; nothing was decoded.
    """
    claimed = 0
    for picture in pictures:
        width, height = png_size(picture) if bytes(picture[: len(_PNG)]) == _PNG else jpeg_size(picture)
        check_pixels(width, height)
        claimed += width * height
    if claimed > MAX_PICTURE_PIXELS:
        raise TooLarge(f"{len(pictures)} pictures claim {claimed} pixels together", hint=f"at most {MAX_PICTURE_PIXELS}")


def check_picture(picture: Picture) -> None:
    """Refuses an array that is not a picture.

    Raises:
        Invalid: another shape than height × width × 3, another type than uint8, or no pixels.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise Invalid(f"a picture is height × width × 3 of uint8, not {picture.shape} of {picture.dtype}")


def only_image(pictures: Pictures, service: str) -> Picture:
    """The one picture called `image` that a detector takes.

    Raises:
        Invalid: none or several came, or what came is not a picture.
    """
    images = pictures.get("image", ())
    if len(images) != 1:
        raise Invalid(f"{service} takes one picture called image, not {len(images)}")
    check_picture(images[0])
    return images[0]


def resize(picture: Picture, width: int, height: int) -> Picture:
    """The picture stretched to exactly `width` × `height`; the very same object where it has that size."""
    if picture.shape[:2] == (height, width):
        return picture
    # Linear also downwards: averaging over areas costs five times as much (decision 0005 has what it would find).
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
