"""How far off is a prediction, and how sure is that?

A residual is ln(observed / predicted). It drifts, it is seen through noise of unknown size, now and then one reading is far
off without meaning anything, and now and then everything has changed. One reading far off is only remembered; two in a row on
the same side reopen the gain. One frame that took 2.5 times as long must never lock a node out.
"""

from __future__ import annotations

from math import exp, sqrt
from typing import Final, Protocol

GATE: Final = 3.0  # standard deviations: noise alone is beyond them once in 370 readings
READING_MOST: Final = 3.0  # a factor of 20: a reading further off says no more than that
NOISE_LEAST, NOISE_MOST = 0.05**2, 0.6**2
NOISE_RATE: Final = 0.03  # the noise is a mean over about 30 readings
CERTAINTY_MOST: Final = 1.0  # variance: a factor of 2.7 either way is as good as knowing nothing
HOME_S: Final = 600.0  # what was not seen for so long is by 1/e nearer to the prediction


class Residual(Protocol):
    """One residual: its expected value, the variance of that, and the variance of a single reading around it."""

    @property
    def value(self) -> float: ...
    @property
    def variance(self) -> float: ...
    @property
    def noise(self) -> float: ...

    def age(self, seconds: float) -> None:
        """So much time has gone by without a reading."""

    def read(self, seen: float) -> bool:
        """Takes a reading; False where it was put aside as an outlier."""


class LogKalman:
    """A scalar Kalman filter with a gate of two strikes and a learned noise.

    `drift` is the variance that a second adds, up to `ceiling`.

    Source: video.md, model of delay.
    """

    __slots__ = ("_ceiling", "_drift", "_strike", "noise", "value", "variance")

    def __init__(self, *, variance: float, noise: float, drift: float, ceiling: float) -> None:
        self.value = 0.0
        self.variance = variance
        self.noise = noise
        self._drift = drift
        self._ceiling = ceiling
        self._strike = 0

    def age(self, seconds: float) -> None:
        """See `Residual`."""
        self.value *= exp(-seconds / HOME_S)
        self.variance = max(self.variance, min(self.variance + self._drift * seconds, self._ceiling))

    def read(self, seen: float) -> bool:
        """See `Residual`."""
        off = max(-READING_MOST, min(seen, READING_MOST)) - self.value
        gate = GATE * sqrt(self.variance + self.noise)
        side = 0 if abs(off) <= gate else 1 if off > 0 else -1
        self._learn_noise(max(-gate, min(off, gate)))
        if side and side != self._strike:
            self._strike = side
            return False
        if side:
            self.variance = min(self.variance + off * off, CERTAINTY_MOST)
        self._strike = side
        gain = self.variance / (self.variance + self.noise)
        self.value += gain * off
        self.variance *= 1 - gain
        return True

    def _learn_noise(self, off: float) -> None:
        """Outliers count as the gate, or a filter between two frequent values would never see one of them."""
        seen = off * off - self.variance
        self.noise += NOISE_RATE * (seen - self.noise)
        self.noise = max(NOISE_LEAST, min(self.noise, NOISE_MOST))


class MovingMean:
    """An exponentially weighted mean of readings: no gate, no certainty. It is what the robust scheduler is compared with."""

    __slots__ = ("noise", "value", "variance")
    ALPHA: Final = 0.3
    FADE_S: Final = 60.0

    def __init__(self) -> None:
        self.value = 0.0
        self.variance = 0.1**2
        self.noise = 0.1**2

    def age(self, seconds: float) -> None:
        """See `Residual`."""
        self.value *= exp(-seconds / self.FADE_S)

    def read(self, seen: float) -> bool:
        """See `Residual`."""
        self.value += self.ALPHA * (max(-READING_MOST, min(seen, READING_MOST)) - self.value)
        return True
