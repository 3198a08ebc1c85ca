"""Where can a test make this program stumble, and how?

`ECNODE_FAILPOINTS=after_commit_before_ack=kill,before_result=error` arms named places. Honoured only after `arm` was called,
which the composition root does under `--dev` and tests do by themselves; otherwise `hit` costs one dictionary look-up.
"""

from __future__ import annotations

import os
import signal
from typing import Final

from node.errors import Internal, Rejected

NAMES: Final = frozenset(
    {
        "after_commit_before_ack",  # the store has the row, the caller does not know it
        "before_commit",  # the writer thread is about to commit a batch
        "before_delivery_sent",  # a durable message is committed and not on its way yet
        "before_delivery_settled",  # a durable message is acknowledged, and the sender has not stored that
        "before_result_sent",  # the edge has a result that the cloud has not seen
    }
)
ACTIONS: Final = frozenset({"kill", "error"})
ENVIRONMENT: Final = "ECNODE_FAILPOINTS"

_armed: dict[str, str] = {}


def arm(spec: str) -> None:
    """Arms the places named in `spec` (`name=action,name=action`); an empty one disarms all.

    Raises:
        Rejected: a name or an action that does not exist.
    """
    wanted: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in spec.split(","))):
        name, _, action = part.partition("=")
        if name not in NAMES or action not in ACTIONS:
            raise Rejected(
                f"{ENVIRONMENT}: '{part}' is not name=action",
                hint=f"names: {', '.join(sorted(NAMES))}; actions: {', '.join(sorted(ACTIONS))}",
            )
        wanted[name] = action
    _armed.clear()
    _armed.update(wanted)


def hit(name: str) -> None:
    """Does what was armed for `name`, usually nothing.

    Raises:
        Internal: the place is armed with `error`.
    """
    action = _armed.get(name)
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "error":
        raise Internal(f"failpoint {name}")
