"""What do an overlord and a talent say to each other of plots?

The names are ours, the meaning is the original's: `plot.create` is plot_task_create, `plot.stop` plot_task_stop, `plot.status`
plot_task_status, `plot.refresh` plot_task_update, `plot.pending` get_plot_tasks, `plot.cached` get_plot_by_cache. What must
arrive is durable: a create, a stop, and every step of a plot.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from node.model.blob import CHUNK_BYTES
from node.model.cluster import Received, Role
from node.model.plot import FolderPath, Plot, PlotAnswer, PlotId, PlotRequest, PlotState, PlotStatus, PlotStep, PlotTime, TaskId
from node.model.value import Count, Items, Value
from node.model.wire.method import Lane, Method

STATUSES_MOST: Final = 64  # × about 4 kB: below one control message
STEPS_MOST: Final = 64
TIMES_MOST: Final = 128  # a plot has about 70


class PlotCreate(Value):
    """Make this plot. Repeating it gives the same answer; the same id with another request is refused in the answer."""

    plot: PlotId
    task_id: TaskId
    request: PlotRequest


class PlotStopOrder(Value):
    """End this plot, also one that was not heard of yet: it then ends as stopped when its create comes."""

    plot: PlotId


class PlotUpdate(Value):
    """How a plot stands now, the steps of its life since the last update, and the times that are new."""

    plot: Plot
    steps: Annotated[Items[PlotStep], Field(max_length=STEPS_MOST)] = ()
    times: Annotated[Items[PlotTime], Field(max_length=TIMES_MOST)] = ()


class PlotQuestion(Value):
    """Which plots: the one that is named, or those of a state, or all; the newest come first."""

    plot: PlotId | None = None
    state: PlotState | None = None


class PlotStatuses(Value):
    """Plots with every column."""

    plots: Annotated[Items[PlotStatus], Field(max_length=STATUSES_MOST)] = ()


class PlotPending(Value):
    """Which plots wait to be started?"""


class PlotCached(Value):
    """Which plots of that state are in that temp directory?"""

    state: PlotState
    cache1: FolderPath


class PlotControl(Value):
    """Suspend a running plot, let it go on, or read its log to the end and tell how it stands. Repeating it changes nothing."""

    plot: PlotId
    action: Literal["suspend", "resume", "refresh"]


class PlotLogRequest(Value):
    """Give a part of a plot's log: `length` bytes from `offset` on, or the last ones where `tail` is meant.

    Waits up to `wait` seconds where there are none yet and the plot is not over. Reply blob: those bytes.
    """

    plot: PlotId
    offset: Count = 0
    length: Annotated[int, Field(ge=1, le=CHUNK_BYTES)] = CHUNK_BYTES
    tail: bool = False
    wait: Annotated[float, Field(ge=0.0, le=30.0, allow_inf_nan=False)] = 0.0

    @model_validator(mode="after")
    def _one_way(self) -> PlotLogRequest:
        if self.tail and self.offset:
            raise ValueError("a tail has no offset")
        return self


class PlotLogReply(Value):
    """Where the bytes begin and end in the log, and whether no more will come."""

    offset: Count
    next: Count
    over: bool


_CLOUD: Final = frozenset({Role.CLOUD})
_TALENT: Final = frozenset({Role.TALENT})

PLOT_CREATE: Final = Method("plot.create", PlotCreate, PlotAnswer, _CLOUD, durable=True)
PLOT_STOP: Final = Method("plot.stop", PlotStopOrder, PlotAnswer, _CLOUD, durable=True)
PLOT_UPDATE: Final = Method("plot.update", PlotUpdate, Received, _TALENT, durable=True)
PLOT_STATUS: Final = Method("plot.status", PlotQuestion, PlotStatuses, _CLOUD)
PLOT_PENDING: Final = Method("plot.pending", PlotPending, PlotStatuses, _CLOUD)
PLOT_CACHED: Final = Method("plot.cached", PlotCached, PlotStatuses, _CLOUD)
PLOT_CONTROL: Final = Method("plot.control", PlotControl, Plot, _CLOUD)
PLOT_LOG: Final = Method("plot.log", PlotLogRequest, PlotLogReply, _CLOUD, Lane.DATA)
