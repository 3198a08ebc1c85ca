from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from pydantic import ValidationError
from tasking import Desk

from node.errors import Forbidden
from node.model.task import TaskRequest
from node.roles.shared.task_environments import Packages
from node.roles.shared.task_policy import Rules


def wheel(folder: Path, name: str) -> None:
    """A package with one module that says its name."""
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as file:
        file.writestr(f"{name}.py", f"NAME = {name!r}\n")
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")


async def test_packages_are_installed_once_for_all_tasks_that_ask_for_the_same(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel(wheels, "greeting")
    desk = Desk(tmp_path, Rules("cloud-1"))
    desk.packages = Packages(allowed=True, index=str(wheels))
    await desk.live()
    first = await desk.until((await desk.submit("import greeting; print(greeting.NAME)", requirements=["greeting==1.0"])).id)
    assert (first.state, await desk.log(first.id)) == ("finished", "greeting\n")
    (made,) = (tmp_path / "tasks" / "environments").iterdir()
    inode = made.stat().st_ino
    second = await desk.until((await desk.submit("import greeting; print('again')", requirements=["greeting==1.0"])).id)
    assert (second.state, made.stat().st_ino) == ("finished", inode)
    lost = await desk.until((await desk.submit("pass", requirements=["nowhere"])).id)
    assert lost.reason.startswith("staging: the requirements cannot be installed: ERROR")
    await desk.die()


async def test_packages_are_refused_where_the_node_does_not_say_that_it_installs_any(tmp_path: Path) -> None:
    desk = await Desk(tmp_path, Rules("cloud-1")).live()
    with pytest.raises(Forbidden, match=r"no packages"):
        await desk.submit("pass", requirements=["greeting"])
    await desk.die()


@pytest.mark.parametrize("name", ["--index-url=http://x", "-e .", "./wheel.whl", "x @ http://x/x.whl", "git+https://x/x", ""])
def test_a_requirement_is_a_name_and_no_option_path_or_url(name: str) -> None:
    with pytest.raises(ValidationError):
        TaskRequest(script="pass", requirements=(name,))
