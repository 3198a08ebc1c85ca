"""Which other consoles does this one speak with, how does it ask them, and how does it know who asks?

A console that the config does not name is neither asked nor heard. Each has a key, from the config or pinned at the first
pairing; what it asks is signed, and so is what it answers. One that signs nothing is heard where the config says so.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, cast

from node.clock import Clock
from node.config.console_address import console_address
from node.config.schema import ConsoleConfig, ConsolePeer
from node.errors import Busy, Conflict, EcnodeError, Forbidden, Invalid, Malformed, NotFound, Problem, Rejected, Unavailable
from node.model.project import Project, fingerprint
from node.pipeline.federated import signed_request
from node.pipeline.federated.identity import SigningKey
from node.pipeline.federated.signed_request import REPLY_SIGNATURE, SKEW_S, Asked, Proven
from node.roles.federated.console.link import ConsoleLink
from node.storage.console import Book, ConsoleStore
from node.transport.console_http import Errand, Reply, send

log = logging.getLogger(__name__)

PAUSE_S: Final = 0.2  # before the second try; twice as long before each one more
PAUSE_MOST_S: Final = 3.0
SENDING_MOST: Final = 8  # at once; each blocks a thread until it is answered, `federated.console.timeout` at the most
LOOKING_MOST: Final = 2  # keys of newcomers at once: strangers can cause it
_REFUSALS: Final[Mapping[int, type[EcnodeError]]] = {401: Forbidden, 403: Forbidden, 404: NotFound, 409: Conflict}


class Peers:
    """The other consoles."""

    def __init__(
        self, key: SigningKey, config: ConsoleConfig, store: ConsoleStore, clock: Clock, link: ConsoleLink | None = None
    ) -> None:
        self._key = key
        self._config = config
        self._store = store
        self._clock = clock
        self._link = link
        self._entries = {entry.url: entry for entry in config.peers}
        self._threads = ThreadPoolExecutor(SENDING_MOST, thread_name_prefix="ecnode-console")
        self._looking = asyncio.Semaphore(LOOKING_MOST)

    @property
    def key(self) -> str:
        """This console's own public key."""
        return self._key.public

    @property
    def url(self) -> str:
        """Where others reach this console.

        Raises:
            Rejected: the config does not say it.
        """
        if not self._config.url:
            raise Rejected("this console has no address for others", hint="set federated.console.url, then start the node anew")
        return self._config.url

    def entry(self, url: str) -> ConsolePeer:
        """What the config says of the console at an address.

        Raises:
            Invalid: that is no address of a console.
            Forbidden: the config does not name it.
        """
        try:
            plain = str(console_address(url))
        except ValueError as error:
            raise Invalid(f"peer_url: {error}", problems=[Problem("peer_url", str(error))]) from None
        entry = self._entries.get(plain)
        if entry is None:
            raise Forbidden(
                f"this console does not speak with {plain}", hint="add it to [[federated.console.peers]] of this node's config"
            )
        return entry

    async def stop(self) -> None:
        """Begins no request any more. Harmless when repeated."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    # Being asked

    def proven(self, headers: Mapping[str, str], method: str, path: str, body: bytes) -> Proven | None:
        """Who has signed a request; None where nobody has.

        Raises:
            Unauthorized, Forbidden: the signature is not good.
        """
        if not signed_request.is_signed(headers):
            return None
        return signed_request.check(headers, Asked(self.key, method, path, body), self._clock.wall())

    def take(self, book: Book, proven: Proven | None) -> None:
        """Notes that a request is being taken; in the transaction of what it does.

        Raises:
            Conflict: it was taken before.
        """
        if proven is not None:
            book.take_nonce(proven.key, proven.nonce, book.now - 2 * SKEW_S)

    def may_speak(self, project: Project, proven: Proven | None) -> bool:
        """Whether whoever has asked is the other side of a project."""
        entry = self._entries.get(project.peer_url)
        if entry is None:
            return False
        if proven is None:
            return entry.unsigned and not project.peer_key
        return bool(project.peer_key) and hmac.compare_digest(project.peer_key, proven.key)

    async def newcomer(self, url: str, proven: Proven | None) -> str:
        """The key of a console that asks for a pairing, empty for one that signs nothing.

        A key that the config does not know is looked up at the address that it claims.

        Raises:
            Forbidden: it is not the console that it says it is, or may not be paired with.
        """
        entry = self.entry(url)
        if proven is None:
            if not entry.unsigned or entry.key:
                raise Forbidden("requests between consoles are signed", hint="unsigned = true takes those of the original")
            return ""
        known = await self.pinned(entry)
        if not known:
            if self._looking.locked():
                raise Busy("the keys of as many newcomers as may be at once are being looked up")
            async with self._looking:
                known = await self.key_at(entry)
        if not hmac.compare_digest(known, proven.key):
            raise Forbidden(
                f"{entry.url} has the key {fingerprint(known)}, the request is signed by {fingerprint(proven.key)}",
                hint="if that console has a new key, compare it by telephone and write it into [[federated.console.peers]]",
            )
        return proven.key

    def sign_answer(self, proven: Proven | None, status: int, body: bytes) -> str:
        """What proves an answer to a signed request; empty to another."""
        return "" if proven is None else signed_request.sign_reply(self._key, proven.nonce, status, body)

    # Asking

    async def pinned(self, entry: ConsolePeer) -> str:
        """The key that the config, or an earlier pairing, has for a console; empty where there is none."""
        if entry.key:
            return entry.key
        projects = await self._store.read(lambda page: page.all(Project, 1000))
        return next((each.peer_key for each in projects if each.peer_url == entry.url and each.peer_key), "")

    async def key_for(self, entry: ConsolePeer) -> str:
        """The key of a console that is to be asked for a pairing; empty for one that signs nothing."""
        if entry.unsigned and not entry.key:
            return ""
        return await self.pinned(entry) or await self.key_at(entry)

    async def key_at(self, entry: ConsolePeer) -> str:
        """The key that a console shows at its /health.

        Raises:
            Unavailable: it does not answer.
            Malformed: it shows none.
        """
        told = self._opened(await self._once(entry, "GET", "/health", {}, None))
        key = told.get("key")
        if not isinstance(key, str) or len(key) != 64 or not set(key) <= set("0123456789abcdef"):
            raise Malformed(
                f"{entry.url} shows no key", hint="unsigned = true in its entry speaks with a console of the original"
            )
        return key

    async def ask(self, project: Project, method: str, path: str, body: object = None) -> Mapping[str, Any]:
        """What the other side of a project answers; tried again while nobody does, each time signed anew.

        Raises:
            Rejected: it refuses.
            Unavailable: it cannot be reached, or not in time.
        """
        pause = PAUSE_S
        for left in range(self._config.tries - 1, -1, -1):
            try:
                return await self.ask_once(project, method, path, body)
            except Unavailable as error:
                if not left:
                    raise
                log.info("another console is asked again", extra={"project": project.id, "reason": error.message})
                await self._clock.sleep(pause)
                pause = min(2 * pause, PAUSE_MOST_S)
        raise AssertionError("federated.console.tries is at least 1")

    async def ask_once(self, project: Project, method: str, path: str, body: object = None) -> Mapping[str, Any]:
        """As `ask`, without trying again."""
        entry = self.entry(project.peer_url)
        content = None if body is None else json.dumps(body).encode()
        if not project.peer_key:
            if not entry.unsigned:
                raise Forbidden(f"no key of {entry.url} is known", hint="pair the project anew while that console answers")
            return self._opened(await self._once(entry, method, path, {}, content))
        asked = Asked(project.peer_key, method, path, content or b"")
        headers = signed_request.sign(self._key, asked, self._clock.wall())
        reply = await self._once(entry, method, path, headers, content)
        proof = reply.headers.get(REPLY_SIGNATURE.lower(), "")
        nonce = headers[signed_request.NONCE]
        if reply.status < 300 and not signed_request.check_reply(project.peer_key, proof, nonce, reply.status, reply.body):
            raise Malformed(f"the answer of {entry.url} is not signed by its key", hint="somebody else may answer there")
        return self._opened(reply)

    async def _once(self, entry: ConsolePeer, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> Reply:
        address = console_address(entry.url)
        if address.by_link:
            if self._link is None:
                raise Unavailable(f"{entry.url} is reached over a link, and this node has none")
            return await self._link.send(address.host, method, path, headers, body=body, timeout=self._config.timeout)
        errand = Errand(address, entry.near, method, path, headers, body)
        sending = partial(send, errand, self._config.timeout, self._clock.monotonic)
        return await asyncio.get_running_loop().run_in_executor(self._threads, sending)

    @staticmethod
    def _opened(reply: Reply) -> Mapping[str, Any]:
        """The `data` of an answer in the original's envelope."""
        try:
            told = json.loads(reply.body)
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict):
            kind = Unavailable if reply.status >= 500 else Malformed
            raise kind(f"the other console answers {reply.status} without the envelope of one", hint="is peer_url right?")
        message = str(told.get("message") or "")[:500]
        status = reply.status if reply.status >= 300 else int(told.get("http_code") or 200) if told.get("rsp_code") else 200
        if status >= 500:
            raise Unavailable(f"the other console cannot do it now: {message}")
        if status >= 300:
            raise _REFUSALS.get(status, Rejected)(f"the other console refuses: {message}")
        data = told.get("data")
        return cast(Mapping[str, Any], data if isinstance(data, dict) else {})
