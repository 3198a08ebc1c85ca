"""How is something written so that an acknowledgement means it is on the disk, at more than the disk's pace?

One thread owns the only writing connection. It commits bursts: every operation but the first runs in a savepoint inside one
transaction, or shares one with its like as long as none of them fails; so a failing one harms nobody, and nobody is answered
before the commit that holds his work. Readers have a connection and a thread of their own and see the newest commit; the memory
store, which other connections cannot see, reads on the writer's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar, cast

from node import failpoints
from node.clock import Clock
from node.errors import Busy, EcnodeError, StorageFailed
from node.storage import backup, files
from node.storage.connection import FAULTS, Reading, Writing, connect, translated
from node.storage.lane import Burst, Joint, Lane, Operation
from node.storage.migrations import migrate

T = TypeVar("T")

LOG_MOST_BYTES: Final = 64 * 2**20  # the write-ahead log is cut back to this after a checkpoint

_PROBE: Final = (
    'INSERT INTO "counters" ("name", "value") VALUES (\'probe\', 1) ON CONFLICT ("name") DO UPDATE SET "value" = "value" + 1'
)


class _Writer:
    """The writer thread's part: one connection, one transaction a burst."""

    def __init__(self, path: Path | None, clock: Clock) -> None:
        self.commits = 0
        self.failure: str | None = None
        self.place = str(path) if path else "the memory store"
        self._path = path
        self._clock = clock
        self._kept = False

    def open(self) -> None:
        try:
            if self._path is not None:
                version = files.prepare(self._path)
                if not version:
                    self._make(self._path)
                elif version < backup.RELEASE:
                    backup.keep_before_upgrade(self._path, version)
            self._connection = self._connected(self._path)
        except (*FAULTS, OSError) as error:
            raise _refusal(error, self.place) from error

    def _make(self, path: Path) -> None:
        fresh = files.fresh_path(path)
        connection = connect(str(fresh))
        try:
            migrate(connection, self._clock.wall())
        finally:
            connection.close()
        files.put_in_place(fresh, path)

    def _connected(self, path: Path | None) -> Writing:
        mode = "wal" if path else "memory"
        connection = connect(str(path or files.MEMORY), journal_mode=mode, journal_size_limit=LOG_MOST_BYTES)
        try:
            if connection.row("PRAGMA journal_mode") != (mode,):
                raise StorageFailed(
                    f"{self.place} cannot be kept in WAL mode", hint="put data_dir on a local disk, not on a network share"
                )
            migrate(connection, self._clock.wall())
        except BaseException:
            connection.close()
            raise
        return connection

    def perform(self, burst: Burst[Writing]) -> None:
        try:
            if not self._alone(burst):
                self._transaction(burst)
        except (*FAULTS, EcnodeError) as error:
            self._undo(burst, error)
            return
        self.commits += 1
        faults = [operation.error for operation in burst.taken if isinstance(operation.error, StorageFailed)]
        self.failure = str(faults[0]) if faults else None
        try:
            failpoints.hit("after_commit_before_ack")
        except EcnodeError as error:
            for operation in burst.taken:
                operation.error = error

    def _alone(self, burst: Burst[Writing]) -> bool:
        """Whether a burst of one kind was done by one statement, which SQLite commits by itself.

        Every statement less is one struggle less with the event loop for the interpreter.
        """
        several = burst.alike()
        if not several:
            return False
        failpoints.hit("before_commit")
        try:
            values = type(several[0]).together(self._connection, several)
        except Exception:  # noqa: BLE001 - nothing was kept; whoever caused it is told when his operation is attempted alone
            return False
        return _handed_out(burst.taken, values)

    def _transaction(self, burst: Burst[Writing]) -> None:
        self._connection.change("BEGIN IMMEDIATE")
        self._kept = False
        alike: list[Operation[Writing]] = []  # neighbours whose work can be done together
        for operation in burst:
            if alike and type(operation.run) is not type(alike[0].run):
                self._attempt_all(alike)
                alike = []
            if isinstance(operation.run, Joint):
                alike.append(operation)
            else:
                self._attempt(operation)
        self._attempt_all(alike)
        failpoints.hit("before_commit")
        self._connection.change("COMMIT")

    def _attempt_all(self, alike: list[Operation[Writing]]) -> None:
        """One statement for all where that succeeds; one that fails harms nobody, they are attempted one by one then."""
        if len(alike) < 2 or not self._together(alike):
            for operation in alike:
                self._attempt(operation)

    def _together(self, alike: list[Operation[Writing]]) -> bool:
        several = [operation.run for operation in alike if isinstance(operation.run, Joint)]
        self._begin()
        try:
            values = type(several[0]).together(self._connection, several)
        except Exception as error:  # whoever caused it is told when his operation is attempted alone
            if not self._connection.in_transaction:
                raise StorageFailed(str(translated(error, self.place))) from error
            values = None
        self._end(keep=values is not None)
        return _handed_out(alike, values)

    def _attempt(self, operation: Operation[Writing]) -> None:
        self._begin()
        try:
            operation.value = operation.run(self._connection)
        except Exception as error:  # raised to the caller whose operation it is
            operation.error = translated(error, self.place)
            if not self._connection.in_transaction:  # SQLite has undone the whole burst by itself
                raise StorageFailed(str(operation.error)) from error
        self._end(keep=operation.error is None)

    def _begin(self) -> None:
        """Begins what may have to be undone alone. Before anything was kept the transaction itself is that."""
        if self._kept:
            self._connection.change("SAVEPOINT operation")

    def _end(self, *, keep: bool) -> None:
        if self._kept:
            if not keep:
                self._connection.change("ROLLBACK TO operation")
            self._connection.change("RELEASE operation")
        elif keep:
            self._kept = True
        else:
            self._connection.change("ROLLBACK")
            self._connection.change("BEGIN IMMEDIATE")

    def _undo(self, burst: Burst[Writing], error: Exception) -> None:
        """Nothing of the burst was kept: everybody in it hears so, even one who was refused by what is undone now."""
        cause = translated(error, self.place)
        self.failure = f"the last commit failed: {cause}"
        if self._connection.in_transaction:
            self._connection.change("ROLLBACK")
        hint = cause.hint if isinstance(cause, EcnodeError) else ""
        for operation in burst.taken:
            operation.error = StorageFailed(self.failure, hint=hint)
            operation.error.__cause__ = cause

    def close(self) -> None:
        self._connection.close()


def _handed_out(operations: Sequence[Operation[Writing]], values: Sequence[object] | None) -> bool:
    """Gives each operation its value; False where there are none."""
    for operation, value in zip(operations, values or (), strict=False):
        operation.value = value
    return values is not None


class _Reader:
    """The reader thread's part: a snapshot for each operation, taken after the operation was asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self) -> None:
        try:
            self._connection = connect(str(self._path), query_only=1)
        except FAULTS as error:
            raise _refusal(error, str(self._path)) from error

    def perform(self, burst: Burst[Reading]) -> None:
        for operation in burst:
            try:
                self._connection.change("BEGIN")
                operation.value = operation.run(self._connection)
            except Exception as error:  # noqa: BLE001 - raised to the caller whose operation it is
                operation.error = translated(error, str(self._path))
            if self._connection.in_transaction:
                self._connection.change("ROLLBACK")

    def close(self) -> None:
        self._connection.close()


class Database:
    """The two lanes of one SQLite database; made by `open`, used from one event loop."""

    def __init__(self, writer: _Writer, writing: Lane[Writing], reading: Lane[Reading] | None) -> None:
        self._writer = writer
        self._writing = writing
        self._reading = reading
        self._probe: asyncio.Future[object] | None = None

    @classmethod
    async def open(cls, path: Path | None, clock: Clock) -> Database:
        """The database at `path`, made or brought up to this release's schema where needed; None keeps it in memory.

        Raises:
            StorageFailed: it cannot be used; the hint says how to go on.
        """
        writer = _Writer(path, clock)
        writing = Lane("storage-writer", writer, clock)
        await writing.open()
        if path is None:
            return cls(writer, writing, None)
        reading = Lane("storage-reader", _Reader(path), clock)
        try:
            await reading.open()
        except BaseException:
            await writing.close()
            raise
        return cls(writer, writing, reading)

    def write(self, operation: Callable[[Writing], T]) -> asyncio.Future[T]:
        """What `operation` gives, once it is committed and on the disk. It runs on the writer thread, awaited or not.

        Raises:
            Busy: too many operations wait; at once, as where the store is closed.
            StorageFailed: nothing of the operation was kept.
        """
        return cast("asyncio.Future[T]", self._writing.post(operation))

    async def read(self, operation: Callable[[Reading], T]) -> T:
        """What `operation` finds in one snapshot, which holds every write that was acknowledged before this call.

        Raises:
            Busy: too many operations wait.
            StorageFailed: the disk cannot be read.
        """
        lane = self._reading if self._reading is not None else self._writing
        return cast(T, await lane.post(operation))

    @property
    def commits(self) -> int:
        """How many transactions were committed since `open`."""
        return self._writer.commits

    def healthy(self) -> str | None:
        """A sentence while the database takes no writes, else None.

        After a failure each call tries a write of its own, so that a disk with room again is noticed without any traffic.
        """
        if not self._writing.alive or (self._reading is not None and not self._reading.alive):
            return "the store is closed"
        failure = self._writer.failure
        if failure is not None and (self._probe is None or self._probe.done()):
            self._try_again()
        return failure

    def _try_again(self) -> None:
        try:
            self._probe = self._writing.post(lambda connection: connection.change(_PROBE))
        except Busy:  # everything that waits already is such a try
            return
        self._probe.add_done_callback(lambda probe: probe.cancelled() or probe.exception())  # `failure` tells of it

    async def close(self) -> None:
        """Finishes what is queued and joins the threads; repeating it is harmless."""
        if self._reading is not None:
            await self._reading.close()
        await self._writing.close()


def _refusal(error: Exception, place: str) -> Exception:
    if isinstance(error, OSError):
        return StorageFailed(
            f"{place} cannot be used: {error.strerror}", hint="check its folder, its permissions and the space on its disk"
        )
    return translated(error, place)
