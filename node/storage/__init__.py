"""What is remembered: SQLite through peewee, one writer thread."""

from node.storage.store import Store, open_store

__all__ = ["Store", "open_store"]
