"""How does a task that nobody awaits right now still have an owner, and a voice when it breaks?"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine

log = logging.getLogger(__name__)


def begin(work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
    """Starts a task for its caller to keep and to end; an error that nothing caught is logged with its traceback."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_speak)
    return task


async def end(*tasks: asyncio.Task[object] | None) -> None:
    """Cancels the tasks and waits until they are gone. Harmless when repeated."""
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def _speak(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a task broke", extra={"task": task.get_name()}, exc_info=error)
