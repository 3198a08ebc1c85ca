"""What does an error mean to a shell, and what does a person read of it?

0 ok · 1 the job failed · 2 usage · 3 config invalid · 4 cannot reach the node · 5 not allowed · 6 not found · 7 conflict ·
8 peer refused · 124 time-out · 130 interrupted.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Final

import click

from node import errors
from node.journal import plain

FAILED: Final = 1
INTERRUPTED: Final = 130

# the nearest class in an error's ancestry decides
_CODES: Final[Mapping[type[errors.EcnodeError], int]] = {
    errors.EcnodeError: FAILED,
    errors.Rejected: 2,
    errors.ConfigInvalid: 3,
    errors.PeerUnreachable: 4,
    errors.Unauthorized: 5,
    errors.Forbidden: 5,
    errors.NotFound: 6,
    errors.Conflict: 7,
    errors.PeerRefused: 8,
    errors.DeadlineExceeded: 124,
}


def exit_code(error: errors.EcnodeError) -> int:
    """The process's exit code for an error."""
    return next(_CODES[kind] for kind in type(error).__mro__ if kind in _CODES)


def explain(error: errors.EcnodeError, *, verbose: bool) -> None:
    """Writes the error, its faults and the next step to standard error."""
    code = f" [{error.code}]" if verbose else ""
    click.echo(f"ecnode: {plain(error.message)}{code}", err=True)
    for fault in error.problems:
        if error.message not in {str(fault), fault.message}:
            click.echo(f"  {plain(str(fault))}", err=True)
    if error.hint:
        click.echo(f"  → {plain(error.hint)}", err=True)
    if verbose:
        click.echo("".join(traceback.format_exception(error)).rstrip(), err=True)
