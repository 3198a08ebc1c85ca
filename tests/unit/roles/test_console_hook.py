"""The original's TaskInterface as a user writes it: made with task, instance and resources, and telling by call_back."""

from __future__ import annotations

import pytest

from node.clock import SystemClock
from node.errors import ConfigInvalid
from node.model.project import Instance, InstanceState, Project, ProjectTask, TaskKind, new_hex_id
from node.roles.federated.console.engine import Job, load_hook

TIMES = {"created_at": 1.0, "updated_at": 1.0}


class TaskInterface:
    """A hook."""

    def __init__(self, task, task_instance, resource_uri_list):
        self.task, self.task_instance, self.resources = task, task_instance, resource_uri_list

    def task_run(self, call_back):
        call_back(message={"type": self.task.type, "resources": self.resources}, gmt_start=2.0)
        call_back(message=self.task.to_dict()["config"], status=6)

    def task_start(self, call_back):
        raise OSError("no such engine")

    def task_stop(self, call_back):
        call_back(error={"stopped": self.task_instance.status})


class NoInterface:
    """Something else."""


def job(told):
    project = Project(id=new_hex_id(), peer_url="http://bank-b.example", **TIMES)
    task = ProjectTask(
        id=new_hex_id(),
        project=project.id,
        name="train",
        version="20261201093000",
        kind=TaskKind.TRAIN,
        root=True,
        config={"steps": 7},
        **TIMES,
    )
    instance = Instance(
        id=new_hex_id(), task=task.id, pairing=new_hex_id(), started_here=True, status=InstanceState.RUNNING, **TIMES
    )

    async def report(**given):
        told.append({name: value for name, value in given.items() if value is not None})

    return Job(project, task, instance, ("ecnode://objects/a",), report)


@pytest.fixture
def hook():
    return load_hook(f"{__name__}:TaskInterface", SystemClock())


async def test_a_hook_runs_in_a_thread_and_tells_by_call_back(hook):
    told = []
    await hook.run(job(told), again=False)
    assert told == [
        {"message": {"type": 1, "resources": ["ecnode://objects/a"]}, "started_at": 2.0},
        {"message": {"steps": 7}, "status": InstanceState.SUCCESS},
    ]


async def test_what_a_hook_raises_fails_its_instance_by_name(hook):
    told = []
    await hook.run(job(told), again=True)
    assert told[0]["status"] is InstanceState.FAILED
    assert told[0]["error"] == {"task_start": "OSError: no such engine"}


async def test_a_stop_is_a_call_of_its_own(hook):
    told = []
    await hook.stop(job(told))
    assert told == [{"error": {"stopped": 3}}]


@pytest.mark.parametrize("place", ["no_such_module:X", f"{__name__}:Missing", f"{__name__}:NoInterface", "json:loads"])
def test_what_is_no_task_interface_is_refused_at_the_start(place):
    with pytest.raises(ConfigInvalid, match=r"federated\.console\.engine"):
        load_hook(place, SystemClock())
