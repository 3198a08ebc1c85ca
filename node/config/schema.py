"""Which settings does a node have, in which unit, and with which default?

Every table of the config file is one model here; the descriptions are the reference manual (docs/config.md and the JSON
Schema are made from them). A setting that is planned but not honoured by this release takes its default only: a file must
not believe in a protection that is not there.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
    field_validator,
    model_validator,
)

from node.config.address import http_address
from node.config.kinds import (
    CompatGroups,
    ConsoleKey,
    ConsolePrefix,
    ConsoleUrl,
    DatabaseUrl,
    Duration,
    Folder,
    HttpListen,
    Identifier,
    LabelName,
    LabelText,
    NodeName,
    ObjectFolder,
    OpenGroups,
    PeerAddress,
    PeerAddresses,
    PeerListen,
    PlotKey,
    PublicKey,
    Resolution,
    Roles,
    ServicePlace,
    SigningKey,
    Size,
    Texts,
    Words,
    one_or_many,
    unbuilt,
)

SCHEMA_VERSION: Final = 1
CLOUD_LISTEN: Final = ("tcp://0.0.0.0:7440",)


def host_name() -> str:
    """The machine's name in the letters that a node's name may have."""
    plain = re.sub(r"[^a-z0-9-]+", "-", socket.gethostname().partition(".")[0].lower()).strip("-")[:63]
    return plain or "node"


class Section(BaseModel):
    """Base of all tables: frozen, no unknown key, no coercion of one type into another."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class NodeSection(Section):
    """[node]: who this node is."""

    name: NodeName = Field(
        default_factory=host_name, description="Name of the node, unique in the system; default: the host name."
    )
    roles: Roles = Field(min_length=1, description="What the node is there for; required.")
    labels: dict[LabelName, LabelText] = Field({}, max_length=64, description="Text pairs that targets of tasks can ask for.")
    data_dir: Folder = Field(
        default_factory=lambda: Path.home() / ".local/share/ecnode",
        description="Folder of the identity key, the token, the database and the blobs; only its owner may read it.",
    )
    assets_dir: Folder = Field(
        default_factory=lambda: Path.home() / ".cache/ecnode/assets", description="Folder of fetched models and clips."
    )


class AllowedPeer(Section):
    """[[transport.allow]]: one node that is admitted, by its key."""

    name: NodeName = Field(description="Name that the node is known by here.")
    key: PublicKey = Field(description="Its public key, as `ecnode id` prints it there.")
    roles: Roles = Field(min_length=1, description="Roles it may act in.")
    address: PeerAddress | None = Field(None, description="Where it listens; needed to join it.")


class TransportConfig(Section):
    """[transport]: how nodes reach each other."""

    listen: PeerListen = Field(
        (), description="Addresses to bind for other nodes; default: tcp://0.0.0.0:7440 for role cloud, none otherwise."
    )
    advertise: PeerAddress | None = Field(
        None, description="Address that other members are told to dial; default: the first of listen that names one host."
    )
    join: PeerAddresses = Field(
        (),
        description="Nodes to connect to; each is the address of an entry of allow, which holds its key. "
        "A node that joined with a token knows its cloud without it.",
    )
    allow: Annotated[tuple[AllowedPeer, ...], BeforeValidator(one_or_many)] = Field(
        (), max_length=4096, description="Nodes that are admitted without being asked for."
    )
    security: Literal["curve", "null"] = Field(
        "curve", description="null only where every address is loopback or a local socket."
    )
    admit: Literal["token", "approve", "allow-list"] = Field(
        "token",
        description="How an unknown node gets in at a cloud: with a join token (token), only once somebody has approved it "
        "(approve), not at all (allow-list). `ecnode peers approve` works under the first two.",
    )
    heartbeat: Duration = Field(2.0, ge=0.05, le=3600, description="Time between two reports to peers.")
    suspect_after: Duration = Field(6.0, ge=0.1, le=86400, description="Silence after which a peer is suspect.")
    dead_after: Duration = Field(
        20.0, ge=0.2, le=86400, description="Silence after which a peer is lost and its work is moved."
    )
    max_message: Size = Field(
        8 * 2**20,
        ge=320 * 2**10,
        le=8 * 2**20,
        description="Largest message or picture taken from a peer; from 320 KiB, which a quarter of a blob's chunk needs.",
    )
    max_in_flight: int = Field(64, ge=1, le=4096, description="Calls to one peer that may wait for their answer at once.")
    relay: StrictBool = Field(
        True,
        description="At a cloud: pass on what members ask of each other where they have no direct link. "
        "At a member: ask, and be asked, over its clouds. Whoever relays could read what is not sealed by the session.",
    )


class TlsConfig(Section):
    """[http.tls]: certificate of the HTTP door."""

    cert: str = Field("", description="File of the certificate chain, PEM.")
    key: str = Field("", description="File of the private key, PEM.")


class HttpConfig(Section):
    """[http]: the front door for people and programs."""

    listen: HttpListen = Field(("127.0.0.1:7480",), min_length=1, description="Addresses to bind, one text or a list of them.")
    auth: Literal["token", "loopback", "none"] = Field(
        "token",
        description="token: requests carry the node's token. loopback: this machine needs none. none: `--dev` only.",
    )
    hosts: Texts = Field(("localhost", "127.0.0.1"), min_length=1, description="Host headers that are answered, without port.")
    max_upload: Annotated[Size, Field(ge=0)] = Field(256 * 2**20, description="Largest body of one upload.")
    tls: Annotated[TlsConfig, unbuilt(TlsConfig(), "put a proxy that speaks TLS before the node")] = Field(
        TlsConfig(), description="Certificate; not built into this release."
    )
    compat: CompatGroups = Field(
        ("video", "pai", "talent", "tasks"),
        description="Groups of the originals' routes at the root besides /compat; `tasks` and `efls` exclude each other.",
    )
    compat_open: OpenGroups = Field(
        ("video",),
        description="Groups that callers of this machine need no token for, never `tasks` and `efls`; default: none where the "
        "door listens beyond it.",
    )
    dashboard: Annotated[StrictBool, unbuilt(False, "leave it false")] = Field(
        False, description="The page for people; not built into this release."
    )

    @model_validator(mode="after")
    def _open_on_loopback_only(self) -> Self:
        if "compat_open" not in self.model_fields_set and not all(http_address(address).loopback for address in self.listen):
            object.__setattr__(self, "compat_open", ())  # frozen for everybody else; here the value is still in the making
        return self


class KeepConfig(Section):
    """[storage.keep]: how old a record may become."""

    results: Duration = Field(
        7 * 86400.0,
        ge=60,
        le=10 * 366 * 86400,
        description="Age at which results of queries are deleted; the newest one of each query stays.",
    )
    logs: Duration = Field(
        14 * 86400.0,
        ge=60,
        le=10 * 366 * 86400,
        description="Time after its end at which what a task has said is deleted; its record stays.",
    )
    bundles: Annotated[Duration, unbuilt(0.0, "no bundle is deleted by age yet, leave it away")] = Field(
        0.0, description="Age at which bundles are deleted; not built into this release."
    )


class StorageConfig(Section):
    """[storage]: what is remembered, and where."""

    database: DatabaseUrl = Field(
        "sqlite:///node.db",
        description="Database url; sqlite:///name lies in data_dir, sqlite:///:memory: forgets all at the end.",
    )
    objects: ObjectFolder = Field("objects/", description="Folder of blobs below data_dir.")
    blob_quota: Annotated[Size, Field(ge=0)] = Field(
        16 * 2**30, description="Bytes that all blobs together may take, those that come in too."
    )
    keep: KeepConfig = Field(KeepConfig(), description="How old records may become.")


class LogConfig(Section):
    """[log]: what the node tells about its work."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least important line that is written.")
    format: Literal["auto", "text", "json"] = Field("auto", description="auto: coloured lines on a terminal, JSON otherwise.")


class CloudConfig(Section):
    """[cloud]: the role that plans."""

    scheduler: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*(:[A-Za-z_][A-Za-z0-9_]*)?$")] = Field(
        "robust",
        description="Who chooses the plans of video queries: robust, ewma, cold_start, pid, fixed, or package.module:Class.",
    )
    tick: Duration = Field(1.0, ge=0.05, le=60, description="Time between two looks at all queries.")
    max_tasks: Annotated[int, unbuilt(64, "tasks.at_once says how many run at once")] = Field(
        64, description="Tasks at once; not built into this release."
    )
    lease: Duration = Field(
        15.0,
        ge=5,
        le=86400,
        description="Time that a member may work for this cloud without hearing from it; it rests 2 s before the end.",
    )


class SourceConfig(Section):
    """[edge.sources.NAME]: one camera or clip."""

    url: Annotated[str, StringConstraints(min_length=1, max_length=2000)] = Field(
        description="A file, the number of a camera, or an rtsp:// or http:// address; required."
    )
    kind: Annotated[str, StringConstraints(max_length=200)] = Field("", description="What it shows, in words.")
    id: int | None = Field(
        None, ge=0, le=2**31, description="Number that the original clients call video_id; default: the lowest free one."
    )
    resolution: Resolution | None = Field(None, description="Largest resolution to take; default: what it delivers.")
    fps: float | None = Field(
        None, gt=0, le=240, allow_inf_nan=False, description="Pictures per second to take; default: what it delivers."
    )
    loop: StrictBool = Field(False, description="Begin a file again at its end.")
    reconnect: Duration = Field(
        300.0,
        ge=0,
        le=86400,
        description="How long a camera or an address that does not answer, or stops sending, is tried again before its queries "
        "fail; 0: not at all.",
    )
    gate: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of a picture that must have changed since the last one that was processed; below it the picture "
        "is skipped, and the last result holds. 0: every picture is processed.",
    )
    hold: Duration = Field(2.0, ge=0.1, le=60, description="Time after which a picture passes the gate in any case.")


class LimitsConfig(Section):
    """[edge.limits]: what the edge's work may use of the machine."""

    cpu: str = Field("", description="Share of one core, such as 150%.")
    memory: Annotated[Size, Field(ge=0)] = Field(0, description="Memory of all worker processes; 0: no limit.")


class EdgeConfig(Section):
    """[edge]: the role that owns cameras."""

    workers: int | None = Field(None, ge=1, le=256, description="Worker processes of services; default: cores - 1, at least 1.")
    offload: Literal["auto", "never", "always"] = Field("auto", description="Whether stages may run on other nodes.")
    limits: Annotated[LimitsConfig, unbuilt(LimitsConfig(), "limit the whole node by its service unit")] = Field(
        LimitsConfig(), description="Limits of the edge's work; not built into this release."
    )
    source_hosts: Texts = Field(
        (), max_length=256, description="Hosts that sources may be added from over HTTP though only this machine reaches them."
    )
    source_folders: Annotated[tuple[Folder, ...], BeforeValidator(one_or_many)] = Field(
        (), max_length=64, description="Folders whose files may be added as sources over HTTP."
    )
    sources: dict[Identifier, SourceConfig] = Field({}, max_length=256, description="The cameras and clips, by name.")

    @field_validator("sources")
    @classmethod
    def _number_the_sources(cls, sources: dict[str, SourceConfig]) -> dict[str, SourceConfig]:
        taken = {source.id for source in sources.values()}
        free = (number for number in range(len(sources) + len(taken)) if number not in taken)
        return {
            name: source if source.id is not None else source.model_copy(update={"id": next(free)})
            for name, source in sources.items()
        }


class TasksConfig(Section):
    """[tasks]: whose programs run on this node, and what they may use; each limit holds besides those of a task."""

    allow: Literal["any", "signed", "digest", "none"] = Field(
        "any",
        description="Whose: any that a caller with scope submit sends, those that one of signers has signed, those of "
        "digests, or none.",
    )
    signers: Annotated[tuple[SigningKey, ...], BeforeValidator(one_or_many)] = Field(
        (), max_length=64, description="Public keys whose programs run where allow is signed: `ecnode tasks key` prints one."
    )
    digests: Texts = Field((), description="SHA-256 of each script or bundle that may run where allow is digest.")
    at_once: int = Field(64, ge=1, le=1024, description="Programs of tasks that run at once; the others wait.")
    sandbox: Literal["L1", "L2", "L3"] = Field(
        "L1",
        description="Least level that tasks are shut in at; where the node has less, it refuses them. The highest that works "
        "is always used: L1 limits, L2 also Landlock and a filter of system calls, L3 also namespaces by bubblewrap.",
    )
    network: StrictBool = Field(False, description="Whether a task that asks for the network gets it.")
    packages: StrictBool = Field(False, description="Whether tasks may ask for packages, which pip installs here as wheels.")
    index: str = Field(
        "", max_length=2000, description="Whence they come: URL of an index or a folder of wheels; empty: pip's."
    )
    git_hosts: Texts = Field(
        (), max_length=256, description="Hosts to fetch from by git though only this machine reaches them."
    )
    git_folders: Annotated[tuple[Folder, ...], BeforeValidator(one_or_many)] = Field(
        (), max_length=64, description="Folders whose repositories tasks may come from."
    )
    own: dict[Identifier, Folder] = Field(
        {}, description="Files or folders of this node that a task may read, by the names that tasks ask for."
    )
    cpu: Annotated[Duration, Field(ge=0)] = Field(0.0, description="CPU time of each process of a task; 0: no limit.")
    wall: Annotated[Duration, Field(ge=0)] = Field(0.0, description="Time from its start to its end; 0: no limit.")
    memory: Annotated[Size, Field(ge=0)] = Field(4 * 2**30, description="Memory of a task; 0: no limit.")
    processes: int = Field(256, ge=1, le=65_536, description="Processes of a task.")
    output: Annotated[Size, Field(ge=2**20)] = Field(2**30, description="Bytes that a task may say.")
    disk: Annotated[Size, Field(ge=0)] = Field(8 * 2**30, description="Bytes in a task's folder; 0: no limit.")


PartyRoleName: TypeAlias = Literal["main_client", "crypto_producer", "feature_client", "label_client"]


class ConsolePeer(Section):
    """[[federated.console.peers]]: the console of another organisation, which this one may pair projects with."""

    url: ConsoleUrl = Field(
        description="Its base address, as it names itself, or ecnode://NODE where its node has a link to this one; required."
    )
    key: ConsoleKey = Field("", description="Its public key; default: the one that it shows at the first pairing is pinned.")
    near: StrictBool = Field(False, description="Whether it may lie at this machine's own and this link's addresses.")
    unsigned: StrictBool = Field(
        False,
        description="A console of the original, which signs nothing: whoever knows an id may then speak for it.",
    )


class ConsoleConfig(Section):
    """[federated.console]: projects with the consoles of others."""

    url: ConsoleUrl = Field(
        "",
        description="Base address at which others reach this console, such as http://bank-a.example:7480/compat/efls; "
        "no project can be paired without it.",
    )
    prefix: ConsolePrefix = Field("", description="Path such as /host under which the original's routes stand as well.")
    peers: Annotated[tuple[ConsolePeer, ...], BeforeValidator(one_or_many)] = Field(
        (), max_length=1000, description="The consoles that this one speaks with; others are refused."
    )
    approve: Literal["manual", "allow-list", "same-token", "auto"] = Field(
        "manual",
        description="Who says yes to a run that the other side asks for: somebody here (manual); nobody where the config has "
        "the console's key (allow-list), where the task still has the token that it was paired by (same-token), at all (auto).",
    )
    engine: ServicePlace = Field(
        "", description="What computes: `package.module:Class` with the original's TaskInterface; default: private sessions."
    )
    timeout: Duration = Field(10.0, ge=0.1, le=300, description="Time for one request to another console.")
    tries: int = Field(5, ge=1, le=20, description="How often a request that nobody answers is sent.")


class FederatedConfig(Section):
    """[federated]: the role that plays parties of private sessions."""

    capabilities: Annotated[tuple[PartyRoleName, ...], BeforeValidator(one_or_many)] = Field(
        ("main_client", "crypto_producer", "feature_client", "label_client"),
        description="The parties that this node may play.",
    )
    approve: Literal["manual", "allow-list", "same-token", "auto"] = Field(
        "manual",
        description="Who says yes to a session: somebody here (manual), nobody where its coordinator is on the list "
        "(allow-list) or whoever asked for it knows this node's `token` (same-token), nobody (auto).",
    )
    token: str = Field(
        "",
        max_length=200,
        description="What approve = same-token compares; the parties agree on it among themselves. "
        "`@file:PATH` keeps it out of this file.",
    )
    allow: Texts = Field((), max_length=1000, description="Names of the coordinators that approve = allow-list accepts.")
    data_root: str = Field("", description="Folder that sessions may read and write below; default: federated/ in data_dir.")
    min_intersection: int = Field(5, ge=5, le=10_000_000, description="Sessions that put up with fewer common ids are refused.")
    console: ConsoleConfig = ConsoleConfig()


class ServiceConfig(Section):
    """[services.NAME]: one compute service of the node; with an `implementation` one of the user's own.

    Where a cloud plans it and where an edge or the cloud runs it, the table must stand.
    """

    implementation: ServicePlace = Field(
        "",
        description="Who computes: `package.module:function`, or a class with `run`; empty: this program. Only the workers "
        "import it.",
    )
    folder: Folder | None = Field(None, description="Where its module lies, if it is not installed.")
    needs: Words = Field((), max_length=16, description="Its inputs, such as image; required of a new one.")
    gives: Words = Field((), max_length=16, description="Its outputs, such as bbox; required of a new one.")
    models: int = Field(1, ge=1, le=64, description="Variants of its model, from the lightest to the heaviest.")
    accuracy: float = Field(1.0, gt=0, le=1, description="Share that an implementation of one's own finds.")
    fixed_share: float = Field(1.0, ge=0, le=1, description="Share of its time that does not grow with the number of objects.")
    escalate_below: float = Field(
        0.0, ge=0, le=1, description="Mean prob below which the next heavier model looks again; 0: never."
    )
    cpu: float = Field(1.0, gt=0, le=256, description="Cores that one call takes, as the planner is told.")
    memory: Annotated[Size, Field(ge=0)] = Field(0, description="Memory that one worker takes for it.")
    replicas: Annotated[int, unbuilt(1, "edge.workers sets the workers of all services together")] = Field(
        1, description="Workers of this service alone; 1 is built into this release."
    )
    backend: Annotated[Literal["opencv", "onnxruntime", "remote"], unbuilt("opencv", "'opencv' is")] = Field(
        "opencv", description="What computes; opencv is built into this release."
    )
    device: Annotated[str, unbuilt("cpu", "'cpu' is")] = Field(
        "cpu", description="Where it computes; cpu is built into this release."
    )
    batch: Annotated[int, unbuilt(1, "pictures are computed one by one")] = Field(
        1, description="Pictures per call; 1 is built into this release."
    )


class CacheConfig(Section):
    """[[talent.cache]]: one temp directory."""

    path: Folder = Field(description="A folder that exists; each plot gets one of its own below it. Required.")
    max_parallel: int = Field(0, ge=0, le=256, description="Plots at once in it; 0: as many as there is room for.")
    reserve: Annotated[Size, Field(ge=0)] = Field(0, description="Bytes of its disk that plots leave free.")


class DestinationConfig(Section):
    """[[talent.destination]]: where finished plots go."""

    type: Literal["local", "nfs"] = Field(
        "local", description="nfs: a mounted share; while it is not mounted nothing is written to the folder beneath."
    )
    path: Folder = Field(description="A folder that exists; required.")


class PlotDefaults(Section):
    """[talent.defaults]: what a request leaves out."""

    ksize: int = Field(32, ge=18, le=50, description="Size of a plot.")
    threads: int = Field(4, ge=1, le=512, description="Threads of one plotter.")
    buffer_mib: int = Field(3390, ge=10, le=4_194_304, description="Memory of one plotter's sorts in MiB.")
    buckets: int = Field(0, ge=0, le=1024, description="Sort buckets; 0: the plotter chooses.")
    stripe_size: int = Field(0, ge=0, le=65_536, description="Stripe of chiapos; 0: the largest that works at the size.")
    bitfield: StrictBool = Field(True, description="Plot with bitfield, which takes less room and time.")
    fpk: PlotKey = Field("", description="Farmer's public key, 96 hex digits.")
    ppk: PlotKey = Field("", description="Pool's public key, 96 hex digits.")


class TalentConfig(Section):
    """[talent]: the role that plots."""

    plotter: Literal["builtin", "chia", "madmax", "bladebit"] = Field("builtin", description="Who computes.")
    command: str = Field("", max_length=1000, description="Path of the plotter; default: what PATH has. Not for builtin.")
    max_parallel: int = Field(4, ge=1, le=256, description="Plots at once.")
    max_per_device: int = Field(0, ge=0, le=256, description="Plots at once on one disk, in whichever folders; 0: no limit.")
    max_first_phase: int = Field(0, ge=0, le=256, description="Plots at once in phase 1 in one temp directory; 0: no limit.")
    stagger: Duration = Field(
        600.0,
        ge=0,
        le=864_000,
        description="Least time between two starts in one temp directory while the first is in phase 1.",
    )
    stop_grace: Duration = Field(5.0, ge=0.1, le=600, description="Time between TERM and KILL of a plotter that is to stop.")
    stall_timeout: Duration = Field(
        1800.0, ge=1, le=864_000, description="Time that a plotter may wait for room in its temp directory before it is ended."
    )
    dest_full_timeout: Duration = Field(
        86_400.0, ge=1, le=8_640_000, description="Time that a finished plot may wait for room at its destination."
    )
    challenges: int = Field(30, ge=1, le=10_000, description="Random challenges that a finished plot has to answer.")
    cache: Annotated[tuple[CacheConfig, ...], BeforeValidator(one_or_many)] = Field(
        (), max_length=64, description="The temp directories."
    )
    destination: Annotated[tuple[DestinationConfig, ...], BeforeValidator(one_or_many)] = Field(
        (), max_length=64, description="Where finished plots go."
    )
    defaults: PlotDefaults = PlotDefaults()


class NodeConfig(Section):
    """One node. Every setting has a default but `node.roles`."""

    schema_version: int = Field(SCHEMA_VERSION, alias="schema", description="Version of the file's format.")
    node: NodeSection
    transport: TransportConfig = TransportConfig()
    http: HttpConfig = HttpConfig()
    storage: StorageConfig = StorageConfig()
    log: LogConfig = LogConfig()
    cloud: CloudConfig = CloudConfig()
    edge: EdgeConfig = EdgeConfig()
    tasks: TasksConfig = TasksConfig()
    services: dict[Identifier, ServiceConfig] = Field({}, max_length=64, description="The compute services, for any role.")
    talent: TalentConfig = TalentConfig()
    federated: FederatedConfig = FederatedConfig()

    @field_validator("schema_version")
    @classmethod
    def _known_format(cls, version: int) -> int:
        if version > SCHEMA_VERSION:
            raise ValueError(f"the file has format {version}, this release reads {SCHEMA_VERSION}: install a newer ecnode")
        if version < SCHEMA_VERSION:
            raise ValueError(f"there is no format {version}; write schema = {SCHEMA_VERSION}")
        return version

    @model_validator(mode="after")
    def _cloud_listens(self) -> Self:
        if "cloud" in self.node.roles and "listen" not in self.transport.model_fields_set:
            transport = self.transport.model_copy(update={"listen": CLOUD_LISTEN})
            object.__setattr__(self, "transport", transport)  # frozen for everybody else; here the value is still in the making
        return self

    @property
    def identity_file(self) -> Path:
        """Where the node's key pair lies."""
        return self.node.data_dir / "identity.key"

    def plain(self) -> Mapping[str, object]:
        """The whole config as tables, lists, numbers and texts, under the names of the file."""
        plain: dict[str, object] = self.model_dump(mode="json", by_alias=True)
        return plain
