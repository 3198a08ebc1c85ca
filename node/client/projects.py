"""What a client asks of projects with the consoles of others."""

from __future__ import annotations

from urllib.parse import quote

from node.client.connection import Connection, page_of
from node.model.document import from_document, to_document
from node.model.project import (
    AdministratorLink,
    ConsoleEvent,
    Instance,
    Pairing,
    Project,
    ProjectRequest,
    ProjectTask,
    ProjectTaskRequest,
    UserCard,
    new_hex_id,
)


class ProjectCalls(Connection):
    """Of projects; `ref` is a project's id, the beginning of it, or its name."""

    def create_project(self, request: ProjectRequest) -> Project:
        """Pairs a project with another console; give it an id, so that a repeat is harmless."""
        return from_document(Project, self._send("POST", "/projects", to_document(request)))

    def projects(self) -> tuple[Project, ...]:
        """The projects, the oldest first."""
        return page_of(Project, self._get("/projects")).items

    def project(self, ref: str) -> Project:
        """One project."""
        return from_document(Project, self._get(_place(ref)))

    def sync_project(self, ref: str) -> Project:
        """Tells the other side again."""
        return from_document(Project, self._send("POST", _place(ref, "sync"), None))

    def create_project_task(self, ref: str, request: ProjectTaskRequest) -> ProjectTask:
        """Makes a task, or a later version of one."""
        return from_document(ProjectTask, self._send("POST", _place(ref, "tasks"), to_document(request)))

    def project_tasks(self, ref: str) -> tuple[ProjectTask, ...]:
        """All versions of its tasks, the oldest first."""
        return page_of(ProjectTask, self._get(_place(ref, "tasks"))).items

    def pair_project_task(self, ref: str, id: str) -> Pairing:
        """Pairs a version of a task."""
        return from_document(Pairing, self._send("POST", _place(ref, "tasks", id, "pair"), None))

    def run_project_task(self, ref: str, task: str) -> Instance:
        """Asks for a run of a task's newest version."""
        return from_document(Instance, self._send("POST", _place(ref, "instances"), {"id": new_hex_id(), "task": task}))

    def instances(self, ref: str) -> tuple[Instance, ...]:
        """The runs of its tasks."""
        return page_of(Instance, self._get(_place(ref, "instances"))).items

    def instance(self, ref: str, id: str) -> Instance:
        """One run."""
        return from_document(Instance, self._get(_place(ref, "instances", id)))

    def accept_instance(self, ref: str, id: str) -> Instance:
        """Says yes to a run that the other side has asked for, or starts one again that was stopped."""
        return from_document(Instance, self._send("POST", _place(ref, "instances", id, "accept"), None))

    def stop_instance(self, ref: str, id: str) -> Instance:
        """Stops a run on both sides."""
        return from_document(Instance, self._send("POST", _place(ref, "instances", id, "stop"), None))

    def instance_events(self, ref: str, id: str) -> tuple[ConsoleEvent, ...]:
        """Every step of a run's life."""
        return page_of(ConsoleEvent, self._get(_place(ref, "instances", id, "events"))).items

    def users(self) -> tuple[UserCard, ...]:
        """Who may log in at the console."""
        return page_of(UserCard, self._get("/users")).items

    def administrator_link(self) -> AdministratorLink:
        """What makes one administrator, once."""
        return from_document(AdministratorLink, self._send("POST", "/users/link", None))


def _place(ref: str, *parts: str) -> str:
    return "/".join(["/projects", *(quote(part, safe="") for part in (ref, *parts))])
