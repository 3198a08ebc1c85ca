"""Which jobs run on this edge, on which of its sources?

It answers the cloud's four job messages. A start that is repeated changes nothing; one of a newer attempt replaces the job.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from node.errors import Busy, NotFound
from node.model.cluster import JobReport, Received
from node.model.wire.job import (
    JOB_PICTURE,
    JOB_PLAN,
    JOB_START,
    JOB_STOP,
    JOB_TRIAL,
    JobPictureReply,
    JobPictureRequest,
    JobPlan,
    JobStart,
    JobStop,
    JobTrial,
    JobTrialReply,
)
from node.pipeline.graph import check_graph
from node.pipeline.stage import check_pipeline
from node.roles.edge.job import Bench, Job
from node.roles.edge.source_reader import SourceReader
from node.roles.edge.sources import Sources
from node.transport.base import Answer, Call, Transport

log = logging.getLogger(__name__)

JOBS: Final = 16  # the frame arena is cut for so many


class JobManager:
    """The edge role."""

    def __init__(self, sources: Sources, bench: Bench) -> None:
        self._bench = bench
        self._sources = sources
        self._jobs: dict[str, Job] = {}
        self._changing = asyncio.Lock()  # ending a job takes time: two starts at once would leave one that nobody owns
        self._closed = False

    def register(self, transport: Transport) -> None:
        """Has the cloud's messages answered; only before the transport starts."""
        transport.answer(JOB_START, self._start)
        transport.answer(JOB_PLAN, self._plan)
        transport.answer(JOB_STOP, self._stop)
        transport.answer(JOB_PICTURE, self._picture)
        transport.answer(JOB_TRIAL, self._trial)

    def node_changed(self, _name: str) -> None:
        """A node reported, left or came back; one that a plan needs and that is gone is left at once, with no picture lost."""
        for job in self._jobs.values():
            job.look_around()

    async def stop(self) -> None:
        """Ends every job. Harmless when repeated."""
        self._closed = True  # the cloud's messages come in until the transport stops, which is later
        async with self._changing:
            await self._forget(set(self._jobs))

    def jobs(self) -> tuple[JobReport, ...]:
        """What the heartbeat says of the jobs."""
        return tuple(
            JobReport(query=job.query, attempt=job.attempt, epoch=job.epoch) for job in self._jobs.values() if not job.over
        )

    async def _start(self, call: Call, start: JobStart) -> Answer[Received]:
        check_graph(start.pipeline, start.graph)
        reader = self._sources.reader(start.source)
        async with self._changing:
            await self._take_on(start, call.peer.name, reader)
        return Answer(Received())

    async def _take_on(self, start: JobStart, cloud: str, reader: SourceReader) -> None:
        if self._closed:
            raise Busy("this edge is stopping")
        running = self._jobs.get(start.query)
        if running is not None and not running.over and running.attempt >= start.attempt:
            running.use(start.plan, start.safe)
            return
        await self._forget({start.query} | {query for query, job in self._jobs.items() if job.over})
        if len(self._jobs) >= JOBS:
            raise Busy(f"{JOBS} jobs run on this edge already", hint="stop one, or use another edge")
        job = Job(start, cloud, reader, self._bench)
        self._jobs[start.query] = job
        job.start()
        log.info("job started", extra={"query": start.query, "attempt": start.attempt, "source": start.source})

    async def _plan(self, _call: Call, message: JobPlan) -> Answer[Received]:
        self._job(message.query).use(message.plan, message.safe)
        return Answer(Received())

    async def _stop(self, _call: Call, message: JobStop) -> Answer[Received]:
        async with self._changing:
            await self._forget({message.query})
        return Answer(Received())

    async def _picture(self, _call: Call, request: JobPictureRequest) -> Answer[JobPictureReply]:
        job = self._job(request.query)
        seen = request.seen if job.attempt == request.attempt else 0
        found = await job.picture(seen, request.wait, drawn=request.drawn)
        return Answer(JobPictureReply(result=found[1]), (found[0],)) if found else Answer(JobPictureReply())

    async def _trial(self, _call: Call, request: JobTrial) -> Answer[JobTrialReply]:
        check_pipeline(request.stages)
        job = self._job(request.query)
        return Answer(await job.try_out(self._bench.trials, request))

    def _job(self, query: str) -> Job:
        try:
            return self._jobs[query]
        except KeyError:
            raise NotFound(f"no job of query {query} runs on this edge") from None

    async def _forget(self, queries: set[str]) -> None:
        for query in queries & self._jobs.keys():
            job = self._jobs.pop(query)
            await job.stop()
            log.info("job ended", extra={"query": query, "attempt": job.attempt, **job.tally().model_dump()})
