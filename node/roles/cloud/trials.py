"""What does a planner wish to have tried, and what came of it?

At most one trial of a query at a time, each a task of its own: the round does not wait for it, and one that fails is forgotten.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from node.errors import EcnodeError
from node.model.video import Plan, Query
from node.model.wire.job import JOB_TRIAL, JobTrial, JobTrialReply
from node.pipeline.video.planner.base import Scheduler
from node.pipeline.video.planner.delay import ShadowRun
from node.pipeline.video.planner.wishes import Curious, Golden, Wish
from node.transport.base import Transport

log = logging.getLogger(__name__)

TRIAL_TIMEOUT_S: Final = 8.0


class Trials:
    """The trials of one cloud; they run in the `tasks` of whoever schedules."""

    def __init__(self, planner: Scheduler, transport: Transport) -> None:
        self._planner = planner
        self._transport = transport
        self._under_way: set[str] = set()

    def begin(self, tasks: asyncio.TaskGroup, query: Query, plan: Plan) -> None:
        """Has the next wish for a running query tried, where there is one."""
        if query.id in self._under_way or not isinstance(self._planner, Curious):
            return
        wish = self._planner.wish(query.id)
        if wish is not None:
            self._under_way.add(query.id)
            tasks.create_task(self._try(self._planner, query, plan, wish), name=f"trial of {query.id}")

    async def _try(self, planner: Curious, query: Query, plan: Plan, wish: Wish) -> None:
        resolution = wish.resolution if isinstance(wish, Golden) else plan.video_conf.resolution
        message = JobTrial(query=query.id, node=wish.node, stages=wish.stages, resolution=resolution)
        try:
            answer = await self._transport.call(query.node, JOB_TRIAL, message, timeout=TRIAL_TIMEOUT_S)
        except EcnodeError as error:
            log.debug("trial not made", extra={"query": query.id, "node": wish.node, "reason": error.message})
        else:
            self._told(planner, query.id, wish, answer.body, message)
        finally:
            self._under_way.discard(query.id)

    def _told(self, planner: Curious, query_id: str, wish: Wish, reply: JobTrialReply, message: JobTrial) -> None:
        if isinstance(wish, Golden):
            if reply.seen is not None:
                planner.judged(query_id, wish, reply.seen, reply.objects)
            return
        stage_s = {stage: reply.stage_s[stage] for stage in wish.stages if stage in reply.stage_s}
        run = ShadowRun(message.resolution, reply.objects, stage_s, reply.hop_s, float(reply.sent))
        planner.tried(query_id, wish, run)
