"""Whatever comes in whatever order: a plot's record stays legal, it ends once, and no finished file is lost."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import Lab, ScriptedRun
from talents import CLOCK

from node.errors import DestinationFull, EcnodeError, NotAPlot
from node.model.plot import PLOT_LIFE, STOP_LIFE, Plot, PlotState, PlotStop, StopState
from node.model.process import Facts
from node.model.value import new_id
from node.storage.plots import advance, advance_stop

PLOTS: Final = 2
ENDS: Final = {"exit": Facts(code=0), "kill": Facts(signal=9), "lose": Facts(lost=True)}
PROCESS_WORDS: Final = ("file", "suspend", *ENDS)
WORDS: Final = (
    *PROCESS_WORDS,
    "create",
    "create",
    "stop",
    "full",
    "no plot",
    "outbox full",
    "outbox free",
    "restart",
    "wait",
    "turn",
)
EVENTS: Final = sorted({event for _, event in (*PLOT_LIFE.table, *STOP_LIFE.table)})

orders = st.lists(st.tuples(st.sampled_from(WORDS), st.integers(0, PLOTS - 1)), max_size=14)


@settings(max_examples=50)
@given(events=st.lists(st.sampled_from(EVENTS), max_size=20))
def test_a_record_takes_only_what_its_life_cycle_allows_and_ends_once(events: list[str]) -> None:
    plot = Plot(id=new_id("p", 1.0), task_id="0" * 32, state=PLOT_LIFE.start, created_at=0.0, updated_at=0.0)
    stop = PlotStop(plot=plot.id, state=STOP_LIFE.start, created_at=0.0, updated_at=0.0)
    ends = 0
    for event in events:
        allowed = event in PLOT_LIFE.events(plot.state)
        try:
            plot, step = advance(plot, event, 1.0)
        except EcnodeError:
            assert not allowed
        else:
            assert allowed
            assert (step.number, step.state) == (plot.step, plot.state)
            ends += plot.state in PLOT_LIFE.terminal
        if event in STOP_LIFE.events(stop.state):
            stop = advance_stop(stop, event, 1.0)
    assert ends == (plot.state in PLOT_LIFE.terminal)
    assert (plot.ended_at is not None) == bool(ends)


@settings(max_examples=15)
@given(order=orders)
def test_any_order_of_events_ends_every_plot_once_and_loses_no_file(order: list[tuple[str, int]]) -> None:
    asyncio.run(live(order))


@pytest.mark.drill
@settings(max_examples=500)
@given(order=orders)
def test_many_orders_of_events(order: list[tuple[str, int]]) -> None:
    asyncio.run(live(order))


async def live(order: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lab = await Lab.open(Path(folder), dest_full_timeout=30.0)
        story = Story(lab)
        try:
            for word, number in order:
                await story.tell(word, number)
            await story.close()
            await story.check()
        finally:
            await lab.close()


class Story:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.ids = [new_id("p", lab.clock.wall()) for _ in range(PLOTS)]
        self.created: set[str] = set()
        self.stopped: set[str] = set()
        self.files: set[str] = set()

    async def tell(self, word: str, number: int) -> None:
        id = self.ids[number]
        runs = [run for run in self.lab.runner.of(id) if run.alive]
        assert len(runs) <= 1, "two plotters at one plot"
        if word in PROCESS_WORDS:
            for run in runs:
                await self._with_a_process(word, id, run)
        elif word in {"create", "stop"}:
            await self._ordered(word, id)
        else:
            await self._around(word)

    async def _ordered(self, word: str, id: str) -> None:
        if word == "create":
            self.created.add(id)
            await self.lab.talent.create(id)
        else:
            self.stopped.add(id)
            await self.lab.talent.stop(id)

    async def _with_a_process(self, word: str, id: str, run: ScriptedRun) -> None:
        if word == "file" and not list(self.lab.folder(id).glob("*.plot")):
            self.files.add(run.finish_file(self.lab.folder(id)).name)
        elif word == "suspend":
            with suppress(EcnodeError):
                await self.lab.talent.supervisor.suspend(id, suspended=True)
        elif word in ENDS:
            run.end(ENDS[word])

    async def _around(self, word: str) -> None:
        lab = self.lab
        match word:
            case "full":
                lab.finisher.faults.append(DestinationFull("no room"))
            case "no plot":
                lab.finisher.faults.append(NotAPlot("a wrong proof"))
            case "outbox full" | "outbox free":
                lab.talent.told.full = word == "outbox full"
            case "restart":
                await lab.restart()
            case "wait":
                await lab.clock.advance(5.0)
                await CLOCK.sleep(0.001)
            case _:
                await asyncio.sleep(0)  # noqa: TID251 - one turn of the loop, no time

    async def close(self) -> None:
        """Everything that was begun comes to an end."""
        lab = self.lab
        lab.talent.told.full = False
        async with CLOCK.timeout(20.0):
            while not {(await lab.plot(id)).state for id in self.created} <= PLOT_LIFE.terminal:
                for run in lab.runner.runs.values():
                    run.end(Facts(code=0))
                await lab.clock.advance(5.0)
                await CLOCK.sleep(0.001)
            await lab.restart()
            await lab.talent.supervisor.recover()

    async def check(self) -> None:
        lab = self.lab
        kept = {path.name for path in (*lab.root.glob("dest/*.plot"), *lab.root.glob("cache/*/*.plot"))}
        assert kept == self.files, "a finished file is lost"
        for id in self.created:
            plot = await lab.plot(id)
            steps = await lab.store.plots.steps(id)
            state = PLOT_LIFE.start
            for number, step in enumerate(steps, start=1):
                state = PLOT_LIFE.after(state, step.event)
                assert (step.number, step.state) == (number, state)
            assert state is plot.state
            assert state in PLOT_LIFE.terminal
            told = lab.steps_told(id)
            assert told == [step.state for step in steps], "its overlord knows another life"
            assert not any(run.alive for run in lab.runner.of(id))
            folder = lab.folder(id)
            assert not folder.exists() or list(folder.glob("*.plot")), "an empty folder is left"
            if plot.state is PlotState.FINISHED:
                assert not folder.exists()
        for id in self.stopped & self.created:
            stop = await lab.store.plots.stop(id)
            assert stop is not None
            assert stop.state is StopState.STOPPED
