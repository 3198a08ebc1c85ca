"""A task queue of others with two workers: `task_side.py NAME serve SOCKET`, and `task_side.py NAME ask SOCKET`.

The asker reads orders and answers each with a line: `one` runs a task and prints its milliseconds from submit to done,
`many N` runs so many and prints how many a second. A task is `/bin/true`. Both queues keep their tasks in the Redis server
that listens at SOCKET.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

TRUE = "/bin/true"
WORKERS = 2


def run() -> int:
    """The task."""
    return subprocess.run([TRUE], check=True).returncode


class Huey:
    """huey over Redis, whose consumer is woken by Redis."""

    def __init__(self, place: str) -> None:
        self._huey: Any = importlib.import_module("huey").RedisHuey("bench", url=f"unix://{place}", blocking=True)
        self._task = self._huey.task()(run)

    def serve(self) -> None:
        """Runs tasks until it is ended."""
        self._huey.create_consumer(workers=WORKERS, periodic=False, initial_delay=0.001).run()

    def submit(self) -> Callable[[], object]:
        """Begins a task; what it gives waits for its end."""
        handle = self._task()
        return lambda: handle.get(blocking=True, timeout=60, max_delay=0.001)


class Celery:
    """Celery with Redis as broker and for results."""

    def __init__(self, place: str) -> None:
        address = f"redis+socket://{place}"
        self._app: Any = importlib.import_module("celery").Celery("bench", broker=address, backend=address)
        self._task = self._app.task(run, name="bench.run")

    def serve(self) -> None:
        """Runs tasks until it is ended."""
        self._app.worker_main(["worker", "--concurrency", str(WORKERS), "--loglevel", "ERROR", "--without-gossip"])

    def submit(self) -> Callable[[], object]:
        """Begins a task; what it gives waits for its end."""
        handle = self._task.delay()
        return lambda: handle.get(timeout=60, interval=0.001)


def ask(queue: Huey | Celery) -> None:
    """Carries out orders until the input ends."""
    for line in sys.stdin:
        word, _, number = line.partition(" ")
        count = int(number) if word == "many" else 1
        began = time.perf_counter()
        for wait in [queue.submit() for _ in range(count)]:
            wait()
        spent = time.perf_counter() - began
        print(count / spent if word == "many" else spent * 1000, flush=True)


def main() -> None:
    """One of both sides."""
    name, side, place = sys.argv[1:]
    queue = {"huey": Huey, "celery": Celery}[name](place)
    if side == "serve":
        queue.serve()
    else:
        ask(queue)


if __name__ == "__main__":
    main()
