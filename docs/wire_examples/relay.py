"""How does a request travel over a cloud?"""

from __future__ import annotations

from typing import Final

from node.errors import NotFound
from node.model.cluster import Role
from node.model.wire.blob import BLOB_CHUNK
from node.model.wire.delivery import DELIVERY_TAKE
from node.model.wire.relay import RELAY_ASK, RELAY_ASK_DATA, RELAY_GIVE, RELAY_GIVE_DATA, RelayAsk, RelayGive, RelayReply
from wire_examples.pair import Examples


def _given(method: str) -> RelayGive:
    return RelayGive(sender="edge-1", fingerprint="Q4TW4JR-XMM66GS-ATSNX7H-K4V6VGT", roles=(Role.EDGE,), method=method)


EXAMPLES: Final[Examples] = {
    RELAY_ASK.name: (RelayAsk(to="edge-2", method=DELIVERY_TAKE.name), RelayReply()),
    RELAY_ASK_DATA.name: (RelayAsk(to="edge-2", method=BLOB_CHUNK.name), RelayReply(code=NotFound.code)),
    RELAY_GIVE.name: (_given(DELIVERY_TAKE.name), RelayReply()),
    RELAY_GIVE_DATA.name: (_given(BLOB_CHUNK.name), RelayReply(code=NotFound.code)),
}
