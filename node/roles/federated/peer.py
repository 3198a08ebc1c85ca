"""How does a node play its parties in sessions that others coordinate?

It agrees by its own policy, compares the keys in the spec with what the other nodes say themselves, begins an epoch when it is
told to, once, and reports to the coordinator how its parties fare.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from node.clock import Clock
from node.errors import Busy, Conflict, DeadlineExceeded, EcnodeError, Forbidden, Invalid, Malformed, Unavailable
from node.model.cluster import Received
from node.model.federated import (
    DATA_ROLES,
    SESSION_LIFE,
    TABLES,
    PartyProgress,
    PartyView,
    PinnedParty,
    Record,
    Session,
    SessionSpec,
    SessionState,
)
from node.model.wire.session import (
    SESSION_ANSWER,
    SESSION_CREATE,
    SESSION_END,
    SESSION_IDENTITY,
    SESSION_PULSE,
    SESSION_REPORT,
    SESSION_RUN,
    SESSION_SAY,
    IdentityReply,
    IdentityRequest,
    SessionAnswer,
    SessionCreate,
    SessionCreateReply,
    SessionEnd,
    SessionPulse,
    SessionReport,
    SessionRun,
    SessionSay,
    Signed,
)
from node.pipeline.federated.identity import SigningKey, check_spec
from node.roles.federated.datasets import DatasetRegistry
from node.roles.federated.memory import Memory
from node.roles.federated.party_run import Outlet, PartyRun
from node.roles.federated.policy import Policy
from node.roles.shared.delivery import Delivery, Effect
from node.roles.shared.news import SessionNews
from node.roles.shared.processes import Spawner
from node.roles.shared.tasks import begin, end
from node.storage import Store
from node.transport.base import Answer, Blob, Call, Peer, Transport

log = logging.getLogger(__name__)

ASK_TIMEOUT_S: Final = 3.0
EARLY_MOST: Final = 256  # words for an epoch that this node has yet to begin; × 1 MiB at the very worst
EARLY_WAIT_S: Final = 20.0


def check_invited(peer: Peer, session: str) -> None:
    """Is content where the record of that peer's key lets it take part in a session.

    Raises:
        Forbidden: it names others.
    """
    if peer.sessions and session not in peer.sessions:
        raise Forbidden(
            f"'{peer.name}' may not take part in session {session}",
            hint=f"at the cloud: ecnode peers invite {peer.name} --session {session}",
        )


class SessionPeer:
    """The parties of this node. `members` gives what is known here of a node by its name."""

    def __init__(
        self,
        name: str,
        key: SigningKey,
        policy: Policy,
        memory: Memory,
        *,
        data: DatasetRegistry,
        store: Store,
        transport: Transport,
        delivery: Delivery,
        spawner: Spawner,
        clock: Clock,
        news: SessionNews,
        members: Callable[[str], Peer | None] = lambda _: None,
    ) -> None:
        self._name = name
        self._key = key
        self._policy = policy
        self.memory = memory
        self._data = data
        self._store = store
        self._transport = transport
        self._delivery = delivery
        self._spawner = spawner
        self._clock = clock
        self._members = members
        self._news = news
        self._progress: dict[str, dict[str, PartyProgress]] = {}
        self._runs: dict[tuple[str, str], PartyRun] = {}
        self._epochs: dict[str, int] = {}
        self._begun = asyncio.Condition()
        self._early = 0
        self._ending: set[asyncio.Task[None]] = set()

    def register(self) -> None:
        """Answers what coordinators and other parties ask; only before the transport starts."""
        self._transport.answer(SESSION_IDENTITY, self._identity)
        self._transport.answer(SESSION_CREATE, self._create)
        self._transport.answer(SESSION_RUN, self._run)
        self._transport.answer(SESSION_SAY, self._say)
        self._delivery.answer(SESSION_END, self._end)

    async def stop(self) -> None:
        """Ends every worker process. Harmless when repeated."""
        await end(*self._ending)
        await asyncio.gather(*(run.stop() for run in self._runs.values()))
        self._runs.clear()

    @property
    def running(self) -> int:
        """Worker processes of parties."""
        return len(self._runs)

    def progress(self, session: str) -> Mapping[str, PartyProgress]:
        """Where this node's own parties of a session are, as they said last; by party."""
        return self._progress.get(session, {})

    # Agreeing

    async def agreed(self, spec: SessionSpec, proof: str = "") -> tuple[Signed, ...]:
        """The signatures of this node's parties, where its policy accepts at once.

        Raises:
            Forbidden, NotFound, Invalid: this node does not take part in that.
        """
        mine = spec.of_node(self._name)
        if not mine:
            raise Invalid(f"no party of the session is played by {self._name}")
        if spec.tables != TABLES:
            raise Invalid("the spec names other tables of the hidden sigmoid than this release has", hint="use one release")
        self._policy.check(spec, mine)
        for party in mine:
            if party.key != self._key.public:
                raise Invalid(f"the key of party {party.name} in the spec is not that of {self._name}")
            await self._ground(spec, party)
        return self.signatures(spec) if self._policy.accepts(spec, proof) else ()

    def signatures(self, spec: SessionSpec) -> tuple[Signed, ...]:
        """Those of this node's parties."""
        signature = self._key.sign_spec(spec.digest)
        return tuple(Signed(party=party.name, signature=signature) for party in spec.of_node(self._name))

    async def answer(self, session: Session, refusal: str = "") -> None:
        """Says to the coordinator what somebody here has decided.

        Raises:
            Conflict: that was decided before.
        """
        if session.state is not SessionState.CREATED:
            raise Conflict(f"session {session.id} is {session.state}, there is nothing to decide")
        if refusal:
            self._news.changed(await self._store.sessions.transition(session.id, "stop", refusal))
            answer = SessionAnswer(session=session.id, refusal=refusal)
        else:
            await self._check_keys(session.spec)
            answer = SessionAnswer(session=session.id, signatures=self.signatures(session.spec))
            self._news.changed(await self._store.sessions.accept(session.id, answer.signatures))
        await self._delivery.send(session.coordinator, SESSION_ANSWER, answer)

    async def identity_of(self, node: str) -> str:
        """The key that a node signs with, asked of the node itself."""
        if node == self._name:
            return self._key.public
        reply = await self._transport.call(node, SESSION_IDENTITY, IdentityRequest(), timeout=ASK_TIMEOUT_S)
        return reply.body.key

    async def _check_keys(self, spec: SessionSpec) -> None:
        """Compares the spec with what each node says itself, over a link that its CURVE key has proved."""
        nodes = sorted({party.node for party in spec.parties} - {self._name})
        for node, key in zip(nodes, await asyncio.gather(*map(self.identity_of, nodes)), strict=True):
            if any(party.key != key for party in spec.of_node(node)):
                raise Malformed(f"the spec names another key for {node} than {node} itself")

    async def _identity(self, _call: Call, _body: IdentityRequest) -> Answer[IdentityReply]:
        return Answer(IdentityReply(key=self._key.public))

    async def _create(self, call: Call, body: SessionCreate) -> Answer[SessionCreateReply]:
        spec = body.spec
        if spec.coordinator != call.peer.name:
            raise Forbidden(f"{call.peer.name} is not the coordinator of session {spec.session}")
        self._check_invited(call.peer, spec)
        signatures = await self.agreed(spec, body.proof)
        if signatures:
            await self._check_keys(spec)
        if spec.coordinator != self._name:
            views = tuple(PartyView(name=each.name, role=each.role, node=each.node) for each in spec.of_node(self._name))
            session = Session(
                id=spec.session,
                name=spec.name,
                coordinator=spec.coordinator,
                state=SESSION_LIFE.start,
                spec=spec,
                parties=views,
                created_at=self._clock.wall(),
            )
            session, _ = await self._store.sessions.create(session)
            if signatures:
                session = await self._store.sessions.accept(spec.session, signatures)
            self._news.changed(session)
        return Answer(SessionCreateReply(signatures=signatures))

    # Running

    async def _run(self, call: Call, body: SessionRun) -> Answer[Received]:
        session = await self._store.sessions.get(body.session)
        spec = session.spec
        if session.coordinator != call.peer.name:
            raise Forbidden(f"{call.peer.name} is not the coordinator of session {session.id}")
        self._check_invited(call.peer, spec)
        signed = {each.party: each.signature for each in body.signatures}
        for party in spec.parties:
            check_spec(spec.digest, signed.get(party.name, ""), party.key)
        if session.coordinator != self._name:
            session = await self._store.sessions.begin(session.id, body.epoch)
            self._news.changed(session)
        await self._stop_runs(session.id)
        for party in spec.of_node(self._name):
            await self._begin(session, party, body.epoch)
        async with self._begun:
            self._epochs[session.id] = body.epoch
            self._begun.notify_all()
        return Answer(Received())

    async def _begin(self, session: Session, party: PinnedParty, epoch: int) -> None:
        memory = self.memory.place(session.id, party.name)
        memory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (memory / "spec.json").write_text(session.spec.model_dump_json(indent=1))
        settings = {
            "spec": session.spec.model_dump_json(),
            "party": party.name,
            "epoch": epoch,
            "started_at": session.started_at if session.started_at is not None else self._clock.wall(),
            "signing_key": self._key.secret.hex(),
            **await self._ground(session.spec, party),
        }
        run = PartyRun(
            session.spec,
            party,
            epoch,
            outlet=self._outlet(session, epoch),
            transport=self._transport,
            clock=self._clock,
        )
        await run.start(self._spawner, settings)
        self._runs[session.id, party.name] = run
        log.info("party begins", extra={"session": session.id, "party": party.name, "epoch": epoch})

    def _outlet(self, session: Session, epoch: int) -> Outlet:
        id, coordinator = session.id, session.coordinator
        report = partial(SessionReport, session=id, epoch=epoch)

        elsewhere = coordinator != self._name

        async def send(body: SessionReport) -> None:
            if elsewhere:  # the owner of the data sees at its own node what its party does
                changed = await self._store.sessions.report(body)
                for found in body.records:
                    self._news.record(id, found)
                if body.done or body.error:
                    await self._store.sessions.progressed(id, self._views(session))
                    self._news.changed(changed)
            await self._delivery.send(coordinator, SESSION_REPORT, body)

        async def burn(party: str, step: int) -> None:
            await self._store.sessions.burn(id, party, epoch, step)

        def progress(party: str, now: PartyProgress) -> None:
            self._progress.setdefault(id, {})[party] = now
            if elsewhere:
                self._news.progress(id, party, now)
            pulse = SessionPulse(session=id, epoch=epoch, party=party, progress=now)
            try:
                self._transport.tell(coordinator, SESSION_PULSE, pulse)
            except Unavailable as error:
                log.debug("pulse not sent", extra={"session": id, "reason": error.message})

        async def record(party: str, found: Record) -> None:
            await send(report(party=party, records=(found,)))

        async def done(party: str, outputs: tuple[str, ...]) -> None:
            async with self._last_words(id, party, epoch):
                await send(report(party=party, done=True, outputs=outputs))

        async def failed(party: str, error: EcnodeError) -> None:
            log.warning("party cannot go on", extra={"session": id, "party": party, "reason": error.message})
            told = f"{error.message}; {error.hint}" if error.hint else error.message
            interruption = isinstance(error, Unavailable) and not isinstance(error, DeadlineExceeded)
            async with self._last_words(id, party, epoch):
                await send(report(party=party, error=told[:2000], interruption=interruption))

        return Outlet(burn, progress, record, done, failed)

    def _views(self, session: Session) -> tuple[PartyView, ...]:
        now = self.progress(session.id)
        return tuple(view.replace(progress=now.get(view.name, view.progress)) for view in session.parties)

    @asynccontextmanager
    async def _last_words(self, session: str, party: str, epoch: int) -> AsyncIterator[None]:
        """Hears no more of the others, and ends the worker behind it: its own run calls this, and would be cancelled."""
        run = self._runs.get((session, party))
        mine = run is not None and run.epoch == epoch
        if mine:
            del self._runs[session, party]
        try:
            yield
        finally:
            if run is not None and mine:
                task = begin(run.stop(), f"end of party {party}")
                self._ending.add(task)
                task.add_done_callback(self._ending.discard)

    async def _stop_runs(self, session: str) -> None:
        keys = [key for key in self._runs if key[0] == session]
        await asyncio.gather(*(self._runs.pop(key).stop() for key in keys))

    def _check_invited(self, coordinator: Peer, spec: SessionSpec) -> None:
        """Is content where the records of all nodes of a session let them take part, as far as they are known here."""
        nodes = {party.node for party in spec.parties}
        for peer in (coordinator, *filter(None, map(self._members, sorted(nodes)))):
            check_invited(peer, spec.session)

    def _say(self, call: Call, word: SessionSay) -> Answer[Received] | Awaitable[Answer[Received]]:
        """Hands a word on at once where that can be: a task for each would cost as much as the rest of its way here."""
        check_invited(call.peer, word.session)
        run = self._runs.get((word.session, word.to))
        if run is not None and run.epoch == word.epoch and run.offer(word, _content(call, word, run)):
            return Answer(Received())
        return self._say_later(call, word)

    async def _say_later(self, call: Call, word: SessionSay) -> Answer[Received]:
        run = self._runs.get((word.session, word.to))
        if run is None or run.epoch < word.epoch:
            run = await self._awaited(word)
        if run is not None:  # otherwise the party has all that it needs, and has said its last word
            await run.take(word, _content(call, word, run))
        return Answer(Received())

    async def _awaited(self, word: SessionSay) -> PartyRun | None:
        """The run that a word is for, once it has begun here too: another node may have been told a moment before.

        None where the party is done with the epoch.
        """
        if self._epochs.get(word.session, 0) > word.epoch:
            raise Forbidden(f"epoch {word.epoch} of session {word.session} is over")
        if self._early >= EARLY_MOST:
            raise Busy(f"{EARLY_MOST} words wait for their epochs already")
        self._early += 1
        try:
            async with self._clock.timeout(EARLY_WAIT_S), self._begun:
                await self._begun.wait_for(lambda: self._epochs.get(word.session, 0) >= word.epoch)
        except TimeoutError as error:
            raise Conflict(f"epoch {word.epoch} of session {word.session} was not begun here") from error
        finally:
            self._early -= 1
        return self._runs.get((word.session, word.to))

    def _end(self, peer: Peer, body: SessionEnd) -> Effect[Session | None, Received]:
        return Effect(
            apply=self._store.sessions.ended(body.session, peer.name, body.state, body.reason),
            reply=lambda _: Received(),
            then=self._ended,
        )

    def _ended(self, session: Session | None) -> None:
        if session is not None:
            log.info("session over", extra={"session": session.id, "state": session.state, "reason": session.reason})
            self._news.changed(session)
            self.finish(session.id)

    def finish(self, session: str) -> None:
        """Ends the workers of a session that is over."""
        self._progress.pop(session, None)
        task = begin(self._stop_runs(session), f"end of session {session}")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _ground(self, spec: SessionSpec, party: PinnedParty) -> Mapping[str, str | None]:
        model = None
        if spec.prediction is not None and party.role in DATA_ROLES:
            model = await self.memory.model(spec.prediction.model, party.name)
        return await self._data.ground(party, self.memory.place(spec.session, party.name), model)


def _content(call: Call, word: SessionSay, run: PartyRun) -> Blob:
    """What a word says, where its sender may say it.

    Raises:
        Forbidden: the node does not play the party that speaks, or that epoch is over.
        Malformed: it is none, or several.
    """
    if run.epoch != word.epoch or not run.speaks_for(call.peer.name, word.sender):
        raise Forbidden(f"{call.peer.name} does not speak for party {word.sender} in epoch {word.epoch}")
    if len(call.blobs) != 1:
        raise Malformed(f"a word with {len(call.blobs)} blobs")
    return call.blobs[0]
