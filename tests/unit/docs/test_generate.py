"""Are the generated pages fresh, whole, and made again the same way?"""

from __future__ import annotations

from pathlib import Path

import generate
import pytest

from node.errors import every_error
from node.model.wire import METHODS

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", generate.PAGES)
def test_a_generated_page_is_fresh(name: str) -> None:
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == generate.PAGES[name](), "run: make docs"


def test_every_method_has_an_example_of_its_own_bodies() -> None:
    assert set(generate.EXAMPLES) == {method.name for method in METHODS}
    for method in METHODS:
        request, reply = generate.EXAMPLES[method.name]
        assert (type(request), type(reply)) == (method.request, method.reply)


def test_the_page_of_the_wire_has_every_method_with_its_callers() -> None:
    page = generate.wire()
    for method in METHODS:
        assert f"| `{method.name}` |" in page
        assert f"### {method.request.__name__}\n" in page
        assert f"### {method.reply.__name__}\n" in page


def test_the_page_of_errors_has_every_code() -> None:
    page = generate.errors()
    assert [kind.code for kind in every_error() if f"| `{kind.code}` |" not in page] == []


def test_a_check_names_what_is_stale_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "HERE", tmp_path)
    assert generate.main(["--check"]) == 1
    assert "docs/wire.md is stale" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    assert {page.name for page in tmp_path.iterdir()} == set(generate.PAGES)


def test_an_unknown_option_is_refused() -> None:
    assert generate.main(["--chek"]) == 2
