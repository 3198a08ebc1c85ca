"""May this node go where a caller sends it?

What comes over HTTP must not turn a node into a way to what only its machine reaches: its own services, a cloud's metadata
address, its files. Names are looked up here and again by whoever connects: between the two a hostile name server may answer
differently. Blocking: for a thread.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from pathlib import Path

from node.errors import Forbidden, Invalid, Unavailable


def check_host(host: str, port: int, hosts: Sequence[str], hint: str) -> None:
    """Refuses an address of loopback, a link or the like, unless `hosts` names it.

    Raises:
        Forbidden: it may not be reached; the hint tells how it could.
        Invalid: there is no host.
        Unavailable: its name is not known.
    """
    if not host:
        raise Invalid("url: names no host")
    if host in hosts:
        return
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"'{host}' is not known: {error}") from error
    for *_, place in found:
        address = ipaddress.ip_address(str(place[0]).partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        inner = address.is_loopback or address.is_link_local or address.is_unspecified
        if (inner or address.is_multicast or address.is_reserved) and str(address) not in hosts:
            raise Forbidden(f"'{host}' is {address}, which only this machine or its link reaches", hint=hint)


def check_path(path: Path, folders: Sequence[Path], hint: str) -> Path:
    """The real place of a path below one of `folders`; Forbidden where it is below none."""
    place = path.expanduser().resolve()
    if not any(place.is_relative_to(folder.resolve()) for folder in folders):
        raise Forbidden(f"{place} lies in no folder that may be read from", hint=hint)
    return place
