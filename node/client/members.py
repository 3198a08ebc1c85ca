"""How does a command see members and let them in?"""

from __future__ import annotations

from urllib.parse import quote

from node.client.connection import (
    Connection,
    page_of,
)
from node.model.document import (
    from_document,
    to_document,
)
from node.model.member import Approval, Invitation, JoinToken, JoinTokenRequest, KeyState, Member, NewJoinToken, Waiting


class MemberCalls(Connection):
    """Of the members of a cloud."""

    def members(self) -> tuple[Member, ...]:
        """The members of a cloud, by name."""
        return page_of(Member, self._get("/peers")).items

    def waiting(self) -> tuple[Waiting, ...]:
        """Who waits to be let in."""
        return page_of(Waiting, self._get("/peers/pending")).items

    def invite(self, ref: str, sessions: tuple[str, ...]) -> Member:
        """As `ecnode peers invite`."""
        body = to_document(Invitation(sessions=sessions))
        return from_document(Member, self._send("PUT", f"/peers/{quote(ref, safe='')}/sessions", body))

    def approve(self, ref: str, approval: Approval) -> Member:
        """Lets in who waits under that fingerprint or name."""
        return from_document(Member, self._send("POST", f"/peers/{quote(ref, safe='')}/approve", to_document(approval)))

    def remove(self, ref: str) -> Member:
        """Puts a member out for good."""
        return from_document(Member, self._send("DELETE", f"/peers/{quote(ref, safe='')}", None))

    def drain(self, ref: str, *, drained: bool) -> Member:
        """Has a member get no work, or work again."""
        return from_document(Member, self._send("PATCH", f"/nodes/{quote(ref, safe='')}", {"drained": drained}))

    def change_key(self, *, switch: bool) -> KeyState:
        """Announces a cloud's next key, or has it go over to it."""
        return from_document(KeyState, self._send("POST", "/peers/key", {"switch": switch}))

    def make_join_token(self, request: JoinTokenRequest) -> NewJoinToken:
        """A new join token; it exists twice where the answer to the first try was lost."""
        found = self._send("POST", "/peers/tokens", to_document(request))
        return NewJoinToken(token=from_document(JoinToken, found.get("token")), secret=str(found.get("secret", "")))

    def join_tokens(self) -> tuple[JoinToken, ...]:
        """The join tokens that can still be used."""
        return page_of(JoinToken, self._get("/peers/tokens")).items

    def revoke_join_token(self, ref: str) -> JoinToken:
        """Takes away the join token whose id begins so."""
        return from_document(JoinToken, self._send("DELETE", f"/peers/tokens/{quote(ref, safe='')}", None))
