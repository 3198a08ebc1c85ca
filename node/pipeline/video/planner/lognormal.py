"""What is the chance that a sum of uncertain times stays below a limit?

Times are lognormal: a mean and the variance of their logarithm. Mean and variance of independent times add up, and the sum is
taken for lognormal again.

Source: L. F. Fenton, "The sum of log-normal probability distributions in scatter transmission systems", IRE Transactions on
Communications Systems 8 (1960), page 57.
"""

from __future__ import annotations

from math import erfc, expm1, log, log1p, sqrt
from typing import Final, NamedTuple

_ROOT_2: Final = sqrt(2.0)
LEAST_S: Final = 1e-9


class Time(NamedTuple):
    """A mean in seconds and the variance around it in square seconds; two of them are added part by part."""

    mean: float = 0.0
    variance: float = 0.0


def time_of(mean: float, log_variance: float) -> Time:
    """The time whose mean is known, and the variance of whose logarithm is."""
    return Time(mean, mean * mean * expm1(log_variance))


def chance_below(limit: float, mean: float, variance: float) -> float:
    """The chance that a time stays below `limit` seconds, between 0 and 1."""
    if limit <= 0.0:
        return 0.0
    mean = max(mean, LEAST_S)
    log_variance = log1p(variance / (mean * mean))
    if log_variance <= 0.0:
        return 1.0 if mean <= limit else 0.0
    return 0.5 * erfc((log(mean / limit) - log_variance / 2) / (_ROOT_2 * sqrt(log_variance)))
