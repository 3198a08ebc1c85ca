"""What did an earlier calibration on this machine find, so that a node which starts again need not measure again?

One small file beside the models, under a name that stands for everything the figures depend on: the machine, the libraries, the
services and their models. Whoever measures the same writes the same name, whole or not at all; what cannot be read, is older
than `MOST_AGE_S` or of a future that the clock has left is as good as none. Blocking: for a thread.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, JsonValue, ValidationError

from node import __version__
from node.assets import load_manifest
from node.model.value import Count, Duration, Seconds, Value, Word63
from node.model.video import Resolution
from node.pipeline.stage import SERVICES

log = logging.getLogger(__name__)

MOST_AGE_S: Final = 24 * 3600.0  # machines are cooled, moved and shared; a planner mends by what it observes only what it uses
MOST_BYTES: Final = 64 * 1024
BUSY: Final = 2.0  # runnable threads for each core: a few nodes that calibrate at the same moment stay below it
_NAME: Final = "measured-{}.json"
_LIBRARIES: Final = ("opencv-python-headless", "opencv-python", "numpy")
_CPU_INFO: Final = Path("/proc/cpuinfo")


class Profile(Value):
    """The seconds that a service takes at each resolution, for so many objects."""

    seconds: Annotated[dict[Resolution, Duration], Field(min_length=1)]
    objects: Count


class Measured(Value):
    """The profiles of every service that was there, when they were taken (wall seconds), and what they depend on."""

    circumstances: dict[str, JsonValue]
    measured_at: Seconds
    services: dict[Word63, Profile]


def circumstances(folder: Path) -> dict[str, JsonValue]:
    """Everything that the figures of this machine with the models in `folder` depend on."""
    manifest = load_manifest()
    return {
        "release": __version__,
        "machine": [platform.machine(), _processor(), _cores()],
        "libraries": {name: version for name in _LIBRARIES if (version := _version(name))},
        "services": {name: [spec.implementation, spec.models] for name, spec in SERVICES.items()},
        "models": {asset.name: asset.sha256 for asset in manifest.assets},
        "recipes": {derived.name: derived.recipe for derived in manifest.derived},
        "files": _files(folder),
    }


def recall(folder: Path, now: float) -> Mapping[str, Profile] | None:
    """The profiles by service, None where there are none that still hold; `now` is wall time."""
    here = circumstances(folder)
    place = folder / _NAME.format(_digest(here))
    try:
        with place.open("rb") as file:
            kept = Measured.model_validate_json(file.read(MOST_BYTES))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        log.warning("kept calibration cannot be read", extra={"file": str(place), "reason": str(error)[:200]})
        return None
    known = kept.circumstances == here and kept.services.keys() <= SERVICES.keys()
    return kept.services if known and 0 <= now - kept.measured_at <= MOST_AGE_S else None


def keep(folder: Path, services: Mapping[str, Profile], now: float) -> None:
    """Keeps the profiles for the next start; a folder that cannot be written only means that it measures again."""
    here = circumstances(folder)
    content = Measured(circumstances=here, measured_at=now, services=dict(services)).model_dump_json(indent=1)
    try:
        _drop_old(folder, now)
        # a name of its own: two nodes may write at once, and each must put a whole file in place
        with tempfile.NamedTemporaryFile("w", dir=folder, prefix=".measured-", delete=False) as file:
            file.write(content)
        Path(file.name).replace(folder / _NAME.format(_digest(here)))
    except OSError as error:
        log.info("calibration not kept", extra={"folder": str(folder), "reason": error.strerror})


def disturbed() -> bool:
    """Whether so much else runs that figures of now would be wrong tomorrow: good enough for this start, not to be kept."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] > BUSY * _cores()


def _drop_old(folder: Path, now: float) -> None:
    """Drops what other releases and torn writes have left."""
    for place in (*folder.glob(_NAME.format("*")), *folder.glob(".measured-*")):
        with suppress(FileNotFoundError):  # another node may be first
            if now - place.lstat().st_mtime > MOST_AGE_S:
                place.unlink()


def _digest(here: Mapping[str, JsonValue]) -> str:
    return hashlib.sha256(json.dumps(here, sort_keys=True).encode()).hexdigest()[:16]


def _files(folder: Path) -> dict[str, JsonValue]:
    """Size and time of every file: a model may be fetched, replaced, or brought by the user under a name of his own."""
    mine = _NAME.partition("{}")[0]
    places = sorted(folder.iterdir()) if folder.is_dir() else []
    facts = ((place.name, place.stat()) for place in places if place.is_file() and not place.name.lstrip(".").startswith(mine))
    return {name: [fact.st_size, int(fact.st_mtime)] for name, fact in facts}


def _processor() -> str:
    with suppress(OSError):
        for line in _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None
