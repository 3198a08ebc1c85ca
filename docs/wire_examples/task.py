"""How does a cloud have an edge run a task?"""

from __future__ import annotations

from typing import Final

from node.model.cluster import Received
from node.model.task import Task, TaskRequest, TaskSpec, TaskState
from node.model.wire.task import (
    TASK_GO,
    TASK_LOG,
    TASK_REPORT,
    TASK_REVISE,
    TASK_START,
    TASK_STOP,
    Part,
    TaskGo,
    TaskLogReply,
    TaskLogRequest,
    TaskReport,
    TaskRevise,
    TaskStart,
    TaskStop,
)
from wire_examples.pair import Examples

TASK: Final = "t-01jd8a4e9v0000000000000000"
PART: Final = "t-01jd8a4e9v0000000000000001"
_BUNDLE: Final = "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"

EXAMPLES: Final[Examples] = {
    TASK_START.name: (
        TaskStart(
            request=TaskRequest(id=PART, name="train/edge-1", node="edge-1", bundle=_BUNDLE, config={"epochs": 5}),
            part=Part(parent=TASK, round=1),
            sources=("edge-2",),
        ),
        Received(),
    ),
    TASK_REVISE.name: (TaskRevise(task=TASK, revision=2, spec=TaskSpec(bundle=_BUNDLE)), Received()),
    TASK_GO.name: (TaskGo(task=PART), Received()),
    TASK_STOP.name: (TaskStop(task=TASK), Received()),
    TASK_REPORT.name: (
        TaskReport(
            event="run",
            task=Task(
                id=TASK,
                name="train",
                state=TaskState.RUNNING,
                node="edge-1",
                origin="cloud-1",
                attempt=1,
                created_at=1_700_000_000.0,
                updated_at=1_700_000_001.0,
            ),
        ),
        Received(),
    ),
    TASK_LOG.name: (
        TaskLogRequest(task=TASK, revision=1, attempt=1, offset=1000, wait=5.0),
        TaskLogReply(offset=1000, size=1200),
    ),
}
