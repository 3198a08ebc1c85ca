"""What do this side's users do with projects, tasks and runs?

What concerns the other side is told to it before it counts here: a project and a pairing stay drafts until it has answered, and
the same call again goes on from there.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import JsonValue

from node.clock import Clock
from node.errors import Conflict, Invalid, Malformed, NotFound, Problem, Unavailable
from node.model.project import (
    ConsoleEvent,
    Instance,
    InstanceState,
    Pairing,
    PairState,
    Project,
    ProjectTask,
    TaskKind,
    fingerprint,
    new_hex_id,
)
from node.roles.federated.console.peers import Peers
from node.roles.federated.console.runs import INSTANCE_PATH, Runs
from node.storage.console import Book, ConsoleStore, Page

log = logging.getLogger(__name__)

LIST_MOST: Final = 1000
LAST: Final = "@last"
PROJECT_PATH: Final = "/project/peer"
TASK_PATH: Final = "/task/peer/"


class Desk:
    """Projects, tasks, pairings and instances, for the users of this console."""

    def __init__(self, node: str, store: ConsoleStore, peers: Peers, runs: Runs, clock: Clock) -> None:
        self._node = node
        self._store = store
        self._peers = peers
        self._runs = runs
        self._clock = clock

    # Projects

    async def create_project(
        self,
        owner: str,
        name: str,
        peer_url: str,
        config: Mapping[str, JsonValue],
        *,
        comment: str = "",
        id: str | None = None,
    ) -> Project:
        """A project that the other console has taken; one that it could not be asked for stays a draft.

        Raises:
            Conflict: there is one of that name.
            Forbidden: the config does not name that console, or it refuses.
        """
        entry = self._peers.entry(peer_url)
        _ = self._peers.url

        def work(book: Book) -> Project:
            known = book.known(Project, id)
            if known is not None and (known.name, known.peer_url) == (name, entry.url):
                return known
            if known is not None or any(each.name == name for each in book.all(Project, LIST_MOST)):
                raise Conflict(f"there is a project '{name}' already", hint="its need_sync tells the other side again")
            made = Project(
                id=id or new_hex_id(),
                name=name,
                owner=owner,
                peer_url=entry.url,
                config=dict(config),
                comment=comment,
                created_at=book.now,
                updated_at=book.now,
            )
            return book.add(made)

        project = await self._store.write(work)
        return await self._pair_project(project) if project.status is PairState.DRAFT else project

    async def update_project(
        self,
        id: str,
        *,
        name: str | None = None,
        comment: str | None = None,
        config: Mapping[str, JsonValue] | None = None,
        owner: str | None = None,
        sync: bool = False,
    ) -> Project:
        """The project under other words; a changed config is told to the other side, as is a draft with `sync`."""

        def work(book: Book) -> Project:
            project = book.get(Project, id)
            changes: dict[str, object] = {
                field: value for field, value in (("name", name), ("comment", comment), ("owner", owner)) if value is not None
            }
            if config is not None:
                changes["config"] = {**project.config, **config}
            return book.change(project, **changes) if changes else project

        project = await self._store.write(work)
        if project.status is PairState.DRAFT and (sync or config is not None):
            return await self._pair_project(project)
        if project.status is PairState.READY and (sync or config is not None):
            await self._peers.ask(project, "PUT", f"{PROJECT_PATH}/{id}", {"peer_config": self._told(project)})
        return project

    async def project(self, ref: str) -> Project:
        """One project, by its id, the beginning of it, its name, or `@last`.

        Raises:
            NotFound, Conflict: there is none, or more than one.
        """
        projects = await self.projects()
        named = projects[-1:] if ref == LAST else tuple(each for each in projects if ref in {each.id, each.name})
        found = named or tuple(each for each in projects if ref and each.id.startswith(ref))
        if not found:
            raise NotFound(f"there is no project {ref:.100}", hint="ecnode projects list shows them")
        if len(found) > 1:
            raise Conflict(f"'{ref:.100}' stands for {len(found)} projects", hint="give more of its id")
        return found[0]

    async def projects(self) -> tuple[Project, ...]:
        """All of them, the oldest first."""
        return await self._store.read(lambda page: page.all(Project, LIST_MOST))

    async def connect(self, id: str) -> str:
        """The other side's id of a project, asked of it."""
        project = await self._store.read(lambda page: page.get(Project, id))
        return _hex(await self._peers.ask(project, "GET", f"{PROJECT_PATH}/{id}"), "project_id")

    async def archive_project(self, id: str) -> Project:
        """Ends a project on this side: nothing more is taken for it."""
        return await self._store.write(lambda book: book.step(book.get(Project, id), "archive"))

    def _told(self, project: Project) -> str:
        """The config as the other side is told it: with the name of this node, for sessions between both."""
        return json.dumps({"node": self._node, **project.config})

    async def _pair_project(self, project: Project) -> Project:
        entry = self._peers.entry(project.peer_url)
        body = {"peer_id": project.id, "peer_url": self._peers.url, "peer_config": self._told(project)}
        try:
            if not project.peer_key and (key := await self._peers.key_for(entry)):
                project = await self._store.write(lambda book: book.change(book.get(Project, project.id), peer_key=key))
            try:
                told = await self._peers.ask(project, "POST", PROJECT_PATH, body)
            except Conflict:  # the answer to an earlier try was lost
                told = await self._peers.ask(project, "GET", f"{PROJECT_PATH}/{project.id}")
        except Unavailable as error:
            log.warning("project stays a draft", extra={"project": project.id, "reason": error.message})
            return project
        peer = _hex(told, "project_id")
        ready = await self._store.write(lambda book: book.step(book.get(Project, project.id), "pair", peer_id=peer))
        log.info(
            "project paired",
            extra={
                "project": ready.id,
                "peer": ready.peer_url,
                "key": fingerprint(ready.peer_key) if ready.peer_key else "unsigned",
            },
        )
        return ready

    # Tasks

    async def create_task(
        self,
        owner: str,
        project_id: str,
        name: str,
        kind: TaskKind,
        *,
        root: bool,
        token: str = "",
        comment: str = "",
        config: Mapping[str, JsonValue] = {},
        meta: Mapping[str, JsonValue] = {},
    ) -> ProjectTask:
        """A task, or with `root` false a later version of one, which has the token of its root.

        Raises:
            Conflict: there is a root of that name, or one with that token.
            NotFound: there is no project, or no root, of that name.
            Invalid: the config is not one that the engine can run.
        """
        project = await self._store.read(lambda page: page.get(Project, project_id))
        if config:
            self._runs.engine.check(project, kind, config)

        def work(book: Book) -> ProjectTask:
            tasks = book.find(ProjectTask, project=project_id)
            roots = [each for each in tasks if each.name == name and each.root]
            if root and roots:
                raise Conflict(f"there is a task '{name}' in the project already", hint="a new version has task_root false")
            if not root and not roots:
                raise NotFound(f"there is no root of a task '{name}' in the project", hint="make it first, with task_root true")
            if root:
                _check_free(book, token)
            made = ProjectTask(
                id=new_hex_id(),
                project=project_id,
                name=name,
                version=_version(book.now, [each.version for each in tasks if each.name == name]),
                owner=owner,
                kind=kind,
                token=token if root else roots[0].token,
                root=root,
                comment=comment,
                config=dict(config),
                meta=dict(meta),
                created_at=book.now,
                updated_at=book.now,
            )
            return book.add(made)

        return await self._store.write(work)

    async def update_task(
        self,
        id: str,
        *,
        token: str | None = None,
        comment: str | None = None,
        owner: str | None = None,
        config: Mapping[str, JsonValue] | None = None,
        meta: Mapping[str, JsonValue] | None = None,
    ) -> ProjectTask:
        """The task with other settings, merged into those that it has; raises as `create_task` does."""
        task, project = await self._store.read(lambda page: _task_and_project(page, id))
        if config is not None:
            self._runs.engine.check(project, task.kind, {**task.config, **config})

        def work(book: Book) -> ProjectTask:
            found = book.get(ProjectTask, id)
            changes: dict[str, object] = {
                name: value for name, value in (("comment", comment), ("owner", owner)) if value is not None
            }
            if token is not None and token != found.token:
                _check_free(book, token)
                changes["token"] = token
            if config is not None:
                changes["config"] = {**found.config, **config}
            if meta is not None:
                changes["meta"] = {**found.meta, **meta}
            return book.change(found, **changes)

        return await self._store.write(work)

    async def task(self, id: str) -> tuple[ProjectTask, Project, Pairing | None]:
        """One version of a task, its project, and its pairing if there is one."""

        def look(page: Page) -> tuple[ProjectTask, Project, Pairing | None]:
            task, project = _task_and_project(page, id)
            return task, project, _pairing_of(page, id)

        return await self._store.read(look)

    async def tasks(self, project: str | None = None) -> tuple[tuple[ProjectTask, Project, Pairing | None], ...]:
        """The tasks of a project, or all, the oldest first, each as `task` gives it."""

        def look(page: Page) -> tuple[tuple[ProjectTask, Project, Pairing | None], ...]:
            found = page.all(ProjectTask, LIST_MOST) if project is None else page.find(ProjectTask, project=project)
            projects = {each.id: each for each in page.all(Project, LIST_MOST)}
            return tuple((task, projects[task.project], _pairing_of(page, task.id)) for task in found)

        return await self._store.read(look)

    async def has_task(self, name: str) -> bool:
        """Whether there is a task of that name."""
        return any(task.name == name for task, *_ in await self.tasks())

    async def delete_task(self, id: str) -> None:
        """Takes a later version away.

        Raises:
            Invalid: it is a root, or has runs.
        """

        def work(book: Book) -> None:
            task = book.get(ProjectTask, id)
            if task.root:
                raise Invalid(f"task {id} is a root, which stays", hint="archive its project")
            for pairing in book.find(Pairing, task=id):
                if book.find(Instance, pairing=pairing.id):
                    raise Invalid(f"version {task.version} of '{task.name}' has runs, it stays")
                book.drop(pairing)
            book.drop(task)

        await self._store.write(work)

    async def pair_task(self, id: str) -> Pairing:
        """The pairing of a version; where the other side cannot be asked it is a draft, and the same again goes on from there.

        Raises:
            Invalid: it has no token.
            Forbidden: the other side knows no task with that token.
            Conflict: it is paired already.
        """

        def work(book: Book) -> tuple[Pairing, ProjectTask, Project]:
            task, project = _task_and_project(book, id)
            if not task.token:
                raise Invalid(f"task '{task.name}' has no token", problems=[Problem("token", "both sides give the same one")])
            if project.status is not PairState.READY:
                raise Conflict(f"project '{project.name}' is {project.status}", hint="its need_sync pairs it")
            pairing = _pairing_of(book, id)
            if pairing is None:
                pairing = book.add(Pairing(id=new_hex_id(), task=id, created_at=book.now, updated_at=book.now))
            if pairing.status is not PairState.DRAFT:
                raise Conflict(f"version {task.version} of '{task.name}' is paired already")
            return pairing, task, project

        pairing, task, project = await self._store.write(work)
        body = {"token": task.token, "version": task.version, "task_root": task.root}
        try:
            told = await self._peers.ask(project, "POST", f"{TASK_PATH}{pairing.id}", body)
        except Unavailable as error:
            log.warning("pairing stays a draft", extra={"pairing": pairing.id, "reason": error.message})
            return pairing
        peer = _hex(told, "task_inter_id")
        return await self._store.write(lambda book: book.step(book.get(Pairing, pairing.id), "pair", peer_id=peer))

    async def peer_task(self, pairing_id: str) -> Mapping[str, Any]:
        """What the other side shows of the task of a pairing."""
        project = await self._project_of(pairing_id)
        return await self._peers.ask(project, "GET", f"{TASK_PATH}{pairing_id}")

    async def _project_of(self, pairing_id: str) -> Project:
        def look(page: Page) -> Project:
            return _task_and_project(page, page.get(Pairing, pairing_id).task)[1]

        return await self._store.read(look)

    # Instances

    async def create_instance(self, pairing_id: str, *, id: str | None = None) -> Instance:
        """A run of a pairing, which runs here once the other side has it; where that cannot be asked, a draft.

        The same id again is the same run.

        Raises:
            Conflict: the pairing is a draft.
            Invalid, Rejected: the engine cannot run the task as its config is.
        """

        def work(book: Book) -> Instance:
            known = book.known(Instance, id)
            if known is not None and known.pairing == pairing_id:
                return known
            pairing = book.get(Pairing, pairing_id)
            task, project = _task_and_project(book, pairing.task)
            if pairing.status is not PairState.READY or project.status is not PairState.READY:
                raise Conflict(f"the pairing of '{task.name}' is {pairing.status}, its project {project.status}")
            self._runs.engine.check(project, task.kind, task.config)
            made = Instance(
                id=id or new_hex_id(),
                task=task.id,
                pairing=pairing_id,
                started_here=True,
                created_at=book.now,
                updated_at=book.now,
            )
            return book.add(made)

        instance = await self._store.write(work)
        return await self._pair_instance(instance) if instance.status is InstanceState.DRAFT else instance

    async def _pair_instance(self, instance: Instance) -> Instance:
        pairing = await self._store.read(lambda page: page.get(Pairing, instance.pairing))
        project = await self._project_of(pairing.id)
        path = f"{INSTANCE_PATH}{instance.id}"
        try:
            try:
                told = await self._peers.ask(project, "POST", path, {"task_peer_id": pairing.peer_id})
                peer = _hex(told, "task_instance_id")
            except Conflict:  # the answer to an earlier try was lost
                peer = _hex(await self._peers.ask(project, "GET", path), "id")
        except Unavailable as error:
            log.warning("instance stays a draft", extra={"instance": instance.id, "reason": error.message})
            return instance
        await self._store.write(lambda book: book.step(book.get(Instance, instance.id), "pair", peer_id=peer))
        return await self._runs.launch(instance.id, tell=False)

    async def operate(self, id: str, *, start: bool) -> Instance:
        """Starts an instance that is ready or stopped, or stops one that runs; the other side is told.

        A start of one that the other side asked for is this side's yes to it.

        Raises:
            Conflict: it is in another state.
        """
        if start:
            return await self._runs.launch(id, tell=True)
        return await self._runs.halt(id, tell=True)

    async def update_instance(
        self,
        id: str,
        *,
        comment: str | None = None,
        message: Mapping[str, JsonValue] | None = None,
        error: Mapping[str, JsonValue] | None = None,
        sync: bool = False,
    ) -> Instance:
        """The instance with other words, merged into those that it has; a draft is told to the other side with `sync`."""

        def work(book: Book) -> Instance:
            found = book.get(Instance, id)
            changes: dict[str, object] = {} if comment is None else {"comment": comment}
            if message is not None:
                changes["message"] = {**found.message, **message} if message else {}
            if error is not None:
                changes["error"] = {**found.error, **error} if error else {}
            return book.change(found, **changes) if changes else found

        instance = await self._store.write(work)
        if sync and instance.status is InstanceState.DRAFT:
            return await self._pair_instance(instance)
        return instance

    async def instance(self, id: str) -> tuple[Instance, ProjectTask, Pairing]:
        """One instance, its task and its pairing."""

        def look(page: Page) -> tuple[Instance, ProjectTask, Pairing]:
            found = page.get(Instance, id)
            return found, page.get(ProjectTask, found.task), page.get(Pairing, found.pairing)

        return await self._store.read(look)

    async def peer_instance(self, id: str) -> Mapping[str, Any] | None:
        """The other side's instance as it tells it; None where it cannot be asked now, or knows none."""
        project = await self._project_of((await self.instance(id))[0].pairing)
        try:
            return await self._peers.ask_once(project, "GET", f"{INSTANCE_PATH}{id}")
        except (Unavailable, NotFound, Malformed) as error:
            log.info("other side's instance not seen", extra={"instance": id, "reason": error.message})
            return None

    async def instances(self, pairing_id: str) -> tuple[Instance, ...]:
        """The runs of a pairing that are not archived, the oldest first."""
        found = await self._store.read(lambda page: page.find(Instance, pairing=pairing_id))
        return tuple(each for each in found if each.status is not InstanceState.ARCHIVE)

    async def project_instances(self, project: str) -> tuple[Instance, ...]:
        """The runs of all tasks of a project that are not archived."""

        def look(page: Page) -> tuple[Instance, ...]:
            pairings = [each for task in page.find(ProjectTask, project=project) for each in page.find(Pairing, task=task.id)]
            return tuple(each for pairing in pairings for each in page.find(Instance, pairing=pairing.id))

        found = await self._store.read(look)
        return tuple(each for each in found if each.status is not InstanceState.ARCHIVE)

    async def newest_pairing(self, project: str, task: str) -> str:
        """The id of the pairing of the newest version of a task that has one.

        Raises:
            NotFound: there is no such task, or none is paired.
        """
        found = [pairing.id for each, _, pairing in await self.tasks(project) if each.name == task and pairing is not None]
        if not found:
            raise NotFound(f"no version of a task '{task}' is paired in the project", hint="ecnode projects pair does it")
        return found[-1]

    async def archive_instance(self, id: str) -> Instance:
        """Puts a run away that does not run."""
        return await self._store.write(lambda book: book.step(book.get(Instance, id), "archive"))

    async def events(self, id: str) -> tuple[ConsoleEvent, ...]:
        """Every step in the life of a project, a pairing or an instance."""
        return await self._store.read(lambda page: page.events(id))


def _task_and_project(page: Page, id: str) -> tuple[ProjectTask, Project]:
    task = page.get(ProjectTask, id)
    return task, page.get(Project, task.project)


def _pairing_of(page: Page, task: str) -> Pairing | None:
    found = page.find(Pairing, task=task)
    return found[0] if found else None


def _check_free(page: Page, token: str) -> None:
    """A token stands for one root: two with the same one could not be told apart."""
    if token and any(each.token == token and each.root for each in page.all(ProjectTask, LIST_MOST)):
        raise Conflict("the token is in use by another task", hint="make one that nobody can guess for each task")


def _version(now: float, taken: list[str]) -> str:
    """`%Y%m%d%H%M%S` of now, or the first second after it that is free."""
    second = int(now)
    while (version := datetime.fromtimestamp(second, UTC).strftime("%Y%m%d%H%M%S")) in taken:
        second += 1
    return version


def _hex(told: Mapping[str, Any], name: str) -> str:
    """An id from the other side's answer."""
    found = told.get(name)
    if not isinstance(found, str) or len(found) != 32 or not set(found) <= set("0123456789abcdef"):
        raise Malformed(f"the other console's answer has no {name} of 32 hexadecimal digits")
    return found
