"""Which plan does the next picture of a job get, and which does one that is on its way have?

A picture keeps the plan that it was taken under. A plan comes with a safe one, which needs no other node; the edge goes over to
it by itself and comes back with the next plan of the cloud.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from node.model.video import Plan, SafePlan

FRAME_LIFE_S: Final = 5.0  # a picture older than this is of no use to anybody


class Plans:
    """The plans of one job on the node `here`."""

    def __init__(self, here: str, plan: Plan, safe: SafePlan | None) -> None:
        self.now = plan
        self._here = here
        self._safe = safe
        self._before = plan

    def use(self, plan: Plan, safe: SafePlan | None) -> bool:
        """Whether that is the plan from now on; one that is not newer changes nothing."""
        if plan.epoch <= self.now.epoch:
            return False
        self._before, self.now, self._safe = self.now, plan, safe
        return True

    def fall_back(self) -> bool:
        """Goes over to the safe plan; False where there is none, or it is used already."""
        return self._safe is not None and self.use(self._safe.plan, None)

    def of(self, epoch: int) -> Plan:
        """The plan that a picture was taken under."""
        return self._before if self._before.epoch == epoch else self.now

    def life(self, plan: Plan) -> float:
        """How many seconds after it was taken a picture is given up."""
        return FRAME_LIFE_S if self._safe is None or plan is not self.now else min(FRAME_LIFE_S, self._safe.after)

    def leaves(self, plan: Plan, stage: str) -> bool:
        """Whether the plan has another node run the stage, and is still the one of now."""
        place = plan.flow_mapping.get(stage)
        return plan is self.now and place is not None and place.node != self._here

    def lacks(self, ready: Callable[[str], bool]) -> list[str]:
        """The other nodes of the plan that are not there."""
        others = {place.node for place in self.now.flow_mapping.values()} - {self._here}
        return sorted(node for node in others if not ready(node))
