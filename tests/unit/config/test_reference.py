"""The reference manual of the settings."""

from pathlib import Path

import pytest

from node.config.reference import markdown, settings, unit_of, written


def test_every_setting_says_what_it_is_for() -> None:
    assert [each.path for each in settings() if not each.description] == []


def test_the_manual_in_docs_is_the_one_that_the_models_tell() -> None:
    manual = Path(__file__).parents[3] / "docs/config.md"
    assert manual.read_text(encoding="utf-8") == markdown(), "run: ecnode config reference > docs/config.md"


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        (("transport", "heartbeat"), "seconds"),
        (("http", "max_upload"), "bytes"),
        (("transport", "allow", 0, "name"), ""),
        (("edge", "sources", "a", "fps"), ""),
        (("edge", "limits", "memory"), "bytes"),
        (("no", "such", "setting"), ""),
    ],
)
def test_a_setting_knows_its_unit(path: tuple[str | int, ...], unit: str) -> None:
    assert unit_of(path) == unit


def test_a_value_is_written_as_the_file_has_it() -> None:
    assert written(("transport", "heartbeat"), 0.5) == '"500ms"'
    assert written(("http", "listen"), ("a:1", "b:2")) == '["a:1", "b:2"]'
    assert written(("edge", "sources", "a", "loop"), True) == "true"
