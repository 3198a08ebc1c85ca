"""Which messages do nodes exchange, what does each answer with, and who may send it?

One module a noun; the table below is the whole caller matrix: the dispatcher reads `callers`, the documentation prints it, a
test walks it.
"""

from __future__ import annotations

from typing import Final

from node.model.value import Value
from node.model.wire import blob, compute, console, delivery, job, link, member, plot, relay, session, task
from node.model.wire.method import Method

METHODS: Final[tuple[Method[Value, Value], ...]] = tuple(
    value
    for noun in (member, link, compute, job, plot, delivery, blob, relay, session, task, console)
    for value in vars(noun).values()
    if isinstance(value, Method)
)
