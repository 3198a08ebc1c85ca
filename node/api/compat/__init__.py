"""Under which paths do the originals' routes stand?

Each group has a file with its route table; the handlers ask the same ports as the native API and add nothing to what those do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Group:
    """The routes of one original: where they stand besides `always`, and what a reader of the description is told."""

    name: str
    prefixes: tuple[str, ...]
    story: str

    @property
    def always(self) -> str:
        """Where they stand whatever the config says; the description shows them there."""
        return f"/compat/{self.name}"


_PLACES: Final = (
    "They stand under this path always, and where `http.compat` names them also at the original's own paths, without prefix."
    " A refusal is JSON with `status` 1 and `error`."
)
VIDEO: Final = Group(
    "video",
    ("", "/dag", "/serv", "/video"),  # of the original's web pages and of its three ports
    f"The routes of the original video system, for its clients. {_PLACES}",
)
TALENT: Final = Group("talent", ("",), f"The routes of the original plot system, for its clients. {_PLACES}")
PAI: Final = Group("pai", ("",), f"The routes of the original Private AI, for its clients. {_PLACES}")
TASKS: Final = Group(
    "tasks",
    ("",),
    "The routes of the original task system, for its clients. They stand under this path always, and where `http.compat` names"
    " them also at the original's own paths. Every answer is JSON with `code` (0, or the HTTP status) and `msg`.",
)
EFLS: Final = Group(
    "efls",
    ("",),
    "The routes of the original federated console, for its users and for other consoles. They stand under this path always,"
    " where `http.compat` names them also at the original's own paths, and below `federated.console.prefix`. Every answer is"
    " JSON with `data`, `message`, `http_code` and `rsp_code`.",
)
GROUPS: Final = (VIDEO, PAI, TALENT, TASKS, EFLS)
