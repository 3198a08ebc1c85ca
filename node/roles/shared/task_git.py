"""How does one commit of somebody's repository become the bundle of a task?

Git is told to trust nothing: no config of the machine or of a user, no hooks, no submodules, no helper but those of https, ssh
and files, no prompt, no redirect. It runs as a program like any other, with limits and shut in as far as this node can, and
nothing of the repository is ever run or checked out: the tree of the commit is written as an archive.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from node.errors import Forbidden, Invalid, Unavailable
from node.model.process import MIB, Limits
from node.model.task import GitSource
from node.roles.shared.reach import check_host, check_path
from node.roles.shared.runner.probe import Ladder
from node.roles.shared.runner.runner import Program, Runner
from node.roles.shared.runner.sandbox import Box
from node.storage.blobs import BlobStore

FETCH_S: Final = 300.0
DISK_MOST: Final = 2048 * MIB
AT_ONCE: Final = 2
SAID_BYTES: Final = 4096
SSH_PORT: Final = 22
HTTPS_PORT: Final = 443
_SCP: Final = re.compile(r"([A-Za-z0-9._-]+)@([A-Za-z0-9._-]+):([^/].*)")
_SETTINGS: Final = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "fetch.fsckObjects=true",
    "credential.helper=",
    "http.followRedirects=false",
    "protocol.allow=never",
    "gc.auto=0",
    "safe.directory=*",
)
_SSH: Final = "ssh -oBatchMode=yes -oStrictHostKeyChecking=yes -oProxyCommand=none -oPermitLocalCommand=no -oForwardAgent=no"


@dataclass(frozen=True, slots=True)
class GitRules:
    """What may be fetched besides https and ssh from hosts that everybody reaches."""

    hosts: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Origin:
    """A repository that may be fetched from: what git is given for it, by which protocol, and a place that has to be read."""

    address: str
    protocol: str
    place: str = ""


class GitSources:
    """Fetches commits, a few at a time. `folder` is for what is under way."""

    def __init__(
        self, runner: Runner, blobs: BlobStore, folder: Path, rules: GitRules, ladder: Callable[[], Awaitable[Ladder]]
    ) -> None:
        self._runner = runner
        self._blobs = blobs
        self._folder = folder
        self._rules = rules
        self._ladder = ladder
        self._places = asyncio.Semaphore(AT_ONCE)

    async def bundle(self, source: GitSource) -> str:
        """The blob of a tar archive with the tree of that commit: the same one whenever it is asked for.

        Raises:
            Forbidden, Invalid: it may not be fetched, or is no address.
            Unavailable: git could not fetch it, and what it said.
        """
        origin = await asyncio.to_thread(allowed, source.url, self._rules)
        async with self._places:
            folder = Path(await asyncio.to_thread(self._fresh))
            try:
                for number, step in enumerate(steps(origin, source.commit)):
                    await self._git(folder, number, step, origin)
                return (await self._blobs.put(folder / "work" / "tree.tar")).id
            finally:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def _fresh(self) -> str:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(dir=self._folder, prefix="fetch-")
        (Path(folder) / "work").mkdir(mode=0o700)
        return folder

    async def _git(self, folder: Path, number: int, step: Sequence[str], origin: Origin) -> None:
        ladder, work, own = await self._ladder(), folder / "work", folder / str(number)
        own.mkdir(mode=0o700)
        readable = (origin.place,) if origin.place else ()
        program = Program(
            folder=own,
            argv=command(step, origin),
            cwd=work,
            output=own / "output",
            environment=_environment(work, origin),
            watched=work,
            limits=Limits(wall_s=FETCH_S, disk_bytes=DISK_MOST, file_bytes=DISK_MOST, output_bytes=MIB, processes=64),
            box=Box(ladder.level.value, readable, (str(work),), origin.protocol != "file", ladder.etc),
        )
        run = await self._runner.start(program)
        try:
            facts = await run.wait()
        except asyncio.CancelledError:
            run.stop(grace=0.0)
            raise
        if not facts.good:
            said = await asyncio.to_thread(_last_line, own / "output")
            why = facts.error or (f"limit {facts.limit}" if facts.limit else said or f"exit code {facts.code}")
            raise Unavailable(
                f"git {step[0]} of {origin.address}: {why}", hint="is the commit there, and may this node read it?"
            )


def allowed(url: str, rules: GitRules) -> Origin:
    """What a url means, where this node may fetch from it; blocking.

    Raises:
        Forbidden, Invalid, Unavailable: it may not, or there is no such thing.
    """
    if (short := _SCP.fullmatch(url)) is not None:
        url = f"ssh://{short[1]}@{short[2]}/{short[3]}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise Invalid(f"git.url: {error}") from error
    scheme = parts.scheme.lower()
    if scheme in {"", "file"}:
        if not (url.startswith("/") or (scheme and not parts.netloc)):
            raise Invalid(f"git.url: '{url[:80]}' is neither https, nor ssh, nor the whole path of a folder")
        folders = f"name its folder in tasks.git_folders: {', '.join(map(str, rules.folders)) or 'none yet'}"
        place = str(check_path(Path(unquote(parts.path) if scheme else url), rules.folders, folders))
        return Origin(place, "file", place)
    if scheme not in {"https", "ssh"}:
        raise Invalid(f"git.url: '{scheme[:20]}' is not fetched", hint="https://…, ssh://… or the whole path of a folder")
    if parts.password is not None or (scheme == "https" and parts.username is not None):
        raise Forbidden("git.url holds a secret, which would be kept with the task", hint="use ssh with a key of the node")
    if host.startswith("-") or (parts.username or "").startswith("-") or parts.path.startswith("/-"):
        raise Invalid("git.url: a host, user or path that looks like an option")
    check_host(host, port or (SSH_PORT if scheme == "ssh" else HTTPS_PORT), rules.hosts, "name it in tasks.git_hosts")
    return Origin(url, scheme, str(Path("~/.ssh").expanduser()) if scheme == "ssh" else "")


def steps(origin: Origin, commit: str) -> tuple[tuple[str, ...], ...]:
    """What git is asked to do, one after the other, in an empty folder."""
    quiet = ("--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--no-auto-maintenance")
    return (
        ("init", "--quiet", "--bare", "--template=", "store"),
        ("fetch", *quiet, "--depth=1", "--end-of-options", origin.address, commit),
        ("cat-file", "commit", commit),
        ("archive", "--format=tar", "--output=tree.tar", "--end-of-options", commit),
    )


def command(step: Sequence[str], origin: Origin) -> list[str]:
    """The whole command line of one step."""
    settings = [*_SETTINGS, f"protocol.{origin.protocol}.allow=always"]
    place = [] if step[0] == "init" else ["--git-dir=store"]
    return ["git", *place, *(word for setting in settings for word in ("-c", setting)), *step]


def _environment(work: Path, origin: Origin) -> dict[str, str]:
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(Path.home()) if origin.protocol == "ssh" else str(work),
        "LANG": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_ALLOW_PROTOCOL": origin.protocol,
        "GIT_PROTOCOL_FROM_USER": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "GIT_SSH_COMMAND": _SSH,
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_LAZY_FETCH": "1",
    }


def _last_line(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - SAID_BYTES))
            return file.read(SAID_BYTES).decode(errors="replace").strip().rpartition("\n")[2][:300]
    except FileNotFoundError:
        return ""
