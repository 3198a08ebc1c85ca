"""How does an instance become a private session between the two sides?

Each side's engine publishes its part of the spec in its instance's message, where the other side reads it by the console's own
routes. The side that asked for the instance first makes the session; the other compares the spec with what both have published
and with its own config before it signs. A third node, which the project's config names, is main client and crypto producer:
neither side may be that for itself.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final, Literal, Protocol

from pydantic import Field, JsonValue, ValidationError
from pydantic_core import to_json

from node.clock import Clock
from node.errors import Conflict, EcnodeError, Invalid, NotFound, Problem, Rejected, Unavailable
from node.model.federated import (
    COLUMNS_MOST,
    SESSION_LIFE,
    AlignmentRequest,
    Column,
    ColumnName,
    DatasetName,
    Party,
    PartyRole,
    RelativePath,
    Session,
    SessionRequest,
    SessionState,
    TrainingRequest,
)
from node.model.project import Instance, InstanceState, Project, TaskKind
from node.model.value import Items, Name, Value, new_id
from node.roles.federated.console.engine import Job

log = logging.getLogger(__name__)

LOOK_S: Final = 0.25  # between two looks at this node's own record of the session
ASK_S: Final = 0.3  # between two questions to the other side, at first; it is told by a push where it can
ASK_MOST_S: Final = 5.0
MAKE_TRIES: Final = 20  # of a session, while nodes are not there yet: both may just have been started
MAKE_PAUSE_S: Final = 1.0
ROUND_TIMEOUT_S: Final = 60.0  # a side that is started again within it is waited for
PARTY: Final = "party"
SESSION: Final = "session"
NO_THIRD: Final = (
    "{kind} between two consoles needs a third node that holds none of the data: it is {roles}; name it in the project's config"
    ' as {{"producer": "NODE"}}'
)
_THIRD_ROLES: Final = {TaskKind.SAMPLE: "the main client", TaskKind.TRAIN: "the crypto producer"}


class PartyPart(Value):
    """This side's part of a session, which is the config of a task of kind SAMPLE or TRAIN.

    For a SAMPLE `dataset` or `file` are aligned into the folder `output`; a TRAIN reads that folder by `prepared`. `alignment`
    and `training` are how; the other side gives the same or leaves it open.
    """

    role: Literal[PartyRole.FEATURE, PartyRole.LABEL]
    dataset: DatasetName | Literal[""] = ""
    file: RelativePath = ""
    columns: Annotated[Items[Column], Field(max_length=COLUMNS_MOST)] = ()
    label: ColumnName | Literal[""] = ""
    prepared: RelativePath = ""
    output: RelativePath = ""
    alignment: AlignmentRequest | None = None
    training: TrainingRequest | None = None


class Published(Value):
    """What the other side learns of a part: all that the session's spec says of a party, and how it is to be computed."""

    node: Name
    part: PartyPart


class Sessions(Protocol):
    """The private sessions of this node; the coordinator has it."""

    async def create(self, request: SessionRequest) -> tuple[Session, bool]: ...

    async def get(self, ref: str) -> Session: ...

    async def accept(self, ref: str) -> Session: ...

    async def halt(self, ref: str) -> Session: ...


OtherSide = Callable[[Job], Awaitable[Mapping[str, Any]]]
"""What the other side's instance says: its message as a dict."""


class SessionEngine:
    """SAMPLE is an alignment, TRAIN a training between the two sides."""

    def __init__(self, node: str, sessions: Sessions, other_side: OtherSide, clock: Clock) -> None:
        self._node = node
        self._sessions = sessions
        self._other_side = other_side
        self._clock = clock

    def check(self, project: Project, kind: TaskKind, config: Mapping[str, JsonValue]) -> None:
        """Is content where the config is this side's part of a session of that kind.

        Raises:
            Invalid: a field of it is wrong.
            Rejected: the project names no third node.
        """
        _part(kind, config)
        self._third(project, kind)

    async def run(self, job: Job, *, again: bool) -> None:
        """Brings a session for the instance to its end; goes on with the one that it has, where there is one."""
        del again
        try:
            self.check(job.project, job.task.kind, job.task.config)
            session = await self._session(job)
            await self._report_end(job, await self._ended(session.id))
        except Rejected as error:
            told = "; ".join([error.message, *map(str, error.problems)])
            log.warning("instance cannot go on", extra={"instance": job.instance.id, "reason": told})
            await job.report(error={"reason": told[:2000]}, error_at=self._clock.wall(), status=InstanceState.FAILED)

    async def stop(self, job: Job) -> None:
        """Ends the session where this side coordinates it; the other side asks this one to."""
        id = _known_session(job.instance)
        if not id or not job.instance.started_here:
            return
        try:
            await self._sessions.halt(id)
        except Rejected as error:
            log.info("no session to end", extra={"instance": job.instance.id, "reason": error.message})

    # Having a session

    async def _session(self, job: Job) -> Session:
        if id := _known_session(job.instance):
            try:
                return await self._accepted(await self._sessions.get(id))
            except NotFound:
                log.info("the session was not made before this node ended", extra={"instance": job.instance.id, "session": id})
        mine = Published(node=self._node, part=_part(job.task.kind, job.task.config))
        await job.report(message={PARTY: mine.model_dump(mode="json", exclude_defaults=True)})
        if job.instance.started_here:
            return await self._made(job, mine, await self._published(job))
        return await self._joined(job, mine, await self._published(job))

    async def _published(self, job: Job) -> Published:
        """The other side's part, once it has published it; somebody there may have to say yes first."""
        told = await self._told(job, lambda message: message.get(PARTY))
        try:
            found = Published.model_validate_json(to_json(told))
        except ValidationError as error:
            raise Invalid(f"the other side's part cannot be read: {error.error_count()} fields are wrong") from error
        expected = job.project.peer_config.get("node", "" if job.project.peer_key else None)
        if expected not in {"", found.node}:
            raise Invalid(f"the other side plays by node {found.node}, its config says {expected}")
        return found

    @staticmethod
    def _check_key(job: Job, session: Session, theirs: Published) -> None:
        """Is content where the other side's party is played by the node whose key is pinned: a console signs by the same one.

        Raises:
            Invalid: it is another node.
        """
        keys = {party.key for party in session.spec.of_node(theirs.node)}
        if job.project.peer_key and keys != {job.project.peer_key}:
            raise Invalid(
                f"node {theirs.node} has another key than the other console", hint="its console names the node that it is"
            )

    async def _told(self, job: Job, find: Callable[[Mapping[str, Any]], object]) -> object:
        pause = ASK_S
        while True:
            job.changed.clear()
            try:
                found = find(await self._other_side(job))
            except Unavailable as error:
                log.info("the other side is asked again", extra={"instance": job.instance.id, "reason": error.message})
                found = None
            if found:
                return found
            try:
                async with self._clock.timeout(pause):
                    await job.changed.wait()
            except TimeoutError:
                pause = min(2 * pause, ASK_MOST_S)

    async def _made(self, job: Job, mine: Published, theirs: Published) -> Session:
        """A session that this side coordinates, made anew while a node of it is not there."""
        refusal: EcnodeError | None = None
        for _ in range(MAKE_TRIES):
            request = self._request(job, mine, theirs)
            await job.report(message={SESSION: request.id})  # before there is one: after a kill it is found again
            try:
                session, _new = await self._sessions.create(request)
            except Invalid as error:  # also where a node is not linked yet, as after a start of all of them
                refusal = error
                await self._clock.sleep(MAKE_PAUSE_S)
                continue
            try:
                self._check_key(job, session, theirs)
            except Invalid:
                await self._sessions.halt(session.id)
                raise
            return await self._accepted(session)
        assert refusal is not None
        raise refusal

    async def _joined(self, job: Job, mine: Published, theirs: Published) -> Session:
        """The session that the other side has made, once this side has looked at its spec and signed it."""
        last = job.instance.session
        while True:
            id = str(await self._told(job, lambda message: (new := message.get(SESSION)) != last and new))
            try:
                session = await self._sessions.get(id)
            except NotFound:  # it is being made
                session = None
            if session is not None and session.state not in {SessionState.FAILED, SessionState.STOPPED}:
                break
            await self._clock.sleep(ASK_S)  # the other side makes another one, or says that it has failed
        self._compare(job, session, mine, theirs)
        await job.report(message={SESSION: id})
        return await self._accepted(session)

    async def _accepted(self, session: Session) -> Session:
        """The session, which this node's parties have signed: somebody, or the console's policy, has said yes to the run."""
        mine = [view for view in session.parties if view.node == self._node]
        if session.state is SessionState.CREATED and not all(view.accepted for view in mine):
            try:
                return await self._sessions.accept(session.id)
            except Conflict as error:  # the node's own policy has accepted meanwhile
                log.info("session decided already", extra={"session": session.id, "reason": error.message})
        return session

    def _request(self, job: Job, mine: Published, theirs: Published) -> SessionRequest:
        kind = job.task.kind
        parties = self._parties(job, mine, theirs)
        alignment = _agreed("alignment", mine.part.alignment, theirs.part.alignment) or AlignmentRequest()
        training = _agreed("training", mine.part.training, theirs.part.training) or TrainingRequest()
        try:
            return SessionRequest(
                id=new_id("s", self._clock.wall()),
                name=f"{job.task.name[:150]} {job.instance.id}",
                parties=parties,
                alignment=alignment if kind is TaskKind.SAMPLE else None,
                training=training if kind is TaskKind.TRAIN else None,
                round_timeout=ROUND_TIMEOUT_S,
            )
        except ValidationError as error:
            raise Invalid(f"the two sides' parts make no session: {error.errors(include_url=False)[0]['msg']}") from error

    def _parties(self, job: Job, mine: Published, theirs: Published) -> tuple[Party, ...]:
        """The third node and the two sides, the same whichever side asks."""
        kind = job.task.kind
        third = self._third(job.project, kind)
        if third in {mine.node, theirs.node}:
            raise Rejected(NO_THIRD.format(kind=kind.name, roles=_THIRD_ROLES[kind]), hint=f"{third} is one of the two sides")
        if {mine.part.role, theirs.part.role} == {PartyRole.FEATURE} and kind is TaskKind.TRAIN:
            raise Invalid(
                "both sides are feature_client: one of them has the label", problems=[Problem("config.role", "label?")]
            )
        sides = sorted((mine, theirs), key=lambda side: side.node)
        role = PartyRole.MAIN if kind is TaskKind.SAMPLE else PartyRole.PRODUCER
        return (
            Party(name=role.value.partition("_")[0], role=role, node=third),
            *(_party(side, place) for place, side in enumerate(sides)),
        )

    def _compare(self, job: Job, session: Session, mine: Published, theirs: Published) -> None:
        """Is content where the spec says what both sides have published.

        Raises:
            Invalid: it says something else.
        """
        spec = session.spec
        self._check_key(job, session, theirs)
        if spec.coordinator != theirs.node or job.instance.peer_id not in spec.name:
            raise Invalid(f"session {session.id} is not the other side's for this instance")
        if tuple(Party(**{name: getattr(each, name) for name in Party.model_fields}) for each in spec.parties) != self._parties(
            job, mine, theirs
        ):
            raise Invalid(f"the parties of session {session.id} are not those that both sides have published")
        kind = job.task.kind
        wanted = mine.part.alignment if kind is TaskKind.SAMPLE else mine.part.training
        found = spec.alignment if kind is TaskKind.SAMPLE else spec.training
        if found is None or (spec.alignment and spec.training):
            raise Invalid(f"session {session.id} computes something else than {kind.name}")
        seed = "split_seed" if kind is TaskKind.SAMPLE else "batch_seed"
        if wanted is not None and found.model_dump(exclude={seed}) != wanted.model_dump(exclude={seed}):
            raise Invalid(f"session {session.id} is computed in another way than this side's config says")

    def _third(self, project: Project, kind: TaskKind) -> str:
        named = {str(config["producer"]) for config in (project.config, project.peer_config) if config.get("producer")}
        if len(named) > 1:
            raise Rejected(f"the two sides name different third nodes: {', '.join(sorted(named))}", hint="agree on one")
        if not named:
            message = NO_THIRD.format(kind=kind.name, roles=_THIRD_ROLES[kind])
            raise Rejected(message, problems=[Problem("config.producer", "names no node")])
        return named.pop()

    # Following it

    async def _ended(self, id: str) -> Session:
        while (session := await self._sessions.get(id)).state not in SESSION_LIFE.terminal:
            await self._clock.sleep(LOOK_S)
        return session

    async def _report_end(self, job: Job, session: Session) -> None:
        views = [view for view in session.parties if view.node == self._node]
        outputs: list[JsonValue] = [path for view in views for path in view.outputs]
        message: dict[str, JsonValue] = {SESSION: session.id, "outputs": outputs}
        now = self._clock.wall()
        match session.state:
            case SessionState.FINISHED:
                await job.report(message=message, status=InstanceState.SUCCESS)
            case SessionState.STOPPED:
                await job.report(message={**message, "stopped": session.reason}, status=InstanceState.TERMINATED)
            case _:
                reason = session.reason or f"session {session.id} has failed"
                await job.report(message=message, error={"reason": reason}, error_at=now, status=InstanceState.FAILED)


def _known_session(instance: Instance) -> str:
    """The session of the present run, if it has come so far."""
    found = instance.message.get(SESSION)
    return found if isinstance(found, str) else ""


def _part(kind: TaskKind, config: Mapping[str, JsonValue]) -> PartyPart:
    try:
        part = PartyPart.model_validate_json(to_json(config))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)[:20]
        problems = [Problem(".".join(("config", *map(str, fault["loc"]))), fault["msg"]) for fault in faults]
        raise Invalid("the task's config is not this side's part of a session", problems=problems) from None
    needed = ("dataset", part.dataset or part.file) if kind is TaskKind.SAMPLE else ("prepared", part.prepared)
    if not needed[1]:
        field = f"config.{needed[0]}"
        raise Invalid(f"a task of kind {kind.name} reads its {needed[0]}", problems=[Problem(field, "is required")])
    return part


def _party(side: Published, place: int) -> Party:
    part = side.part
    return Party(
        name=f"{part.role.value.partition('_')[0]}-{place}",
        role=part.role,
        node=side.node,
        dataset=part.dataset,
        file=part.file,
        columns=part.columns,
        label=part.label,
        prepared=part.prepared,
        output=part.output,
    )


def _agreed(what: str, one: Any, other: Any) -> Any:
    if one is not None and other is not None and one != other:
        raise Invalid(f"the two sides' configs differ in {what}", problems=[Problem(f"config.{what}", "differs")])
    return one if one is not None else other
