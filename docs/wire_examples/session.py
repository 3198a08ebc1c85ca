"""How do the nodes of a private session agree to it, and run it?"""

from __future__ import annotations

from typing import Final

from node.model.cluster import Received
from node.model.federated import (
    TABLES,
    AlignmentRequest,
    PartyProgress,
    PartyRole,
    PinnedParty,
    Record,
    SessionSpec,
    SessionState,
    Traffic,
    TrainingRequest,
)
from node.model.wire.session import (
    SESSION_ANSWER,
    SESSION_CREATE,
    SESSION_END,
    SESSION_IDENTITY,
    SESSION_PULSE,
    SESSION_REPORT,
    SESSION_RUN,
    SESSION_SAY,
    IdentityReply,
    IdentityRequest,
    SessionAnswer,
    SessionCreate,
    SessionCreateReply,
    SessionEnd,
    SessionPulse,
    SessionReport,
    SessionRun,
    SessionSay,
    Signed,
)
from wire_examples.pair import Examples

SESSION: Final = "s-01jd8a4e9v0000000000000000"
_SIGNED: Final = (Signed(party="f1", signature="0a" * 64), Signed(party="label", signature="0b" * 64))
SPEC: Final = SessionSpec(
    session=SESSION,
    name="credit",
    coordinator="cloud-1",
    parties=(
        PinnedParty(name="main", role=PartyRole.MAIN, node="party-1", key="01" * 32),
        PinnedParty(name="producer", role=PartyRole.PRODUCER, node="party-2", key="02" * 32),
        PinnedParty(name="f1", role=PartyRole.FEATURE, node="bank-a", dataset="credit-a", key="03" * 32),
        PinnedParty(name="label", role=PartyRole.LABEL, node="bank-b", dataset="credit-b", label="y", key="04" * 32),
    ),
    alignment=AlignmentRequest(split_seed="5e1f"),
    training=TrainingRequest(steps=400, batch_seed="77aa"),
    round_timeout=10.0,
    tables=TABLES,
)

EXAMPLES: Final[Examples] = {
    SESSION_IDENTITY.name: (IdentityRequest(), IdentityReply(key="03" * 32)),
    SESSION_CREATE.name: (SessionCreate(spec=SPEC), SessionCreateReply(signatures=_SIGNED[:1])),
    SESSION_ANSWER.name: (SessionAnswer(session=SESSION, signatures=_SIGNED[:1]), Received()),
    SESSION_RUN.name: (SessionRun(session=SESSION, epoch=2, signatures=_SIGNED), Received()),
    SESSION_SAY.name: (SessionSay(session=SESSION, epoch=2, sender="f1", to="label", what="F step", index=812), Received()),
    SESSION_PULSE.name: (
        SessionPulse(
            session=SESSION,
            epoch=2,
            party="f1",
            progress=PartyProgress(
                stage="training", step=812, waits_for="label", traffic=Traffic(bytes_out=6815744), step_ms=4.5
            ),
        ),
        Received(),
    ),
    SESSION_REPORT.name: (
        SessionReport(
            session=SESSION,
            epoch=2,
            party="label",
            records=(Record(seconds=4.25, step=400, loss=0.46, metrics={"auc": 0.83, "ks": 0.51}),),
        ),
        Received(),
    ),
    SESSION_END.name: (
        SessionEnd(session=SESSION, state=SessionState.FAILED, reason="feature_client f1 silent for 10 s in step 812"),
        Received(),
    ),
}
