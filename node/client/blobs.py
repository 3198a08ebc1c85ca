"""How does a command store and fetch blobs?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import quote

from node.client.connection import (
    API,
    BLOCK,
    BYTES,
    MAX_ANSWER,
    Connection,
    document,
    page_of,
    refusal,
)
from node.model.blob import BlobInfo
from node.model.document import (
    BlobPull,
    from_document,
    to_document,
)


class BlobCalls(Connection):
    """Of stored files."""

    def blobs(self) -> Iterator[BlobInfo]:
        """The blobs of the node by id, those that come in too."""
        after: str | int | None = None
        while True:
            found = page_of(BlobInfo, self._get("/blobs", {"limit": 500, "after": after}))
            yield from found.items
            if (after := found.following) is None:
                return

    def has_blob(self, id: str) -> bool:
        """Whether the node has that blob complete."""
        status, _ = self._exchange("HEAD", f"{API}/blobs/{quote(id, safe='')}", None, self._timeout)
        return status == 200

    def put_blob(self, content: Iterable[bytes], id: str, size: int) -> BlobInfo:
        """Stores content of that id and size; repeating it changes nothing."""
        with self._line("POST", f"{API}/blobs?id={id}", {"Content-Type": BYTES, "Content-Length": str(size)}) as line:
            try:
                for block in content:
                    line.send(block)
            except (BrokenPipeError, ConnectionResetError):
                pass  # refused before its end: the answer says why
            answer = line.getresponse()
            body = answer.read(MAX_ANSWER)
        if answer.status not in {200, 201}:
            raise refusal(answer.status, body)
        return from_document(BlobInfo, document(body))

    def get_blob(self, id: str, start: int = 0) -> Iterator[bytes]:
        """The content of a blob from the byte `start` on, in blocks.

        Raises:
            PeerUnreachable: the line broke before the end.
        """
        given = {"Range": f"bytes={start}-"} if start else {}
        with self._line("GET", f"{API}/blobs/{quote(id, safe='')}", given) as line:
            answer = line.getresponse()
            if answer.status != (206 if start else 200):
                raise refusal(answer.status, answer.read(MAX_ANSWER))
            while block := answer.read(BLOCK):
                yield block

    def delete_blob(self, id: str) -> BlobInfo:
        """Deletes a blob, or what came in of it."""
        return from_document(BlobInfo, self._send("DELETE", f"/blobs/{quote(id, safe='')}", None))

    def pull_blob(self, id: str, request: BlobPull) -> BlobInfo:
        """Has the node fetch a blob from its peers."""
        path = f"{API}/blobs/{quote(id, safe='')}/pull"
        found = self._answered("POST", path, to_document(request), self._timeout + request.wait)
        return from_document(BlobInfo, found)
