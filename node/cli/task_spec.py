"""How does a file that describes a task, or one that is to be run, become the document that is sent?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from node.cli.blobs import uploaded
from node.cli.context import Settings
from node.cli.spec import MAX_SPEC, read_spec
from node.client import Client
from node.errors import Invalid
from node.model.document import Document

SCRIPT: Final = "main.py"  # the model's default entry
INLINE_MOST: Final = 256 * 1024  # bytes of a script that is sent within the request


def program(settings: Settings, client: Client, file: Path, entry: str, key: Path | None) -> Document:
    """The fields that name the program: a short script itself, else the blob of what was uploaded; signed by a key."""
    signed: Document = {} if key is None else {"signature": _signature(file, entry, key)}
    if file.stat().st_size <= INLINE_MOST and file.suffix == ".py" and entry == SCRIPT:
        try:
            return {"script": file.read_bytes().decode(), **signed}
        except UnicodeDecodeError:
            pass  # a script in another encoding says so in its first lines: it goes as it is
    return {"bundle": uploaded(settings, client, file).id, "entry": entry, **signed}


def _signature(file: Path, entry: str, key: Path) -> str:
    import hashlib

    from node.pipeline.federated.identity import load_or_create
    from node.pipeline.task.signing import sign

    if not key.exists():
        raise Invalid(f"{key} is not there", hint=f"ecnode tasks key {key} makes one")
    with file.open("rb") as content:
        return sign(load_or_create(key).secret, hashlib.file_digest(content, "sha256").hexdigest(), entry)


def described(settings: Settings, client: Client, file: Path, key: Path | None) -> Document:
    """The task that a TOML file describes: the fields of the API, where `file` stands for a program or a file of data.

    Paths are seen from the folder of the file itself.

    Raises:
        Malformed, Invalid: it is no such description, or names a file that is not there.
    """
    with file.open("rb") as opened:
        document = read_spec(opened.read(MAX_SPEC + 1), file.name)
    found = _resolved(settings, client, document, file.parent, key)
    joint = found.get("joint")
    if isinstance(joint, dict) and isinstance(combine := joint.get("combine"), dict):
        found["joint"] = {**joint, "combine": _resolved(settings, client, combine, file.parent, key)}
    return found


def _resolved(settings: Settings, client: Client, document: Mapping[str, object], folder: Path, key: Path | None) -> Document:
    found = dict(document)
    if (name := found.pop("file", None)) is not None:
        entry = found.pop("entry", SCRIPT)
        found |= program(settings, client, _beside(folder, name), str(entry), key)
    data = found.get("data")
    if isinstance(data, list):
        found["data"] = [_data(settings, client, each, folder) for each in data]
    return found  # type: ignore[return-value]  # what TOML holds is what JSON holds


def _data(settings: Settings, client: Client, given: object, folder: Path) -> object:
    if isinstance(given, str):
        given = {"file": given}
    if not isinstance(given, dict) or "file" not in given:
        return given
    file = _beside(folder, given["file"])
    return {"path": given.get("path", file.name), "blob": uploaded(settings, client, file).id}


def _beside(folder: Path, name: object) -> Path:
    file = folder / str(name)
    if not file.is_file():
        raise Invalid(f"there is no file {file}", hint="paths are seen from the folder of the description")
    return file
