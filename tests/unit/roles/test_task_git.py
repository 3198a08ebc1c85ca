"""Commits as bundles, by real git: what hostile repositories, addresses and commits do not get."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from node.clock import SystemClock
from node.errors import EcnodeError, Forbidden, Invalid, Unavailable
from node.model.process import SandboxLevel
from node.model.task import GitSource
from node.roles.shared.runner.probe import Ladder
from node.roles.shared.runner.runner import Runner
from node.roles.shared.task_git import GitRules, GitSources, Origin, allowed, command, steps
from node.storage.blobs import FolderBlobs

CLOCK = SystemClock()


class Repository:
    """A repository on the disk, made by git itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.git("init", "--quiet")

    def git(self, *words: str) -> str:
        known = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
        environment = {**os.environ, **known, "GIT_CONFIG_GLOBAL": "/dev/null"}
        done = subprocess.run(["git", *words], cwd=self.folder, env=environment, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self, **files: str) -> str:
        for name, content in files.items():
            place = self.folder / name.replace("__", "/").replace("_", ".")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(content)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", "x")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


@pytest.fixture
async def sources(tmp_path: Path) -> AsyncIterator[GitSources]:
    async def ladder() -> Ladder:
        return Ladder(SandboxLevel.L1, {})  # the ladder has tests of its own

    blobs = FolderBlobs(tmp_path / "objects", CLOCK)
    await blobs.start()
    runner = Runner(CLOCK)
    yield GitSources(runner, blobs, tmp_path / "git", GitRules(folders=(tmp_path,)), ladder)
    assert not list((tmp_path / "git").iterdir()), "nothing that was under way is left"
    await runner.stop()
    await blobs.close()


async def names(sources: GitSources, url: str, commit: str) -> list[str]:
    blob = await sources.bundle(GitSource(url=url, commit=commit))
    content = await sources._blobs.read(blob, 0, (await sources._blobs.stat(blob)).size)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return archive.getnames()


async def test_an_older_commit_is_fetched_and_gives_the_same_blob_again(sources: GitSources, repository: Repository) -> None:
    wanted = repository.commit(main_py="print(1)", lib__a_py="")
    repository.commit(main_py="print(2)", later_py="")
    assert await names(sources, str(repository.folder), wanted) == ["lib", "lib/a.py", "main.py"]
    source = GitSource(url=f"file://{repository.folder}", commit=wanted)
    assert await sources.bundle(source) == await sources.bundle(source)


async def test_nothing_of_a_hostile_repository_runs(sources: GitSources, repository: Repository, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    hook = f"#!/bin/sh\ntouch {mark}\n"
    commit = repository.commit(
        main_py="pass",
        _gitmodules=f'[submodule "x"]\n\tpath = x\n\turl = ext::sh -c "touch {mark}"\n',
        _gitattributes="*.py filter=evil export-subst\n",
    )
    for name in ("post-checkout", "reference-transaction", "post-index-change", "fsmonitor-watchman", "pre-auto-gc"):
        place = repository.folder / ".git" / "hooks" / name
        place.write_text(hook)
        place.chmod(0o755)
    for key in ("filter.evil.smudge", "core.fsmonitor", "uploadpack.packObjectsHook", "tar.tar.command", "core.sshCommand"):
        repository.git("config", key, f"touch {mark}")
    assert "main.py" in await names(sources, str(repository.folder), commit)
    assert not mark.exists()


async def test_a_commit_that_is_not_there_is_said(sources: GitSources, repository: Repository) -> None:
    repository.commit(main_py="pass")
    with pytest.raises(Unavailable, match=r"git fetch of .*0000"):
        await sources.bundle(GitSource(url=str(repository.folder), commit="0" * 39 + "1"))


async def test_a_tree_is_no_commit(sources: GitSources, repository: Repository) -> None:
    repository.commit(main_py="pass")
    with pytest.raises(Unavailable):
        await sources.bundle(GitSource(url=str(repository.folder), commit=repository.git("rev-parse", "HEAD^{tree}")))


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c 'touch x'",
        "--upload-pack=touch x",
        "-oProxyCommand=touch",
        "https://host/a b",
        "https://host/a\nb",
        "",
    ],
)
def test_an_address_with_blanks_or_like_an_option_is_none(url: str) -> None:
    with pytest.raises(ValidationError):
        GitSource(url=url, commit="0" * 40)


@pytest.mark.parametrize("commit", ["HEAD", "main", "0" * 39, "-" * 40, "0" * 40 + "\n", "--output=/tmp/x" + "0" * 25])
def test_a_commit_is_named_in_full(commit: str) -> None:
    with pytest.raises(ValidationError):
        GitSource(url="https://host/x", commit=commit)


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("ext::sh", Invalid),
        ("git://host/x", Invalid),
        ("http://host/x", Invalid),
        ("relative/path", Invalid),
        ("file://host/x", Invalid),
        ("https://me:secret@host/x", Forbidden),
        ("https://token@host/x", Forbidden),
        ("ssh://-oProxyCommand=touch/x", Invalid),
        ("ssh://-oProxyCommand=touch@127.0.0.9/x", Invalid),
        ("ssh://127.0.0.9/-x", Invalid),
        ("me@127.0.0.9:-x", Invalid),
        ("https://127.0.0.1/x", Forbidden),
        ("https://169.254.169.254/x", Forbidden),
        ("ssh://me@[::1]/x", Forbidden),
        ("/etc", Forbidden),
        ("/tmp/allowed/../../etc", Forbidden),
        ("https://[/x", Invalid),
    ],
)
def test_what_may_not_be_fetched(url: str, error: type[EcnodeError]) -> None:
    with pytest.raises(error):
        allowed(url, GitRules(folders=(Path("/tmp/allowed"),)))


def test_a_link_out_of_an_allowed_folder_is_followed_before_it_is_judged(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(Forbidden):
        allowed(str(tmp_path / "link"), GitRules(folders=(tmp_path,)))


def test_what_is_allowed_goes_by_one_protocol_alone() -> None:
    origin = allowed("me@127.0.0.9:x.git", GitRules(hosts=("127.0.0.9",)))
    assert (origin.address, origin.protocol) == ("ssh://me@127.0.0.9/x.git", "ssh")
    for step in steps(Origin("https://host/x", "https"), "0" * 40)[1:]:
        words = command(step, Origin("https://host/x", "https"))
        assert {"protocol.allow=never", "protocol.https.allow=always", "core.hooksPath=/dev/null"} <= {*words}
        assert not any(word.startswith("protocol.") and "ext" in word for word in words)
