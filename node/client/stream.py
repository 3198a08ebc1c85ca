"""How does a command follow what happens on a node?"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterable, Iterator
from urllib.parse import urlencode

from node.client.connection import (
    API,
    MAX_ANSWER,
    REDIAL_AFTER,
    REDIALS,
    SILENCE,
    Connection,
    document,
    refusal,
)
from node.model.event import StreamEvent


class StreamCalls(Connection):
    """Of what happens, as it happens."""

    def follow(
        self, topics: str = "", query: str | None = None, *, session: str | None = None, follow: bool = True
    ) -> Iterator[StreamEvent]:
        """Events as they come; without `follow` those that the node still has at hand.

        A line that breaks is dialled again and goes on behind the last event; ends with the event `end` of the one query or
        session.

        Raises:
            PeerUnreachable: the node stays away.
        """
        given: dict[str, str] = {"follow": "true" if follow else "false"}
        given |= {"topics": topics} if topics else {}
        given |= {"query": query} if query is not None else {}
        given |= {"session": session} if session is not None else {}
        last, tries = "", 0
        while True:
            try:
                for event in self._stream(f"{API}/events?{urlencode(given)}", last):
                    last, tries = event.id or last, 0
                    yield event
                    if event.event == "end":
                        return
            except (OSError, http.client.HTTPException) as error:
                if tries >= REDIALS:
                    raise self._unreachable(error) from error
            if not follow:
                return
            tries += 1
            threading.Event().wait(REDIAL_AFTER)

    def _stream(self, target: str, last: str) -> Iterator[StreamEvent]:
        line = type(self._connection)(self._connection.host, self._connection.port, timeout=SILENCE)
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        try:
            line.request("GET", target, headers=headers)
            answer = line.getresponse()
            if answer.status != 200:
                raise refusal(answer.status, answer.read(MAX_ANSWER))
            yield from _events(answer)
        finally:
            line.close()


def _events(lines: Iterable[bytes]) -> Iterator[StreamEvent]:
    # server-sent events as this node writes them: one line each of id, event and data, then an empty one
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name:
            fields[name] = value  # a comment has no name and is passed over with the next empty line
        elif not value and "data" in fields:
            yield StreamEvent(
                id=fields.get("id", ""), event=fields.get("event", "message"), data=document(fields["data"].encode())
            )
            fields = {}
