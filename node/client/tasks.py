"""How does a command submit and follow tasks?"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from urllib.parse import quote, urlencode

from node.client.connection import API, REDIAL_AFTER, REDIALS, Page, page_of, refusal
from node.client.stream import StreamCalls
from node.model.document import Document, from_document, to_document
from node.model.event import StreamEvent
from node.model.task import Task, TaskChange, TaskEvent, TaskRequest, TaskState


class TaskCalls(StreamCalls):
    """Of tasks."""

    def submit_task(self, request: TaskRequest | Document) -> Task:
        """Submits a task, as a value or as the document a user wrote; give it an id, so that a repeat is harmless."""
        body = to_document(request) if isinstance(request, TaskRequest) else request
        return from_document(Task, self._send("POST", "/tasks", body))

    def tasks(self, state: TaskState | None = None, limit: int = 50, after: str | None = None) -> Page[Task]:
        """Tasks, newest first."""
        return page_of(Task, self._get("/tasks", {"state": state, "limit": limit, "after": after}))

    def task(self, ref: str) -> Task:
        """One task."""
        return from_document(Task, self._get(_path(ref)))

    def describe_task(self, ref: str, change: TaskChange) -> Task:
        """Changes the fields that were set on `change`, and only those."""
        body = {field: value for field, value in to_document(change).items() if field in change.model_fields_set}
        return from_document(Task, self._send("PATCH", _path(ref), body))

    def revise_task(self, ref: str, spec: Document) -> Task:
        """Has a task do something else."""
        return from_document(Task, self._send("POST", f"{_path(ref)}/revisions", spec))

    def stop_task(self, ref: str) -> Task:
        """Stops a task."""
        return from_document(Task, self._send("POST", f"{_path(ref)}/stop", None))

    def retry_task(self, ref: str) -> Task:
        """Submits once more what a task did."""
        return from_document(Task, self._send("POST", f"{_path(ref)}/retry", None))

    def task_history(self, ref: str) -> tuple[TaskEvent, ...]:
        """Every step of a task's life."""
        return page_of(TaskEvent, self._get(f"{_path(ref)}/history")).items

    def task_parts(self, ref: str, round: int | None = None) -> tuple[Task, ...]:
        """The parts of a joint task, of its present round unless another is named."""
        return page_of(Task, self._get(f"{_path(ref)}/parts", {"round": round})).items

    def task_log(self, ref: str, offset: int = 0, tail: int | None = None, attempt: int | None = None) -> bytes:
        """A part of a log: what is behind `offset`, or its last lines; at most 256 KiB."""
        given = {"offset": offset, "tail": tail, "attempt": attempt}
        target = urlencode({name: value for name, value in given.items() if value is not None})
        status, content = self._exchange("GET", f"{API}{_path(ref)}/logs?{target}", None, self._timeout)
        if status != 200:
            raise refusal(status, content)
        return content

    def follow_task(self, ref: str, tail: int | None = None) -> Iterator[StreamEvent]:
        """The events of a log until the task ends; a line that breaks is dialled again and goes on where it was.

        Raises:
            PeerUnreachable: the node stays away.
        """
        offset, tries = 0, 0
        while True:
            given = {"follow": "true", "offset": offset} | ({"tail": tail} if tail is not None else {})
            try:
                for event in self._stream(f"{API}{_path(ref)}/logs?{urlencode(given)}", ""):
                    tries = 0
                    offset, tail = _behind(event, offset), None
                    yield event
                    if event.event == "end":
                        return
            except (OSError, http.client.HTTPException) as error:
                if tries >= REDIALS:
                    raise self._unreachable(error) from error
            tries += 1
            threading.Event().wait(REDIAL_AFTER)


def _path(ref: str) -> str:
    return f"/tasks/{quote(ref, safe='')}"


def _behind(event: StreamEvent, offset: int) -> int:
    if event.event == "attempt":
        return 0
    place = event.data.get("next")
    return place if isinstance(place, int) else offset
