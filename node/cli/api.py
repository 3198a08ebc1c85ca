"""The command that asks a node anything its HTTP API has: `api`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from node.cli.context import Settings, pass_settings
from node.errors import Invalid

if TYPE_CHECKING:
    from node.model.document import Document

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


@click.command()
@click.argument("method", type=click.Choice(METHODS, case_sensitive=False))
@click.argument("path")
@click.option("-d", "--data", metavar="JSON", help="The body; @FILE reads a file, - reads standard input.")
@pass_settings
def api(settings: Settings, method: str, path: str, data: str | None) -> None:
    """Send one request and print the answer, such as `ecnode api GET queries`.

    A PATH without a leading slash is below /api/v1/. /api/docs of the node lists what there is.
    """
    target = path if path.startswith("/") else f"/api/v1/{path}"
    body = None if data is None else _body(data)
    with settings.connect() as client:
        content = client.ask(method.upper(), target, body)
    click.echo(_readable(content))


def _body(data: str) -> Document:
    try:
        text = sys.stdin.read() if data == "-" else Path(data[1:]).read_text(encoding="utf-8") if data[:1] == "@" else data
        found = json.loads(text)
    except (OSError, ValueError) as error:
        raise Invalid(f"--data is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise Invalid("--data is not a JSON object", hint="every body of this API is one")
    return found


def _readable(content: bytes) -> str | bytes:
    try:
        return json.dumps(json.loads(content), ensure_ascii=False, indent=2)
    except ValueError:
        return content  # a picture or a text: as it is
