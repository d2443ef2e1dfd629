"""How sure a figure of a simulated fleet is: confidence intervals, each formula with its source."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final

LEVEL: Final = 0.95
"""The share of fleets whose interval has the true figure in it."""
_NORMAL: Final = NormalDist()

Interval = tuple[float, float]


def normal_quantile(level: float = LEVEL) -> float:
    """How many standard errors an interval of this level reaches to either side."""
    return _NORMAL.inv_cdf((1 + level) / 2)


def t_quantile(freedom: int, level: float = LEVEL) -> float:
    """The same for a mean whose spread is estimated from `freedom` + 1 values.

    Abramowitz and Stegun, "Handbook of Mathematical Functions", 26.7.5; within 1 % from 4 degrees of freedom on.
    """
    z = normal_quantile(level)
    z3, z5, z7, z9 = (math.pow(z, power) for power in (3, 5, 7, 9))
    terms = (
        (z3 + z) / 4,
        (5 * z5 + 16 * z3 + 3 * z) / 96,
        (3 * z7 + 19 * z5 + 17 * z3 - 15 * z) / 384,
        (79 * z9 + 776 * z7 + 1482 * z5 - 1920 * z3 - 945 * z) / 92160,
    )
    return z + sum(term / math.pow(freedom, power) for power, term in enumerate(terms, start=1))


def rate_interval(hits: int, count: int, level: float = LEVEL) -> Interval | None:
    """Wilson's interval for a rate; None for no cases.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    if count == 0:
        return None
    z2 = normal_quantile(level) ** 2
    rate = hits / count
    middle = rate + z2 / (2 * count)
    reach = math.sqrt(z2 * (rate * (1 - rate) / count + z2 / (4 * count * count)))
    scale = 1 + z2 / count
    return max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale)


def mean_interval(count: int, total: int, squares: int, level: float = LEVEL) -> Interval | None:
    """Student's interval for a mean, from the sum of the values and of their squares; None for less than five values."""
    if count < FEW:
        return None
    mean = total / count
    reach = t_quantile(count - 1, level) * standard_error(count, total, squares)
    return mean - reach, mean + reach


FEW: Final = 5
"""Fewer values say nothing of their own spread."""


def standard_error(count: int, total: int, squares: int) -> float:
    """Of a mean. The sums are whole numbers, so that nothing is lost before the division."""
    return math.sqrt((count * squares - total * total) / (count - 1)) / count
