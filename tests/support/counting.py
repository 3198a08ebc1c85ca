"""Services of a user, for the worker processes of tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def brightness(values: Mapping[str, Any], pictures: Mapping[str, Sequence[Any]]) -> Mapping[str, Any]:
    """The mean of a picture."""
    return {"brightness": float(pictures["image"][0].mean())}


def nonsense(values: Mapping[str, Any], pictures: Mapping[str, Sequence[Any]]) -> Any:
    """What no service may give."""
    return "bright"


class Unsure:
    """The heavier its model, the surer it is."""

    def __init__(self, assets: Path, model_id: int) -> None:
        self._model_id = model_id

    def run(self, values: Mapping[str, Any], pictures: Mapping[str, Sequence[Any]]) -> tuple[Mapping[str, Any], Any]:
        return {"prob": [0.2 + 0.2 * self._model_id], "length": len(pictures["clip"])}, {}
