"""What can a caller do with tasks?

A log is bytes: a part of it is given as they are, and as a stream each part carries its offset, so that nothing is lost or told
twice over a line that breaks.
"""

from __future__ import annotations

import codecs
import re
from contextlib import suppress
from typing import Final

from aiohttp import web
from pydantic import JsonValue

from node.api import repeats
from node.api.answer import document, page
from node.api.gate import REQUEST_ID
from node.api.ports import Tasks
from node.api.reading import kept_by_clouds, read_body, read_params, read_ref
from node.api.route import API, DOOR, Route, Scope
from node.errors import Busy, Conflict, EcnodeError, Forbidden, NotBuilt, NotFound, Stale, StorageFailed, Unavailable
from node.model.document import LogQuery, PartsQuery, TasksQuery, to_document
from node.model.task import TASK_LIFE, Task, TaskChange, TaskEvent, TaskRequest, TaskSpec
from node.roles.shared.events import encode

MAX_REF: Final = 200
KEEP_ALIVE: Final = 15.0
AWAY_S: Final = 1.0
WRITE_TIMEOUT: Final = 10.0  # a follower that takes nothing for so long is gone
_VERSION: Final = re.compile(r'"(\d{1,15})"')


def tasks_of(request: web.Request) -> Tasks:
    """The tasks that this node keeps; NotFound where it keeps none."""
    return kept_by_clouds(request.app[DOOR].ports.tasks, "tasks")


def ref_of(request: web.Request) -> str:
    """What the path calls the task."""
    return read_ref(request, MAX_REF, "task")


async def submit(request: web.Request) -> web.Response:
    """202 for a new task, 200 for the same one again."""
    tasks = tasks_of(request)
    wanted = await read_body(request, TaskRequest)
    if wanted.id is None and (identity := repeats.identity(request, "t")) is not None:
        wanted = wanted.replace(id=identity)
    return _accepted(*await tasks.submit(wanted))


def _accepted(task: Task, new: bool) -> web.Response:
    headers = {"Location": f"{API}/tasks/{task.id}", "ETag": tag(task)}
    return document(task, status=202 if new else 200, headers=headers)


async def listing(request: web.Request) -> web.Response:
    """Newest first; `next` is null on the last page."""
    params = read_params(request, TasksQuery)
    found = await tasks_of(request).list(params.state, params.limit, params.after)
    return page(found, found[-1].id if len(found) == params.limit else None)


async def show(request: web.Request) -> web.Response:
    """One task, with its ETag."""
    task = await tasks_of(request).get(ref_of(request))
    return document(task, headers={"ETag": tag(task)})


def tag(task: Task) -> str:
    """The ETag of a task: it stands for what `PATCH` changes, not for its state."""
    return f'"{task.version}"'


async def describe(request: web.Request) -> web.Response:
    """Name, description and labels; a field left out stays. With If-Match only where nobody else was first."""
    change = await read_body(request, TaskChange)
    given = request.headers.get("If-Match", "*").strip()
    match = _VERSION.fullmatch(given)
    if match is None and given != "*":
        raise Stale(f"{given[:40]} is no ETag of a task", hint="read the task: its ETag is its version in quotes")
    task = await tasks_of(request).describe(ref_of(request), change, int(match[1]) if match else None)
    return document(task, headers={"ETag": tag(task)})


async def stop(request: web.Request) -> web.Response:
    """Recorded first, then everything that the task has started ends; a task that is over stays as it is."""
    return document(await tasks_of(request).stop(ref_of(request)))


async def revise(request: web.Request) -> web.Response:
    """What it will do is made ready first; where that fails the present revision runs on. Then that ends, the next begins."""
    spec = await read_body(request, TaskSpec)
    task = await tasks_of(request).revise(ref_of(request), spec)
    return document(task, status=202)


async def retry(request: web.Request) -> web.Response:
    """A new task with a new id that does what this one did."""
    return _accepted(*await tasks_of(request).retry(ref_of(request)))


async def parts(request: web.Request) -> web.Response:
    """One row for each edge, each a task of its own, and what combined them last; none where the task is not a joint one."""
    params = read_params(request, PartsQuery)
    return page(await tasks_of(request).parts(ref_of(request), params.round), None)


async def history(request: web.Request) -> web.Response:
    """Every step with its time and reason."""
    return page(await tasks_of(request).events(ref_of(request)), None)


async def logs(request: web.Request) -> web.StreamResponse:
    """Bytes of the log: those behind `offset`, or the last `tail` lines; X-Log-Offset and X-Log-Size say where they stand.
    With `follow` server-sent events instead: `log` with a text and the offset `next` behind it, `attempt` when another try
    begins, `end` with the task.
    """
    tasks = tasks_of(request)
    params = read_params(request, LogQuery)
    task = await tasks.get(ref_of(request))
    part = await tasks.log_part(task.id, params.offset, lines=params.tail, attempt=params.attempt)
    if not params.follow:
        headers = {"X-Log-Offset": str(part.offset), "X-Log-Size": str(part.size), "X-Content-Type-Options": "nosniff"}
        return web.Response(body=part.content, content_type="text/plain", charset="utf-8", headers=headers)
    door = request.app[DOOR]
    if door.listening.locked():
        raise Busy("as many listeners as may be are there already")
    async with door.listening:
        response = web.StreamResponse(headers={**_STREAM, "X-Request-Id": request[REQUEST_ID]})
        await response.prepare(request)
        if request.method != "HEAD":
            await _Follower(request, response, tasks, task).serve(part.offset)
    return response


_STREAM: Final = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Accel-Buffering": "no",
}


class _Follower:
    """One stream of a log: a place in it, and the attempt whose log it is."""

    def __init__(self, request: web.Request, response: web.StreamResponse, tasks: Tasks, task: Task) -> None:
        self._request = request
        self._response = response
        self._tasks = tasks
        self._task = task
        self._clock = request.app[DOOR].clock
        self._polls = request.app[DOOR].polls
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    async def serve(self, offset: int) -> None:
        """Runs until the task is over and its log told, the caller hangs up, or the node stops."""
        try:
            await self._run(offset)
        except ConnectionError:
            return  # the caller hung up, as callers do
        except (TimeoutError, EcnodeError):  # the head is sent: a problem document could not follow
            if self._request.transport is not None:
                self._request.transport.abort()

    async def _run(self, offset: int) -> None:
        while not self._polls.closed:
            over = self._task.state in TASK_LIFE.terminal  # looked at before the log is read: then nothing is missed
            offset = await self._tell(offset)
            if over:
                await self._write("end", to_document(self._task))
                return
            task = await self._news(offset)
            if task.attempt != self._task.attempt and self._task.attempt:
                offset = 0
                await self._write("attempt", {"attempt": task.attempt})
            self._task = task

    async def _tell(self, offset: int) -> int:
        while True:
            try:
                part = await self._tasks.log_part(self._task.id, offset, attempt=self._task.attempt)
            except Unavailable:  # it lies on a node that is away; what it says comes when it is back
                await self._clock.sleep(AWAY_S)
                return offset
            if not part.content:
                return offset
            content = part.content
            if part.offset + len(content) < part.size:  # a part ends at the end of a line where it can
                content = content[: content.rfind(b"\n") + 1] or content
            text = self._decoder.decode(content)  # what begins a letter waits in it for the rest
            offset += len(content)
            await self._write("log", {"next": offset - len(self._decoder.getstate()[0]), "text": text})

    async def _news(self, offset: int) -> Task:
        while True:
            with suppress(TimeoutError):
                async with self._clock.timeout(KEEP_ALIVE):
                    return await self._polls.run(lambda: self._grown(offset), self._task)
            async with self._clock.timeout(WRITE_TIMEOUT):
                await self._response.write(b": keep-alive\n\n")

    async def _grown(self, offset: int) -> Task:
        try:
            return await self._tasks.log_grown(self._task.id, offset)
        except Unavailable:
            await self._clock.sleep(AWAY_S)
            return await self._tasks.get(self._task.id)

    async def _write(self, event: str, data: dict[str, JsonValue]) -> None:
        async with self._clock.timeout(WRITE_TIMEOUT):
            await self._response.write(encode(event, data))


_ONE: Final = f"{API}/tasks/{{ref}}"
_KEPT: Final = (Busy, StorageFailed, NotFound)
_NAMED: Final = (*_KEPT, Conflict)

ROUTES: Final = (
    Route(
        "POST",
        f"{API}/tasks",
        Scope.SUBMIT,
        submit,
        "Submit a task.",
        body=TaskRequest,
        reply=Task,
        answers=(202, 200),
        raises=(*_NAMED, Forbidden, NotBuilt),
    ),
    Route(
        "GET",
        f"{API}/tasks",
        Scope.READ,
        listing,
        "Tasks, newest first.",
        params=TasksQuery,
        reply=Task,
        many=True,
        raises=_KEPT,
    ),
    Route("GET", _ONE, Scope.READ, show, "One task.", reply=Task, raises=_NAMED),
    Route(
        "PATCH",
        _ONE,
        Scope.SUBMIT,
        describe,
        "Describe a task.",
        body=TaskChange,
        reply=Task,
        raises=(*_NAMED, Stale),
    ),
    Route("DELETE", _ONE, Scope.SUBMIT, stop, "Stop a task.", reply=Task, raises=_NAMED),
    Route("POST", f"{_ONE}/stop", Scope.SUBMIT, stop, "Stop a task.", reply=Task, raises=_NAMED),
    Route(
        "POST",
        f"{_ONE}/retry",
        Scope.SUBMIT,
        retry,
        "Do once more what a task did.",
        reply=Task,
        answers=(202,),
        raises=(*_NAMED, Forbidden),
    ),
    Route(
        "POST",
        f"{_ONE}/revisions",
        Scope.SUBMIT,
        revise,
        "Have a task do something else.",
        body=TaskSpec,
        reply=Task,
        answers=(202,),
        raises=(*_NAMED, Forbidden, NotBuilt),
    ),
    Route(
        "GET",
        f"{_ONE}/parts",
        Scope.READ,
        parts,
        "The parts of a joint task.",
        params=PartsQuery,
        reply=Task,
        many=True,
        raises=_NAMED,
    ),
    Route(
        "GET", f"{_ONE}/history", Scope.READ, history, "The steps of a task's life.", reply=TaskEvent, many=True, raises=_NAMED
    ),
    Route("GET", f"{_ONE}/logs", Scope.READ, logs, "What a task has said.", params=LogQuery, media="text/plain", raises=_NAMED),
)
