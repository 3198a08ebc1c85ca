"""How does a node start, talk to and end a child process?

A child runs one module of this package (`python -m node.roles.shared.…`) in a session of its own. It inherits one end of a
socket and nothing else: no environment but a few harmless variables, no terminal. It ends when the socket closes and, on
Linux, when its parent dies however it died.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NoReturn, Protocol, TypeVar

from node.clock import Clock
from node.errors import ChildLost
from node.roles.shared.channel import BlockingChannel, Bytes, Header, Message, pack, receive

log = logging.getLogger(__name__)

STOP_GRACE_S: Final = 1.0  # a child has no state to save: it gets this long between TERM and KILL
BEHIND_BYTES: Final = 64 * 1024  # not yet taken by a child that is behind; × one message more
READ_AHEAD_BYTES: Final = 512 * 1024  # twice that of a child that says more than is listened to; less would halt at each tensor
STDERR_LINE_BYTES: Final = 2000
_PASSED_ON: Final = ("PATH", "LANG", "LC_ALL", "TZ", "HOME", "TMPDIR", "LD_LIBRARY_PATH")
_PR_SET_PDEATHSIG: Final = 1

In = TypeVar("In")


class Child(Protocol):
    """A running child process, seen from the node."""

    @property
    def pid(self) -> int:
        """Its process id."""

    async def send(self, header: Header, blobs: Sequence[Bytes] = ()) -> None:
        """Writes one message; waits while the child is far behind.

        Raises:
            ChildLost: the child has gone.
        """

    def offer(self, header: Header, blobs: Sequence[Bytes] = ()) -> bool:
        """Writes one message at once, or says False and writes nothing, because the child is behind.

        Raises:
            ChildLost: the child has gone.
        """

    async def receive(self) -> Message | None:
        """The child's next message; None once it has gone."""

    async def stop(self) -> None:
        """Ends the child, first kindly; returns when it is gone. Harmless when repeated."""


class Spawner(Protocol):
    """Starts children."""

    async def spawn(self, module: str, settings: Header, *, name: str, descriptors: Mapping[str, int]) -> Child:
        """Starts `module`; `settings` and the inherited descriptors' numbers are its first message.

        Raises:
            ChildLost: the process could not be started.
        """


class ProcessSpawner:
    """Real processes of this machine."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def spawn(self, module: str, settings: Header, *, name: str, descriptors: Mapping[str, int]) -> Child:
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                module,
                str(theirs.fileno()),
                str(os.getpid()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env=_environment(),
                pass_fds=[theirs.fileno(), *descriptors.values()],
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise ChildLost(f"cannot start the child process '{name}': {error}") from error
        finally:
            theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours, limit=READ_AHEAD_BYTES)
        child = _ProcessChild(name, process, reader, writer, self._clock)
        await child.send({**settings, "descriptors": dict(descriptors)})
        return child


class _ProcessChild:
    def __init__(
        self,
        name: str,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        clock: Clock,
    ) -> None:
        self._name = name
        self._process = process
        self._reader = reader
        self._writer = writer
        self._clock = clock
        self._stderr = asyncio.create_task(self._log_stderr(), name=f"stderr of {name}")

    @property
    def pid(self) -> int:
        return self._process.pid

    async def send(self, header: Header, blobs: Sequence[Bytes] = ()) -> None:
        try:
            self._writer.writelines(pack(header, blobs))
            await self._writer.drain()
        except (ConnectionError, RuntimeError) as error:
            raise ChildLost(f"the child process '{self._name}' has gone") from error

    def offer(self, header: Header, blobs: Sequence[Bytes] = ()) -> bool:
        if self._writer.is_closing():
            raise ChildLost(f"the child process '{self._name}' has gone")
        if self._writer.transport.get_write_buffer_size() > BEHIND_BYTES:
            return False
        self._writer.writelines(pack(header, blobs))
        return True

    async def receive(self) -> Message | None:
        return await receive(self._reader)

    async def stop(self) -> None:
        self._writer.close()
        self._signal(signal.SIGTERM)
        try:
            async with self._clock.timeout(STOP_GRACE_S):
                await self._process.wait()
        except TimeoutError:
            self._signal(signal.SIGKILL)
            await self._process.wait()
        await self._stderr

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            self._process.send_signal(number)

    async def _log_stderr(self) -> None:
        stream = self._process.stderr
        if stream is None:
            raise ChildLost(f"the child process '{self._name}' was started without a stderr")
        while chunk := await stream.read(STDERR_LINE_BYTES):
            log.warning("child wrote to stderr", extra={"child": self._name, "text": chunk.decode(errors="replace").strip()})


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    # The address of a model or a picture is never a reason to print; OpenCV's warnings would be.
    return {**kept, "OPENCV_LOG_LEVEL": "ERROR", "OPENCV_FFMPEG_LOGLEVEL": "-8", "PYTHONUNBUFFERED": "1"}


def run_child(main: Callable[[BlockingChannel, Header, In], None], inbox: Callable[[BlockingChannel], In]) -> NoReturn:
    """What a child module calls as its `__main__`: sets up the channel, the end with the parent, and the inbox, runs `main`."""
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    _die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    channel = BlockingChannel(descriptor)
    settings = channel.receive()
    if settings is None:
        sys.exit(0)
    main(channel, settings.header, inbox(channel))
    sys.exit(0)


class Inbox:
    """The child's incoming messages, read by a thread, so that a child in the middle of its work still ends with its node."""

    def __init__(self, channel: BlockingChannel) -> None:
        self._channel = channel
        self._arrived = threading.Condition()
        self._messages: list[Message] = []
        threading.Thread(target=self._read, name="inbox", daemon=True).start()

    def take(self, timeout: float | None) -> list[Message]:
        """All messages that have arrived; waits for the first up to `timeout` seconds (None: without limit)."""
        with self._arrived:
            self._arrived.wait_for(lambda: bool(self._messages), timeout)
            messages, self._messages = self._messages, []
        return messages

    def _read(self) -> None:
        while (message := self._channel.receive()) is not None:
            with self._arrived:
                self._messages.append(message)
                self._arrived.notify()
        os._exit(0)  # the node has gone: nothing that this process could still do has a reader


class OneByOne:
    """As `Inbox`, for a child that is told one thing at a time: it reads where it works, and only the end has a thread.

    With a thread in between, each message would wait for that to hand it over: a fifth of a small call.
    """

    def __init__(self, channel: BlockingChannel) -> None:
        self._channel = channel
        threading.Thread(target=self._end, name="end", daemon=True).start()

    def next(self) -> Message:
        """The next message; waits for it."""
        message = self._channel.receive()
        if message is None:
            os._exit(0)
        return message

    def _end(self) -> None:
        self._channel.wait_end()
        os._exit(0)


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call above
        sys.exit(0)
