"""What does a step of vertical training cost over real nodes: CPU of all processes, bytes that a computing party sends?

Four parties as nodes over CURVE on loopback, 30000 × 23 in two blocks, batches of 1024; the CPU is that of every node and
worker between two steps of one session, so that starting, aligning and setting up are not in it. Beside it plain float training
in NumPy on the same rows. The bar compares with SecretFlow's SPU, SEMI2K: 187 CPU ms a step for the same model and batch,
measured once on a machine of this kind; SPU itself is not run here.

`python benchmarks/training.py [--quick] [--json]`
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
from parts.report import Bar, Row, row, show

from node.cli.system import LocalSystem
from node.client import Client
from node.clock import SystemClock
from node.model.federated import AlignmentRequest, DatasetRequest, Party, PartyRole, Session, SessionRequest, TrainingRequest
from node.pipeline.federated.losses import sigmoid
from node.pipeline.federated.metrics import auc
from node.pipeline.federated.ring import Reals
from node.pipeline.federated.split import Batches
from node.pipeline.federated.table import read_table

CLOCK = SystemClock()
SEMI2K_MS = 187.0
BATCH, RATE = 1024, 0.5
OWNERS = {"f1": "party-3", "label": "party-4"}
PATIENCE_S = 120.0


def made(rows: int) -> Reals:
    """Credit-shaped numbers from a fixed seed: 23 features, then the label."""
    random = np.random.default_rng(7)
    features = random.normal(size=(rows, 23))
    weights = random.normal(size=23) * 0.5
    label = random.random(rows) < sigmoid(features @ weights - 1.2)
    return np.column_stack([features, label])


def write(folder: Path, values: Reals, columns: Sequence[int]) -> None:
    """One owner's file."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "credit.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", *(f"x{column}" for column in columns)])
        writer.writerows([f"c{place}", *(f"{value:.6g}" for value in line)] for place, line in enumerate(values[:, columns]))


def cpu_ms(system: LocalSystem) -> float:
    """CPU of every node and all their children so far."""
    total = 0.0
    for name in system.names:
        node = psutil.Process(system.pid(name))
        for process in (node, *node.children(recursive=True)):
            total += sum(process.cpu_times()[:4])  # those of children that have ended are in the latter two
    return total * 1000


def steps_of(session: Session) -> int:
    """The step of the label client."""
    return next(view.progress.step for view in session.parties if view.name == "label")


def sent_of(session: Session) -> int:
    """Bytes that the label client has said."""
    return next(view.progress.traffic.bytes_out for view in session.parties if view.name == "label")


def trained(system: LocalSystem, client: Client, mode: str, steps: int) -> tuple[float, float, float]:
    """CPU ms a step, KB a step that the label client sends, AUC at the end."""
    parties = (
        Party(name="main", role=PartyRole.MAIN, node="party-1"),
        Party(name="producer", role=PartyRole.PRODUCER, node="party-2"),
        Party(name="f1", role=PartyRole.FEATURE, node="party-3", dataset="credit", output="out"),
        Party(name="label", role=PartyRole.LABEL, node="party-4", dataset="credit", label="x23", output="out"),
    )
    training = TrainingRequest(
        mode="open" if mode == "open" else "private",
        steps=steps,
        batch_size=BATCH,
        learning_rate=RATE,
        test_every=steps,
        batch_seed="b",
    )
    alignment = AlignmentRequest(split_seed="s")
    session = client.create_session(SessionRequest(parties=parties, alignment=alignment, training=training, round_timeout=60.0))
    marks: list[tuple[int, float, int]] = []
    until = CLOCK.monotonic() + PATIENCE_S
    while CLOCK.monotonic() < until and session.ended_at is None:
        session = client.session(session.id)
        if 10 <= steps_of(session) < steps - 1 and (not marks or steps_of(session) > marks[-1][0]):
            marks.append((steps_of(session), cpu_ms(system), sent_of(session)))
        threading.Event().wait(0.2)
    assert session.state == "finished", f"{session.state}: {session.reason}"
    (first, before, said), (last, after, told) = marks[0], marks[-1]
    record = client.session_metrics(session.id)[-1]
    return (after - before) / (last - first), (told - said) / (last - first) / 1000, float(record.metrics["auc"] or 0.0)


def plain(system: LocalSystem, steps: int) -> tuple[float, float]:
    """CPU ms a step and the AUC of the same training on the same rows with floats."""
    tables = {}
    for part in ("train", "test"):
        found = [read_table(system.data_root(node) / "out" / f"{part}.csv") for node in OWNERS.values()]
        tables[part] = np.concatenate([table.values(table.names) for table in found], axis=1)
    features, truth = tables["train"][:, :-1], tables["train"][:, -1]
    mean, spread = features.mean(0), features.std(0)
    known = np.column_stack([np.clip((features - mean) / spread, -8, 8), np.ones(len(features))])
    tested = np.column_stack([np.clip((tables["test"][:, :-1] - mean) / spread, -8, 8), np.ones(len(tables["test"]))])
    weights, batches, process = np.zeros(known.shape[1]), Batches(len(known), BATCH, "b"), psutil.Process()
    began = sum(process.cpu_times()[:2])
    for step in range(steps):
        which = batches.at(step)
        weights -= RATE / BATCH * known[which].T @ (sigmoid(known[which] @ weights) - truth[which])
    took = sum(process.cpu_times()[:2]) - began
    return took * 1000 / steps, auc(tables["test"][:, -1], tested @ weights)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows and steps")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    count, steps = (6000, 100) if options.quick else (30_000, 300)
    rows: list[Row] = []
    bars: list[Bar] = []
    with tempfile.TemporaryDirectory() as assets, LocalSystem(0, [], Path(assets), parties=4, approve="auto") as system:
        system.start()
        values = made(count)
        for owner, columns in (("f1", range(12)), ("label", range(12, 24))):
            write(system.data_root(OWNERS[owner]), values, columns)
            node = OWNERS[owner]
            with Client(system.url(node), system.token_file(node).read_text().strip(), 60.0) as client:
                client.register_dataset(DatasetRequest(name="credit", path="credit.csv", id="id"))
        with Client(system.url(), system.token_file().read_text().strip(), 60.0) as client:
            for mode in ("open", "private"):
                ms, kilobytes, found = trained(system, client, mode, steps)
                plain_ms, best = plain(system, steps)
                rows.append(row(mode, "nodes and workers", [ms], "CPU ms", ms / plain_ms))
                rows.append(row(mode, "plain NumPy", [plain_ms], "CPU ms"))
                rows.append(row(mode, "sent by label client", [kilobytes], "KB"))
                rows.append(row(mode, "AUC", [found], ""))
        bars.append(Bar("step_cpu_vs_semi2k", SEMI2K_MS / ms, ">= 10"))
        bars.append(Bar("kb_per_step", kilobytes, "<= 20"))
        bars.append(Bar("auc_gap", abs(found - best), "<= 0.001"))
    show("training", rows, bars, as_json=options.json)


if __name__ == "__main__":
    main()
