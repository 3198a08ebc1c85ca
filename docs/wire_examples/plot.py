"""How does an overlord have a talent make a plot?"""

from __future__ import annotations

from typing import Final

from node.model.cluster import Received
from node.model.plot import (
    DestType,
    Plot,
    PlotAnswer,
    PlotRequest,
    PlotState,
    PlotStatus,
    PlotStep,
    Plotter,
    PlotTime,
    TimeKind,
)
from node.model.wire.plot import (
    PLOT_CACHED,
    PLOT_CONTROL,
    PLOT_CREATE,
    PLOT_LOG,
    PLOT_PENDING,
    PLOT_STATUS,
    PLOT_STOP,
    PLOT_UPDATE,
    PlotCached,
    PlotControl,
    PlotCreate,
    PlotLogReply,
    PlotLogRequest,
    PlotPending,
    PlotQuestion,
    PlotStatuses,
    PlotStopOrder,
    PlotUpdate,
)
from wire_examples.pair import Examples

_ID: Final = "p-01jd8a4e9v0000000000000000"
_TASK: Final = "7d9f1c8e0b2a4d5e8f3a6b1c2d4e5f60"
_REQUEST: Final = PlotRequest(ksize=32, labels={"site": "hq"}, dest_type=DestType.LOCAL, dest_path="/farm/plots")
_PLOT: Final = Plot(
    id=_ID,
    task_id=_TASK,
    node="talent-1",
    state=PlotState.RUNNING,
    step=4,
    plotter=Plotter.BUILTIN,
    plot_pid=1203,
    ksize=32,
    cache1="/mnt/nvme0",
    cache2="/mnt/nvme0",
    threads=4,
    buffer=3390,
    progress=0.44,
    phase=2,
    table=7,
    dest_type=DestType.LOCAL,
    dest_path="/farm/plots",
    created_at=1795300000.0,
    updated_at=1795312345.5,
    started_at=1795300600.25,
)
_STEP: Final = PlotStep(number=4, time=1795300601.0, event="run", state=PlotState.RUNNING)
_TIME: Final = PlotTime(phase=1, table=7, kind=TimeKind.TABLE, seconds=1602.25, cpu=187.5)
_STATUSES: Final = PlotStatuses(plots=(PlotStatus(**dict(_PLOT), number=3, times={"p1_t7_time": 1602.25, "p1_t7_cpu": 187.5}),))

EXAMPLES: Final[Examples] = {
    PLOT_CREATE.name: (
        PlotCreate(plot=_ID, task_id=_TASK, request=_REQUEST),
        PlotAnswer(type="on_create", is_success=True),
    ),
    PLOT_STOP.name: (PlotStopOrder(plot=_ID), PlotAnswer(type="on_stop", is_success=True, msg="its processes are ended")),
    PLOT_UPDATE.name: (PlotUpdate(plot=_PLOT, steps=(_STEP,), times=(_TIME,)), Received()),
    PLOT_STATUS.name: (PlotQuestion(plot=_ID), _STATUSES),
    PLOT_PENDING.name: (PlotPending(), PlotStatuses()),
    PLOT_CACHED.name: (PlotCached(state=PlotState.RUNNING, cache1="/mnt/nvme0"), _STATUSES),
    PLOT_CONTROL.name: (PlotControl(plot=_ID, action="suspend"), _PLOT.replace(suspended=True)),
    PLOT_LOG.name: (PlotLogRequest(plot=_ID, offset=4096, wait=5.0), PlotLogReply(offset=4096, next=4219, over=False)),
}
