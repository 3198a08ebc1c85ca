"""What does each message look like? A request and a reply of every method, by its name.

The documentation prints them, and the tests send them through every codec. One module a noun, as in `node/model/wire/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from node.model.value import Value
from wire_examples import blob, compute, console, delivery, job, link, member, plot, relay, session, task

EXAMPLES: Final[Mapping[str, tuple[Value, Value]]] = {
    name: pair
    for noun in (member, link, compute, job, plot, delivery, blob, relay, session, task, console)
    for name, pair in noun.EXAMPLES.items()
}
