"""Which files and addresses do the engines of tasks get?

An object is a file under a name of its own, kept as a blob; a resource says that a task uses an address, such as an object's.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping
from typing import Final
from urllib.parse import quote, unquote

from pydantic import JsonValue

from node.errors import Conflict, Invalid, NotFound, Problem
from node.model.project import ProjectTask, Resource, StoredObject, new_hex_id
from node.storage.blobs import BlobStore
from node.storage.console import Book, ConsoleStore

SCHEME: Final = "ecnode://objects/"


class ObjectShelf:
    """The objects and resources of a console."""

    def __init__(self, store: ConsoleStore, blobs: BlobStore) -> None:
        self._store = store
        self._blobs = blobs

    # Objects

    async def put(self, owner: str, name: str, content: AsyncIterable[bytes], most: int) -> str:
        """The address of a new object.

        Raises:
            Conflict: there is one of that name.
            Invalid: it is empty.
        """
        if await self._named(name) is not None:
            raise Conflict(f"there is an object '{name:.100}' already", hint="delete it first")
        info = await self._blobs.put(content, most=most)
        if not info.size:
            raise Invalid("an object is not empty", problems=[Problem("data", "is empty")])

        def work(book: Book) -> StoredObject:
            if any(each.id == name for each in book.all(StoredObject, 1000)):
                raise Conflict(f"there is an object '{name:.100}' already", hint="delete it first")
            return book.add(StoredObject(id=name, blob=info.id, size=info.size, owner=owner, created_at=book.now))

        await self._store.write(work)
        return uri_of(name)

    async def object(self, name: str) -> StoredObject:
        """The object of that name; NotFound if there is none."""
        return await self._store.read(lambda page: page.get(StoredObject, name))

    async def objects(self) -> tuple[StoredObject, ...]:
        """All of them, the oldest first."""
        return await self._store.read(lambda page: page.all(StoredObject, 1000))

    async def delete(self, name: str) -> None:
        """Takes an object away; its blob too where no other object has the same content."""

        def work(book: Book) -> str | None:
            found = book.get(StoredObject, name)
            book.drop(found)
            return None if any(each.blob == found.blob for each in book.all(StoredObject, 1000)) else found.blob

        blob = await self._store.write(work)
        if blob is not None:
            try:
                await self._blobs.delete(blob)
            except NotFound:
                return  # somebody has deleted the blob by its own route

    async def _named(self, name: str) -> StoredObject | None:
        try:
            return await self.object(name)
        except NotFound:
            return None

    # Resources

    async def create(
        self, owner: str, task: str, name: str, uri: str, *, comment: str = "", config: Mapping[str, JsonValue] = {}
    ) -> Resource:
        """A resource of a task.

        Raises:
            NotFound: there is no such task, or no such object where the address is one's of an object here.
        """
        if uri.startswith(SCHEME):
            await self.object(unquote(uri.removeprefix(SCHEME)))

        def work(book: Book) -> Resource:
            book.get(ProjectTask, task)
            made = Resource(
                id=new_hex_id(),
                owner=owner,
                task=task,
                name=name,
                uri=uri,
                comment=comment,
                config=dict(config),
                created_at=book.now,
                updated_at=book.now,
            )
            return book.add(made)

        return await self._store.write(work)

    async def resource(self, id: str) -> Resource:
        """One of them; NotFound if there is none."""
        return await self._store.read(lambda page: page.get(Resource, id))

    async def resources(self, task: str) -> tuple[Resource, ...]:
        """Those of a task, the oldest first."""
        return await self._store.read(lambda page: page.find(Resource, task=task))

    async def describe(self, id: str, *, comment: str | None = None, config: Mapping[str, JsonValue] | None = None) -> Resource:
        """A resource under other words; its config is merged into what it has."""

        def work(book: Book) -> Resource:
            found = book.get(Resource, id)
            changes: dict[str, object] = {} if comment is None else {"comment": comment}
            if config is not None:
                changes["config"] = {**found.config, **config}
            return book.change(found, **changes)

        return await self._store.write(work)

    async def remove(self, id: str) -> None:
        """Takes a resource away; the object that it names stays."""
        await self._store.write(lambda book: book.drop(book.get(Resource, id)))


def uri_of(name: str) -> str:
    """The address of an object."""
    return SCHEME + quote(name, safe="")
