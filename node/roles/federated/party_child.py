"""The worker process of one party in one epoch: it runs the party's script, and does all arithmetic.

Out: `say` (a word for another party, in parts of at most 1 MiB as blobs), `burn`, `progress`, `record`, and one `done` or
`failed`. In: `heard` (a word, or a part of one) and `burned`. With `inspect` it looks at a data set instead, and ends.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from node.clock import Clock, SystemClock
from node.errors import DeadlineExceeded, EcnodeError, Internal, Invalid, Malformed, StorageFailed
from node.model.federated import PartyProgress, PartyRole, Record, SessionSpec, Traffic
from node.model.wire.session import PART_BYTES
from node.pipeline.federated.prediction import PREDICTIONS
from node.pipeline.federated.prepared import TEST, TRAIN, read_order
from node.pipeline.federated.script import MODEL, Ground, run
from node.pipeline.federated.sealed import open_word
from node.pipeline.federated.table import file_digest, read_table
from node.roles.shared.channel import BlockingChannel, Header, Message
from node.roles.shared.processes import Inbox, run_child

NICE: Final = 5  # the node's own loop goes before the work that it hands out
PULSE_S: Final = 0.5
MAIL_BYTES: Final = 1 << 30  # words that have come and are not waited for yet: E of 10 million words 13 times
EARLY_MOST: Final = 1024  # sealed words that came before the keys; × 1 MiB
KEPT: Final = 4  # shares of the weights; parties are at most one apart
_KEPT_NAME: Final = "checkpoint-{epoch}-{step}.bin"


class _Party:
    """`pipeline.federated.party.Party` over the channel to the node."""

    def __init__(self, channel: BlockingChannel, inbox: Inbox, settings: Mapping[str, Any], spec: SessionSpec, clock: Clock):
        self.name = str(settings["party"])
        self._channel = channel
        self._inbox = inbox
        self._spec = spec
        self._epoch = int(settings["epoch"])
        self._folder = Path(settings["memory"])
        self._prepared = Path(settings["prepared"])
        self._started = float(settings["started_at"])
        self._clock = clock
        self._mail: dict[tuple[str, str, int], bytes] = {}
        self._parts: dict[tuple[str, str, int], dict[int, bytes]] = {}
        self._opening: dict[str, bytes] = {}
        self._early: list[Message] = []
        self._held = 0
        self._burned = -1
        self._told = 0.0
        self._begun: tuple[float, int] | None = None
        self._progress = PartyProgress()
        self._counts = dict.fromkeys(Traffic.model_fields, 0)

    def say(self, to: str, what: str, index: int, content: bytes) -> None:
        parts = max(1, -(-len(content) // PART_BYTES))
        for part in range(parts):
            blob = content[part * PART_BYTES : (part + 1) * PART_BYTES]
            header: Header = {"op": "say", "to": to, "what": what, "index": index, "part": part, "parts": parts}
            self._channel.send(header, [blob])
        self._counts["bytes_out"] += len(content)
        self._counts["messages_out"] += 1

    def expect(self, sender: str, what: str, index: int, *, patient: bool = False) -> bytes:
        key = (sender, what, index)
        if key not in self._mail:
            self._counts["rounds"] += 1
            self._wait_for(key, None if patient else self._spec.round_timeout)
        content = self._mail.pop(key)
        self._held -= len(content)
        self._tell()
        return content

    def trust(self, closing: Mapping[str, bytes], opening: Mapping[str, bytes]) -> None:
        self._opening = dict(opening)
        keys: dict[str, Any] = {name: key.hex() for name, key in closing.items()}
        self._channel.send({"op": "trust", "keys": keys})
        early, self._early = self._early, []
        for message in early:
            self._file(message)

    def at(self, stage: str, step: int = 0) -> None:
        now = self._clock.monotonic()
        changed = stage != self._progress.stage
        order = (read_order(self._folder) or read_order(self._prepared)) if changed else None
        if order is not None:
            self._progress = self._progress.model_copy(update={"rows_train": order.train, "rows_test": order.test})
        if self._begun is None or changed:
            self._begun = (now, step)
        self._progress = self._progress.model_copy(update={"stage": stage, "step": step})
        self._tell(at_once=changed)

    def burn(self, step: int) -> None:
        self._channel.send({"op": "burn", "step": step})
        while self._burned < step:
            self._read(None)

    def keep(self, step: int, content: bytes) -> None:
        path = self._folder / _KEPT_NAME.format(epoch=self._epoch, step=step)
        beside = path.with_suffix(".new")
        try:
            descriptor = os.open(beside, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.rename(path)
            for old in sorted(self._places(), key=lambda place: (place[1], place[0]))[:-KEPT]:
                (self._folder / _KEPT_NAME.format(epoch=old[0], step=old[1])).unlink(missing_ok=True)
        except OSError as error:
            raise StorageFailed(f"the weights of step {step} cannot be kept: {error.strerror}") from error

    def kept(self) -> Mapping[tuple[int, int], bytes]:
        return {
            (epoch, step): (self._folder / _KEPT_NAME.format(epoch=epoch, step=step)).read_bytes()
            for epoch, step in self._places()
        }

    def record(self, record: Record) -> None:
        self._channel.send({"op": "record", "record": record.model_dump_json()})

    def seconds(self) -> float:
        return max(0.0, self._clock.wall() - self._started)

    def finish(self, stage: str) -> None:
        """The last figures."""
        self.at(stage, self._progress.step)
        self._tell(at_once=True)

    @property
    def place(self) -> str:
        """Where the script is, in words."""
        return f"step {self._progress.step}" if self._progress.stage in {"training", "dealing"} else self._progress.stage

    def _places(self) -> list[tuple[int, int]]:
        found = []
        for path in self._folder.glob("checkpoint-*-*.bin"):
            _, epoch, step = path.stem.split("-")
            found.append((int(epoch), int(step)))
        return found

    def _wait_for(self, key: tuple[str, str, int], limit: float | None) -> None:
        since = self._clock.monotonic()
        self._progress = self._progress.model_copy(update={"waits_for": key[0]})
        while key not in self._mail:
            left = PULSE_S if limit is None else since + limit - self._clock.monotonic()
            if left <= 0:
                raise DeadlineExceeded(f"{self._spec.title(key[0])} silent for {limit:g} s in {self.place}")
            self._read(min(left, PULSE_S))
            self._tell()
        self._progress = self._progress.model_copy(update={"waits_for": ""})

    def _read(self, timeout: float | None) -> None:
        for message in self._inbox.take(timeout):
            if message.header["op"] == "burned":
                self._burned = max(self._burned, int(cast(int, message.header["step"])))
            else:
                self._file(message)

    def _file(self, message: Message) -> None:
        header, (content,) = cast(dict[str, Any], message.header), message.blobs
        key = (str(header["sender"]), str(header["what"]), int(header["index"]))
        if header["sealed"]:
            if not self._opening:  # the other party has met everybody already
                self._early.append(message)
                if len(self._early) > EARLY_MOST:
                    raise Malformed(f"party {key[0]} sent more than anybody waits for")
                return
            content = open_word(self._opening[key[0]], f"{key[1]} {key[2]} {header['part']}", content)
        self._held += len(content)
        if self._held > MAIL_BYTES:
            raise Malformed(f"party {key[0]} sent more than anybody waits for")
        self._counts["bytes_in"] += len(content)
        parts = self._parts.setdefault(key, {})
        parts[int(header["part"])] = content
        if len(parts) == int(header["parts"]):
            del self._parts[key]
            self._mail[key] = content if len(parts) == 1 else b"".join(content for _, content in sorted(parts.items()))
            self._counts["messages_in"] += 1

    def _tell(self, *, at_once: bool = False) -> None:
        now = self._clock.monotonic()
        if now - self._told < PULSE_S and not at_once:
            return
        self._told = now
        used = resource.getrusage(resource.RUSAGE_SELF)
        changes: dict[str, object] = {"traffic": Traffic(**self._counts), "cpu_seconds": used.ru_utime + used.ru_stime}
        if self._begun is not None and self._progress.step > self._begun[1]:
            changes["step_ms"] = (now - self._begun[0]) * 1000 / (self._progress.step - self._begun[1])
        self._progress = self._progress.model_copy(update=changes)
        self._channel.send({"op": "progress", "progress": self._progress.model_dump_json()})


def _ground(settings: Mapping[str, Any]) -> Ground:
    source = Path(settings["source"]) if settings["source"] else None
    folders = (Path(settings["folder"]), Path(settings["prepared"]), Path(settings["memory"]))
    model = Path(settings["model"]) if settings["model"] else None
    return Ground(source, settings["id"], settings["label"], *folders, model)


def _play(channel: BlockingChannel, settings: Mapping[str, Any], inbox: Inbox) -> None:
    spec = SessionSpec.model_validate_json(settings["spec"])
    party = _Party(channel, inbox, settings, spec, SystemClock())
    ground = _ground(settings)
    run(party, spec, int(settings["epoch"]), bytes.fromhex(settings["signing_key"]), ground)
    party.finish("done")
    names = [TRAIN, TEST, MODEL, PREDICTIONS, *(path.name for path in ground.folder.glob("*_aligned.csv"))]
    holds_data = spec.party(party.name).role in {PartyRole.FEATURE, PartyRole.LABEL}
    outputs = sorted(str(ground.folder / name) for name in names if holds_data and (ground.folder / name).is_file())
    done: dict[str, Any] = {"op": "done", "outputs": outputs}
    channel.send(done)


def _inspect(channel: BlockingChannel, settings: Mapping[str, Any], _inbox: Inbox) -> None:
    path = Path(settings["inspect"])
    table = read_table(path, str(settings["id"]))
    if settings["label"] and settings["label"] not in table.names:
        raise Invalid(f"there is no label column '{settings['label']}'", hint=f"there are {', '.join(table.names[:20])}")
    facts: dict[str, Any] = {"id": table.id, "columns": list(table.names), "rows": len(table.ids), "digest": file_digest(path)}
    channel.send({"op": "done", **facts})


def _work(channel: BlockingChannel, settings: Header, inbox: Inbox) -> None:
    os.nice(NICE)
    chosen = cast(dict[str, Any], settings)
    try:
        (_inspect if "inspect" in chosen else _play)(channel, chosen, inbox)
    except EcnodeError as error:
        problems = [{"path": problem.path, "message": problem.message} for problem in error.problems]
        failed: dict[str, Any] = {"code": error.code, "message": error.message, "hint": error.hint, "problems": problems}
        channel.send({"op": "failed", **failed})
    except Exception as error:  # noqa: BLE001 - the top of this process: the node must hear why it ends
        told = f"{type(error).__name__}: {error}"
        channel.send({"op": "failed", "code": Internal.code, "message": told, "hint": "", "problems": []})


if __name__ == "__main__":
    run_child(_work, Inbox)
