"""What does the rest of the program get when it opens the store?"""

from __future__ import annotations

from pathlib import Path

from node.clock import Clock
from node.storage.access import Answers, Tokens
from node.storage.aliases import Aliases
from node.storage.cluster import Cluster
from node.storage.console import ConsoleStore
from node.storage.database import Database
from node.storage.datasets import Datasets
from node.storage.files import location
from node.storage.inbox import Inbox
from node.storage.members import Members
from node.storage.outbox import Outbox
from node.storage.plots import Plots
from node.storage.queries import Queries
from node.storage.sessions import Sessions
from node.storage.tasks import Tasks
from node.storage.uploads import Uploads


class Store:
    """Everything that a node remembers; made by `open_store`, closed by whoever opened it."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self.queries = Queries(database, clock)
        self.cluster = Cluster(database)
        self.aliases = Aliases(database)
        self.tokens = Tokens(database)
        self.answers = Answers(database)
        self.outbox = Outbox(database)
        self.inbox = Inbox(database)
        self.members = Members(database)
        self.orders = Plots(database, clock, "overlord")
        self.tasks = Tasks(database, clock)
        self.plots = Plots(database, clock, "talent")
        self.sessions = Sessions(database, clock)
        self.datasets = Datasets(database)
        self.uploads = Uploads(database)
        self.console = ConsoleStore(database, clock)

    def healthy(self) -> str | None:
        """A sentence while nothing can be written, else None."""
        return self._database.healthy()

    async def close(self) -> None:
        """Finishes what was asked for and releases the file; repeating it is harmless."""
        await self._database.close()


async def open_store(url: str, data_dir: Path, clock: Clock) -> Store:
    """The store at `url`: `sqlite:///node.db` is a file in `data_dir`, `sqlite:///:memory:` forgets everything at `close`.

    The memory store is a part of the product, for throw-away nodes and for tests: the same code on SQLite without a file,
    held to the same contract by the same suite.

    Raises:
        StorageFailed: the database is damaged, foreign, newer than this release, or its disk refuses; the hint says what
            to do, and the file is left as it was.
        NotBuilt: the URL of a database server.
        ConfigInvalid: a URL that names no database.
    """
    return Store(await Database.open(location(url, data_dir), clock), clock)
