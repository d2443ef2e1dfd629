"""Lengths of time that are not known exactly, each as a mean and a variance, so that a plan's times can be added up."""

from __future__ import annotations

from math import erfc, exp, log, pi, sqrt
from typing import Final, NamedTuple

_FAR_SIGMAS: Final = 4.0
"""So many standard deviations away a normal distribution has nothing that matters."""


class UncertainTime(NamedTuple):
    """A length of time with its variance, in milliseconds and their square."""

    mean_ms: float
    variance: float = 0.0

    def then(self, other: UncertainTime) -> UncertainTime:
        """Both, one after the other."""
        return UncertainTime(self.mean_ms + other.mean_ms, self.variance + other.variance)

    def scaled(self, factor: float) -> UncertainTime:
        """So many times as long."""
        return UncertainTime(self.mean_ms * factor, self.variance * factor * factor)


NO_TIME: Final = UncertainTime(0.0)


def left_over(median_ms: float, sigma: float, spent_ms: float) -> UncertainTime:
    """What is left of a log-normal time of which so much has passed: more than nothing, however overdue it is.

    `sigma` is the standard deviation of its logarithm; more than zero, as the median is.
    """
    far_ms = median_ms * exp(_FAR_SIGMAS * sigma)
    if spent_ms > far_ms:
        return left_over(median_ms, sigma, far_ms).scaled(spent_ms / far_ms)
    whole_ms = median_ms * exp(sigma * sigma / 2)
    if spent_ms <= 0:
        return UncertainTime(whole_ms, whole_ms**2 * (exp(sigma * sigma) - 1))
    position = log(spent_ms / median_ms) / sigma
    above = _above(position)
    mean_ms = whole_ms * _above(position - sigma) / above
    square = whole_ms**2 * exp(sigma * sigma) * _above(position - 2 * sigma) / above
    return UncertainTime(max(0.0, mean_ms - spent_ms), max(0.0, square - mean_ms**2))


def _above(position: float) -> float:
    """The share of a standard normal distribution above a position."""
    return erfc(position / sqrt(2)) / 2


def later(one: UncertainTime, other: UncertainTime) -> UncertainTime:
    """The later of two ends that do not depend on one another, by the first two moments.

    C. E. Clark, "The Greatest of a Finite Set of Random Variables" (1961).
    """
    if not one.mean_ms or not other.mean_ms:
        return other if other.mean_ms else one
    spread = sqrt(one.variance + other.variance)
    gap_ms = one.mean_ms - other.mean_ms
    if abs(gap_ms) >= _FAR_SIGMAS * spread:
        return one if gap_ms >= 0 else other
    alpha = gap_ms / spread
    first, density = 1 - _above(alpha), exp(-alpha * alpha / 2) / sqrt(2 * pi)
    mean_ms = one.mean_ms * first + other.mean_ms * (1 - first) + spread * density
    square = (
        (one.variance + one.mean_ms**2) * first
        + (other.variance + other.mean_ms**2) * (1 - first)
        + (one.mean_ms + other.mean_ms) * spread * density
    )
    return UncertainTime(mean_ms, max(0.0, square - mean_ms**2))
