"""Who gets in?

A `Directory` holds the admitted keys. A `Door` is the thread that answers libzmq's question (ZAP, RFC 27) for each new
connection: is this CURVE key one of them? libzmq fails open when nobody answers. Therefore every socket also sets
ZAP_ENFORCE_DOMAIN, this thread turns each exception into a refusal, and `problem` asks it, with a key that nobody has, whether
it still refuses.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import zmq
from zmq.utils import z85

from node.errors import Conflict, Unavailable
from node.transport import limits
from node.transport.base import Peer
from node.transport.keys import fingerprint, key_bytes, new_identity
from node.transport.knocks import Knocks
from node.transport.offences import Offences

log = logging.getLogger(__name__)

DOMAIN: Final = b"ecnode"
ZAP_ADDRESS: Final = "inproc://zeromq.zap.01"
PROBE_MS: Final = 500  # the thread answers within a millisecond; only a sick one costs this much
_STOP_ADDRESS: Final = "inproc://ecnode.door.stop"
_ZAP_VERSION: Final = b"1.0"


class Directory:
    """The admitted peers by public key (Z85); `knocks` are the keys that were refused, `offences` the peers that were cut.

    Readable from every thread: the table is replaced as a whole, never changed in place.
    """

    def __init__(self, peers: Iterable[tuple[str, Peer]]) -> None:
        self.knocks = Knocks()
        self.offences = Offences()
        self._peers = _table(peers, {})
        self._names = frozenset(peer.name for peer in self._peers.values())
        self._successors: Mapping[str, tuple[str, ...]] = {}
        self._watchers: tuple[Callable[[], None], ...] = ()

    def find(self, public: str) -> Peer | None:
        """The record of a key, or None for a stranger."""
        peer = self._peers.get(public)
        if peer is None and self._successors:
            return next((self._peers.get(old) for old, new in self._successors.items() if public in new), None)
        return peer

    def named(self, name: str) -> Peer | None:
        """The record under that name, or None where nobody here has it. Goes through all of them."""
        if name not in self._names:
            return None
        return next((peer for peer in self._peers.values() if peer.name == name), None)

    def succeed(self, public: str, successors: Sequence[str]) -> None:
        """The owner of `public` also answers to these keys, newest last; it is the same peer by any of them.

        Raises:
            Malformed: a key that is not one.
        """
        for successor in successors:
            key_bytes(successor)
        self._successors = {**self._successors, public: tuple(successors)}

    def keys_of(self, public: str) -> tuple[str, ...]:
        """The key itself and those that succeed it."""
        return (public, *self._successors.get(public, ()))

    def __contains__(self, name: object) -> bool:
        """Whether a node of that name is admitted."""
        return name in self._names

    def replace(self, peers: Iterable[tuple[str, Peer]]) -> None:
        """From now on these are admitted, and only these; live links of others end.

        Raises:
            Malformed: a key that is not one.
            Conflict: a key or a name twice.
        """
        self._peers = _table(peers, self._peers)
        self._names = frozenset(peer.name for peer in self._peers.values())
        for watcher in self._watchers:
            watcher()

    def watch(self, watcher: Callable[[], None]) -> Callable[[], None]:
        """Has `watcher` called after each replacement, in the thread that replaces; returns what ends it."""
        self._watchers = (*self._watchers, watcher)

        def end() -> None:
            self._watchers = tuple(other for other in self._watchers if other is not watcher)

        return end


def _table(peers: Iterable[tuple[str, Peer]], before: Mapping[str, Peer]) -> Mapping[str, Peer]:
    table: dict[str, Peer] = {}
    names: set[str] = set()
    for public, peer in peers:
        if public not in before:  # those were looked at already, and a thousand keys at each change would hold the loop
            key_bytes(public)
        if public in table or peer.name in names:
            raise Conflict(f"the directory has '{peer.name}' or its key twice", hint="one key per node, one node per key")
        table[public] = peer
        names.add(peer.name)
    return table


class Door:
    """The ZAP thread of one context. It must run before the first CURVE server of that context is bound."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], directory: Directory) -> None:
        self._context = context
        self._directory = directory
        self._thread = threading.Thread(target=self._run, name="ecnode-zap", daemon=True)
        self._stop: zmq.Socket[bytes] | None = None
        self.stranger = new_identity()  # never admitted: for probing
        self._refused: set[str] = set()

    def start(self) -> None:
        """Returns once the thread answers.

        Raises:
            Unavailable: it does not, or lets a stranger in.
        """
        self._stop = self._context.socket(zmq.PAIR)
        self._stop.linger = 0
        self._stop.bind(_STOP_ADDRESS)
        self._thread.start()
        problem = self.problem()
        if problem is not None:
            self.stop()
            raise Unavailable(problem)

    def stop(self) -> None:
        """Ends the thread. Harmless when repeated."""
        if self._stop is None:
            return
        if self._thread.is_alive():
            self._stop.send(b"")
            self._thread.join()
        self._stop.close()
        self._stop = None

    def problem(self) -> str | None:
        """A sentence when the door is not watched, else None. Asks the thread itself; blocks `PROBE_MS` at the worst."""
        if not self._thread.is_alive():
            return "the thread that admits peers has ended: nobody new gets in until the node is restarted"
        probe: zmq.Socket[bytes] = self._context.socket(zmq.REQ)
        try:
            probe.linger = 0
            probe.connect(ZAP_ADDRESS)
            probe.send_multipart([_ZAP_VERSION, b"probe", DOMAIN, b"", b"", b"CURVE", key_bytes(self.stranger.public)])
            if not probe.poll(PROBE_MS):
                return "the thread that admits peers does not answer: nobody new gets in"
            reply = probe.recv_multipart()
        except zmq.ZMQError as error:
            return f"the thread that admits peers cannot be asked: {error}"
        finally:
            probe.close()
        if len(reply) < 3 or reply[2] != b"400":
            return "the thread that admits peers did not refuse an unknown key"
        return None

    def _run(self) -> None:
        asked: zmq.Socket[bytes] = self._context.socket(zmq.REP)
        stop: zmq.Socket[bytes] = self._context.socket(zmq.PAIR)
        asked.linger = stop.linger = 0
        try:
            asked.bind(ZAP_ADDRESS)
            stop.connect(_STOP_ADDRESS)
            poller = zmq.Poller()
            poller.register(asked, zmq.POLLIN)
            poller.register(stop, zmq.POLLIN)
            while stop not in (ready := dict(poller.poll())):
                if asked in ready:
                    asked.send_multipart(self._judge(asked.recv_multipart()))
        finally:
            asked.close()
            stop.close()

    def _judge(self, request: list[bytes]) -> list[bytes]:
        number = request[1][: limits.WORD_CHARS] if len(request) > 1 else b""
        try:
            public = self._admitted(request)
        except Exception:  # one that ended this thread would leave the door unwatched
            log.exception("admission failed, connection refused")
            public = None
        if public is None:
            return [_ZAP_VERSION, number, b"400", b"key not admitted", b"", b""]
        return [_ZAP_VERSION, number, b"200", b"OK", public.encode("ascii"), b""]

    def _admitted(self, request: list[bytes]) -> str | None:
        """The key (Z85) of an admitted connection. ZAP: version, request id, domain, address, identity, mechanism, key."""
        if len(request) != 7:
            return None
        version, _, domain, address, _, mechanism, key = request
        if version != _ZAP_VERSION or domain != DOMAIN or mechanism != b"CURVE" or len(key) != 32:
            return None
        public: str = z85.encode(key).decode("ascii")
        if self._directory.find(public) is not None:
            return public
        if public != self.stranger.public:
            self._directory.knocks.note(public, address.decode("ascii", errors="replace"))
            self._note_refusal(public)
        return None

    def _note_refusal(self, public: str) -> None:
        """Says once per key what could be approved; a stranger who tries many keys fills neither the memory nor the log."""
        if public in self._refused or len(self._refused) >= limits.REFUSED_KEYS:
            return
        self._refused.add(public)
        log.warning("unknown key refused", extra={"fingerprint": fingerprint(public), "public_key": public})
