"""How does a command make and take away access to the HTTP API?"""

from __future__ import annotations

from urllib.parse import quote

from node.client.connection import (
    Connection,
    page_of,
)
from node.model.access import NewToken, Token, TokenRequest
from node.model.document import (
    from_document,
    to_document,
)


class TokenCalls(Connection):
    """Of access to the HTTP API."""

    def make_token(self, request: TokenRequest) -> NewToken:
        """A new token; it exists twice where the answer to the first try was lost, `tokens` shows it."""
        found = self._send("POST", "/tokens", to_document(request))
        return NewToken(token=from_document(Token, found.get("token")), secret=str(found.get("secret", "")))

    def tokens(self) -> tuple[Token, ...]:
        """The tokens that were made at this door."""
        return page_of(Token, self._get("/tokens")).items

    def revoke_token(self, ref: str) -> Token:
        """Takes away the token whose id begins so."""
        return from_document(Token, self._send("DELETE", f"/tokens/{quote(ref, safe='')}", None))
