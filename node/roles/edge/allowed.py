"""Which sources may be added over HTTP?

What the owner of a node writes into its config is his own business. What comes over HTTP must not turn the node into a way to
what only this machine reaches: its own services, a cloud's metadata address, its files. Names are looked up here, and again by
the decoder when it connects: between the two a hostile name server may answer differently, and an address may redirect, so that
only callers with the scope admin may add sources at all. Blocking: for a thread.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from node.errors import Forbidden, Invalid, Unavailable
from node.roles.edge.source_reader import LIVE_SCHEMES


def check_url(url: str, hosts: Sequence[str], folders: Sequence[Path]) -> None:
    """Refuses a source that is neither a camera of this machine, nor below one of `folders`, nor at an address that may be
    read: any but loopback, link-local and the like, and those that `hosts` names.

    Raises:
        Forbidden: it may not be read.
        Invalid: it is no address.
        Unavailable: its name is not known.
    """
    if url.isdecimal():
        return
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise Invalid(f"url: {error}") from error
    if parts.scheme.lower() in LIVE_SCHEMES:
        _check_host(host or "", port, hosts)
    elif parts.scheme.lower() in {"", "file"}:
        _check_path(Path(unquote(parts.path) if parts.scheme else url), folders)
    else:
        raise Invalid(f"url: no reader knows '{parts.scheme}'", hint="use a path, a camera index, http or rtsp")


def _check_host(host: str, port: int | None, hosts: Sequence[str]) -> None:
    if not host:
        raise Invalid("url: names no host")
    if host in hosts:
        return
    try:
        found = socket.getaddrinfo(host, port or 80, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"'{host}' is not known: {error}") from error
    for *_, place in found:
        address = ipaddress.ip_address(str(place[0]).partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        inner = address.is_loopback or address.is_link_local or address.is_unspecified
        if (inner or address.is_multicast or address.is_reserved) and str(address) not in hosts:
            raise Forbidden(
                f"'{host}' is {address}, which only this machine or its link reaches",
                hint="name it in edge.source_hosts, or write the source into the config",
            )


def _check_path(path: Path, folders: Sequence[Path]) -> None:
    place = path.expanduser().resolve()
    if not any(place.is_relative_to(folder.resolve()) for folder in folders):
        raise Forbidden(
            f"{place} lies in no folder that sources may be added from",
            hint="name its folder in edge.source_folders, or write the source into the config",
        )
