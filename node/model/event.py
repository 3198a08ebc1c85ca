"""What does a listener at the door hear?"""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import Field, JsonValue, StringConstraints, model_validator

from node.model.value import Text, Value, Word

REF_MOST = 200


class Topic(Word):
    """What a listener may choose."""

    QUERIES = "queries"
    NODES = "nodes"
    PLOTS = "plots"
    TASKS = "tasks"
    SESSIONS = "sessions"


_WORDS: Final = "|".join(Topic)


class EventsQuery(Value):
    """Query string of the event stream.

    `topics` are words with commas between them, `query` or `session` listens to one of them until it ends, and without
    `follow` the stream ends once everything that is still at hand was told.
    """

    topics: Annotated[str, StringConstraints(pattern=rf"^({_WORDS})(,({_WORDS})){{0,{len(Topic) - 1}}}$")] = ",".join(Topic)
    query: Annotated[str, StringConstraints(min_length=1, max_length=REF_MOST)] | None = None
    session: Annotated[str, StringConstraints(min_length=1, max_length=REF_MOST)] | None = None
    follow: bool = True

    @model_validator(mode="after")
    def _one_record(self) -> Self:
        if self.query is not None and self.session is not None:
            raise ValueError("a stream listens to one query or to one session")
        return self

    def chosen(self) -> frozenset[Topic]:
        """The topics; one query is a matter of queries alone, one session of sessions."""
        if self.query is not None:
            return frozenset({Topic.QUERIES})
        if self.session is not None:
            return frozenset({Topic.SESSIONS})
        return frozenset(map(Topic, self.topics.split(",")))


class StreamEvent(Value):
    """One event as a client reads it; `id` is what to go on from."""

    id: Text
    event: Text
    data: Annotated[dict[str, JsonValue], Field(max_length=10_000)]
