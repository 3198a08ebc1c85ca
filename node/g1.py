"""Are 48 bytes a public key, a point of the group G1 of BLS12-381?

Every door asks before a key is taken into a plot that takes hours: a typing error makes a plot that nobody can farm. In plain
integers (about 5 ms for a key, then remembered), because a cloud needs no plotter's libraries to say so.

Source: the encoding is that of Zcash's BLS12-381 specification, section "Serialization"; constants from the IETF draft on
pairing-friendly curves, section 4.2.1.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, TypeAlias

KEY_BYTES: Final = 48
KEYS_AT_HAND: Final = 256

_FIELD: Final = 0x1A0111EA397FE69A4B1BA7B6434BACD764774B84F38512BF6730D2A0F6B0F6241EABFFFEB153FFFFB9FEFFFFFFFFAAAB
_ORDER: Final = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
_COMPRESSED: Final = 0x80
_INFINITY: Final = 0x40
_LARGER: Final = 0x20

_Point: TypeAlias = tuple[int, int, int]  # Jacobian: x/z², y/z³; z is 0 at infinity


@lru_cache(maxsize=KEYS_AT_HAND)
def fault(key: bytes) -> str:
    """What keeps the bytes from being a key, in words; empty where nothing does. The point at infinity is no key."""
    if len(key) != KEY_BYTES:
        return f"has {len(key)} bytes, a key has {KEY_BYTES}"
    flags = key[0]
    if not flags & _COMPRESSED or flags & _INFINITY:
        return "is not a compressed point"
    x = int.from_bytes(bytes([flags & 0x1F]) + key[1:], "big")
    square = (pow(x, 3, _FIELD) + 4) % _FIELD
    y = pow(square, (_FIELD + 1) // 4, _FIELD)
    if x >= _FIELD or y * y % _FIELD != square:
        return "is not a point of the curve"
    if bool(flags & _LARGER) != (y > _FIELD // 2):
        y = _FIELD - y
    return "" if _times(_ORDER, (x, y, 1))[2] == 0 else "is not in the group G1"


def _times(factor: int, point: _Point) -> _Point:
    found: _Point = (1, 1, 0)
    for bit in bin(factor)[2:]:
        found = _double(found)
        if bit == "1":
            found = _add(found, point)
    return found


def _double(point: _Point) -> _Point:
    """Source: Explicit-Formulas Database, dbl-2009-l, for a = 0."""
    x, y, z = point
    if z == 0:
        return point
    a, b = x * x % _FIELD, y * y % _FIELD
    c = b * b % _FIELD
    d = 2 * ((x + b) * (x + b) - a - c) % _FIELD
    e = 3 * a % _FIELD
    x3 = (e * e - 2 * d) % _FIELD
    return x3, (e * (d - x3) - 8 * c) % _FIELD, 2 * y * z % _FIELD


def _add(left: _Point, right: _Point) -> _Point:
    """Source: Explicit-Formulas Database, madd-2007-bl, whose `right` has z = 1."""
    x1, y1, z1 = left
    x2, y2, _ = right
    if z1 == 0:
        return right
    zz = z1 * z1 % _FIELD
    h, s = (x2 * zz - x1) % _FIELD, (y2 * z1 * zz - y1) % _FIELD
    if h == 0:
        return _double(left) if s == 0 else (1, 1, 0)
    hh = h * h % _FIELD
    hhh, v = h * hh % _FIELD, x1 * hh % _FIELD
    x3 = (s * s - hhh - 2 * v) % _FIELD
    return x3, (s * (v - x3) - y1 * hhh) % _FIELD, z1 * h % _FIELD
