"""One side of the message benchmark as two processes: `side.py NAME serve`, and `side.py NAME ask ADDRESS`.

The server prints its address and serves until its input ends. The asker reads orders, `case seconds` a line, carries each out
and prints `{"rate", "p50_us", "p99_us"}`. Every side does the same cases with the same bytes:

    small    100 bytes there, 100 back, 16 in flight       frame   100 kB there, a word back, 4 in flight
    single   the same, one in flight                       big     1 MB there, a word back, 2 in flight
    oneway   100 bytes there, counted by who handles them
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
from collections.abc import Awaitable, Callable
from statistics import quantiles
from typing import Final

SMALL: Final = b"s" * 100
BODIES: Final = {"small": SMALL, "single": SMALL, "frame": b"f" * 100_000, "big": b"b" * 1_000_000}
IN_FLIGHT: Final = {"small": 16, "single": 1, "frame": 4, "big": 2}
ONE_WAY_AT_ONCE: Final = 2000


def figures(count: int, seconds: float, spent: list[float]) -> dict[str, float]:
    """What an asker prints."""
    cuts = quantiles(spent, n=100) if len(spent) > 1 else [0.0] * 99
    return {"rate": count / seconds, "p50_us": cuts[49] * 1e6, "p99_us": cuts[98] * 1e6}


async def ask_many(call: Callable[[bytes], Awaitable[object]], case: str, seconds: float) -> dict[str, float]:
    """Calls again and again with as many in flight as the case asks for."""
    spent: list[float] = []
    began = time.perf_counter()
    end = began + seconds

    async def one() -> None:
        while (start := time.perf_counter()) < end:
            await call(BODIES[case])
            spent.append(time.perf_counter() - start)

    await asyncio.gather(*(one() for _ in range(IN_FLIGHT[case])))
    return figures(len(spent), time.perf_counter() - began, spent)


async def tell_many(
    tell: Callable[[int], Awaitable[None]], counted: Callable[[], Awaitable[int]], seconds: float
) -> dict[str, float]:
    """Tells in batches until the time is over; the rate is that of what the other side has handled."""
    before = await counted()
    told, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        await tell(ONE_WAY_AT_ONCE)
        told += ONE_WAY_AT_ONCE
        while (await counted()) - before < told - ONE_WAY_AT_ONCE:  # the batch before: one is always under way
            pass
    while (await counted()) - before < told:
        pass
    return figures(told, time.perf_counter() - began, [])


def orders() -> list[str] | None:
    """The next order; None at the end of input."""
    line = sys.stdin.readline()
    return line.split() if line else None


def obey(carry_out: Callable[[str, float], dict[str, float]]) -> None:
    """Carries orders out until there are no more."""
    while (order := orders()) is not None:
        print(json.dumps(carry_out(order[0], float(order[1]))), flush=True)


async def obey_async(carry_out: Callable[[str, float], Awaitable[dict[str, float]]]) -> None:
    """As `obey`, without stopping the loop while it waits for an order."""
    while (order := await asyncio.to_thread(orders)) is not None:
        print(json.dumps(await carry_out(order[0], float(order[1]))), flush=True)


def main() -> None:
    """Becomes the side that was asked for."""
    name, what, *address = sys.argv[1:]
    module, _, variant = name.partition(":")
    side = importlib.import_module(module)
    if what == "serve":
        side.serve(variant)
    else:
        side.ask(variant, address[0])


if __name__ == "__main__":
    main()
