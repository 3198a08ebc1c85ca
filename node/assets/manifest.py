"""Which files belong to an installation, and are they in the folder?"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final, Literal

from node.errors import AssetMissing, Invalid, NotFound

MAX_ASSET_BYTES: Final = 64 << 20
FETCH_HINT: Final = "run: ecnode assets fetch"
RETRY_HINT: Final = "check the network and the package index, then run: ecnode assets fetch"
_OTHER_HINT: Final = "the package index serves another file than the one this release was tested with; it was not installed"


@dataclass(frozen=True, slots=True)
class Asset:
    """One member of one package: what it is called here, where it comes from, and what it must be.

    `kind` says what the package is. What npm fetches is optional: a node lives without it, and offers less.
    """

    name: str
    file: str
    package: str
    version: str
    member: str
    sha256: str
    size_bytes: int
    licence: str
    kind: Literal["wheel", "npm"] = "wheel"

    def __post_init__(self) -> None:
        _check_file(self.file)
        if self.kind not in {"wheel", "npm"}:
            raise Invalid(f"asset '{self.name}' comes in a package of the kind '{self.kind}'; there are: wheel, npm")
        if not 0 < self.size_bytes <= MAX_ASSET_BYTES:
            raise Invalid(f"asset '{self.name}' claims {self.size_bytes} bytes; the limit is {MAX_ASSET_BYTES}")

    @property
    def requirement(self) -> str:
        """The package as pip or npm wants it named."""
        return f"{self.package}{'==' if self.kind == 'wheel' else '@'}{self.version}"

    @property
    def optional(self) -> bool:
        """Whether a node can do without it."""
        return self.kind == "npm"

    def fault(self, content: bytes) -> str | None:
        """Why `content` is not this asset, or None when it is."""
        if len(content) != self.size_bytes:
            return f"it has {len(content)} bytes instead of {self.size_bytes}"
        digest = hashlib.sha256(content).hexdigest()
        return None if digest == self.sha256 else f"its sha256 is {digest} instead of {self.sha256}"

    def check(self, content: bytes, origin: str) -> None:
        """Refuses what is not this asset.

        Raises:
            AssetMissing: `content` of `origin` is something else.
        """
        if reason := self.fault(content):
            raise AssetMissing(f"{self.member} of {origin} is refused: {reason}", hint=_OTHER_HINT)


@dataclass(frozen=True, slots=True)
class Derived:
    """Files that a program makes of the assets `needs`; another `recipe` makes them anew.

    `module` is run with the folder of assets and a folder for its files. `sha256` pins those that are the same everywhere.
    """

    name: str
    module: str
    recipe: int
    needs: tuple[str, ...]
    files: tuple[str, ...]
    licence: str
    sha256: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for file in (*self.files, self.stamp):
            _check_file(file)

    @property
    def stamp(self) -> str:
        """The file that holds the number of the recipe; written last."""
        return f"{self.name}.recipe"

    def absent(self, folder: Path) -> tuple[str, ...]:
        """Those of the files that are not there, all of them where another recipe made them."""
        fresh = _recipe(folder / self.stamp) == self.recipe
        return tuple(file for file in self.files if not fresh or not _size(folder / file))

    def check(self, file: str, content: bytes) -> None:
        """Refuses a file that came out otherwise than it must.

        Raises:
            AssetMissing: its hash is not the manifest's.
        """
        digest = hashlib.sha256(content).hexdigest()
        if digest != self.sha256.get(file, digest):
            hint = "this machine computes something else than those the release was tested on; please report it"
            raise AssetMissing(f"{file} is refused: its sha256 is {digest} instead of {self.sha256[file]}", hint=hint)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The whole list, the tags by which the same wheel is chosen on every machine, and the wheel that brings npm."""

    python: str
    implementation: str
    platforms: tuple[str, ...]
    npm: str
    assets: tuple[Asset, ...]
    derived: tuple[Derived, ...]

    def file(self, name: str) -> str:
        """The file name of an asset.

        Raises:
            NotFound: the manifest has no such asset.
        """
        files = {asset.name: asset.file for asset in self.assets}
        files |= {file: file for derived in self.derived for file in derived.files}
        try:
            return files[name]
        except KeyError:
            raise NotFound(f"no asset is called '{name}'", hint=f"there are: {', '.join(files)}") from None

    def optional(self) -> frozenset[str]:
        """Names of the assets that a node can do without: npm's, and what is made of them."""
        names = {asset.name for asset in self.assets if asset.optional}
        return frozenset(names | {file for each in self.derived if names & set(each.needs) for file in each.files})

    def licences(self) -> dict[str, str]:
        """The licence of each asset by its name."""
        licences = {asset.name: asset.licence for asset in self.assets}
        return licences | {file: derived.licence for derived in self.derived for file in derived.files}

    def absent(self, folder: Path) -> tuple[str, ...]:
        """Names of the assets that are not in the folder, or not in their full size."""
        names = [asset.name for asset in self.assets if _size(folder / asset.file) != asset.size_bytes]
        return (*names, *(file for derived in self.derived for file in derived.absent(folder)))


@cache
def load_manifest() -> Manifest:
    """The manifest of this release."""
    text = resources.files("node.assets").joinpath("manifest.toml").read_text(encoding="utf-8")
    document = tomllib.loads(text)
    wheels = document["wheels"]
    return Manifest(
        python=wheels["python"],
        implementation=wheels["implementation"],
        platforms=tuple(wheels["platforms"]),
        npm=wheels["npm"],
        assets=tuple(Asset(**entry) for entry in document["asset"]),
        derived=tuple(
            Derived(**entry | {"needs": tuple(entry["needs"]), "files": tuple(entry["files"])}) for entry in document["derived"]
        ),
    )


def path(folder: Path, name: str) -> Path:
    """Where an asset is.

    Raises:
        AssetMissing: it is not in the folder.
        NotFound: the manifest has no such asset.
    """
    place = folder / load_manifest().file(name)
    if not place.is_file():
        raise AssetMissing(f"asset '{name}' is not in {folder}", hint=FETCH_HINT)
    return place


def missing(folder: Path, *, optional: bool = False) -> tuple[str, ...]:
    """Names of the assets that `fetch` would bring, the optional ones only on request; compares sizes, not hashes."""
    manifest = load_manifest()
    spared = frozenset() if optional else manifest.optional()
    return tuple(name for name in manifest.absent(folder) if name not in spared)


def _recipe(stamp: Path) -> int | None:
    """By which recipe derived files were made, if they were finished."""
    try:
        return int(stamp.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _size(place: Path) -> int:
    return place.stat().st_size if place.is_file() else 0


def _check_file(file: str) -> None:
    if file in {"", ".", ".."} or file != Path(file).name or "\\" in file or "\0" in file:
        raise Invalid(f"the manifest wants to write '{file}', which is not a plain file name")
