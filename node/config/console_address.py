"""Which text is the base address of another console?"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

URL_MOST: Final = 300
_PORTS: Final = {"http": 80, "https": 443}
LINK: Final = "ecnode"
_NODE: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True)
class ConsoleAddress:
    """A parsed base address; `path` is what stands before the console's own paths, without a slash at its end."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def by_link(self) -> bool:
        """Whether the console is reached over the link to its node, which is the host."""
        return self.scheme == LINK

    def __str__(self) -> str:
        if self.by_link:
            return f"{self.scheme}://{self.host}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if _PORTS[self.scheme] == self.port else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}"


def console_address(text: str) -> ConsoleAddress:
    """Reads `https://console.example:5000/base`, or `ecnode://bank-b` for the console of a node that this one has a link to.

    Two texts for one address come out the same.

    Raises:
        ValueError: anything else, with what is wrong.
    """
    shown = f"'{text[:URL_MOST]}'"
    if len(text) > URL_MOST or not text.isascii() or any(letter <= " " or letter in "\\\x7f" for letter in text):
        raise ValueError(f"{shown} is not the address of a console: at most {URL_MOST} plain characters")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(f"{shown} is not an address") from None
    if parts.scheme == LINK:
        if not _NODE.fullmatch(parts.netloc) or parts.path.rstrip("/") or "?" in text or "#" in text:
            raise ValueError(f"{shown}: a console behind a link is ecnode://NODE, the node's name and nothing more")
        return ConsoleAddress(LINK, parts.netloc, 0, "")
    if parts.scheme not in _PORTS:
        raise ValueError(
            f"{shown}: a console is reached by http://, https:// or ecnode://, not by '{parts.scheme or 'nothing'}'"
        )
    if not parts.hostname or parts.username is not None or parts.query or parts.fragment or "?" in text or "#" in text:
        raise ValueError(f"{shown}: a console's address is scheme, host, port and path, no user, query or fragment")
    if port == 0 or ".." in parts.path or "//" in parts.path or "%" in parts.path:
        raise ValueError(f"{shown}: the path or the port is not one of a console")
    return ConsoleAddress(parts.scheme, parts.hostname.rstrip("."), port or _PORTS[parts.scheme], parts.path.rstrip("/"))
