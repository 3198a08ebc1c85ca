"""What is a private session: who takes part, what is computed, and how does it go?

A `SessionRequest` is what somebody asks for; with the keys of the parties, fresh seeds and the digest of the public tables it
becomes the `SessionSpec`, which every party signs as it stands. What a session computes lies in `node.pipeline.federated`.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import Field, StrictBool, StringConstraints, model_validator

from node.lifecycle import LifeCycle
from node.model.value import Count, Items, Name, Seconds, SessionId, Text, Value, Word

PARTIES_MOST: Final = 16  # a message to everybody is 15 messages, a step's worth of waiting 15 peers
COLUMNS_MOST: Final = 4096
ROWS_MOST: Final = 10_000_000  # × 16 B a tag = 160 MB at the main client for each party
STEPS_MOST: Final = 10_000_000
METRICS_MOST: Final = 16
TABLES: Final = "5ff97184ae2ac00fc3c750d45c65a2be5f42535a1d5df6739265dd2c6ae0546a"
"""SHA-256 of the integers of the hidden sigmoid (`pipeline.federated.sigmoid`), which the parties of a session must have alike.
"""
LEAST_ROWS: Final = 5  # below, a split into training and test leaves one of them empty

Hex64 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Signature = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$")]
PartyName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,30}$")]
DatasetName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
RelativePath = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00-\x1f]*$")]
Seed = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Column: TypeAlias = ColumnName | Annotated[int, Field(ge=0, lt=COLUMNS_MOST)]
Metric = Literal["auc", "ks", "acc", "f1", "precision", "recall", "logloss", "auc_ks", "metrics_pack1"]


class PartyRole(Word):
    """What a party is there for."""

    MAIN = "main_client"
    PRODUCER = "crypto_producer"
    FEATURE = "feature_client"
    LABEL = "label_client"


DATA_ROLES: Final = frozenset({PartyRole.FEATURE, PartyRole.LABEL})


class Party(Value):
    """One party as it is asked for: its name in the session, its role, the node that plays it, and its data.

    `dataset` is a registered data set of that node, or `file` one below its data root that nobody registered; `columns` are
    those to use, by name or index, all without any. Where a session only trains, `prepared` is the output folder of the
    alignment before. `output` is the folder for what alignment writes.
    """

    name: PartyName
    role: PartyRole
    node: Name
    dataset: DatasetName | Literal[""] = ""
    file: RelativePath = ""
    columns: Annotated[Items[Column], Field(max_length=COLUMNS_MOST)] = ()
    label: ColumnName | Literal[""] = ""
    prepared: RelativePath = ""
    output: RelativePath = ""


class PinnedParty(Party):
    """A party with the Ed25519 key of its node."""

    key: Hex64


class AlignmentRequest(Value):
    """How the common ids are found and split.

    The least intersection is refused below; `bucket` rounds the number of ids up that the main client sees. `fraction` of all
    ids are test rows.
    """

    protocol: Literal["keyed"] = "keyed"
    min_intersection: Annotated[int, Field(ge=LEAST_ROWS, le=ROWS_MOST)] = 50
    bucket: Annotated[int, Field(ge=1, le=ROWS_MOST)] = 1
    fraction: Annotated[float, Field(ge=0.0, le=0.9)] = 0.2
    split_seed: Seed | Literal[""] = ""


class TrainingRequest(Value):
    """What is trained, and for how long.

    `open`: the label client sees the logits. `private`: nobody does, but those of the test rows where `reveal_test` says so.
    Without a mode a logistic model is trained in private, a linear one in the open.
    """

    model: Literal["logistic", "linear"] = "logistic"
    mode: Literal["open", "private", ""] = ""
    steps: Annotated[int, Field(ge=1, le=STEPS_MOST)] = 1000
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 64
    learning_rate: Annotated[float, Field(gt=0.0, le=100.0)] = 0.1
    test_every: Annotated[int, Field(ge=1, le=STEPS_MOST)] = 100
    metrics: Annotated[Items[Metric], Field(max_length=METRICS_MOST)] = ("auc", "ks")
    reveal_test: StrictBool = True
    checkpoint_every: Annotated[int, Field(ge=1, le=STEPS_MOST)] = 100
    batch_seed: Seed | Literal[""] = ""

    @model_validator(mode="after")
    def _linear_in_the_open(self) -> Self:
        if self.model == "linear" and self.mode == "private":
            raise ValueError(
                "a linear model is trained in mode 'open' only: its gradient has no place at the scale of 'private'"
            )
        return self

    @property
    def private(self) -> bool:
        """Whether the logits stay hidden."""
        return self.mode == "private" or (not self.mode and self.model == "logistic")


class PredictionRequest(Value):
    """Which model answers for the common rows: that of the session `model`, whose parties are here by the same names."""

    model: SessionId


def _roles_fit(parties: tuple[Party, ...], alignment: object, training: object, prediction: object) -> None:
    roles = [party.role for party in parties]
    doubled = {name for party in parties if [each.name for each in parties].count(name := party.name) > 1}
    if doubled:
        raise ValueError(f"parties have one name each; given twice: {', '.join(sorted(doubled))}")
    if alignment is None and training is None:
        raise ValueError("a session aligns, trains, or both; give 'alignment' or 'training'")
    needed = {PartyRole.MAIN: alignment is not None, PartyRole.PRODUCER: training is not None}
    for role, wanted in needed.items():
        if wanted and role not in roles:
            raise ValueError(f"no party is {role}, and {'alignment' if role is PartyRole.MAIN else 'training'} needs one")
    for role in (PartyRole.MAIN, PartyRole.PRODUCER, PartyRole.LABEL):
        if roles.count(role) > 1:
            raise ValueError(f"{roles.count(role)} parties are {role}, one at the most")
    if prediction is not None and (alignment is None or training is not None):
        raise ValueError("a prediction needs 'alignment', for its rows are found first, and no 'training' beside it")
    together = training is not None or prediction is not None
    if together and (PartyRole.LABEL not in roles or PartyRole.FEATURE not in roles):
        raise ValueError("training and prediction need a label_client and at least one feature_client")
    if sum(role in DATA_ROLES for role in roles) < 2:
        raise ValueError("at least two parties hold data: feature_client or label_client")
    for party in parties:
        has_source = party.dataset or party.file or (alignment is None and party.prepared)
        if party.role in DATA_ROLES and not has_source:
            raise ValueError(f"party {party.name} names no dataset")
        if party.role not in DATA_ROLES and (party.dataset or party.file or party.columns or party.label):
            raise ValueError(f"party {party.name} is {party.role} and has no data")


class SessionRequest(Value):
    """A session as it is asked for.

    `token` is what its parties have agreed on among themselves: nodes whose policy is same-token take part without asking
    anybody. It is not stored and not sent on; they are shown a proof that is good for this session alone.
    """

    id: SessionId | None = None
    name: Annotated[str, StringConstraints(max_length=200)] = ""
    parties: Annotated[Items[Party], Field(min_length=2, max_length=PARTIES_MOST)]
    alignment: AlignmentRequest | None = None
    training: TrainingRequest | None = None
    prediction: PredictionRequest | None = None
    round_timeout: Annotated[float, Field(ge=1.0, le=600.0)] = 10.0
    start: StrictBool = True
    token: Annotated[str, StringConstraints(max_length=200)] = ""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        _roles_fit(self.parties, self.alignment, self.training, self.prediction)
        return self


class SessionSpec(Value):
    """What all parties sign: the request with keys, seeds and the digest of the public tables filled in.

    `coordinator` is the node that was asked for it; it starts, watches and ends the session and sees counters and test metrics.
    """

    session: SessionId
    name: Annotated[str, StringConstraints(max_length=200)] = ""
    coordinator: Name
    parties: Annotated[Items[PinnedParty], Field(min_length=2, max_length=PARTIES_MOST)]
    alignment: AlignmentRequest | None = None
    training: TrainingRequest | None = None
    prediction: PredictionRequest | None = None
    round_timeout: Annotated[float, Field(ge=1.0, le=600.0)]
    start: StrictBool = True
    tables: Hex64

    @model_validator(mode="after")
    def _fits(self) -> Self:
        _roles_fit(self.parties, self.alignment, self.training, self.prediction)
        if (self.alignment and not self.alignment.split_seed) or (self.training and not self.training.batch_seed):
            raise ValueError("a spec names its seeds")
        return self

    @property
    def canonical(self) -> bytes:
        """The bytes that are signed: JSON with sorted keys, nothing left out."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode()

    @property
    def digest(self) -> bytes:
        """SHA-256 of `canonical`."""
        return hashlib.sha256(self.canonical).digest()

    def party(self, name: str) -> PinnedParty:
        """The party of that name; KeyError where there is none."""
        for party in self.parties:
            if party.name == name:
                return party
        raise KeyError(name)

    def of_node(self, node: str) -> tuple[PinnedParty, ...]:
        """The parties that a node plays."""
        return tuple(party for party in self.parties if party.node == node)

    def with_role(self, *roles: PartyRole) -> tuple[PinnedParty, ...]:
        """The parties that have one of the roles, in order."""
        return tuple(party for party in self.parties if party.role in roles)

    def title(self, name: str) -> str:
        """How a party is called in a sentence: `feature_client f1`."""
        return f"{self.party(name).role} {name}"


class SessionState(Word):
    """Where a session stands: its words of the end are those of everything else here."""

    CREATED = "created"
    ACCEPTED = "accepted"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"


_LIVE: Final = (SessionState.CREATED, SessionState.ACCEPTED, SessionState.RUNNING)

SESSION_LIFE: Final = LifeCycle(
    "session",
    SessionState.CREATED,
    {
        (SessionState.CREATED, "accept"): SessionState.ACCEPTED,
        (SessionState.ACCEPTED, "start"): SessionState.RUNNING,
        (SessionState.RUNNING, "resume"): SessionState.RUNNING,
        (SessionState.RUNNING, "finish"): SessionState.FINISHED,
        **{(state, "fail"): SessionState.FAILED for state in _LIVE},
        **{(state, "stop"): SessionState.STOPPED for state in _LIVE},
    },
)


class Traffic(Value):
    """What a party has sent and received in this epoch, without what its node adds; `rounds` are the waits for others."""

    bytes_out: Count = 0
    bytes_in: Count = 0
    messages_out: Count = 0
    messages_in: Count = 0
    rounds: Count = 0


class PartyProgress(Value):
    """Where a party is: its stage, its step, whom it waits for, how much it said, and how long a step takes it.

    `cpu_seconds` is what its worker process has used, `step_ms` the mean over the steps since the last report.
    """

    stage: Text = ""
    step: Count = 0
    waits_for: PartyName | Literal[""] = ""
    traffic: Traffic = Traffic()
    cpu_seconds: Seconds = 0.0
    step_ms: Seconds = 0.0
    rows_train: Count = 0
    rows_test: Count = 0


class Record(Value):
    """One test of the model: seconds since training began, steps done, loss, and each metric, null where it cannot be told."""

    seconds: Seconds
    step: Count
    loss: float | None
    metrics: Annotated[dict[str, float | None], Field(max_length=METRICS_MOST)] = {}


class PartyView(Value):
    """A party as its session's coordinator sees it: whether it has accepted, and its newest progress."""

    name: PartyName
    role: PartyRole
    node: Name
    accepted: StrictBool = False
    signature: Signature | Literal[""] = ""
    done: StrictBool = False
    error: Text = ""
    outputs: Annotated[Items[Text], Field(max_length=64)] = ()
    progress: PartyProgress = PartyProgress()


class Session(Value):
    """A session as a node remembers it. At its coordinator it has all parties' views, elsewhere those of the node's own.

    `epoch` counts the beginnings: 1 at the start, one more after every interruption. Times are wall seconds.
    """

    id: SessionId
    name: Text
    coordinator: Name
    state: SessionState
    reason: Text = ""
    epoch: Count = 0
    spec: SessionSpec
    parties: Annotated[Items[PartyView], Field(max_length=PARTIES_MOST)] = ()
    created_at: Seconds
    started_at: Seconds | None = None
    ended_at: Seconds | None = None


class SessionEvent(Value):
    """One step of a session's life: when it was taken, to which state it led, and why. `time` is wall seconds."""

    time: Seconds
    event: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_]{0,62}$")]
    state: SessionState
    reason: Text = ""


class DatasetRequest(Value):
    """A CSV file below `federated.data_root`: its header names the columns, `id` is the one that identifies a row.

    Without an `id` the first column is it; `label` is the column to be predicted, where this file has it.
    """

    name: DatasetName
    path: RelativePath
    id: ColumnName | Literal[""] = ""
    label: ColumnName | Literal[""] = ""


class Dataset(DatasetRequest):
    """A registered data set: what its file held when it was looked at. Nothing of a row is told."""

    columns: Annotated[Items[ColumnName], Field(max_length=COLUMNS_MOST)]
    rows: Annotated[int, Field(ge=0, le=ROWS_MOST)]
    digest: Hex64
    registered_at: Seconds


class Refusal(Value):
    """Why somebody does not take part; the coordinator and all parties read it."""

    reason: Text = ""


class PartyTraffic(Traffic):
    """What a party has said and heard in this epoch, and up to which step."""

    party: PartyName
    role: PartyRole
    step: Count


class SessionOutput(Value):
    """The files that a party has made, by their paths at its own node."""

    party: PartyName
    node: Name
    files: Items[Text]
