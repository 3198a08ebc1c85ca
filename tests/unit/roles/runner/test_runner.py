from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest
from running import CLOCK, WAIT, Bench

from node.errors import Conflict
from node.model.process import Limit
from node.roles.shared.runner import shim
from node.roles.shared.runner.identity import Identity, identify, stat_fields
from node.roles.shared.runner.runner import Run, Runner
from node.roles.shared.runner.tree import cgroup_root


async def has_said(run: Run, text: str) -> None:
    """Waits until the program's output holds a text."""
    async with CLOCK.timeout(WAIT):
        while text not in (run.folder / "output").read_text():
            await CLOCK.sleep(0.005)


async def test_a_program_that_ends_by_itself_leaves_its_code_and_its_output(bench: Bench) -> None:
    facts, said = await bench.end("sh", "-c", "echo out; echo err >&2; exit 7")
    assert (facts.code, facts.signal, facts.limit, facts.stopped, facts.lost) == (7, None, None, False, False)
    assert said == "out\nerr\n"
    assert facts.output_bytes == len(said)
    assert facts.started_at <= facts.ended_at


async def test_a_program_that_is_killed_leaves_the_signal(bench: Bench) -> None:
    facts, _ = await bench.end("sh", "-c", "kill -9 $$")
    assert (facts.code, facts.signal) == (None, 9)


async def test_what_cannot_be_executed_is_an_end_with_its_reason(bench: Bench) -> None:
    facts, _ = await bench.end("/nowhere/at/all")
    assert "No such file" in facts.error
    assert not facts.good


async def test_nothing_of_the_node_reaches_the_program(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_SECRET", "hidden")
    look = "import os;print(sorted(os.environ), sorted(int(n) for n in os.listdir('/proc/self/fd')), os.read(0, 1))"
    _, said = await bench.script(look)
    assert "NODE_SECRET" not in said
    assert "[0, 1, 2, 3, 4] b''" in said  # 4 is the listing itself


async def test_what_is_written_to_descriptor_3_becomes_notes(bench: Bench) -> None:
    program = bench.program(("sh", "-c", "echo noted >&3"))
    await (await bench.runner.start(program)).wait()
    assert program.notes is not None
    assert program.notes.read_text() == "noted\n"


async def test_a_folder_sees_one_run_however_many_ask(bench: Bench) -> None:
    program = bench.program(("sh", "-c", "echo once"))
    answers = await asyncio.gather(*(bench.runner.start(program) for _ in range(8)), return_exceptions=True)
    runs = [answer for answer in answers if isinstance(answer, Run)]
    assert len(runs) == 1
    assert all(isinstance(answer, Conflict) for answer in answers if answer is not runs[0])
    await runs[0].wait()
    assert program.output.read_text() == "once\n"


async def test_no_cgroup_is_left_by_what_ran_what_was_refused_and_what_only_waited(bench: Bench) -> None:
    if not (root := cgroup_root()):
        pytest.skip("no cgroup can be made here")
    bench.runner._cgroups = tempfile.mkdtemp(prefix="ecnode-test-", dir=root)
    program = bench.program(("true",))
    await asyncio.gather(*(bench.runner.start(program) for _ in range(4)), return_exceptions=True)
    await bench.end("true")
    await bench.runner.stop()
    async with CLOCK.timeout(WAIT):
        while _folders(bench.runner._cgroups):
            await CLOCK.sleep(0.01)
    os.rmdir(bench.runner._cgroups)  # noqa: PTH106 - the test is async


def _folders(path: str) -> list[str]:
    return [each.name for each in os.scandir(path) if each.is_dir()]


async def test_a_folder_that_was_closed_sees_no_run_any_more(bench: Bench) -> None:
    program = bench.program(("sh", "-c", "echo never"))
    assert bench.runner.forbid(program.folder) is None
    assert bench.runner.forbid(program.folder) is None
    with pytest.raises(Conflict):
        await bench.runner.start(program)
    assert program.output.read_text() == ""


async def test_another_life_of_the_node_finds_a_run_that_goes_on(bench: Bench) -> None:
    run = await bench.start("sh", "-c", "echo up; sleep 0.2; exit 5")
    await bench.runner.stop()
    later = Runner(CLOCK)
    found = later.adopt(run.folder)
    assert found is not None
    assert (found.shim, found.pid) == (run.shim, run.pid)
    assert later.forbid(run.folder) is not None
    assert (await found.wait()).code == 5


async def test_another_life_learns_of_an_end_that_nobody_saw(bench: Bench) -> None:
    run = await bench.start("sh", "-c", "exit 6")
    await run.wait()
    found = Runner(CLOCK).adopt(run.folder)
    assert found is not None
    assert not found.alive
    assert (await found.wait()).code == 6


async def test_a_killed_shim_is_an_unknown_end_and_takes_its_program_with_it(bench: Bench) -> None:
    run = await bench.start("sleep", "100")
    assert run.shim.signal(signal.SIGKILL)
    facts = await run.wait()
    assert facts.lost
    async with CLOCK.timeout(WAIT):
        while run.main.alive:
            await CLOCK.sleep(0.005)


async def test_the_end_of_what_starts_programs_ends_none_and_another_takes_its_place(bench: Bench) -> None:
    first = await bench.start("sleep", "100")
    assert bench.runner._zygote is not None
    bench.runner._zygote._process.kill()
    await bench.runner._zygote._process.wait()
    second, _ = await bench.end("true")
    assert second.good
    assert first.alive
    first.stop(grace=0)
    assert (await first.wait()).stopped


async def test_a_stop_asks_first_and_kills_after_the_grace(bench: Bench) -> None:
    kind = await bench.start("sh", "-c", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done")
    await has_said(kind, "up")
    kind.stop()
    facts = await kind.wait()
    assert (facts.code, facts.stopped) == (0, True)
    assert not facts.good
    deaf = await bench.start("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.01; done")
    await has_said(deaf, "up")
    deaf.stop(grace=0.05)
    deaf.stop(grace=10.0)  # a second stop does not put the first one off
    facts = await deaf.wait()
    assert (facts.signal, facts.stopped) == (9, True)


async def test_the_caller_chooses_the_signal_of_a_stop(bench: Bench) -> None:
    run = await bench.start("sh", "-c", "trap 'exit 9' INT; echo up; while :; do sleep 0.01; done")
    await has_said(run, "up")
    run.stop(signal.SIGINT)
    assert (await run.wait()).code == 9


@pytest.mark.parametrize("cgroup", [True, False])
async def test_a_stop_reaches_whoever_has_left_his_parent(bench: Bench, cgroup: bool) -> None:
    if not cgroup:
        bench.runner._cgroups = ""
    fork = (
        "import os,time\nif os.fork()==0:\n os.setsid()\n if os.fork()==0:\n  print(os.getpid(),flush=True)\n"
        "  time.sleep(100)\n os._exit(0)\nos.wait()\ntime.sleep(100)"
    )
    run = await bench.start(sys.executable, "-I", "-S", "-c", fork)
    await has_said(run, "\n")
    hidden = identify(int((run.folder / "output").read_text()))
    run.stop(grace=0)
    await run.wait()
    assert not hidden.alive


@pytest.mark.parametrize("cgroup", [True, False])
async def test_what_outlives_the_program_is_ended_and_counted(bench: Bench, cgroup: bool) -> None:
    if not cgroup:
        bench.runner._cgroups = ""
    facts, said = await bench.end("sh", "-c", "setsid sleep 100 & echo $!; exit 0")
    assert (facts.code, facts.left_behind) == (0, 1)
    assert stat_fields(int(said)) is None


@pytest.mark.parametrize("cgroup", [True, False])
async def test_the_kernel_holds_the_number_of_processes_for_root_too(bench: Bench, cgroup: bool) -> None:
    if not cgroup:
        bench.runner._cgroups = ""
    # Bounded by itself: 100 children at most.
    text = (
        "import os, time\nmade = 0\nfor n in range(100):\n  try:\n    if os.fork() == 0: time.sleep(20); os._exit(0)\n"
        "    made += 1\n  except BlockingIOError: break\nprint(made, flush=True)\ntime.sleep(20)"
    )
    facts, said = await bench.script(text, processes=10)
    assert facts.limit is Limit.PROCESSES
    assert int(said) <= 10


async def test_who_is_held_by_a_number_of_his_own_cannot_become_root_again(bench: Bench) -> None:
    bench.runner._cgroups = ""
    text = (
        "import os\nprint(os.getuid() == 0)\nfor n in (lambda: os.setuid(0), lambda: os.setreuid(0, 0)):\n"
        "  try: n()\n  except OSError: pass\nprint(os.getuid() == 0)"
    )
    _, said = await bench.script(text)
    assert said == "False\nFalse\n"


async def test_a_suspended_program_stands_still_and_goes_on(bench: Bench) -> None:
    run = await bench.start("sh", "-c", "echo up; while :; do :; done")
    await has_said(run, "up")
    run.suspend()
    async with CLOCK.timeout(WAIT):
        while state_of(run.pid) != "T":
            await CLOCK.sleep(0.005)
    run.resume()
    async with CLOCK.timeout(WAIT):
        while state_of(run.pid) == "T":
            await CLOCK.sleep(0.005)
    run.suspend()
    run.stop()  # also reaches one that stands still
    assert (await run.wait()).signal == signal.SIGTERM


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


async def test_a_number_that_belongs_to_another_process_by_now_gets_no_signal(bench: Bench) -> None:
    run = await bench.start("sleep", "100")
    other = Identity(run.shim.pid, run.shim.started - 1, run.shim.boot)
    assert not other.alive
    assert not other.signal(signal.SIGKILL)
    assert not Identity(run.shim.pid, run.shim.started, "another-boot").signal(signal.SIGKILL)
    assert run.alive
    run.stop(grace=0)
    await run.wait()


async def test_a_run_of_another_boot_is_lost_and_nobody_is_touched(bench: Bench) -> None:
    program = bench.program(("true",))
    nobody = {"pid": os.getpid(), "started": 1, "boot": "another", "main": os.getpid(), "main_started": 1, "cgroup": ""}
    shim.claim(str(program.folder), nobody)
    found = bench.runner.adopt(program.folder)
    assert found is not None
    assert (await found.wait()).lost


@pytest.mark.parametrize(
    ("text", "limit", "limits"),
    [
        ("x = bytearray(2 << 30)", Limit.MEMORY, {"memory_bytes": 256 * 2**20}),
        ("while True: pass", Limit.CPU, {"cpu_s": 1.0}),
        ("import time; time.sleep(100)", Limit.WALL, {"wall_s": 0.1}),
        ("open('f', 'wb').write(bytes(2 << 20))", Limit.FILE_SIZE, {"file_bytes": 2**20, "output_bytes": 2**20}),
        ("while True: print('x' * 1000)", Limit.OUTPUT, {"output_bytes": 2**20}),
        (
            "import os, time\nfor n in range(20):\n  if os.fork() == 0: time.sleep(20); os._exit(0)\ntime.sleep(20)",
            Limit.PROCESSES,
            {"processes": 10},
        ),
        ("import time\nfor n in range(64): open(str(n), 'w')\ntime.sleep(100)", Limit.DISK, {"disk_files": 50}),
        ("import os, time\nopen('f','wb').write(os.urandom(3<<20))\ntime.sleep(100)", Limit.DISK, {"disk_bytes": 2**20}),
    ],
    ids=str,
)
async def test_a_limit_that_is_hit_is_named(bench: Bench, text: str, limit: Limit, limits: dict[str, float]) -> None:
    facts, _ = await bench.script(text, **limits)
    assert facts.limit is limit
    assert not facts.good


async def test_the_beginning_of_a_long_log_is_given_back_to_the_disk_and_offsets_stay(bench: Bench) -> None:
    run = await bench.start(
        sys.executable,
        "-c",
        "import sys,time\nsys.stdout.write('x' * (4 << 20) + 'end'); sys.stdout.flush(); time.sleep(0.6)",
        kept_bytes=2**20,
    )
    await run.wait()
    found = (run.folder / "output").stat()
    assert found.st_size == (4 << 20) + 3
    assert found.st_blocks * 512 < 2 * 2**20
    assert (run.folder / "output").read_bytes().endswith(b"xend")
