"""The commands about compute services: `services`."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import click

from node.cli import SuggestingGroup
from node.cli.context import Settings, output_option, pass_settings
from node.cli.output import Column, seconds_text, show_json, show_list
from node.cli.spec import read_spec
from node.errors import StorageFailed

if TYPE_CHECKING:
    from pydantic import JsonValue

    from node.model.service import ServiceBench, ServiceItem, ServiceNode

MAX_INPUTS: Final = 8 * 2**20  # what the node reads


@click.group(cls=SuggestingGroup)
def services() -> None:
    """See, call and measure the services that can be stages of a pipeline; `--node NAME` says on which node."""


@services.command("list")
@output_option
@pass_settings
def listing(settings: Settings) -> None:
    """What each needs and gives, and where it runs in which time at 480p."""
    from node.model.document import to_document

    with settings.connect() as client:
        found = client.services()
    show_list(settings, found, _COLUMNS, to_document, lambda one: one.name)


@services.command()
@click.argument("name")
@click.option("--image", "images", type=click.File("rb"), multiple=True, help="A JPEG; several of them make a clip.")
@click.option("--inputs", type=click.File("rb"), help="Further inputs (JSON or TOML), such as what another service gave.")
@click.option("--model", type=click.IntRange(min=0), default=0, help="Which of its models; 0 is the default one.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for the pictures that it gives.")
@pass_settings
def call(
    settings: Settings, *, name: str, images: Sequence[BinaryIO], inputs: BinaryIO | None, model: int, out: Path | None
) -> None:
    """Call a service of the node once; prints what it gives as JSON."""
    given = read_spec(inputs.read(MAX_INPUTS + 1), str(getattr(inputs, "name", ""))) if inputs is not None else {}
    pictures: list[JsonValue] = [base64.b64encode(image.read()).decode() for image in images]
    if pictures:
        given |= {"image": pictures[-1], "clip": pictures}
    with settings.connect() as client:
        answer = client.invoke(name, given, model)
    show_json(_kept(answer.outputs, out) if out is not None else answer.outputs)
    took = f"{seconds_text(answer.stage_s)}, decoding {seconds_text(answer.decode_s)}, waiting {seconds_text(answer.wait_s)}"
    settings.say(f"{name} took {took}")


@services.command()
@click.argument("names", nargs=-1)
@output_option
@pass_settings
def bench(settings: Settings, names: Sequence[str]) -> None:
    """Measure services on the node now, at each resolution, beside what its plans are made with; all where none is named."""
    from node.model.document import to_document

    found = []
    with settings.connect() as client:
        offered = names or [one.name for one in client.services() if not one.reason]
        for name in offered:
            settings.say(f"measuring {name}")
            found.append(client.bench(name))
    show_list(settings, found, _BENCH_COLUMNS, to_document, lambda one: one.name)


def _kept(outputs: dict[str, JsonValue], folder: Path) -> dict[str, JsonValue]:
    """The outputs with each picture as the name of its file in `folder`."""
    from node.pipeline.stage import PICTURES

    shown = dict(outputs)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, coded in outputs.items():
            if name in PICTURES and isinstance(coded, list):
                shown[name] = [_written(folder / f"{name}-{number}.jpg", content) for number, content in enumerate(coded)]
    except OSError as error:
        raise StorageFailed(f"{folder} cannot be written: {error.strerror}") from error
    return shown


def _written(place: Path, coded: JsonValue) -> JsonValue:
    place.write_bytes(base64.b64decode(str(coded)))
    return str(place)


def _where(item: ServiceItem) -> str:
    return ", ".join(map(_at, item.nodes)) or "–"


def _at(there: ServiceNode) -> str:
    from node.model.video import Resolution

    if (spent := there.profile.get(Resolution.P480)) is None:
        return there.node
    waits = f" +{there.wait_ms:.0f}" if there.wait_ms >= 1 else ""
    return f"{there.node} {spent * 1000:.0f}{waits} ms"


def _beside(one: ServiceBench) -> str:
    words = []
    for resolution, spent in one.seconds.items():
        before = one.calibrated.get(resolution)
        words.append(f"{resolution} {spent * 1000:.1f}" + (f" ({before * 1000:.1f})" if before is not None else ""))
    return ", ".join(words)


_COLUMNS: Final[Sequence[Column[ServiceItem]]] = (
    Column("NAME", lambda one: one.name + ("*" if one.user else "")),
    Column("NEEDS", lambda one: ", ".join(one.needs)),
    Column("GIVES", lambda one: ", ".join(one.gives)),
    Column("MODELS", lambda one: str(one.models)),
    Column("NODES", _where),
    Column("NOT HERE", lambda one: one.reason or "–"),
)
_BENCH_COLUMNS: Final[Sequence[Column[ServiceBench]]] = (
    Column("NODE", lambda one: one.node),
    Column("NAME", lambda one: one.name),
    Column("MS NOW (CALIBRATED)", _beside),
    Column("OBJECTS", lambda one: str(one.objects)),
)
