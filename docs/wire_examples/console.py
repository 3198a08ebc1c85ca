"""How does one console ask another?"""

from __future__ import annotations

from typing import Final

from node.model.wire.console import CONSOLE_ASK, ConsoleAsk, ConsoleReply
from wire_examples.pair import Examples

EXAMPLES: Final[Examples] = {
    CONSOLE_ASK.name: (
        ConsoleAsk(
            method="PUT",
            path="/task_instance/peer/0f7a3c5b9d1e4f60a2b4c6d8e0f1a3b5",
            headers={
                "X-Peer-Key": "8a" * 32,
                "X-Peer-Time": "1796095101.334",
                "X-Peer-Nonce": "5c" * 16,
                "X-Peer-Sig": "d3" * 64,
            },
        ),
        ConsoleReply(signature="9b" * 64),
    ),
}
