"""What a hostile script can do at level L3; `tests/unit/roles/runner/test_sandbox.py` asks the same of L2."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hostile import ATTACKS, Attack, scene
from running import Bench

from node.model.process import SandboxLevel
from node.roles.shared.runner.probe import probe

# Behind namespaces these meet no refusal but something of their own instead: their first process and its environment, a folder
# that goes with them. That nothing of it is outside is looked at from outside.
OF_ITS_OWN = frozenset({"reads environments", "writes outside", "signals the node", "renames its own log"})
OF_A_RUN = frozenset({"work", "output", "notes", "identity", "exit", "order"})


@pytest.mark.drill_short
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
async def test_a_hostile_script_is_refused_behind_bubblewrap(tmp_path: Path, attack: Attack) -> None:
    if not shutil.which("bwrap"):
        pytest.skip("bubblewrap is not installed")
    bench = Bench(tmp_path, "L3")
    try:
        ladder = await probe(bench.runner, tmp_path)
        if ladder.level is not SandboxLevel.L3:
            pytest.skip(f"no namespaces here: {ladder.missing[SandboxLevel.L3]}")
        bench.etc = ladder.etc
        with scene(tmp_path) as place:
            facts, said = await bench.script(attack.text, **attack.limits)
            assert "ESCAPED" not in said or attack.name in OF_ITS_OWN, said
            assert attack.ended(facts), (facts, said)
            place.is_whole()
            assert {path.name for path in (tmp_path / "1").iterdir()} <= OF_A_RUN
    finally:
        await bench.close()
