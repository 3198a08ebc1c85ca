"""Of which kinds are the settings of a config, and what does each kind refuse?"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Annotated, Final, Literal, TypeAlias, TypeVar

from pydantic import AfterValidator, BeforeValidator, StringConstraints, WithJsonSchema

from node import g1
from node.config.address import http_address, peer_address
from node.config.console_address import console_address
from node.config.units import DURATION_PATTERN, SIZE_PATTERN, duration, size

RoleName: TypeAlias = Literal["cloud", "edge", "talent", "federated"]
Resolution: TypeAlias = Literal["360p", "480p", "720p", "1080p"]

T = TypeVar("T")


def one_or_many(value: object) -> object:
    """A list as a tuple; a single text where a list belongs counts as a list of one."""
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


def _without_repeats(values: tuple[str, ...]) -> tuple[str, ...]:
    if repeated := sorted({value for value in values if values.count(value) > 1}):
        raise ValueError(f"'{repeated[0]}' stands in the list twice")
    return values


def _role_alias(value: object) -> object:
    return "federated" if value == "federated-client" else value


def _expanded(value: object) -> object:
    if not isinstance(value, str):
        return value
    if not value or "\0" in value:
        raise ValueError("a path cannot be empty")
    return Path(os.path.abspath(Path(value).expanduser()))  # noqa: PTH100 - resolve() would follow links, absolute() keeps ".."


def _bindable(value: str) -> str:
    peer_address(value)
    return value


def _reachable(value: str) -> str:
    address = peer_address(value)
    if address.every_interface or (address.scheme == "tcp" and address.port == 0):
        raise ValueError(f"'{value}' cannot be connected to: name one host and one port")
    return value


def _http_bindable(value: str) -> str:
    http_address(value)
    return value


_Z85: Final = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"


def _public_key(value: str) -> str:
    # Z85, ZeroMQ RFC 32: five characters of base 85 for four bytes
    if len(value) != 40 or any(letter not in _Z85 for letter in value):
        raise ValueError("is not a public key: 40 characters as `ecnode id` prints them on that node")
    for start in range(0, 40, 5):
        number = 0
        for letter in value[start : start + 5]:
            number = number * 85 + _Z85.index(letter)
        if number >= 2**32:
            raise ValueError("is not a public key: a character was mistyped, copy what `ecnode id` prints")
    return value


def unbuilt(only: object, instead: str) -> AfterValidator:
    """Refuses every value but the one that this release honours."""

    def check(value: T) -> T:
        if value != only:
            raise ValueError(f"is not built into this release; {instead}")
        return value

    return AfterValidator(check)


def _openable_group(value: str) -> str:
    if value == "tasks":
        raise ValueError("what makes strangers' code run needs a token always")
    if value == "efls":
        raise ValueError("what users may do at the console follows from who they are: they log in")
    return value


def _plot_key(value: str) -> str:
    if not value:
        return value
    try:
        fault = g1.fault(bytes.fromhex(value))
    except ValueError:
        fault = "is not hex"
    if fault:
        raise ValueError(f"is not a public key: it {fault}")
    return value.lower()


def _console_url(value: str) -> str:
    return str(console_address(value)) if value else value


def _object_folder(value: str) -> str:
    if "://" in value:
        raise ValueError("is not built into this release; name a folder below data_dir such as 'objects/'")
    path = PurePosixPath(value)
    if "\0" in value or path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError("is not a folder below data_dir such as 'objects/'")
    return value


def _database(value: str) -> str:
    scheme, divider, rest = value.partition("://")
    if not divider or scheme not in ("sqlite", "postgres", "postgresql", "mysql"):
        raise ValueError("is not a database url such as 'sqlite:///node.db'")
    if scheme != "sqlite":
        raise ValueError(f"'{scheme}' is not built into this release; use 'sqlite:///node.db'")
    if not rest.startswith("/") or rest == "/":
        raise ValueError("names no file: 'sqlite:///node.db' lies in data_dir, 'sqlite:////var/lib/node.db' is absolute")
    return value


Duration = Annotated[
    float,
    BeforeValidator(duration),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "pattern": DURATION_PATTERN}], "x-unit": "seconds"}),
]
Size = Annotated[
    int,
    BeforeValidator(size),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string", "pattern": SIZE_PATTERN}], "x-unit": "bytes"}),
]
Folder = Annotated[Path, BeforeValidator(_expanded), WithJsonSchema({"type": "string"})]
NodeName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_]{0,62}$")]
Words = Annotated[tuple[Identifier, ...], BeforeValidator(one_or_many), AfterValidator(_without_repeats)]
ServicePlace = Annotated[str, StringConstraints(pattern=r"^([A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*)?$", max_length=300)]
LabelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
LabelText = Annotated[str, StringConstraints(max_length=200)]
Roles = Annotated[
    tuple[Annotated[RoleName, BeforeValidator(_role_alias)], ...],
    BeforeValidator(one_or_many),
    AfterValidator(_without_repeats),
]
Texts = Annotated[tuple[str, ...], BeforeValidator(one_or_many), AfterValidator(_without_repeats)]
PeerListen = Annotated[
    tuple[Annotated[str, AfterValidator(_bindable)], ...], BeforeValidator(one_or_many), AfterValidator(_without_repeats)
]
PeerAddress = Annotated[str, AfterValidator(_reachable)]
PeerAddresses = Annotated[tuple[PeerAddress, ...], BeforeValidator(one_or_many), AfterValidator(_without_repeats)]
HttpListen = Annotated[
    tuple[Annotated[str, AfterValidator(_http_bindable)], ...], BeforeValidator(one_or_many), AfterValidator(_without_repeats)
]
_Group = Literal["video", "pai", "talent", "tasks", "efls"]
CompatGroups = Annotated[tuple[_Group, ...], BeforeValidator(one_or_many), AfterValidator(_without_repeats)]
OpenGroups = Annotated[
    tuple[Annotated[_Group, AfterValidator(_openable_group)], ...],
    BeforeValidator(one_or_many),
    AfterValidator(_without_repeats),
]
PublicKey = Annotated[str, AfterValidator(_public_key)]
SigningKey = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
PlotKey = Annotated[str, AfterValidator(_plot_key)]
DatabaseUrl = Annotated[str, AfterValidator(_database)]
ConsoleUrl = Annotated[str, AfterValidator(_console_url)]
ConsoleKey = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")]
ConsolePrefix = Annotated[str, StringConstraints(pattern=r"^(/[a-z0-9][a-z0-9_-]{0,62})?$")]
ObjectFolder = Annotated[str, AfterValidator(_object_folder)]
