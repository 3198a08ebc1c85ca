"""When does an epoch end, and who is to blame? The judgement of a coordinator, without a socket or a clock of its own.

Fed with what parties report and when they were last heard; `verdict` says whether the session goes on, is interrupted by
something that may pass, or has failed, and then in which words everybody hears it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from node.model.federated import PartyProgress, SessionSpec
from node.model.wire.session import SessionReport

SETTLE_S: Final = 0.6  # after the first complaint: others who know better are heard, and links that are down are seen
START_S: Final = 15.0  # until a worker process has loaded what it needs and is heard for the first time
STEPPED: Final = frozenset({"training", "dealing"})


class Fate(Enum):
    """What has become of an epoch."""

    GOES_ON = auto()
    FINISHED = auto()
    INTERRUPTED = auto()
    FAILED = auto()


@dataclass(frozen=True, slots=True)
class Verdict:
    """A fate and its reason in words."""

    fate: Fate
    reason: str = ""


@dataclass(slots=True)
class Watch:
    """One epoch of one session; times are the coordinator's clock."""

    spec: SessionSpec
    epoch: int
    began: float
    heard: dict[str, float] = field(default_factory=dict)
    progress: dict[str, PartyProgress] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    complaints: dict[str, SessionReport] = field(default_factory=dict)
    complained: float = 0.0
    lost: dict[str, float] = field(default_factory=dict)

    def pulse(self, party: str, progress: PartyProgress, now: float) -> None:
        """Takes where a party is."""
        self.heard[party] = now
        self.progress[party] = progress

    def report(self, report: SessionReport, now: float) -> None:
        """Takes what a party says for certain."""
        self.heard[report.party] = now
        if report.done:
            self.done.add(report.party)
        if report.error:
            self.complained = self.complained or now
            self.complaints.setdefault(report.party, report)

    def link(self, node: str, up: bool, now: float) -> None:
        """Takes that a node has gone; that it is back does not make its parties go on."""
        if not up:
            for party in self.spec.of_node(node):
                if party.name not in self.done:
                    self.lost.setdefault(party.name, now)

    def verdict(self, now: float) -> Verdict:
        """What has become of the epoch by now."""
        if len(self.done) == len(self.spec.parties):
            return Verdict(Fate.FINISHED)
        if self.lost:
            party = min(self.lost, key=lambda name: self.lost[name])
            return Verdict(Fate.INTERRUPTED, f"{self.spec.title(party)} was lost in {self.place(party)}")
        if self.complaints and now - self.complained >= SETTLE_S:
            return self._judged()
        silent = [party.name for party in self.spec.parties if self._silence(party.name, now) > self.spec.round_timeout]
        if silent:
            return Verdict(Fate.FAILED, self.silence(self.root(silent[0])))
        return Verdict(Fate.GOES_ON)

    def root(self, blamed: str) -> str:
        """Whom a chain of waiting parties waits for: one that waits itself is not the one that is silent."""
        seen: set[str] = set()
        while blamed not in seen and (waits := self.progress.get(blamed, PartyProgress()).waits_for):
            seen.add(blamed)
            blamed = waits
        return blamed

    def silence(self, party: str) -> str:
        """The sentence about a party that is not heard any more."""
        return f"{self.spec.title(party)} silent for {self.spec.round_timeout:g} s in {self.place(party)}"

    def place(self, party: str) -> str:
        """Where a party was when it was last heard, or the farthest of the others where it never was."""
        known: Sequence[PartyProgress] = [self.progress[party]] if party in self.progress else list(self.progress.values())
        if not known:
            return "the beginning"
        farthest = max(known, key=lambda each: each.step)
        return f"step {farthest.step}" if farthest.stage in STEPPED else farthest.stage or "the beginning"

    def _silence(self, party: str, now: float) -> float:
        return 0.0 if party in self.done else now - self.heard.get(party, self.began + START_S)

    def _judged(self) -> Verdict:
        reports = list(self.complaints.values())
        for report in reports:
            if not report.interruption and "silent for" not in report.error:
                return Verdict(Fate.FAILED, f"{self.spec.title(report.party)}: {report.error}")
        for report in reports:
            if report.interruption:
                return Verdict(Fate.INTERRUPTED, f"{self.spec.title(report.party)}: {report.error}")
        return Verdict(Fate.FAILED, self._silent_one(reports[0]))

    def _silent_one(self, report: SessionReport) -> str:
        """Who is silent: not the one that was named, where that one waits for another in turn."""
        named = next((party.name for party in self.spec.parties if self.spec.title(party.name) in report.error), "")
        root = self.root(named) if named else ""
        return report.error if root in {named, report.party, ""} else self.silence(root)
