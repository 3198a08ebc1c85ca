"""Which things can go wrong, whose fault is each, and what should the reader do next?

Two families. *Rejected*: the caller must change something, the same request is never retried. *Unavailable*: the same
request may succeed later, it may be repeated with the same id. Every error carries a stable `code`, the HTTP status
that stands for it at the front door, and, where there is one, a `hint`: the next step in the reader's words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault in a document that somebody sent: the dotted path of the field and what is wrong with it."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class EcnodeError(Exception):
    """Root of every error that this project raises on purpose."""

    code: ClassVar[str] = "EC-ERROR"
    status: ClassVar[int] = 500

    def __init__(self, message: str, *, hint: str = "", problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.problems = tuple(problems)


class Rejected(EcnodeError):
    """The caller must change the request."""

    code = "EC-REJECTED"
    status = 400


class Unavailable(EcnodeError):
    """The same request may succeed later."""

    code = "EC-UNAVAILABLE"
    status = 503


class Malformed(Rejected):
    """Bytes that are not a document, or break the frame they came in."""

    code = "EC-MALFORMED"
    status = 400


class Unauthorized(Rejected):
    """No credential, or one that this node does not know."""

    code = "EC-UNAUTHORIZED"
    status = 401


class Forbidden(Rejected):
    """A known caller that may not do this."""

    code = "EC-FORBIDDEN"
    status = 403


class NotFound(Rejected):
    """Nothing has that id or name."""

    code = "EC-NOT-FOUND"
    status = 404


class Conflict(Rejected):
    """The record exists already with another content, or its state forbids the event."""

    code = "EC-CONFLICT"
    status = 409


class Stale(Conflict):
    """The record is no longer as the caller believes."""

    code = "EC-STALE"
    status = 412


class TooLarge(Rejected):
    """A body, frame, list or picture above its named limit."""

    code = "EC-TOO-LARGE"
    status = 413


class OutOfRange(Rejected):
    """A part of something is asked for that lies beyond its end."""

    code = "EC-OUT-OF-RANGE"
    status = 416


class Invalid(Rejected):
    """A well-formed document whose fields are wrong; `problems` names each of them."""

    code = "EC-INVALID"
    status = 422


class ConfigInvalid(Invalid):
    """A config that cannot be run; `problems` names every fault at once."""

    code = "EC-CONFIG-INVALID"


class AssetMissing(Unavailable):
    """A model or a clip that this node needs is not on disk."""

    code = "EC-ASSET-MISSING"


class PeerUnreachable(Unavailable):
    """No live link to that node."""

    code = "EC-PEER-UNREACHABLE"


class PeerRefused(Unavailable):
    """The other side does not admit this node's key yet."""

    code = "EC-PEER-REFUSED"


class Busy(Unavailable):
    """A bounded queue is full."""

    code = "EC-BUSY"


class Superseded(Unavailable):
    """Something newer took its place before it was begun."""

    code = "EC-SUPERSEDED"


class DeadlineExceeded(Unavailable):
    """The answer did not come in time; the work may or may not have happened."""

    code = "EC-DEADLINE"
    status = 504


class ChildLost(Unavailable):
    """A child process ended, hung or broke its protocol."""

    code = "EC-CHILD-LOST"


class StorageFailed(Unavailable):
    """The database or the disk did not take the write: nothing was accepted."""

    code = "EC-STORAGE"
    status = 507


class DestinationFull(Unavailable):
    """The place where a finished file goes has no room; the file stays where it is."""

    code = "EC-DESTINATION-FULL"
    status = 507


class CopyDiffers(Unavailable):
    """What a disk gave back is not what was written to it; the original is untouched."""

    code = "EC-COPY-DIFFERS"


class NotAPlot(Rejected):
    """A file that is not the plot it should be."""

    code = "EC-NOT-A-PLOT"
    status = 422


class NotBuilt(Rejected):
    """A role or feature that this release does not have."""

    code = "EC-NOT-BUILT"
    status = 501


class Internal(EcnodeError):
    """A fault of this program."""

    code = "EC-INTERNAL"
    status = 500


def every_error(root: type[EcnodeError] = EcnodeError) -> Iterator[type[EcnodeError]]:
    """Yields the whole tree, parents first, in the order of definition."""
    yield root
    for child in root.__subclasses__():
        yield from every_error(child)


def from_wire(code: str, message: str, hint: str = "") -> EcnodeError:
    """Rebuilds an error that a peer reported; a code that this release does not know becomes `Internal`."""
    for kind in every_error():
        if kind.code == code:
            return kind(message, hint=hint)
    return Internal(f"{code}: {message}", hint=hint)
