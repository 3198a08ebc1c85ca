"""Which addresses may a config name, and which of them stay inside the machine?"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

_TCP: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|\*|[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}))?:(?P<port>\*|[0-9]{1,5})")
_LONGEST_SOCKET_PATH: Final = 102  # sun_path holds 108 bytes with the closing zero, and the data lane's path is 5 longer
LAST_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed address. `port` is 0 where the system shall choose one; a local socket has its path as host."""

    scheme: str
    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it; a host name other than localhost counts as outside."""
        if self.scheme == "ipc" or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def every_interface(self) -> bool:
        """Whether binding it opens all interfaces."""
        return self.host in ("*", "0.0.0.0", "::")  # noqa: S104 - compared, not bound


def peer_address(text: str) -> Address:
    """Reads `tcp://host:port` or `ipc://path`.

    Raises:
        ValueError: anything else.
    """
    scheme, divider, rest = text.partition("://")
    if divider and scheme == "ipc":
        if not 0 < len(rest.encode()) <= _LONGEST_SOCKET_PATH:
            raise ValueError(f"'{text}': the path of a local socket has 1 to {_LONGEST_SOCKET_PATH} bytes")
        return Address("ipc", rest, 0)
    if not divider or scheme != "tcp":
        raise ValueError(f"'{text}' is not an address of a peer such as 'tcp://10.0.0.5:7440' or 'ipc:///run/ecnode.sock'")
    address = _host_and_port("tcp", rest, f"'{text}'", "tcp://10.0.0.5:7440")
    if address.port == LAST_PORT:
        raise ValueError(f"'{text}': a port is at most {LAST_PORT - 1} here, because pictures take the next one")
    return address


def http_address(text: str) -> Address:
    """Reads `host:port`.

    Raises:
        ValueError: anything else.
    """
    if "://" in text:
        raise ValueError(f"'{text}': leave '{text.partition('://')[0]}://' away, write '127.0.0.1:7480'")
    return _host_and_port("http", text, f"'{text}'", "127.0.0.1:7480")


def _host_and_port(scheme: str, text: str, shown: str, example: str) -> Address:
    found = _TCP.fullmatch(text)
    if found is None or not found["host"]:
        raise ValueError(f"{shown} is not a host and a port such as '{example}'")
    port = 0 if found["port"] == "*" else int(found["port"])
    if port > LAST_PORT:
        raise ValueError(f"{shown}: a port is at most {LAST_PORT}")
    return Address(scheme, found["host"].strip("[]"), port)
