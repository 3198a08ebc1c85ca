"""Under which paths do the originals' routes stand?

Each group has a file with its route table; the handlers ask the same ports as the native API and add nothing to what those do.
"""

from __future__ import annotations

from typing import Final

GROUP: Final = "video"
ALWAYS: Final = f"/compat/{GROUP}"  # whatever the config says; the description shows the routes here
PREFIXES: Final = ("", "/dag", "/serv", "/video")  # of the original's web pages and of its three ports
