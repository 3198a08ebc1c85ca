"""Is a finished file a plot that can be farmed, and the one that was ordered?

For a process of its own: a damaged plot can end the process that reads it, and the reader keeps the interpreter's lock.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.errors import Conflict, NotAPlot
from node.pipeline.plot.keys import KEY_BYTES, from_memo, parse_name
from node.pipeline.plot.space import is_plausible

CHALLENGES: Final = 30  # none of them has a proof in one of 10^13 plots: a plot answers a challenge with one proof on average
CHALLENGE_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Expected:
    """What the task says of the plot; None where it leaves it open. All in hex but the size."""

    ksize: int
    fpk: str
    ppk: str
    memo: str | None = None
    plot_id: str | None = None


@dataclass(frozen=True, slots=True)
class Proven:
    """What was found: the id in hex, and how many proofs of how many challenges were verified."""

    plot_id: str
    proofs: int
    challenges: int


def verify(path: Path, expected: Expected, challenges: int = CHALLENGES, random: Callable[[int], bytes] = os.urandom) -> Proven:
    """What a proven file is; blocks for about 10 ms a challenge on a disk that is quick to seek.

    Raises:
        NotAPlot: the file is missing, has an impossible size, cannot be opened, belongs to another task, or has a wrong proof.
    """
    from chiapos import DiskProver, Verifier

    try:
        size = path.stat().st_size
    except OSError as error:
        raise NotAPlot(f"{path} cannot be read: {error.strerror}") from error
    if not is_plausible(expected.ksize, size):
        raise NotAPlot(f"{path.name} has {size} bytes, which no plot of k{expected.ksize} has")
    try:
        prover = DiskProver(str(path))
    except (ValueError, RuntimeError) as error:
        raise NotAPlot(f"{path.name} cannot be opened as a plot: {error}") from error
    _check_names(path.name, prover.get_id(), prover.get_memo(), prover.get_size(), expected)
    proofs = 0
    verifier = Verifier()
    for _ in range(challenges):
        challenge = random(CHALLENGE_BYTES)
        try:
            for place, quality in enumerate(prover.get_qualities_for_challenge(challenge)):
                proof = prover.get_full_proof(challenge, place)
                if verifier.validate_proof(prover.get_id(), expected.ksize, challenge, proof) != quality:
                    raise NotAPlot(f"{path.name} has a wrong proof for the challenge {challenge.hex()}")
                proofs += 1
        except (ValueError, RuntimeError) as error:
            raise NotAPlot(f"{path.name} breaks at the challenge {challenge.hex()}: {error}") from error
    if challenges >= CHALLENGES and not proofs:
        raise NotAPlot(f"{path.name} has no proof for any of {challenges} challenges")
    return Proven(prover.get_id().hex(), proofs, challenges)


def _check_names(name: str, plot_id: bytes, memo: bytes, ksize: int, expected: Expected) -> None:
    """Id, memo, file name and task agree."""
    if ksize != expected.ksize:
        raise NotAPlot(f"{name} is a plot of k{ksize}, ordered was k{expected.ksize}")
    if expected.plot_id is not None and plot_id.hex() != expected.plot_id:
        raise NotAPlot(f"{name} has the id {plot_id.hex()}, its log said {expected.plot_id}")
    if parse_name(name) != (ksize, plot_id.hex()):
        raise NotAPlot(f"the name {name} is not that of a plot k{ksize} with the id {plot_id.hex()}")
    if memo[:KEY_BYTES].hex() != expected.ppk or memo[KEY_BYTES : 2 * KEY_BYTES].hex() != expected.fpk:
        raise NotAPlot(f"{name} was made for other keys than those of its task")
    if expected.memo is not None and memo.hex() != expected.memo:
        raise NotAPlot(f"{name} has another memo than the one of its task")
    try:
        decided = from_memo(memo).plot_id
    except ValueError as error:
        raise NotAPlot(f"the memo of {name} is none: {error}") from error
    if decided != plot_id:
        raise NotAPlot(f"{name} has the id {plot_id.hex()}, its memo decides {decided.hex()}")


def check_free(folder: Path, name: str) -> None:
    """Refuses a destination where a plot of that id lies under another name.

    Raises:
        Conflict: there is one.
    """
    found = parse_name(name)
    if found is None:
        return
    others = [path.name for path in folder.glob(f"*{found[1]}.plot") if path.name != name]
    if others:
        raise Conflict(f"{folder} has a plot with the id {found[1]} already: {others[0]}", hint="two tasks had the same memo")
