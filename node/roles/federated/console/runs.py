"""How does an instance start, run, stop and end, on this side and in step with the other?

An engine runs as a task of the loop for as long as its instance does; after the node was started again it is asked to go on.
What the other side must learn of a status is noted with it and told until it has arrived.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from pydantic import JsonValue

from node.clock import Clock
from node.errors import EcnodeError, NotFound, Unavailable
from node.model.project import (
    EVENT_OF,
    INSTANCE_LIFE,
    Instance,
    InstanceState,
    Pairing,
    Project,
    ProjectTask,
    Resource,
    number_of,
)
from node.roles.federated.console.engine import Engine, Job
from node.roles.federated.console.peers import Peers
from node.roles.shared.tasks import begin, end
from node.storage.console import Book, ConsoleStore, Page

log = logging.getLogger(__name__)

TELL_PAGE: Final = 50
TELL_PAUSE_S: Final = 2.0  # between two tries to tell the other side a status
UNKNOWN_S: Final = 60.0
INSTANCE_PATH: Final = "/task_instance/peer/"


class Runs:
    """The instances that run on this side."""

    def __init__(self, store: ConsoleStore, peers: Peers, clock: Clock) -> None:
        self._store = store
        self._peers = peers
        self._clock = clock
        self._engine: Engine | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._jobs: dict[str, Job] = {}
        self._stops: set[asyncio.Task[None]] = set()
        self._owing = asyncio.Event()

    def use(self, engine: Engine) -> None:
        """The engine of all runs; once, before `start`."""
        self._engine = engine

    @property
    def engine(self) -> Engine:
        """Who computes."""
        assert self._engine is not None, "Runs.use comes first"
        return self._engine

    @property
    def running(self) -> int:
        """Instances whose engine is at work."""
        return len(self._tasks)

    async def start(self) -> None:
        """Goes on with what ran when this node ended."""
        for instance in await self._store.read(Page.running):
            log.info("instance goes on", extra={"instance": instance.id})
            await self._work(instance, again=True)

    async def stop(self) -> None:
        """Leaves all instances as they are. Harmless when repeated."""
        await end(*self._tasks.values(), *self._stops)

    # What the desk and the other side ask

    async def launch(self, id: str, *, tell: bool) -> Instance:
        """Starts an instance that is ready or was stopped; with `tell` the other side learns of it.

        Raises:
            Conflict: it is in another state.
        """

        def work(book: Book) -> Instance:
            found = book.get(Instance, id)
            message = {name: value for name, value in found.message.items() if name not in {"party", "session"}}
            return book.step(
                found,
                "start",
                runs=found.runs + 1,
                session=str(found.message.get("session", found.session)),
                message=message,
                error={},
                started_at=book.now,
                owed=InstanceState.RUNNING if tell else None,  # what the other side asks for, it knows
            )

        instance = await self._store.write(work)
        self._owing.set()
        log.info("instance starts", extra={"instance": id, "run": instance.runs})
        await self._work(instance, again=instance.runs > 1)
        return instance

    async def halt(self, id: str, *, tell: bool, reason: str = "") -> Instance:
        """Stops an instance that runs; with `tell` the other side learns of it.

        Raises:
            Conflict: it does not run.
        """

        def work(book: Book) -> Instance:
            found = book.get(Instance, id)
            return book.step(found, "stop", reason, owed=InstanceState.TERMINATED if tell else None)

        instance = await self._store.write(work)
        self._owing.set()
        await self._end_engine(instance)
        return instance

    async def heard(self, id: str, status: InstanceState) -> Instance:
        """Notes what the other side says of itself; where it has failed, this side ends as well."""

        def work(book: Book) -> tuple[Instance, bool]:
            found = book.change(book.get(Instance, id), peer_status=status)
            if status is not InstanceState.FAILED or found.status is not InstanceState.RUNNING:
                return found, False
            error: dict[str, JsonValue] = {**found.error, "peer": "the other side has failed"}
            return book.step(found, "fail", "the other side has failed", error=error, error_at=book.now), True

        instance, ended = await self._store.write(work)
        if ended:
            await self._end_engine(instance)
        self.nudge(id)
        return instance

    def nudge(self, id: str) -> None:
        """Has the engine of an instance look at what the other side says now."""
        if id in self._jobs:
            self._jobs[id].changed.set()

    # Engines

    async def _work(self, instance: Instance, *, again: bool) -> None:
        before = self._tasks.pop(instance.id, None)
        await end(before)
        job = await self._job(instance)
        self._jobs[instance.id] = job
        task = begin(self._run(job, again=again), f"instance {instance.id}")
        self._tasks[instance.id] = task
        task.add_done_callback(partial(self._forget, instance.id))

    async def _run(self, job: Job, *, again: bool) -> None:
        try:
            await self.engine.run(job, again=again)
        except Unavailable as error:
            await job.report(error={"reason": error.message}, error_at=self._clock.wall(), status=InstanceState.FAILED)

    def _forget(self, id: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(id) is task:
            del self._tasks[id]
            self._jobs.pop(id, None)

    async def _end_engine(self, instance: Instance) -> None:
        """Ends the run, and has the engine end what it began, while the caller goes on."""
        await end(self._tasks.pop(instance.id, None))
        self._jobs.pop(instance.id, None)
        job = await self._job(instance)
        task = begin(self.engine.stop(job), f"end of instance {instance.id}")
        self._stops.add(task)
        task.add_done_callback(self._stops.discard)

    async def _job(self, instance: Instance) -> Job:
        def look(page: Page) -> tuple[Project, ProjectTask, tuple[Resource, ...]]:
            task = page.get(ProjectTask, instance.task)
            return page.get(Project, task.project), task, page.find(Resource, task=task.id)

        project, task, resources = await self._store.read(look)
        report = partial(self._report, instance.id, instance.runs)
        return Job(project, task, instance, tuple(each.uri for each in resources), report)

    async def _report(
        self,
        id: str,
        run: int,
        *,
        message: Mapping[str, JsonValue] | None = None,
        error: Mapping[str, JsonValue] | None = None,
        started_at: float | None = None,
        error_at: float | None = None,
        status: InstanceState | None = None,
    ) -> None:
        """What an engine tells of a run; of one that is over, or of an instance that is, nothing is taken."""
        changes: dict[str, object] = {}
        if started_at is not None:
            changes["started_at"] = started_at
        if error_at is not None:
            changes["error_at"] = error_at

        def work(book: Book) -> Instance:
            found = book.get(Instance, id)
            if found.runs != run or found.status is InstanceState.ARCHIVE:
                return found
            merged = {**changes, "message": _merged(found.message, message), "error": _merged(found.error, error)}
            event = EVENT_OF.get(status) if status else None
            if event is None or (found.status, event) not in INSTANCE_LIFE.table or status is InstanceState.RUNNING:
                return book.change(found, **merged)
            reason = str((error or {}).get("reason", ""))
            return book.step(found, event, reason, owed=status, **merged)

        instance = await self._store.write(work)
        if instance.owed is not None:
            self._owing.set()
        if status is not None:
            log.info("instance told", extra={"instance": id, "status": instance.status})

    # The other side

    async def other_side(self, job: Job) -> Mapping[str, Any]:
        """The message of the other side's instance.

        Raises:
            Unavailable: it cannot be asked now.
        """
        try:
            told = await self._peers.ask_once(job.project, "GET", f"{INSTANCE_PATH}{job.instance.id}")
        except NotFound:  # this side's instance is known there in a moment
            return {}
        return _message(told.get("message"))

    async def tell(self) -> None:
        """Tells the other sides what they have still to learn, for as long as the node runs."""
        while True:
            self._owing.clear()
            owed = await self._store.read(lambda page: page.owed(TELL_PAGE))
            await asyncio.gather(*(self._tell(instance) for instance in owed))
            try:
                async with self._clock.timeout(TELL_PAUSE_S if owed else None):
                    await self._owing.wait()
            except TimeoutError:
                continue

    async def _tell(self, instance: Instance) -> None:
        status = instance.owed
        assert status is not None

        def look(page: Page) -> Project:
            pairing = page.get(Pairing, instance.pairing)
            return page.get(Project, page.get(ProjectTask, pairing.task).project)

        try:
            project = await self._store.read(look)
            body = {"status": number_of(status)}
            told = await self._peers.ask_once(project, "PUT", f"{INSTANCE_PATH}{instance.id}", body)
            log.info("other side told", extra={"instance": instance.id, "status": status, "answer": told.get("status")})
        except Unavailable as error:
            log.info("other side not told yet", extra={"instance": instance.id, "reason": error.message})
            return
        except EcnodeError as error:
            young = self._clock.wall() - instance.updated_at < UNKNOWN_S
            if isinstance(error, NotFound) and young:  # a run that ends at once is told before the other side knows its id
                return
            log.warning("other side refuses a status", extra={"instance": instance.id, "reason": error.message})

        def work(book: Book) -> None:
            found = book.get(Instance, instance.id)
            if found.owed is status:
                book.change(found, owed=None)

        await self._store.write(work)


def _merged(before: Mapping[str, JsonValue], told: Mapping[str, JsonValue] | None) -> dict[str, JsonValue]:
    """Nothing told leaves it; an empty one empties it, as with the original."""
    return dict(before) if told is None else {**before, **told} if told else {}


def _message(told: object) -> Mapping[str, Any]:
    """A message as consoles send it: JSON in a text, or an object."""
    if isinstance(told, str):
        try:
            told = json.loads(told)
        except ValueError:
            told = None
    return told if isinstance(told, dict) else {}
