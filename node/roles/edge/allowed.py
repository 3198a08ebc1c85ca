"""Which sources may be added over HTTP?

What the owner of a node writes into its config is his own business. What comes over HTTP must not turn the node into a way to
what only this machine reaches: its own services, a cloud's metadata address, its files. Names are looked up here, and again by
the decoder when it connects: between the two a hostile name server may answer differently, and an address may redirect, so that
only callers with the scope admin may add sources at all. Blocking: for a thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from node.errors import Invalid
from node.roles.edge.source_reader import LIVE_SCHEMES
from node.roles.shared.reach import check_host, check_path

_HOST_HINT: Final = "name it in edge.source_hosts, or write the source into the config"
_PATH_HINT: Final = "name its folder in edge.source_folders, or write the source into the config"


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
        check_host(host or "", port or 80, hosts, _HOST_HINT)
    elif parts.scheme.lower() in {"", "file"}:
        check_path(Path(unquote(parts.path) if parts.scheme else url), folders, _PATH_HINT)
    else:
        raise Invalid(f"url: no reader knows '{parts.scheme}'", hint="use a path, a camera index, http or rtsp")
