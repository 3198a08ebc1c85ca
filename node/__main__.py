"""`python -m node` and the console script `ecnode`."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command line and ends the process with its exit code."""
    from node.cli import run

    sys.exit(run())


if __name__ == "__main__":
    main()
