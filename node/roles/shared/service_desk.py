"""What may a caller ask of the services of this node?"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from node.clock import Clock
from node.errors import AssetMissing, Busy
from node.model.cluster import ServiceReport
from node.model.wire.compute import StageCall
from node.roles.shared import calibration
from node.roles.shared.compute_service import ComputeService, Outcome, PictureBlobs
from node.roles.shared.measured import Profile


class ServiceDesk:
    """The services of one node, for its door. `folder` has the models."""

    def __init__(self, compute: ComputeService, folder: Path, clock: Clock) -> None:
        self._compute = compute
        self._folder = folder
        self._clock = clock
        self._measuring = False

    def reports(self) -> tuple[ServiceReport, ...]:
        """The services that this node offers, with their figures."""
        return self._compute.reports()

    def lacks(self) -> Mapping[str, str]:
        """The services that it does not offer, as far as it is known why."""
        return self._compute.lacks

    async def call(
        self,
        stages: Sequence[StageCall],
        values: Mapping[str, JsonValue],
        pictures: PictureBlobs,
        *,
        wanted: Collection[str],
        deadline: float,
    ) -> Outcome:
        """As `ComputeService.call`."""
        return await self._compute.call(stages, values, pictures, wanted=wanted, deadline=deadline)

    async def bench(self, service: str) -> Profile:
        """Measures a service now; plans go on with what the calibration found.

        Raises:
            Busy: one is being measured.
            AssetMissing: this node does not offer it.
            Unavailable: the workers are too busy.
        """
        if self._measuring:
            raise Busy("a service is being measured already", hint="its answer comes within seconds")
        self._measuring = True
        try:
            found = await calibration.measure(self._compute, self._folder, self._clock, service)
        finally:
            self._measuring = False
        if found is None:
            raise AssetMissing(self._compute.lacks.get(service, f"'{service}' is not offered here"))
        return found
