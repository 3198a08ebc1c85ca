"""Durable messages: each that was accepted takes effect once and in order, whatever is lost, doubled, late or killed."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lossy import CLOCK, NOTE, QUICK, Net, Node, Note, Noted, noted

from node import failpoints
from node.errors import Busy, Conflict, EcnodeError, Forbidden, Internal, NotFound, Stale, TooLarge
from node.model.cluster import Role
from node.model.wire.member import NODE_REPORT
from node.model.wire.method import Method
from node.roles.shared.delivery import Effect
from node.storage import outbox

UNKNOWN = Method("test.unknown", Note, Noted, frozenset(Role), durable=True)
CLOUDS_ONLY = Method("test.clouds_only", Note, Noted, frozenset({Role.CLOUD}), durable=True)
MEMORY = "sqlite:///:memory:"


@asynccontextmanager
async def pair(folder: Path, url: str = MEMORY, chance: random.Random | None = None):
    """An edge and a cloud on a net that loses nothing, unless it is given a chance to."""
    net = Net(chance or random.Random(0))
    net.quiet = chance is None
    edge, cloud = Node(net, "edge-1", folder / "edge", url), Node(net, "cloud-1", folder / "cloud", url)
    for node in (edge, cloud):
        await node.start()
    cloud.join()
    edge.join()
    try:
        yield edge, cloud
    finally:
        failpoints.arm("")
        for node in (edge, cloud):
            await node.end()
        await net.settle()


async def test_a_message_arrives_takes_effect_and_is_answered(tmp_path):
    async with pair(tmp_path) as (edge, cloud):
        receipts = [await edge.delivery.send("cloud-1", NOTE, Note(number=number)) for number in range(3)]
        assert [(await receipt.reply()).before for receipt in receipts] == [0, 1, 2]
        assert await noted(cloud.store) == [0, 1, 2]
        assert edge.delivery.waiting == 0
        assert cloud.delivery.counts.taken == 3


async def test_acknowledged_rows_leave_the_outbox_and_the_inbox_keeps_the_last_ones_only(tmp_path):
    async with pair(tmp_path) as (edge, cloud):
        for number in range(5):
            await (await edge.delivery.send("cloud-1", NOTE, Note(number=number))).reply()
            await CLOCK.sleep(4 * QUICK.settle_after)
        (stream,) = await edge.store.outbox.streams()
        assert (stream.low, stream.last) == (5, 5)
        assert await cloud.store.inbox.rows() <= 2


@pytest.mark.parametrize("emptied", [False, True], ids=["same memory", "empty memory"])
async def test_what_waited_for_a_peer_that_was_put_out_never_arrives_and_what_is_sent_later_does(tmp_path, emptied):
    async with pair(tmp_path, "sqlite:///node.db") as (edge, cloud):
        await (await edge.delivery.send("cloud-1", NOTE, Note(number=1))).reply()
        await cloud.end()
        receipts = [await edge.delivery.send("cloud-1", NOTE, Note(number=number)) for number in (2, 3)]
        assert await edge.delivery.drop("cloud-1") == 2
        for receipt in receipts:
            with pytest.raises(Forbidden, match="was put out"):
                await receipt.reply()
        assert (edge.delivery.waiting, await edge.delivery.drop("cloud-1"), await edge.delivery.drop("nobody")) == (0, 0, 0)
        await edge.delivery.send("cloud-1", NOTE, Note(number=4))
        if emptied:
            shutil.rmtree(cloud.folder)
            cloud.folder.mkdir()
        await cloud.start()
        cloud.join()
        await edge.drained()
        assert await noted(cloud.store) == ([4] if emptied else [1, 4])


async def test_what_waits_for_a_peer_that_is_away_is_sent_when_it_comes_after_a_new_start(tmp_path):
    async with pair(tmp_path, "sqlite:///node.db") as (edge, cloud):
        await cloud.end()
        for number in range(100):
            await edge.delivery.send("cloud-1", NOTE, Note(number=number))
        await edge.end()
        await cloud.start()
        cloud.join()
        await edge.start()
        edge.join()
        await edge.drained()
        assert await noted(cloud.store) == list(range(100))


async def test_a_change_and_its_message_are_kept_together_or_not_at_all(tmp_path):
    async with pair(tmp_path) as (edge, cloud):
        insert = "INSERT INTO noted (sender, number) VALUES ('here', 7)"
        touched, receipt = await edge.delivery.post(lambda it: it.change(insert), "cloud-1", NOTE, Note(number=7))
        assert (touched, await receipt.reply()) == (1, Noted(before=0))

        def breaks(connection):
            connection.change(insert)
            raise Conflict("no")

        with pytest.raises(Conflict, match="no"):
            await edge.delivery.post(breaks, "cloud-1", NOTE, Note(number=8))
        assert await noted(edge.store) == [7]
        assert await noted(cloud.store) == [7]


async def test_an_effect_that_is_refused_leaves_nothing_and_holds_nobody_up(tmp_path):
    async with pair(tmp_path) as (edge, cloud):

        def refuse(_peer, body):
            def apply(connection):
                connection.change("INSERT INTO noted (sender, number) VALUES ('x', -1)")
                raise Conflict(f"{body.number} is not wanted")

            return Effect(apply, lambda _: Noted(before=0), lambda _: None)

        cloud.delivery.answer(UNKNOWN, refuse)
        refused = await edge.delivery.send("cloud-1", UNKNOWN, Note(number=1))
        taken = await edge.delivery.send("cloud-1", NOTE, Note(number=2))
        with pytest.raises(Conflict, match="1 is not wanted"):
            await refused.reply()
        await taken.reply()
        assert await noted(cloud.store) == [2]
        assert edge.delivery.rejected == 1


async def test_who_may_not_ask_is_refused_inside_a_batch_as_well(tmp_path):
    async with pair(tmp_path) as (edge, cloud):
        cloud.delivery.answer(CLOUDS_ONLY, lambda *_: None)
        with pytest.raises(Forbidden, match="may not ask"):
            await (await edge.delivery.send("cloud-1", CLOUDS_ONLY, Note(number=1))).reply()
        with pytest.raises(NotFound, match="does not answer"):
            await (await edge.delivery.send("cloud-1", UNKNOWN, Note(number=1))).reply()


async def test_a_receiver_that_cannot_now_is_asked_again_and_the_order_is_kept(tmp_path):
    async with pair(tmp_path) as (edge, cloud):
        times = 0

        def busy(_peer, body):
            nonlocal times
            times += 1
            if times < 4:
                raise Busy("not now")
            return Effect(lambda _: None, lambda _: Noted(before=body.number), lambda _: None)

        cloud.delivery.answer(UNKNOWN, busy)
        first = await edge.delivery.send("cloud-1", UNKNOWN, Note(number=9))
        await (await edge.delivery.send("cloud-1", NOTE, Note(number=1))).reply()
        assert first.answered
        assert (await first.reply()).before == 9


async def test_a_message_that_breaks_its_handler_is_given_up_and_the_others_pass(tmp_path):
    async with pair(tmp_path) as (edge, cloud):

        def breaks(connection):
            raise ZeroDivisionError

        cloud.delivery.answer(UNKNOWN, lambda *_: Effect(breaks, lambda _: Noted(before=0), lambda _: None))
        receipts = [await edge.delivery.send("cloud-1", NOTE, Note(number=number)) for number in range(3)]
        broken = await edge.delivery.send("cloud-1", UNKNOWN, Note(number=3))
        last = await edge.delivery.send("cloud-1", NOTE, Note(number=4))
        with pytest.raises(EcnodeError, match="given up"):
            await broken.reply()
        for receipt in (*receipts, last):
            await receipt.reply()
        assert await noted(cloud.store) == [0, 1, 2, 4]


async def test_a_full_outbox_refuses_and_keeps_what_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr(outbox, "ROWS_MOST", 5)
    async with pair(tmp_path) as (edge, cloud):
        await cloud.end()
        for number in range(5):
            await edge.delivery.send("cloud-1", NOTE, Note(number=number))
        with pytest.raises(Busy, match="5 messages"):
            await edge.delivery.send("cloud-1", NOTE, Note(number=5))
        await edge.delivery.send("cloud-2", NOTE, Note(number=6))
        assert edge.delivery.waiting == 6


async def test_a_body_that_no_message_carries_and_a_method_that_is_not_durable_are_refused(tmp_path):
    async with pair(tmp_path) as (edge, _):
        edge.delivery._body_bytes = 4
        with pytest.raises(TooLarge):
            await edge.delivery.send("cloud-1", NOTE, Note(number=2**40))
        with pytest.raises(Internal, match="not durable"):
            await edge.delivery.send("cloud-1", NODE_REPORT, Note(number=1))
        with pytest.raises(Internal, match="not durable"):
            edge.delivery.answer(NODE_REPORT, lambda *_: None)
        with pytest.raises(Conflict, match="handler already"):
            edge.delivery.answer(NOTE, lambda *_: None)


async def test_a_caller_that_is_cancelled_does_not_keep_its_message_from_being_sent(tmp_path):
    async with pair(tmp_path) as (edge, cloud):
        sending = asyncio.create_task(edge.delivery.send("cloud-1", NOTE, Note(number=1)))
        await CLOCK.sleep(0)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await (await edge.delivery.send("cloud-1", NOTE, Note(number=2))).reply()
        assert await noted(cloud.store) in ([1, 2], [2])
        await edge.drained()


async def test_a_node_may_send_to_itself(tmp_path):
    async with pair(tmp_path) as (_, cloud):
        await (await cloud.delivery.send("cloud-1", NOTE, Note(number=3))).reply()
        assert await noted(cloud.store) == [3]


# Copies and memories that were set back


async def deliver(edge: Node, numbers) -> None:
    for number in numbers:
        await (await edge.delivery.send("cloud-1", NOTE, Note(number=number))).reply()


def copy(node: Node, name: str) -> Path:
    """The data directory as it is on the disk now; its node has ended."""
    target = node.folder.with_name(name)
    shutil.copytree(node.folder, target)
    return target


async def restored(node: Node, backup: Path) -> None:
    shutil.rmtree(node.folder)
    shutil.copytree(backup, node.folder)
    await node.start()
    node.join()


async def restart(node: Node) -> None:
    await node.end()
    await node.start()
    node.join()


@pytest.mark.parametrize("starts", [0, 1, 2, 3])
async def test_a_sender_that_was_set_back_is_refused_however_often_it_is_started(tmp_path, starts):
    async with pair(tmp_path, "sqlite:///node.db") as (edge, cloud):
        await deliver(edge, range(3))
        await edge.end()
        backup = copy(edge, "backup")
        await edge.start()
        edge.join()
        await deliver(edge, range(3, 8))
        await edge.end()
        shutil.rmtree(edge.folder)
        shutil.copytree(backup, edge.folder)
        for _ in range(starts):
            await edge.start()
            await edge.end()
        await edge.start()
        receipts = [await edge.delivery.send("cloud-1", NOTE, Note(number=number)) for number in range(100, 110)]
        edge.join()
        with pytest.raises(Stale) as refusal:
            await receipts[0].reply()
        assert "ecnode outbox renew" in refusal.value.hint
        assert "refuses the durable messages" in edge.delivery.healthy()
        with pytest.raises(Stale):
            await edge.delivery.send("cloud-1", NOTE, Note(number=1))
        assert await noted(cloud.store) == list(range(8))

        # the way out that the hint names
        await edge.end()
        await edge.start()
        dropped = await edge.store.outbox.renew("c" * 32, keep=False)
        assert dropped >= 10
        await restart(edge)
        await deliver(edge, [200])
        assert await noted(cloud.store) == [*range(8), 200]
        assert edge.delivery.healthy() is None


async def test_two_live_holders_of_one_memory_are_refused_loudly_and_nothing_is_doubled(tmp_path):
    async with pair(tmp_path, "sqlite:///node.db") as (edge, cloud):
        await deliver(edge, range(3))
        await edge.end()
        folder = copy(edge, "clone")
        await edge.start()
        edge.join()
        await deliver(edge, [3])
        clone = Node(edge.net, "edge-1", folder)
        await clone.start()
        clone.transport.net.nodes["edge-1 clone"] = clone.transport  # reachable under its key, which is the same
        receipt = await clone.delivery.send("cloud-1", NOTE, Note(number=99))
        with pytest.raises(Stale, match="two nodes run as boot epoch"):
            await receipt.reply()
        await deliver(edge, [4])
        assert await noted(cloud.store) == [0, 1, 2, 3, 4]
        del clone.transport.net.nodes["edge-1 clone"]
        await clone.end()


async def test_an_earlier_life_that_is_still_there_is_dropped_and_counted(tmp_path):
    async with pair(tmp_path, "sqlite:///node.db") as (edge, cloud):
        await deliver(edge, [1])
        await edge.end()
        folder = copy(edge, "clone")
        later = Node(edge.net, "edge-1", folder)
        for _ in range(2):
            await later.start()
            await later.end()
        await edge.start()
        await later.start()
        later.join()
        await deliver(later, [2])
        edge.join()
        receipt = await edge.delivery.send("cloud-1", NOTE, Note(number=3))
        with pytest.raises(Stale, match="a later one was heard"):
            await receipt.reply()
        assert cloud.delivery.counts.old_epochs >= 1
        assert await noted(cloud.store) == [1, 2]
        await later.end()


async def test_a_receiver_that_was_set_back_refuses_to_go_on_as_if_nothing_had_happened(tmp_path):
    async with pair(tmp_path, "sqlite:///node.db") as (edge, cloud):
        await cloud.end()
        backup = copy(cloud, "backup")
        await cloud.start()
        cloud.join()
        await deliver(edge, range(3))
        await edge.drained()
        await CLOCK.sleep(10 * QUICK.settle_after)
        await cloud.end()
        await restored(cloud, backup)
        receipt = await edge.delivery.send("cloud-1", NOTE, Note(number=3))
        with pytest.raises(Stale, match="memory of the receiver was set back"):
            await receipt.reply()
        assert await noted(cloud.store) == []


async def test_a_receiver_that_begins_with_an_empty_memory_takes_what_comes_next(tmp_path):
    async with pair(tmp_path, "sqlite:///node.db") as (edge, cloud):
        await deliver(edge, range(3))
        await CLOCK.sleep(10 * QUICK.settle_after)
        await cloud.end()
        shutil.rmtree(cloud.folder)
        await cloud.start()
        cloud.join()
        await deliver(edge, [3, 4])
        assert await noted(cloud.store) == [3, 4]
        await restart(edge)
        await deliver(edge, [5])
        assert await noted(cloud.store) == [3, 4, 5]


async def test_a_sender_that_begins_with_an_empty_memory_begins_a_new_stream(tmp_path):
    async with pair(tmp_path, "sqlite:///node.db") as (edge, cloud):
        await deliver(edge, range(3))
        await edge.end()
        shutil.rmtree(edge.folder)
        await edge.start()
        edge.join()
        await deliver(edge, [7])
        assert await noted(cloud.store) == [0, 1, 2, 7]


async def test_a_sender_that_keeps_what_waits_when_it_renews_its_streams_sends_it_again(tmp_path):
    async with pair(tmp_path, "sqlite:///node.db") as (edge, cloud):
        await deliver(edge, range(3))
        await CLOCK.sleep(10 * QUICK.settle_after)
        await cloud.end()
        for number in (3, 4):
            await edge.delivery.send("cloud-1", NOTE, Note(number=number))
        assert await edge.store.outbox.renew("d" * 32, keep=True) == 0
        await edge.end()
        await edge.start()
        await cloud.start()
        cloud.join()
        edge.join()
        await edge.drained()
        assert await noted(cloud.store) == [0, 1, 2, 3, 4]


# Chance

STEPS = st.lists(
    st.sampled_from(
        [
            *("edge sends", "cloud sends") * 4,
            *("edge ends", "cloud ends", "link breaks", "time passes"),
            *("commit unheard", "unsent", "unsettled"),
        ]
    ),
    min_size=4,
    max_size=30,
)
POINTS = {
    "commit unheard": "after_commit_before_ack=error",
    "unsent": "before_delivery_sent=error",
    "unsettled": "before_delivery_settled=error",
}


@settings(max_examples=40, deadline=None)
@given(STEPS, st.integers(0, 2**32))
def test_every_accepted_message_takes_effect_once_whatever_happens(script, seed):
    asyncio.run(_every_accepted_message_takes_effect_once(script, seed))


async def _every_accepted_message_takes_effect_once(script, seed):
    with tempfile.TemporaryDirectory() as folder:
        async with pair(Path(folder), "sqlite:///node.db", random.Random(seed)) as (edge, cloud):
            nodes = {"edge": (edge, "cloud-1"), "cloud": (cloud, "edge-1")}
            accepted: dict[str, list[int]] = {"edge": [], "cloud": []}
            unknown: set[int] = set()
            number = 0
            for step in script:
                who, _, what = step.partition(" ")
                if what == "sends":
                    node, peer = nodes[who]
                    for _ in range(3):
                        number += 1
                        try:
                            await node.delivery.send(peer, NOTE, Note(number=number))
                        except EcnodeError:  # a commit that was not heard of: it may have happened
                            unknown.add(number)
                        else:
                            accepted[who].append(number)
                elif what == "ends":
                    await restart(nodes[who][0])
                elif step == "link breaks":
                    edge.net.link("edge-1", "cloud-1", up=False)
                    edge.net.link("edge-1", "cloud-1", up=True)
                elif step == "time passes":
                    await CLOCK.sleep(0.01)
                else:
                    failpoints.arm(POINTS[step])
                    await CLOCK.sleep(0.005)
                    failpoints.arm("")
            edge.net.quiet = True
            for node, _ in nodes.values():
                await restart(node)  # what was committed without being heard of is found now
            for node, _ in nodes.values():
                await node.drained()
            await edge.net.settle()
            for who, (other, _) in (("edge", nodes["cloud"]), ("cloud", nodes["edge"])):
                found = await noted(other.store)
                assert [one for one in found if one not in unknown] == accepted[who]
                assert found == sorted(set(found))
            assert (edge.delivery.healthy(), cloud.delivery.healthy()) == (None, None)
