"""How does the node that was asked for a session bring it to its end?

It fills in keys and seeds, has every node agree or none, starts epochs, watches, and tells everybody the one outcome. An epoch
that is interrupted by something that may pass, such as a node that was killed, is followed by the next one as soon as all are
back.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from functools import partial
from typing import Final

from node.clock import Clock
from node.errors import Conflict, EcnodeError, Forbidden, Invalid, Problem, Unavailable
from node.model.block import ModelBlock
from node.model.cluster import Received
from node.model.federated import (
    SESSION_LIFE,
    TABLES,
    PartyView,
    PinnedParty,
    Record,
    Session,
    SessionEvent,
    SessionRequest,
    SessionSpec,
    SessionState,
)
from node.model.value import new_id
from node.model.wire.session import (
    SESSION_ANSWER,
    SESSION_CREATE,
    SESSION_END,
    SESSION_PULSE,
    SESSION_REPORT,
    SESSION_RUN,
    SessionAnswer,
    SessionCreate,
    SessionEnd,
    SessionPulse,
    SessionReport,
    SessionRun,
    Signed,
)
from node.pipeline.federated.identity import check_spec, prove_token
from node.roles.federated.peer import SessionPeer
from node.roles.federated.watch import Fate, Verdict, Watch
from node.roles.shared.delivery import Delivery, Effect
from node.roles.shared.news import SessionNews
from node.roles.shared.tasks import begin, end
from node.storage import Store
from node.transport.base import Call, Peer, Transport

log = logging.getLogger(__name__)

CREATE_TIMEOUT_S: Final = 8.0
RUN_TIMEOUT_S: Final = 8.0
LOOK_S: Final = 0.25
BACK_S: Final = 0.2
EPOCHS_IN_VAIN: Final = 5  # one after the other without a step between them: then something is wrong for good
SEED_BYTES: Final = 16


class Coordinator:
    """The sessions that this node was asked for, and what its front door asks of sessions."""

    def __init__(
        self,
        name: str,
        peer: SessionPeer,
        *,
        store: Store,
        transport: Transport,
        delivery: Delivery,
        clock: Clock,
        news: SessionNews,
    ) -> None:
        self._name = name
        self._peer = peer
        self._store = store
        self._transport = transport
        self._delivery = delivery
        self._clock = clock
        self._news = news
        self._watches: dict[str, Watch] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._wake: dict[str, asyncio.Event] = {}

    def register(self) -> None:
        """Hears what parties say; only before the transport starts."""
        self._transport.hear(SESSION_PULSE, self._pulse)
        self._delivery.answer(SESSION_ANSWER, self._answer)
        self._delivery.answer(SESSION_REPORT, self._report)
        self._transport.watch(self._link)

    async def start(self) -> None:
        """Takes up the sessions that were not over when this node ended."""
        for session in await self._store.sessions.live():
            if session.coordinator == self._name:
                self._tend(session.id)

    async def stop(self) -> None:
        """Leaves all sessions as they are. Harmless when repeated."""
        await end(*self._tasks.values())

    # The front door

    async def create(self, request: SessionRequest) -> tuple[Session, bool]:
        """The session, and whether it is new; all nodes have agreed to be in it or wait for somebody's word, or there is none.

        Raises:
            Invalid: a node that is not there or refuses; each is named.
        """
        id = request.id or new_id("s", self._clock.wall())
        spec = await self._spec(id, request)
        now = self._clock.wall()
        views = tuple(PartyView(name=each.name, role=each.role, node=each.node) for each in spec.parties)
        session = Session(
            id=id,
            name=spec.name,
            coordinator=self._name,
            state=SESSION_LIFE.start,
            spec=spec,
            parties=views,
            created_at=now,
        )
        session, new = await self._store.sessions.create(session)
        if not new:
            return session, False
        signed = await self._asked(spec, prove_token(request.token, spec.digest) if request.token else "")
        session = await self._store.sessions.accept(id, signed)
        self._news.changed(session)
        log.info("session made", extra={"session": id, "parties": len(spec.parties)})
        self._tend(id)
        return session, True

    async def get(self, ref: str) -> Session:
        """One session with the newest figures of its parties."""
        return self._now(await self._store.sessions.get(await self._store.sessions.resolve(ref)))

    async def page(self, limit: int, after: str | None) -> tuple[Session, ...]:
        """Newest first, behind the id `after`."""
        return tuple(self._now(session) for session in await self._store.sessions.list(limit, after))

    async def accept(self, ref: str) -> Session:
        """Has this node's parties take part."""
        session = await self.get(ref)
        await self._peer.answer(session)
        return await self.get(session.id)

    async def reject(self, ref: str, reason: str) -> Session:
        """Has this node's parties refuse."""
        session = await self.get(ref)
        await self._peer.answer(session, reason or f"rejected by {self._name}")
        return await self.get(session.id)

    async def begin(self, ref: str) -> Session:
        """Starts a session that waits for it; one that runs goes on."""
        session = await self._mine(ref)
        if session.state is SessionState.CREATED:
            missing = ", ".join(view.node for view in session.parties if not view.accepted)
            raise Conflict(f"session {session.id} is not accepted by all yet", hint=f"still to accept: {missing}")
        if session.state is SessionState.ACCEPTED:
            session = await self._store.sessions.begin(session.id, 1)
            self._news.changed(session)
            self._ring(session.id)
        return self._now(session)

    async def halt(self, ref: str, reason: str = "stopped by a user") -> Session:
        """Ends a session; one that is over stays as it is."""
        session = await self._mine(ref)
        if session.state not in SESSION_LIFE.terminal:
            await self._over(session.id, SessionState.STOPPED, "stop", reason)
            await end(self._tasks.pop(session.id, None))
        return await self.get(session.id)

    async def records(self, ref: str, after: int = -1) -> tuple[Record, ...]:
        """The tests of the model behind a step, in order."""
        return await self._store.sessions.records(await self._store.sessions.resolve(ref), after)

    async def events(self, ref: str) -> tuple[SessionEvent, ...]:
        """Every step of its life."""
        return await self._store.sessions.events(await self._store.sessions.resolve(ref))

    async def blocks(self, ref: str) -> tuple[ModelBlock, ...]:
        """The blocks of the model that lie at this node; NotFound where there is none."""
        return await self._peer.memory.blocks(await self.get(ref), self._name)

    async def _mine(self, ref: str) -> Session:
        session = await self.get(ref)
        if session.coordinator != self._name:
            raise Forbidden(f"session {session.id} is coordinated by {session.coordinator}", hint="ask that node")
        return session

    def _now(self, session: Session) -> Session:
        watch = self._watches.get(session.id)
        now = watch.progress if watch is not None else self._peer.progress(session.id)
        if not now:
            return session
        views = tuple(view.replace(progress=now.get(view.name, view.progress)) for view in session.parties)
        return session.replace(parties=views)

    # Making

    async def _spec(self, id: str, request: SessionRequest) -> SessionSpec:
        nodes = sorted({party.node for party in request.parties})
        found = await asyncio.gather(*map(self._peer.identity_of, nodes), return_exceptions=True)
        keys: dict[str, str] = {}
        problems = []
        for node, key in zip(nodes, found, strict=True):
            if isinstance(key, EcnodeError):
                places = [place for place, party in enumerate(request.parties) if party.node == node]
                problems += [Problem(f"parties.{place}.node", f"{node}: {key.message}") for place in places]
            elif isinstance(key, BaseException):
                raise key
            else:
                keys[node] = key
        if problems:
            raise Invalid("; ".join(str(problem) for problem in problems), problems=problems)
        alignment, training = request.alignment, request.training
        if alignment is not None and not alignment.split_seed:
            alignment = alignment.replace(split_seed=secrets.token_hex(SEED_BYTES))
        if training is not None and not training.batch_seed:
            training = training.replace(batch_seed=secrets.token_hex(SEED_BYTES))
        return SessionSpec(
            session=id,
            name=request.name,
            coordinator=self._name,
            parties=tuple(PinnedParty(**dict(party), key=keys[party.node]) for party in request.parties),
            alignment=alignment,
            training=training,
            prediction=request.prediction,
            round_timeout=request.round_timeout,
            start=request.start,
            tables=TABLES,
        )

    async def _asked(self, spec: SessionSpec, proof: str) -> list[Signed]:
        """Every node's word; where one refuses, those that agreed are told that it is over."""
        nodes = sorted({party.node for party in spec.parties})
        body = SessionCreate(spec=spec, proof=proof)
        ask = partial(self._transport.call, method=SESSION_CREATE, body=body, timeout=CREATE_TIMEOUT_S)
        found = await asyncio.gather(*(ask(node) for node in nodes), return_exceptions=True)
        signed: list[Signed] = []
        refusals = []
        for node, answer in zip(nodes, found, strict=True):
            if isinstance(answer, EcnodeError):
                refusals.append(f"{node} refuses: {answer.message}")
            elif isinstance(answer, BaseException):
                raise answer
            else:
                signed += self._checked(spec, node, answer.body.signatures)
        if refusals:
            await self._over(spec.session, SessionState.FAILED, "fail", "; ".join(refusals))
            raise Invalid("; ".join(refusals), problems=[Problem("parties", refusal) for refusal in refusals])
        return signed

    def _checked(self, spec: SessionSpec, node: str, signatures: Sequence[Signed]) -> Sequence[Signed]:
        for each in signatures:
            if not any(party.name == each.party for party in spec.of_node(node)):
                raise Forbidden(f"{node} does not speak for party {each.party}")
            check_spec(spec.digest, each.signature, spec.party(each.party).key)
        return signatures

    # Tending

    def _tend(self, id: str) -> None:
        if id not in self._tasks or self._tasks[id].done():
            self._wake[id] = asyncio.Event()
            self._tasks[id] = begin(self._bring_to_its_end(id), f"session {id}")

    def _ring(self, id: str) -> None:
        wake = self._wake.get(id)
        if wake is not None:
            wake.set()

    async def _bring_to_its_end(self, id: str) -> None:
        wake = self._wake[id]
        session = await self._store.sessions.get(id)
        while session.state in {SessionState.CREATED, SessionState.ACCEPTED}:
            if session.state is SessionState.ACCEPTED and session.spec.start:
                break
            await wake.wait()
            wake.clear()
            session = await self._store.sessions.get(id)
        if session.state in SESSION_LIFE.terminal:
            return
        in_vain, reached, reason = 0, 0, "" if session.epoch == 0 else "the coordinator was started again"
        while True:
            verdict = await self._epoch(session, reason)
            if verdict.fate is not Fate.INTERRUPTED:
                break
            step = max((each.step for each in self._watches[id].progress.values()), default=0)
            in_vain, reached = (0, step) if step > reached else (in_vain + 1, reached)
            if in_vain >= EPOCHS_IN_VAIN:
                verdict = Verdict(Fate.FAILED, f"{verdict.reason}; {in_vain} times without a step between them")
                break
            missing = await self._all_back(session.spec)
            if missing:
                verdict = Verdict(Fate.FAILED, self._watches[id].silence(missing))
                break
            reason = verdict.reason
            session = await self._store.sessions.get(id)
        if verdict.fate is Fate.FINISHED:
            await self._over(id, SessionState.FINISHED, "finish", "")
        else:
            await self._over(id, SessionState.FAILED, "fail", verdict.reason)

    async def _epoch(self, session: Session, reason: str) -> Verdict:
        """One epoch from its beginning to its verdict."""
        spec, id, wake = session.spec, session.id, self._wake[session.id]
        fresh = session.state is SessionState.RUNNING and session.epoch == 1 and id not in self._watches and not reason
        if not fresh:
            session = await self._store.sessions.begin(id, session.epoch + 1, reason)
            self._news.changed(session)
        watch = self._watches[id] = Watch(spec, session.epoch, self._clock.monotonic())
        log.info("epoch begins", extra={"session": id, "epoch": session.epoch, "reason": reason})
        signed = tuple(Signed(party=view.name, signature=view.signature) for view in session.parties)
        body = SessionRun(session=id, epoch=session.epoch, signatures=signed)
        nodes = sorted({party.node for party in spec.parties})
        ask = partial(self._transport.call, method=SESSION_RUN, body=body, timeout=RUN_TIMEOUT_S)
        found = await asyncio.gather(*(ask(node) for node in nodes), return_exceptions=True)
        for node, answer in zip(nodes, found, strict=True):
            if isinstance(answer, Unavailable):
                return Verdict(Fate.INTERRUPTED, f"{node} does not begin: {answer.message}")
            if isinstance(answer, EcnodeError):
                return Verdict(Fate.FAILED, f"{node} does not begin: {answer.message}")
            if isinstance(answer, BaseException):
                raise answer
        while (verdict := watch.verdict(self._clock.monotonic())).fate is Fate.GOES_ON:
            wake.clear()
            try:
                async with self._clock.timeout(LOOK_S):
                    await wake.wait()
            except TimeoutError:
                continue
        return verdict

    async def _all_back(self, spec: SessionSpec) -> str:
        """Waits until there is a way to every node; the party that stays away too long, or nothing."""
        until = self._clock.monotonic() + spec.round_timeout
        while True:
            away = [party.name for party in spec.parties if not await self._is_there(party.node)]
            if not away:
                return ""
            if self._clock.monotonic() >= until:
                return away[0]
            await self._clock.sleep(BACK_S)

    async def _is_there(self, node: str) -> bool:
        try:
            await self._peer.identity_of(node)
        except Unavailable:
            return False
        return True

    async def _over(self, id: str, state: SessionState, event: str, reason: str) -> None:
        """The end, for everybody."""
        watch = self._watches.get(id)
        if watch is not None:
            session = self._now(await self._store.sessions.get(id))
            await self._store.sessions.progressed(id, session.parties)
        session = await self._store.sessions.transition(id, event, reason)
        self._news.changed(session)
        log.info("session over", extra={"session": id, "state": state, "reason": reason})
        word = SessionEnd(session=id, state=state, reason=reason[:2000])
        for node in sorted({party.node for party in session.spec.parties} - {self._name}):
            await self._delivery.send(node, SESSION_END, word)
        self._peer.finish(id)
        self._watches.pop(id, None)

    # What parties say

    def _pulse(self, call: Call, body: SessionPulse) -> None:
        watch = self._current(body.session, body.epoch, call.peer.name, body.party)
        if watch is not None:
            watch.pulse(body.party, body.progress, self._clock.monotonic())
            self._news.progress(body.session, body.party, body.progress)

    def _current(self, session: str, epoch: int, node: str, party: str) -> Watch | None:
        watch = self._watches.get(session)
        if watch is None or watch.epoch != epoch or not any(each.name == party for each in watch.spec.of_node(node)):
            return None
        return watch

    def _may_speak(self, session: Session, node: str, party: str = "") -> None:
        """Is content where this node coordinates the session, and the other plays a party, or that party, in it.

        Raises:
            Forbidden: one of both is not so.
        """
        mine = session.coordinator == self._name
        if not mine or not any(party in {"", each.name} for each in session.spec.of_node(node)):
            raise Forbidden(f"{node} does not speak for {party or 'a party'} of session {session.id} here")

    def _answer(self, peer: Peer, body: SessionAnswer) -> Effect[Session, Received]:
        refused = body.refusal

        def check(session: Session) -> None:
            self._may_speak(session, peer.name)
            self._checked(session.spec, peer.name, body.signatures)

        change = self._store.sessions.accepted(body.session, () if refused else body.signatures, check)

        def then(session: Session) -> None:
            self._news.changed(session)
            if refused and session.state is SessionState.CREATED:
                self._ending = begin(
                    self._over(session.id, SessionState.STOPPED, "stop", f"rejected by {peer.name}: {refused}"),
                    f"end of session {session.id}",
                )
            self._ring(session.id)

        return Effect(apply=change, reply=lambda _: Received(), then=then)

    def _report(self, peer: Peer, body: SessionReport) -> Effect[Session, Received]:
        def check(session: Session) -> None:
            self._may_speak(session, peer.name, body.party)

        def then(_session: Session) -> None:
            for found in body.records:
                self._news.record(body.session, found)
            watch = self._current(body.session, body.epoch, peer.name, body.party)
            if watch is not None:
                watch.report(body, self._clock.monotonic())
            self._ring(body.session)

        return Effect(apply=self._store.sessions.reported(body, check), reply=lambda _: Received(), then=then)

    def _link(self, peer: Peer, up: bool) -> None:
        for id, watch in self._watches.items():
            watch.link(peer.name, up, self._clock.monotonic())
            self._ring(id)
