"""How is each plotter started, told to stop and cleaned up after?

An adapter is a command builder, the patterns of its temp files, and a signal; its log's dialect stands in `log.py`, its
appetite in `space.py`. Every plotter is given folders of its own and leaves its file in the second of them: who copies plots to
their destination is us, because the plotters' own copies neither sync nor compare.
"""

from __future__ import annotations

import fnmatch
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from node.errors import Invalid, Problem
from node.model.plot import BufferMib, Key, KSize, Memo, Plot, Plotter, Threads, largest_stripe
from node.model.value import Value

SPEC: Final = "order.json"


class Order(Value):
    """Everything that a plotter is told, complete. `stripe_size` and `buckets` are 0 where the plotter chooses."""

    ksize: KSize
    threads: Threads
    buffer: BufferMib
    buckets: int = 0
    stripe_size: int = 0
    bitfield: bool = True
    fpk: Key
    ppk: Key
    memo: Memo | None = None
    temp1: str
    temp2: str

    @property
    def spec(self) -> Mapping[str, object]:
        """What the built-in plotter reads."""
        stripe = self.stripe_size or largest_stripe(self.ksize)
        return {**self.model_dump(mode="json"), "final": self.temp2, "stripe_size": stripe}


@dataclass(frozen=True, slots=True)
class Adapter:
    """One plotter. `program` is what PATH is searched for; `leftovers` are patterns of what a killed one leaves behind."""

    kind: Plotter
    program: str
    command: Callable[[str, Order, Path], list[str]]
    leftovers: tuple[str, ...]
    stop_signal: signal.Signals = signal.SIGTERM
    smallest: int = 18

    def is_ours(self, name: str) -> bool:
        """Whether a file may be a temp file of this plotter, or its finished or unfinished plot."""
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.leftovers)


def order_of(plot: Plot, temp1: Path, temp2: Path) -> Order:
    """What the plotter is told for a plot whose parameters are complete."""
    assert plot.ksize and plot.threads and plot.buffer and plot.fpk and plot.ppk, "completed at the door"
    return Order(
        ksize=plot.ksize,
        threads=plot.threads,
        buffer=plot.buffer,
        buckets=plot.buckets or 0,
        stripe_size=plot.stripe_size or 0,
        bitfield=plot.bitfield,
        fpk=plot.fpk,
        ppk=plot.ppk,
        memo=plot.memo,
        temp1=str(temp1),
        temp2=str(temp2),
    )


def _builtin(program: str, order: Order, spec: Path) -> list[str]:
    return [program, "-P", "-m", "node.pipeline.plot.plotter", str(spec)]


def _chia(program: str, order: Order, _spec: Path) -> list[str]:
    command = [program, "plots", "create", "-k", str(order.ksize), "-n", "1", "-b", str(order.buffer), "-r", str(order.threads)]
    command += ["-f", order.fpk, "-p", order.ppk, "-t", order.temp1, "-2", order.temp2, "-d", order.temp2, "-x"]
    if order.buckets:
        command += ["-u", str(order.buckets)]
    if not order.bitfield:
        command.append("-e")
    if order.ksize < 32:
        command.append("--override-k")
    return command


def _madmax(program: str, order: Order, _spec: Path) -> list[str]:
    # it wants its folders with a slash at their end
    command = [program, "-k", str(order.ksize), "-n", "1", "-r", str(order.threads), "-f", order.fpk, "-p", order.ppk]
    command += ["-t", f"{order.temp1}/", "-2", f"{order.temp2}/", "-d", f"{order.temp2}/"]
    return [*command, "-u", str(order.buckets)] if order.buckets else command


def _bladebit(program: str, order: Order, _spec: Path) -> list[str]:
    command = [program, "-t", str(order.threads), "-n", "1", "-f", order.fpk, "-p", order.ppk, "diskplot"]
    if order.buckets:
        command += ["-b", str(order.buckets)]
    return [*command, "-t1", order.temp1, "-t2", order.temp2, order.temp2]


ADAPTERS: Final[Mapping[Plotter, Adapter]] = {
    adapter.kind: adapter
    for adapter in (
        # SIGINT is of no use to any of them: chiapos looks at it when the plot is done, madMAx goes on to the end of the plot
        Adapter(Plotter.BUILTIN, sys.executable, _builtin, ("plot-k*.plot", "plot-k*.plot.*tmp", SPEC)),
        Adapter(Plotter.CHIA, "chia", _chia, ("plot-k*.plot", "plot-k*.plot.*tmp")),
        Adapter(Plotter.MADMAX, "chia_plot", _madmax, ("plot-k*.plot", "plot-k*.plot.tmp", "plot-k*.tmp")),
        Adapter(
            Plotter.BLADEBIT,
            "bladebit",
            _bladebit,
            (
                "plot-k*.plot",
                "plot-k*.plot.tmp",
                "t[1-7]_*.tmp",
                "*.fx*.tmp",
                "p*.tmp",
                "fx_*.tmp",
                "meta_*.tmp",
                "table_*.tmp",
            ),
            smallest=32,
        ),
    )
}


def find_program(kind: Plotter, command: str) -> str | None:
    """The path of the plotter: `command` where it is given, else what PATH has; None where there is none that can run."""
    if kind is Plotter.BUILTIN:
        return sys.executable if find_spec("chiapos") and find_spec("chia_rs") else None
    return shutil.which(command or ADAPTERS[kind].program)


def missing_text(kind: Plotter, command: str) -> str:
    """Why a talent with this plotter cannot plot, and the way out."""
    if kind is Plotter.BUILTIN:
        return "the built-in plotter needs chiapos and chia_rs: pip install 'ecnode[plots]'"
    return (
        f"no program '{command or ADAPTERS[kind].program}' for the plotter '{kind}': install it, or name it in talent.command"
    )


def check_order(kind: Plotter, plot: Plot) -> None:
    """Refuses what this plotter cannot do.

    Raises:
        Invalid: each parameter that does not fit is named.
    """
    ksize = plot.ksize or 0
    problems = []
    if ksize < ADAPTERS[kind].smallest:
        problems.append(Problem("ksize", f"{ksize} is below {ADAPTERS[kind].smallest}, the least that '{kind}' plots"))
    if plot.stripe_size and plot.stripe_size > largest_stripe(ksize):
        problems.append(Problem("stripe_size", f"{plot.stripe_size} is above {largest_stripe(ksize)}, the most at k{ksize}"))
    if plot.memo is not None and kind is not Plotter.BUILTIN:
        problems.append(Problem("memo", f"'{kind}' would show it to every user of the machine; the built-in plotter takes one"))
    if problems:
        raise Invalid("the plotter of this talent cannot make that plot", problems=problems)
