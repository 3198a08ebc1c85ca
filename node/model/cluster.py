"""What does one node tell the others about itself?

Every node sends its report with each heartbeat; the cloud's registry keeps the newest one of each peer.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

from pydantic import Field, StrictBool, StringConstraints

from node.model.plot import TalentReport
from node.model.value import Count, Duration, Fraction, Items, Name, QueryId, Seconds, Text, Value, Word, Word63
from node.model.video import Resolution

Address: TypeAlias = Annotated[str, StringConstraints(pattern=r"^((tcp|ipc)://[\x21-\x7e]{1,300})?$")]


class Role(Word):
    """What a node is there for; one node may have several."""

    CLOUD = "cloud"
    EDGE = "edge"
    TALENT = "talent"
    FEDERATED = "federated"


class NodeState(Word):
    """What the registry thinks of a peer, by the age of its newest report."""

    READY = "ready"
    SUSPECT = "suspect"
    LOST = "lost"


class SourceState(Word):
    """Whether a video source can be read."""

    IDLE = "idle"
    OPEN = "open"
    ENDED = "ended"
    BROKEN = "broken"
    RETRYING = "retrying"


class ServiceReport(Value):
    """One compute service of a node: how quick it is and how busy.

    `profile` holds the measured seconds per call at each resolution for `profile_objects` objects; `cpu` cores and `memory_mib`
    are what a worker is said to take for it. `queued` calls of it wait for a worker now, `wait_ms` is the median of the newest.
    """

    name: Word63
    models: Count = 1
    cpu: Seconds = 1.0
    memory_mib: Seconds = 0.0
    profile: Annotated[dict[Resolution, Duration], Field(max_length=len(Resolution))] = {}
    profile_objects: Count = 0
    queued: Count = 0
    wait_ms: Seconds = 0.0
    calls: Count = 0
    failures: Count = 0


class SourceReport(Value):
    """One video source of an edge; `id` is the number that the original clients call video_id.

    `fps` is the most that it gives, `height` the rows of its pictures; 0 until it was opened, where the config does not say.
    """

    id: Count
    name: Word63
    kind: Text = ""
    fps: Seconds = 0.0
    height: Count = 0
    state: SourceState = SourceState.IDLE
    reason: Text = ""


class JobReport(Value):
    """A job that runs on the reporting edge; `epoch` is the plan of its next picture, 0 where that is not said."""

    query: QueryId
    attempt: Count
    epoch: Count = 0


class LinkReport(Value):
    """One live link of the reporting node.

    `bytes_s` is how wide it was found `measured_s` seconds before the report, 0 where nothing has told it yet.
    """

    peer: Name
    rtt_ms: Seconds
    bytes_out: Count = 0
    bytes_in: Count = 0
    bytes_s: Seconds = 0.0
    measured_s: Seconds = 0.0


LINKS_MOST: Final = 1024  # of a report; a cloud has more members than that, and tells the first ones


class NodeReport(Value):
    """One heartbeat. `boot` counts the starts of the node; `http` is the address its API is advertised at, `address` where
    other nodes may dial it, empty where they cannot; `offload` says whether stages of its own cameras may, must not or
    shall run elsewhere; `memory_mib` is all that the machine has. `cpu_fraction` is the share of all cores in use,
    `others_fraction` what of it is neither this process nor its children, `others_running` how many of their threads run or
    wait for a core, 0 where that is not told; `queued` calls wait for a worker.
    """

    name: Name
    roles: Items[Role]
    labels: Annotated[dict[Text, Text], Field(max_length=64)] = {}
    version: Text
    boot: Count
    http: Text
    address: Address = ""
    cores: Annotated[int, Field(ge=1, le=100_000)]
    workers: Count = 0
    queued: Count = 0
    cpu_fraction: Fraction
    others_fraction: Fraction = 0.0
    others_running: Seconds = 0.0
    memory_fraction: Fraction
    memory_mib: Seconds = 0.0
    rss_mib: Seconds
    services: Annotated[Items[ServiceReport], Field(max_length=64)] = ()
    sources: Annotated[Items[SourceReport], Field(max_length=256)] = ()
    jobs: Annotated[Items[JobReport], Field(max_length=256)] = ()
    offload: Literal["auto", "never", "always"] = "auto"
    talent: TalentReport | None = None
    links: Annotated[Items[LinkReport], Field(max_length=LINKS_MOST)] = ()

    def service(self, name: str) -> ServiceReport | None:
        """The report of one service, if the node offers it."""
        return next((service for service in self.services if service.name == name), None)


class NodeView(Value):
    """A node as the registry sees it. `seen_s` is the age of its newest report; a drained one gets no work."""

    state: NodeState
    seen_s: Seconds
    rtt_ms: Seconds | None
    fingerprint: Text
    drained: StrictBool = False
    report: NodeReport


class Received(Value):
    """The bare reply of a message that asks nothing."""

    ok: Literal[True] = True
