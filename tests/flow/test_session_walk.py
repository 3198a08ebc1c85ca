"""The walk of a session in one process: two nodes over the loopback transport, real workers, one of which is killed."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import psutil
import pytest
from parties import Table
from walking import CLOCK, a_config, running, until

from node.client import Client
from node.model.federated import AlignmentRequest, Party, PartyRole, SessionRequest, TrainingRequest
from node.transport.loopback import LoopbackHub

TOKEN = "what both banks agreed on"
STEPS = 240
ROLES = {
    "main": (PartyRole.MAIN, "bank-a"),
    "producer": (PartyRole.PRODUCER, "bank-b"),
    "f1": (PartyRole.FEATURE, "bank-a"),
    "label": (PartyRole.LABEL, "bank-b"),
}
ALIGNMENT = AlignmentRequest(split_seed="s", min_intersection=50)
TRAINING = TrainingRequest(mode="open", steps=STEPS, batch_size=16, batch_seed="b", test_every=STEPS, checkpoint_every=20)


def write_banks(folders):
    """Two files of 120 people, of whom 110 are in both; the label follows one column of each."""
    random = np.random.default_rng(2)
    values = random.normal(size=(130, 3))
    label = (values[:, 0] + values[:, 2] + random.normal(size=130) * 0.3 > 0).astype(int)
    parts = {"f1": (range(120), "a,b", values[:, :2]), "label": (range(10, 130), "c,y", np.column_stack([values[:, 2], label]))}
    for owner, (people, names, columns) in parts.items():
        folders[owner].mkdir(parents=True, exist_ok=True)
        lines = [f"id,{names}", *(f"p{row},{','.join(map(repr, columns[row].tolist()))}" for row in people)]
        (folders[owner] / "people.csv").write_text("\n".join(lines))


def undisturbed(folder, sources):
    """The weights that the same session comes to in one process and one epoch."""
    roles = {name: role for name, (role, _) in ROLES.items()}
    table = Table(folder, roles, sources, alignment=ALIGNMENT, training=TRAINING)
    assert not table.play().errors
    return {owner: blocks(table.grounds[owner].folder) for owner in sources}


def blocks(folder):
    document = json.loads((folder / "model.json").read_text())
    return document["weights"], document["constant"]


def workers():
    return [child for child in psutil.Process().children() if "node.roles.federated.party_child" in child.cmdline()]


@pytest.fixture
async def system(tmp_path, assets):
    hub = LoopbackHub()
    settings = ["federated.approve=same-token", f"federated.token={TOKEN}"]
    async with (
        running(hub, a_config(tmp_path, assets, "bank-a", "federated", *settings)) as (one, opened),
        running(hub, a_config(tmp_path, assets, "bank-b", "federated", *settings)) as (other, there),
    ):
        token = (one.config.node.data_dir / "token").read_text().strip()
        owner = (other.config.node.data_dir / "token").read_text().strip()
        with Client(opened.urls[0], token, 10.0) as client, Client(there.urls[0], owner, 10.0) as label:
            yield client, label


async def test_a_session_goes_on_where_a_killed_worker_was_and_its_owner_sees_it_all(system, tmp_path):
    client, owner = system
    folders = {name: tmp_path / ROLES[name][1] / "federated" for name in ("f1", "label")}
    write_banks(folders)
    parties = tuple(
        Party(
            name=name,
            role=role,
            node=node,
            file="people.csv" if name in folders else "",
            output="out" if name in folders else "",
            label="y" if name == "label" else "",
        )
        for name, (role, node) in ROLES.items()
    )
    asked = SessionRequest(parties=parties, alignment=ALIGNMENT, training=TRAINING, token="another")
    waits = await asyncio.to_thread(client.create_session, asked)
    assert waits.state == "created", "nobody takes part for another token"
    await asyncio.to_thread(client.stop_session, waits.id)

    session = await asyncio.to_thread(client.create_session, asked.replace(token=TOKEN))
    assert session.state == "accepted"
    heard = asyncio.create_task(asyncio.to_thread(lambda: list(owner.follow(session=session.id))))
    await until(lambda: under_way(client, session.id))
    killed = CLOCK.monotonic()
    workers()[-1].kill()
    await until(lambda: again(client, session.id))
    took = CLOCK.monotonic() - killed
    events = await heard
    found = await asyncio.to_thread(client.session, session.id)
    assert (found.state, found.reason, found.epoch) == ("finished", "", 2)
    assert took < 20, "two seconds on a machine with nothing else to do"

    assert {name: blocks(folder / "out") for name, folder in folders.items()} == undisturbed(
        tmp_path / "plain", {name: folder / "people.csv" for name, folder in folders.items()}
    )
    assert (events[0].event, events[-1].event, events[-1].data["state"]) == ("snapshot", "end", "finished")
    assert {"session", "progress", "record"} <= {each.event for each in events}
    assert [record.step for record in await asyncio.to_thread(owner.session_metrics, session.id)] == [STEPS]
    (block,) = await asyncio.to_thread(owner.session_model, session.id)
    assert (block.party, block.columns) == ("label", ("c",))


async def under_way(client, id):
    session = await asyncio.to_thread(client.session, id)
    assert session.ended_at is None, session.reason
    return any(view.progress.step >= 30 for view in session.parties)


async def again(client, id):
    session = await asyncio.to_thread(client.session, id)
    return session.ended_at is not None or (
        session.epoch == 2 and any(view.progress.stage == "training" for view in session.parties)
    )
