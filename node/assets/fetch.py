"""How do the assets get into their folder?

pip downloads the wheels, which are never installed and never run; only the named members are taken out, and a member is written
only when its hash is the manifest's. A file appears under its name complete or not at all.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import node
from node.assets.manifest import Asset, Derived, Manifest, load_manifest, stamp
from node.errors import AssetMissing

Progress: TypeAlias = Callable[[str], None]

DOWNLOAD_SECONDS: Final = 180.0  # 23 MB; an hour's stall must not look like work
DERIVE_SECONDS: Final = 120.0
_SYNTHESIS: Final = "node.pipeline.video.synthesis"
_RETRY: Final = "check the network and the package index of pip, then run: ecnode assets fetch"


def fetch(folder: Path, progress: Progress, manifest: Manifest | None = None) -> None:
    """Brings every asset that is not there, or damaged, into the folder; what is right already is left alone.

    Blocks for up to half a minute on a fresh folder. `progress` gets one line per step. May run twice at once.

    Raises:
        AssetMissing: pip, the network, a member with the right hash, or the space to write is not there.
    """
    wanted = manifest or load_manifest()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        absent = [asset for asset in wanted.assets if not _present(folder, asset)]
        if absent:
            _fetch_members(folder, wanted, absent, progress)
        if wanted.absent(folder):
            _derive(folder, wanted.derived, progress)
    except OSError as fault:
        raise AssetMissing(f"the assets cannot be written to {folder}: {fault}", hint="choose another --folder") from fault


def _present(folder: Path, asset: Asset) -> bool:
    place = folder / asset.file
    return place.is_file() and place.stat().st_size == asset.size_bytes and asset.fault(place.read_bytes()) is None


def _fetch_members(folder: Path, manifest: Manifest, absent: Sequence[Asset], progress: Progress) -> None:
    requirements = sorted({asset.requirement for asset in absent})
    with tempfile.TemporaryDirectory(prefix="ecnode-assets-") as temporary:
        progress(f"downloading {', '.join(requirements)}")
        _download(Path(temporary), manifest, requirements)
        for asset in absent:
            _install(folder / asset.file, _take(Path(temporary), asset))
            progress(f"{asset.name}: {asset.size_bytes} bytes from {asset.requirement}, {asset.licence}")


def _download(temporary: Path, manifest: Manifest, requirements: Sequence[str]) -> None:
    options = ["--no-deps", "--only-binary", ":all:", "--no-input", "--disable-pip-version-check", "--quiet"]
    options += ["--retries", "2", "--timeout", "20", "--dest", str(temporary)]
    options += ["--python-version", manifest.python, "--implementation", manifest.implementation]
    options += [option for platform in manifest.platforms for option in ("--platform", platform)]
    command = [sys.executable, "-m", "pip", "download", *options, *requirements]
    what = f"pip cannot download {', '.join(requirements)}"
    _run(command, DOWNLOAD_SECONDS, what, _RETRY)


def _take(temporary: Path, asset: Asset) -> bytes:
    wheel = _wheel(temporary, asset)
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(asset.member) as member:
            content = member.read(asset.size_bytes + 1)  # one more than it may have: a larger member shows, and is not read
    except (KeyError, zipfile.BadZipFile) as fault:
        raise AssetMissing(f"{wheel.name} holds no {asset.member}", hint=_RETRY) from fault
    if reason := asset.fault(content):
        hint = "the package index serves another file than the one this release was tested with; it was not installed"
        raise AssetMissing(f"{asset.member} of {wheel.name} is refused: {reason}", hint=hint)
    return content


def _wheel(temporary: Path, asset: Asset) -> Path:
    stem = re.sub(r"[-_.]+", "_", asset.package).lower()
    for wheel in sorted(temporary.glob("*.whl")):
        name, version, *_ = wheel.name.split("-")
        if (name.lower(), version) == (stem, asset.version):
            return wheel
    raise AssetMissing(f"pip downloaded no wheel of {asset.requirement}", hint=_RETRY)


def _derive(folder: Path, derived: Derived, progress: Progress) -> None:
    progress(f"making {', '.join(derived.files)}")
    with tempfile.TemporaryDirectory(prefix="ecnode-assets-") as temporary:
        command = [sys.executable, "-m", _SYNTHESIS, str(folder.absolute()), temporary]
        _run(command, DERIVE_SECONDS, f"{', '.join(derived.files)} cannot be made", "see the message above")
        stamp(folder).unlink(missing_ok=True)
        for file in derived.files:
            _install(folder / file, (Path(temporary) / file).read_bytes())
    _install(stamp(folder), str(derived.recipe).encode("ascii"))


def _run(command: Sequence[str], seconds: float, what: str, hint: str) -> None:
    source = str(Path(node.__file__).parent.parent)  # a child of a checkout must find the same package
    search = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH", "")]))
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": search},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as fault:
        raise AssetMissing(f"{what} within {seconds:g} s", hint=hint) from fault
    if done.returncode != 0:
        lines = done.stdout.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        reason = next((line for line in reversed(lines) if "ERROR" in line or "Error" in line), lines[-1])
        if "No module named pip" in reason:
            hint = f"install pip first: {sys.executable} -m ensurepip"
        raise AssetMissing(f"{what}: {reason[:500]}", hint=hint)


def _install(place: Path, content: bytes) -> None:
    part = place.with_name(f"{place.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)
