"""Log-normal times from measured ones, some of which were cut off before they ended; pure arithmetic.

What was cut off either would have ended later, or would never have ended: an installer that hangs, a person who has
gone. Both are estimated together by expectation and maximization (Dempster, Laird and Rubin, "Maximum likelihood from
incomplete data via the EM algorithm", 1977): for each cut-off time, how likely it is that it would have ended, and when.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

from simulator.whatif.intervals import normal_quantile, rate_interval

FEW_TIMES: Final = 20
"""Fewer finished times say too little."""
FEW_CASES: Final = 30
"""Fewer cases say too little of a chance."""
ROUNDS_MAX: Final = 1_000
CLOSE_ENOUGH: Final = 1e-9
SHORTEST_S: Final = 0.05
"""What takes less had nothing to do."""
LILLIEFORS: Final = 0.886
"""Over the root of the number: the distance that 5 % of true log-normal samples exceed when median and spread come from
the sample itself (H. Lilliefors, "On the Kolmogorov-Smirnov test for normality with mean and variance unknown", 1967).
"""
DISTANCE_UNIMPORTANT: Final = 0.03
"""In a large sample the smallest deviation is certain; one of this size changes no figure that anybody reads."""

_NORMAL: Final = NormalDist()


@dataclass(frozen=True, slots=True)
class TimesFit:
    """A log-normal that fits the times."""

    count: int
    """Times that ended."""
    cut_off: int
    """Times that were cut off."""
    median_s: float
    spread: float
    low_s: float
    high_s: float
    """The 95 % interval of the median."""
    never: float
    """The share that would never have ended."""
    distance: float
    """Kolmogorov and Smirnov's: the largest between what was measured and what is fitted, as shares."""

    @property
    def is_few(self) -> bool:
        """Too few to be relied on."""
        return self.count < FEW_TIMES

    @property
    def fits(self) -> bool:
        """Whether the times look log-normal."""
        return self.distance <= max(DISTANCE_UNIMPORTANT, LILLIEFORS / math.sqrt(self.count))

    def still_runs(self, after_s: float) -> float:
        """How likely something that ends is to run for longer than this."""
        return _survival(
            (math.log(max(after_s, SHORTEST_S)) - math.log(self.median_s)) / self._sigma
        )

    @property
    def _sigma(self) -> float:
        return max(math.log(self.spread), 1e-6)


def fit_times(
    finished: Sequence[float], cut_off: Iterable[float] = (), *, weight: float = 1.0
) -> TimesFit | None:
    """The log-normal of these times, in seconds; None when none ended.

    A cut-off time says that it takes longer than that, or for ever. `weight` is the share of the cut-off times that are
    of the same kind as the finished ones.
    """
    logs = sorted(math.log(time) for time in finished if time > SHORTEST_S)
    bins = Counter(_bin(time) for time in cut_off)
    cuts = {cut: number * weight for cut, number in bins.items()}
    if not logs:
        return None
    mean, sigma, never = _maximized(logs, cuts)
    reach = normal_quantile() * sigma / math.sqrt(len(logs))
    return TimesFit(
        count=len(logs),
        cut_off=bins.total(),
        median_s=math.exp(mean),
        spread=math.exp(sigma),
        low_s=math.exp(mean - reach),
        high_s=math.exp(mean + reach),
        never=never,
        distance=_distance(logs, cuts, mean, sigma, never),
    )


def _bin(cut_s: float) -> float:
    """The logarithm of a cut-off time, rounded up: many are alike, and none comes before a time that ended earlier."""
    return math.ceil(math.log(max(cut_s, SHORTEST_S)) * 1e4) / 1e4


def _maximized(logs: Sequence[float], cuts: Mapping[float, float]) -> tuple[float, float, float]:
    """Mean, standard deviation and share that never ends."""
    count, total, squares = len(logs), math.fsum(logs), math.fsum(y * y for y in logs)
    mean = total / count
    sigma = math.sqrt(max(squares / count - mean * mean, 1e-12))
    never = sum(cuts.values()) / (count + sum(cuts.values())) / 2
    for _ in range(ROUNDS_MAX if cuts else 0):
        before = (mean, sigma, never)
        weight, sum_y, sum_yy, stuck = float(count), total, squares, 0.0
        for cut, number in cuts.items():
            z = (cut - mean) / sigma
            alive = (1 - never) * _survival(z)
            ends = alive / (alive + never) if alive + never > 0 else 0.0
            hazard = _hazard(z)
            weight += number * ends
            sum_y += number * ends * (mean + sigma * hazard)
            sum_yy += number * ends * (mean**2 + sigma**2 + sigma * hazard * (mean + cut))
            stuck += number * (1 - ends)
        mean = sum_y / weight
        sigma = math.sqrt(max(sum_yy / weight - mean * mean, 1e-12))
        never = stuck / (count + sum(cuts.values()))
        if (
            max(abs(a - b) for a, b in zip(before, (mean, sigma, never), strict=True))
            < CLOSE_ENOUGH
        ):
            break
    return mean, sigma, never


def _survival(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2))


def _hazard(z: float) -> float:
    """The normal density over what is left beyond z; far out it is z itself and a little more."""
    alive = _survival(z)
    return _NORMAL.pdf(z) / alive if alive > 1e-280 else z + 1 / z


def _distance(
    logs: Sequence[float], cuts: Mapping[float, float], mean: float, sigma: float, never: float
) -> float:
    """Between the fit and Kaplan and Meier's estimate, which takes what was cut off into account."""
    moments = sorted([(y, 0, 1) for y in logs] + [(cut, 1, n) for cut, n in cuts.items()])
    at_risk, alive, worst = len(logs) + sum(cuts.values()), 1.0, 0.0
    for moment, is_cut, number in moments:
        if not is_cut:
            fitted = (1 - never) * _NORMAL.cdf((moment - mean) / sigma)
            after = alive * (1 - number / at_risk)
            worst = max(worst, abs(1 - alive - fitted), abs(1 - after - fitted))
            alive = after
        at_risk -= number
    return worst


@dataclass(frozen=True, slots=True)
class ChanceFit:
    """A chance, from how often something happened."""

    hits: float
    """Not whole where it is uncertain whether something would have ended."""
    count: int

    @property
    def chance(self) -> float:
        """The share of cases in which it happened; 0 of no cases."""
        return self.hits / self.count if self.count else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Where the true chance is, 95 times of 100."""
        return rate_interval(round(self.hits), self.count) or (0.0, 1.0)

    @property
    def is_few(self) -> bool:
        """Too few to be relied on."""
        return self.count < FEW_CASES
