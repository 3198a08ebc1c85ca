"""Does a real node keep to its own description, whatever a generator makes of it?

Schemathesis reads /api/v1/openapi.json and sends what fits it and what does not. No answer may be a fault of the node, and none
one that is not described.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from lone import lone_node

SECONDS = 45
EXAMPLES = 12
# A request that fits its schema may still be refused: the node that it names has not joined.
LEFT_OUT = "positive_data_acceptance"


@pytest.mark.drill_short
@pytest.mark.parametrize("ref", ["@last", None], ids=["a_query_that_runs", "any_query"])
def test_every_answer_is_one_that_is_described(tmp_path: Path, assets: Path, ref: str | None) -> None:
    pytest.importorskip("schemathesis", reason="it comes with the extra `drill`: make drill-short")
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(f'[parameters]\n"path.ref" = "{ref}"\n' if ref else "")
    with lone_node(tmp_path, assets) as node:
        url = f"http://{node.address}/api/v1/openapi.json"
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(settings), "run", url),
            *("--header", f"Authorization: Bearer {node.token}", "--workers", "1", "--seed", "1", "--no-shrink"),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES), "--continue-on-failure"),
            *("--exclude-checks", LEFT_OUT, "--exclude-path", "/api/v1/events", "--request-timeout", "10"),
        ]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
        assert '"level":"error"' not in (tmp_path / "stderr").read_text()
