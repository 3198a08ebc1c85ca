"""What a hostile script can do at level L2."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hostile import ATTACKS, Attack, scene
from running import Bench

from node.model.process import SandboxLevel
from node.roles.shared.runner import landlock, seccomp
from node.roles.shared.runner.probe import probe


@pytest.fixture
async def shut(tmp_path: Path) -> AsyncIterator[Bench]:
    if not landlock.abi() or not seccomp.supported():
        pytest.skip("this kernel has no Landlock, or no filter is written for its architecture")
    bench = Bench(tmp_path, "L2")
    yield bench
    await bench.close()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
async def test_a_hostile_script_is_refused(shut: Bench, attack: Attack) -> None:
    with scene(shut.root) as place:
        facts, said = await shut.script(attack.text, **attack.limits)
        assert "ESCAPED" not in said, said
        assert attack.ended(facts), (facts, said)
        place.is_whole()


async def test_a_script_can_do_its_work(shut: Bench) -> None:
    work = (
        "import os, subprocess, threading, socket, json, tempfile\n"
        "open('out', 'w').write('x'); os.mkdir('d'); os.rename('out', 'd/out')\n"
        "os.link('d/out', 'd/two'); os.symlink('out', 'd/l')\n"
        "print(subprocess.run(['/bin/echo', 'hi'], capture_output=True).stdout)\n"
        "t = threading.Thread(target=print, args=('thread',)); t.start(); t.join()\n"
        "a, b = socket.socketpair(); a.send(b'x'); print(b.recv(1))\n"
        "print(os.getpid() > 1, os.cpu_count() > 0, open('/dev/null').read() == '')\n"
    )
    facts, said = await shut.script(work)
    assert facts.good, said
    assert "hi" in said
    assert "thread" in said


async def test_the_network_is_there_only_where_the_box_says_so(shut: Bench) -> None:
    text = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM); print('open')"
    refused, _ = await shut.script(text)
    assert refused.code == 1
    program = shut.program((sys.executable, "-I", "-S", "-c", text))
    object.__setattr__(program.box, "network", True)
    facts = await (await shut.runner.start(program)).wait()
    assert facts.good


async def test_a_programs_capabilities_are_gone(shut: Bench) -> None:
    _, said = await shut.script("print(open('/proc/self/status').read())")
    lines = dict(line.split(":\t", 1) for line in said.splitlines() if ":\t" in line)
    assert {lines[name] for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {"0" * 16}
    assert lines["NoNewPrivs"] == "1"
    assert lines["Seccomp"] == "2"


async def test_the_probe_finds_the_highest_level_and_says_why_no_higher_one(bench: Bench) -> None:
    ladder = await probe(bench.runner, bench.root)
    assert ladder.level.rank >= (SandboxLevel.L2 if landlock.abi() and seccomp.supported() else SandboxLevel.L1).rank
    assert all(reason for reason in ladder.missing.values())
    names = os.listdir(bench.root)  # noqa: PTH208 - names are all that is wanted
    assert not any(name.startswith("probe-") for name in names)


def test_a_filter_is_an_array_of_instructions_that_ends_by_allowing() -> None:
    if not seccomp.supported():
        pytest.skip("no filter is written for this architecture")
    content = seccomp.program(network=False)
    assert len(content) % 8 == 0
    assert content[-8:] == seccomp._line(0x06, 0x7FFF0000)
    assert len(seccomp.program(network=True)) < len(content)
    assert socket.AF_UNIX == 1
