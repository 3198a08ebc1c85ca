"""Whose programs may run on this node?

Asked where a task is accepted and again where it is run: neither node takes the other's word for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from node.errors import Forbidden
from node.model.task import TaskSpec


@dataclass(frozen=True, slots=True)
class Circle:
    """The edges as this node knows them: which there are, since when one is silent, and whether for long."""

    edges: Callable[[], Collection[str]] = tuple
    silent: Callable[[str], float] = lambda _: 0.0
    is_silent: Callable[[str], bool] = lambda _: False


@dataclass(frozen=True, slots=True)
class Rules:
    """Who may run code here, how much of it at once, and which edges there are. `signers` are public keys of Ed25519."""

    name: str
    allow: str = "any"
    digests: frozenset[str] = frozenset()
    signers: tuple[str, ...] = ()
    at_once: int = 64
    circle: Circle = field(default_factory=Circle)


def permit(rules: Rules, spec: TaskSpec) -> None:
    """Refuses a program that this node does not run, by `tasks.allow` of its config.

    Raises:
        Forbidden: it says so.
    """
    if rules.allow == "none":
        raise Forbidden("this node runs nobody's code", hint="tasks.allow in its config decides")
    digest = _digest(spec)
    if rules.allow == "digest" and digest not in rules.digests:
        raise Forbidden(f"the program {digest or 'of a command'} is not allowed here", hint="tasks.digests lists what is")
    if rules.allow == "signed":
        _check_signature(rules, spec, digest)


def _digest(spec: TaskSpec) -> str:
    """What stands for the program; empty for a command, whose files nobody can vouch for."""
    return spec.bundle or (hashlib.sha256(spec.script.encode()).hexdigest() if spec.script else "")


def _check_signature(rules: Rules, spec: TaskSpec, digest: str) -> None:
    from node.pipeline.task.signing import is_signed  # an idle node does without the library

    if not digest:
        raise Forbidden("a command cannot be signed, and this node runs only what is", hint="submit a script or an archive")
    if spec.signature is None:
        raise Forbidden("this node runs signed programs only", hint="ecnode tasks submit --sign KEYFILE FILE")
    if not is_signed(digest, spec.entry, spec.signature, rules.signers):
        raise Forbidden(
            f"nobody whom this node trusts has signed the program {digest}",
            hint="tasks.signers lists them; `ecnode tasks key KEYFILE` prints the public half of a key",
        )
