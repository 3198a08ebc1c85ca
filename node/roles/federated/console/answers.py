"""What may the other side of a project ask of this console?

The id in each path is the caller's, and means something only together with its key: a stranger's request finds nothing.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue

from node.config.schema import ConsoleConfig
from node.errors import Conflict, Forbidden, NotFound
from node.model.project import (
    Instance,
    InstanceState,
    Pairing,
    PairState,
    Project,
    ProjectTask,
    fingerprint,
    new_hex_id,
)
from node.pipeline.federated.signed_request import Proven
from node.roles.federated.console.peers import Peers
from node.roles.federated.console.runs import Runs
from node.storage.console import Book, ConsoleStore, Page

log = logging.getLogger(__name__)

TASKS_LOOKED_AT: Final = 1000


class Answers:
    """The answers to other consoles."""

    def __init__(self, config: ConsoleConfig, store: ConsoleStore, peers: Peers, runs: Runs) -> None:
        self._config = config
        self._store = store
        self._peers = peers
        self._runs = runs

    # Projects

    async def create_project(self, proven: Proven | None, peer_id: str, peer_url: str, config: Mapping[str, JsonValue]) -> str:
        """The id of a new project that is ready at once.

        Raises:
            Conflict: that console has paired this one of its projects already.
            Forbidden: this console does not speak with it.
        """
        key = await self._peers.newcomer(peer_url, proven)
        url = self._peers.entry(peer_url).url

        def work(book: Book) -> Project:
            self._peers.take(book, proven)
            if any(each.peer_key == key and each.peer_url == url for each in book.find(Project, peer_id=peer_id)):
                raise Conflict(f"the project {peer_id} of {url} is paired already")
            draft = Project(
                id=new_hex_id(),
                peer_url=url,
                peer_key=key,
                peer_config=dict(config),
                created_at=book.now,
                updated_at=book.now,
            )
            return book.step(book.add(draft), "pair", "by the other side", peer_id=peer_id)

        project = await self._store.write(work)
        log.info("project paired", extra={"project": project.id, "peer": url, "key": fingerprint(key) if key else "unsigned"})
        return project.id

    async def update_project(self, proven: Proven | None, peer_id: str, config: Mapping[str, JsonValue]) -> str:
        """Merges what the other side says of its config."""

        def work(book: Book) -> Project:
            self._peers.take(book, proven)
            project = self._project(book, peer_id, proven)
            return book.change(project, peer_config={**project.peer_config, **config})

        return (await self._store.write(work)).id

    async def find_project(self, proven: Proven | None, peer_id: str) -> str:
        """The id of the project; the test of a connection."""
        return (await self._store.write(lambda book: self._found(book, peer_id, proven))).id

    def _found(self, book: Book, peer_id: str, proven: Proven | None) -> Project:
        self._peers.take(book, proven)
        return self._project(book, peer_id, proven)

    def _project(self, page: Page, peer_id: str, proven: Proven | None) -> Project:
        for project in page.find(Project, peer_id=peer_id):
            if self._speaks(project, proven):
                return project
        raise NotFound(f"no project is paired with {peer_id} of that console")

    def _speaks(self, project: Project, proven: Proven | None) -> bool:
        """Whether whoever has asked is the other side of a project that has not ended here."""
        return project.status is PairState.READY and self._peers.may_speak(project, proven)

    # Tasks

    async def create_task(self, proven: Proven | None, peer_id: str, token: str, version: str, root: bool) -> str:
        """The id of a pairing that is ready: of the root under that version, or of a new version of it.

        The same again is no error.

        Raises:
            Forbidden: no task of a project with that console has the token.
            Conflict: the root is paired already.
        """

        def work(book: Book) -> Pairing:
            self._peers.take(book, proven)
            if (known := self._pairing(book, peer_id, proven)) is not None:
                return known
            task = self._by_token(book, token, proven)
            if root:
                if any(each.status is PairState.READY for each in book.find(Pairing, task=task.id)):
                    raise Conflict("the task with that token is paired already", hint="its token pairs one task of a console")
                task = book.change(task, version=version)
            else:
                task = book.add(_newer(book, task, version))
            pairing = Pairing(id=new_hex_id(), task=task.id, created_at=book.now, updated_at=book.now)
            return book.step(book.add(pairing), "pair", "by the other side", peer_id=peer_id)

        pairing = await self._store.write(work)
        log.info("task paired", extra={"task": pairing.task, "pairing": pairing.id})
        return pairing.id

    async def show_task(self, proven: Proven | None, peer_id: str) -> Mapping[str, JsonValue]:
        """What this side shows of the task that a pairing of the caller's belongs to."""

        def work(book: Book) -> Mapping[str, JsonValue]:
            self._peers.take(book, proven)
            pairing = self._pairing(book, peer_id, proven)
            if pairing is None:
                raise NotFound(f"no task is paired with {peer_id} of that console")
            return book.get(ProjectTask, pairing.task).meta

        return await self._store.write(work)

    def _by_token(self, page: Page, token: str, proven: Proven | None) -> ProjectTask:
        """The root with that token in a project with the caller; every candidate is compared, each in constant time."""
        given, found = token.encode(), None
        for project in page.all(Project, TASKS_LOOKED_AT):
            if self._speaks(project, proven):
                for task in page.find(ProjectTask, project=project.id):
                    if task.root and task.token and hmac.compare_digest(task.token.encode(), given):
                        found = task
        if found is None:
            raise Forbidden("no task here has that token", hint="both sides give their root task the same token")
        return found

    def _pairing(self, page: Page, peer_id: str, proven: Proven | None) -> Pairing | None:
        for pairing in page.find(Pairing, peer_id=peer_id):
            if pairing.status is PairState.READY and self._speaks(_project_of(page, pairing), proven):
                return pairing
        return None

    # Instances

    async def create_instance(self, proven: Proven | None, peer_id: str, pairing_id: str) -> str:
        """The id of this side's instance, which is ready; it starts at once where nobody here has to be asked.

        Raises:
            Conflict: the other side has one with that id already.
            NotFound: the caller has no such pairing here.
        """

        def work(book: Book) -> tuple[Instance, bool]:
            self._peers.take(book, proven)
            pairing = book.get(Pairing, pairing_id)
            project = _project_of(book, pairing)
            if pairing.status is not PairState.READY or not self._speaks(project, proven):
                raise NotFound(f"there is no pairing {pairing_id} with that console")
            if any(each.pairing == pairing_id for each in book.find(Instance, peer_id=peer_id)):
                raise Conflict(f"the instance {peer_id} of that console is known already")
            draft = Instance(
                id=new_hex_id(),
                task=pairing.task,
                pairing=pairing.id,
                started_here=False,
                created_at=book.now,
                updated_at=book.now,
            )
            instance = book.step(book.add(draft), "pair", "asked for by the other side", peer_id=peer_id)
            return instance, self._accepts(book, pairing, project)

        instance, accepted = await self._store.write(work)
        if accepted:
            await self._runs.launch(instance.id, tell=False)
        else:
            log.info("instance waits for somebody's yes", extra={"instance": instance.id})
        return instance.id

    def _accepts(self, page: Page, pairing: Pairing, project: Project) -> bool:
        """Whether nobody here has to be asked."""
        match self._config.approve:
            case "auto":
                return True
            case "allow-list":
                entry = self._peers.entry(project.peer_url)
                return bool(entry.key) and entry.key == project.peer_key
            case "same-token":
                task = page.get(ProjectTask, pairing.task)
                roots = [each for each in page.find(ProjectTask, project=project.id) if each.root and each.name == task.name]
                return any(root.token and hmac.compare_digest(root.token.encode(), task.token.encode()) for root in roots)
        return False

    async def change_instance(self, proven: Proven | None, peer_id: str, status: InstanceState) -> InstanceState:
        """This side's status after the other side has told its own: running starts, terminated stops, if that is possible now.

        A start from ready is one that somebody here has to say yes to, unless the policy does.
        """

        def work(book: Book) -> tuple[Instance, bool]:
            self._peers.take(book, proven)
            instance = self._instance(book, peer_id, proven)
            pairing = book.get(Pairing, instance.pairing)
            accepted = instance.started_here or instance.runs > 0 or self._accepts(book, pairing, _project_of(book, pairing))
            return instance, accepted

        instance, accepted = await self._store.write(work)
        now, id = instance.status, instance.id
        waiting = now in {InstanceState.READY, InstanceState.TERMINATED}
        if status is InstanceState.RUNNING and waiting and accepted:
            instance = await self._runs.launch(id, tell=False)
        elif status is InstanceState.TERMINATED and now is InstanceState.RUNNING:
            instance = await self._runs.halt(id, tell=False, reason="stopped by the other side")
        return (await self._runs.heard(id, status)).status

    async def show_instance(self, proven: Proven | None, peer_id: str) -> tuple[Instance, ProjectTask, Pairing]:
        """This side's instance, with its task and pairing."""

        def work(book: Book) -> tuple[Instance, ProjectTask, Pairing]:
            self._peers.take(book, proven)
            instance = self._instance(book, peer_id, proven)
            return instance, book.get(ProjectTask, instance.task), book.get(Pairing, instance.pairing)

        return await self._store.write(work)

    def _instance(self, page: Page, peer_id: str, proven: Proven | None) -> Instance:
        for instance in page.find(Instance, peer_id=peer_id):
            if self._speaks(_project_of(page, page.get(Pairing, instance.pairing)), proven):
                return instance
        raise NotFound(f"no instance here belongs to {peer_id} of that console")


def _project_of(page: Page, pairing: Pairing) -> Project:
    return page.get(Project, page.get(ProjectTask, pairing.task).project)


def _newer(book: Book, root: ProjectTask, version: str) -> ProjectTask:
    """A version that the other side asks for: what the latest one here says, under that version."""
    versions = [each for each in book.find(ProjectTask, project=root.project) if each.name == root.name]
    latest = versions[-1]
    return latest.replace(
        id=new_hex_id(), version=version, root=False, token=root.token, created_at=book.now, updated_at=book.now
    )
