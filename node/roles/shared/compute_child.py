"""The compute worker: one process that has models loaded and runs one call at a time.

Messages in: `run` (stages, one after the other, on their inputs) and `annotate` (draw a result into its frame). A frame comes
as a slot of the arena, raw or JPEG; other pictures as JPEG blobs. Messages out: one `done` or `error` for each.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import numpy as np
from pydantic import JsonValue

from node.clock import SystemClock
from node.errors import AssetMissing, EcnodeError, Internal, Invalid
from node.pipeline import catalogue
from node.pipeline.stage import SERVICES, ServiceSpec
from node.pipeline.video import codec, draw
from node.pipeline.video.service import Picture, Pictures, Service, Values
from node.roles.shared.arena import ArenaView
from node.roles.shared.channel import BlockingChannel, Header, Message
from node.roles.shared.processes import OneByOne, run_child

NICE = 5  # the node's own loop goes before the work that it hands out
CROP_QUALITY = 92  # crops are small: an error of the pose costs more than the bytes


class _Worker:
    def __init__(self, arena: ArenaView, assets: Path) -> None:
        self._arena = arena
        self._assets = assets
        self._loaded: dict[tuple[str, int], Service] = {}
        self._clock = SystemClock()

    def run(self, message: Message) -> tuple[dict[str, Any], list[bytes]]:
        header = cast(dict[str, Any], message.header)
        stages = [(SERVICES[name], self._service(name, model_id)) for name, model_id in header["stages"]]
        came = self._clock.monotonic()
        have: dict[str, list[Picture]] = self._pictures(header["pictures"], message.blobs)
        known: dict[str, JsonValue] = header["values"]
        values: dict[str, JsonValue] = {}
        ends = [self._clock.monotonic()]
        for place, (spec, service) in enumerate(stages):
            told: dict[str, JsonValue] = {"stream": header["stream"]} if spec.remembers else {}
            inputs = {name: known[name] for name in spec.needs if name in known} | told
            shown = {name: have[name] for name in spec.needs if name in have}
            found, cut = service.run(inputs, shown)
            if spec.escalate_below:  # declared only of services with more than one model
                found, cut = self._escalate(spec, header["stages"][place][1], inputs, shown, (found, cut))
            values |= found
            known |= found
            have |= {name: list(given) for name, given in cut.items()}
            ends.append(self._clock.monotonic())
        sent = [name for name in header["wanted"] if any(name in spec.gives for spec, _ in stages) and name in have]
        blobs = [codec.encode_jpeg(picture, CROP_QUALITY) for name in sent for picture in have[name]]
        answer = {
            "values": values,
            "pictures": [{"name": name, "count": len(have[name])} for name in sent],
            "stage_seconds": [after - before for before, after in pairwise(ends)],
            "decode_seconds": ends[0] - came,
        }
        return answer, blobs

    def _escalate(
        self, spec: ServiceSpec, model_id: int, inputs: Values, shown: Pictures, gave: tuple[Values, Pictures]
    ) -> tuple[Values, Pictures]:
        """What heavier models find, one after the other, until one is sure enough; and which it was."""
        while _confidence(gave[0]) < spec.escalate_below and model_id != spec.ladder[-1]:
            model_id = spec.ladder[spec.ladder.index(model_id) + 1]
            gave = self._service(spec.name, model_id).run(inputs, shown)
        return {**gave[0], "model_id": model_id}, gave[1]

    def annotate(self, message: Message) -> tuple[dict[str, Any], list[bytes]]:
        header = cast(dict[str, Any], message.header)
        (frame,) = self._pictures(header["pictures"], message.blobs)["image"]
        values = header["values"]
        drawn = draw.annotate(frame, values, header["label"]) if values is not None else frame
        return {}, [codec.encode_jpeg(drawn)]

    def _service(self, name: str, model_id: int) -> Service:
        if (name, model_id) not in self._loaded:
            spec = SERVICES.get(name)
            if spec is None or model_id >= spec.models:
                raise Invalid(f"no service '{name}' with a model {model_id}")
            self._loaded[name, model_id] = _make(spec, self._assets, model_id)
        return self._loaded[name, model_id]

    def _pictures(self, entries: Sequence[Mapping[str, Any]], blobs: Sequence[bytes]) -> dict[str, list[Picture]]:
        codec.check_together(blobs)
        rest = iter(blobs)
        pictures: dict[str, list[Picture]] = {}
        for entry in entries:
            if "slot" in entry:
                pictures[entry["name"]] = [self._frame(entry)]
            else:
                pictures[entry["name"]] = [self._decode(entry, next(rest)) for _ in range(entry["count"])]
        return pictures

    def _decode(self, entry: Mapping[str, Any], blob: bytes) -> Picture:
        picture = codec.decode_picture(blob)
        return codec.resize(picture, entry["width"], entry["height"]) if "width" in entry else picture

    def _frame(self, entry: Mapping[str, Any]) -> Picture:
        memory = self._arena.slot(entry["slot"], entry["bytes"])
        if entry["encoding"] == "jpeg":
            return codec.decode_jpeg(memory)
        picture: Picture = np.frombuffer(memory, np.uint8).reshape(entry["height"], entry["width"], 3)
        picture.flags.writeable = False
        return picture


def _confidence(values: Values) -> float:
    """The mean probability of what was found; who finds nothing is sure of it."""
    chances = values.get("prob")
    known = [chance for chance in chances if isinstance(chance, int | float)] if isinstance(chances, list) else []
    return fmean(known) if known else 1.0


class _Function:
    """A plain function as a service: it has no model to load."""

    def __init__(self, function: Callable[[Values, Pictures], object]) -> None:
        self._function = function

    def run(self, values: Values, pictures: Pictures) -> tuple[Values, Pictures]:
        gave = self._function(values, pictures)
        if isinstance(gave, Mapping):
            return gave, {}
        if isinstance(gave, tuple) and len(gave) == 2 and all(isinstance(part, Mapping) for part in gave):
            return gave
        raise Invalid(f"a service gave {type(gave).__name__}, not its values, or its values and its pictures")


def _make(spec: ServiceSpec, assets: Path, model_id: int) -> Service:
    """The implementation of a service, loaded.

    Raises:
        AssetMissing: it is not there, or its model is not.
    """
    module, _, attribute = spec.implementation.partition(":")
    if spec.folder and spec.folder not in sys.path:
        sys.path.append(spec.folder)  # last, so that it hides nothing of this program
    try:
        found: Any = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise AssetMissing(f"{spec.name}: {spec.implementation} cannot be loaded: {error}") from error
    if isinstance(found, type):
        return cast(Service, found(assets, model_id))
    return cast(Service, _Function(found))


def _work(channel: BlockingChannel, settings: Header, inbox: OneByOne) -> None:
    os.nice(NICE)
    chosen = cast(dict[str, Any], settings)
    catalogue.install(chosen["services"])
    arena = ArenaView(chosen["descriptors"]["arena"], chosen["slots"], chosen["slot_bytes"])
    worker = _Worker(arena, Path(chosen["assets"]))
    calls = {"run": worker.run, "annotate": worker.annotate}
    while True:
        message = inbox.next()
        try:
            header, blobs = calls[str(message.header["op"])](message)
            answer: dict[str, Any] = {"op": "done", **header}
        except EcnodeError as error:
            answer, blobs = {"op": "error", "code": error.code, "message": error.message, "hint": error.hint}, []
        except Exception as error:  # noqa: BLE001 - the dispatcher of this process: one bad picture must not end it
            answer, blobs = {"op": "error", "code": Internal.code, "message": f"{type(error).__name__}: {error}"}, []
        channel.send(answer, blobs)


if __name__ == "__main__":
    run_child(_work, OneByOne)
