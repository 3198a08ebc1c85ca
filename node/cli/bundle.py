"""What does somebody who helps need to see of a node, and what must he not see?

One .tar.gz of text files. Every text passes `_Redaction`, which knows this node's secrets and the shape of tokens; a part
that cannot be had is named in `missing.txt` instead of failing the rest.
"""

from __future__ import annotations

import io
import json
import os
import platform
import re
import tarfile
import tomllib
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from node import __version__, rundir
from node.cli.context import Settings, pass_settings
from node.datadir import LOG_FOLDER, TOKEN_FILE
from node.errors import Conflict, EcnodeError, NotFound, Unavailable
from node.journal import newest

if TYPE_CHECKING:
    from node.client import Client

LOG_LINES: Final = 5000
MAX_PART: Final = 8 * 2**20
HIDDEN: Final = "[hidden]"
KEY_FILE: Final = "identity.key"
_SHAPES: Final = (
    re.compile(r"ec1_[A-Za-z0-9_-]{20,}"),
    re.compile(r"(?i)(?<=bearer )[A-Za-z0-9._~+/=-]{8,}"),
    re.compile(r"(?<=://)[^/\s:@\"]+:[^/\s@\"]+(?=@)"),
)


@click.command("support-bundle")
@click.option(
    "-o", "--output", "target", type=click.Path(dir_okay=False, path_type=Path), default=Path("ecnode-support.tar.gz")
)
@click.option("-c", "--config", "files", multiple=True, type=click.Path(path_type=Path), help="The node's config.")
@pass_settings
def support_bundle(settings: Settings, target: Path, files: tuple[Path, ...]) -> None:
    """Collect what helps to find a fault, without keys and tokens, into one file."""
    found = rundir.find(settings.node)
    parts = _Parts(settings, files, Path(found.data_dir) if found is not None else None)
    content = _packed(parts.collect())
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError as error:
        raise Conflict(f"{target} is there already", hint="--output writes another") from error
    except OSError as error:
        raise Unavailable(f"{target} cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    click.echo(str(target))
    settings.say("keys and tokens are left out; read it before you send it: names, addresses and log lines are in it")


class _Parts:
    def __init__(self, settings: Settings, files: tuple[Path, ...], data_dir: Path | None) -> None:
        self._settings = settings
        self._files = files
        self._data_dir = data_dir
        self._missing: list[str] = []

    def collect(self) -> dict[str, str]:
        """The files of the bundle by name."""
        texts: dict[str, str] = {}
        for name, make in self._makers():
            try:
                texts[name] = make()[-MAX_PART:]
            except EcnodeError as error:
                self._missing.append(f"{name}: {error.message}")
        redaction = _Redaction(self._secrets())
        texts["missing.txt"] = "".join(f"{line}\n" for line in self._missing)
        return {name: redaction.clean(text) for name, text in texts.items()}

    def _makers(self) -> Iterator[tuple[str, Callable[[], str]]]:
        yield "versions.json", _versions
        yield "config.json", self._config  # first, because it may be what tells the data directory
        yield "log.jsonl", self._log
        for name, ask in _ASKED.items():
            yield name, lambda ask=ask: self._asked(ask)  # type: ignore[misc]

    def _config(self) -> str:
        from node.config import config_files, load

        files = config_files(self._files, os.environ)
        if not files:
            raise NotFound("no config file was found", hint="name it with --config")
        loaded = load(files, os.environ, ())
        self._data_dir = self._data_dir or loaded.config.node.data_dir
        return _json({"config": loaded.shown(), "origins": dict(loaded.origins)})

    def _log(self) -> str:
        if self._data_dir is None:
            raise NotFound("no node runs here and no config says where its data is")
        return "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in newest(self._data_dir / LOG_FOLDER, LOG_LINES))

    def _asked(self, ask: Callable[[Client], str]) -> str:
        with self._settings.connect() as client:
            return ask(client)

    def _secrets(self) -> Iterator[str]:
        if self._data_dir is not None:
            yield _text(self._data_dir / TOKEN_FILE)
            yield _secret_key(self._data_dir / KEY_FILE)
        if self._settings.token_file is not None:
            yield _text(self._settings.token_file)


class _Redaction:
    """Takes secrets out of text: the ones it is given, and whatever looks like a token or a password in a url."""

    def __init__(self, secrets: Iterator[str]) -> None:
        known = [secret for secret in secrets if secret]
        spelled = {spelling for secret in known for spelling in (secret, json.dumps(secret)[1:-1])}
        self._known = sorted(spelled, key=len, reverse=True)

    def clean(self, text: str) -> str:
        for secret in self._known:
            text = text.replace(secret, HIDDEN)
        for shape in _SHAPES:
            text = shape.sub(HIDDEN, text)
        return text


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""  # what cannot be read here cannot have come into a part


def _secret_key(path: Path) -> str:
    try:
        return str(tomllib.loads(_text(path)).get("secret", ""))
    except tomllib.TOMLDecodeError:
        return _text(path)


def _versions() -> str:
    packages = {found.metadata["Name"]: found.version for found in metadata.distributions()}
    return _json(
        {
            "ecnode": __version__,
            "python": platform.python_version(),
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "packages": dict(sorted(packages.items())),
        }
    )


def _status(client: Client) -> str:
    from node.model.document import to_document

    nodes = [to_document(view) for view in client.nodes()]
    return _json({"readiness": to_document(client.ready()), "node": to_document(client.node()), "nodes": nodes})


def _queries(client: Client) -> str:
    from node.model.document import to_document

    return _json([to_document(query) for query in client.queries().items])


def _events(client: Client) -> str:
    told = client.follow(follow=False)
    return "".join(json.dumps({"id": one.id, "event": one.event, "data": one.data}, ensure_ascii=False) + "\n" for one in told)


_ASKED: Final[Mapping[str, Callable[[Client], str]]] = {
    "status.json": _status,
    "queries.json": _queries,
    "metrics.txt": lambda client: client.metrics(),
    "events.jsonl": _events,
}


def _json(content: object) -> str:
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def _packed(texts: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in texts.items():
            content = text.encode(errors="replace")
            entry = tarfile.TarInfo(f"ecnode-support/{name}")
            entry.size, entry.mode = len(content), 0o600
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
