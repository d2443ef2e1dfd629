"""Compares what the same devices came to under two versions of a scenario, and says how sure the difference is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from agent.wire.vocabulary import FailureKind
from simulator.counting import Outcome
from simulator.sums import Sums
from simulator.whatif.intervals import (
    FEW,
    LEVEL,
    Interval,
    normal_quantile,
    standard_error,
    t_quantile,
)

POWER: Final = 0.95
"""How often a difference of the size that a verdict names as detectable would be found."""
CHANGED_MIN: Final = 6
"""With fewer devices that changed, even all in one direction may be chance: 2 × 0.5⁵ is more than 5 %."""


@dataclass(slots=True)
class Differences(Sums):
    """Differences of devices, and of groups whose devices are not independent of each other."""

    count: int = 0
    moved: int = 0
    """Devices whose difference is not zero."""
    total: int = 0
    squares: int = 0
    groups: int = 0
    group_squares: int = 0
    """Of each group the square of its total."""
    group_products: int = 0
    """Of each group its total times its size."""
    size_squares: int = 0
    """Of each group the square of its size."""

    def take(self, group: Sequence[int]) -> None:
        """Take in the devices of one group; a device that depends on no other is a group of its own."""
        if not group:
            return
        total = sum(group)
        self.count += len(group)
        self.moved += sum(difference != 0 for difference in group)
        self.total += total
        self.squares += sum(difference * difference for difference in group)
        self.groups += 1
        self.group_squares += total * total
        self.group_products += total * len(group)
        self.size_squares += len(group) ** 2

    @property
    def effective_groups(self) -> float:
        """As many groups of equal size say as much: L. Kish, "Survey Sampling", 1965."""
        return self.count**2 / self.size_squares if self.size_squares else 0.0

    @property
    def standard_error(self) -> float:
        """Of the mean, were each device independent of all others."""
        return standard_error(self.count, self.total, self.squares)

    @property
    def stretch(self) -> float:
        """How many times wider an interval has to be because devices of a group go together; 1 when none do.

        The error of the mean from the groups' totals is the one of a ratio: W. G. Cochran, "Sampling Techniques", 1977,
        chapter 9A. It is taken where it is the greater one.
        """
        if self.groups == self.count:
            return 1.0
        wider = t_quantile_of(self.effective_groups) / normal_quantile()
        alone = self.count * (self.count * self.squares - self.total**2)
        if alone == 0:
            return wider
        together = (
            self.count**2 * self.group_squares
            - 2 * self.total * self.count * self.group_products
            + self.total**2 * self.size_squares
        )
        ratio = together * self.groups * (self.count - 1) / (alone * (self.groups - 1) * self.count)
        return wider * math.sqrt(max(1.0, ratio))


def t_quantile_of(groups: float) -> float:
    """Student's quantile for so many groups, which need not be a whole number."""
    return t_quantile(max(FEW - 1, math.floor(groups) - 1))


@dataclass(slots=True)
class PairTally(Sums):
    """Devices under a first and a second version; a difference is the second's less the first's."""

    devices: int = 0
    other_kind: int = 0
    """Devices that are of another type or variant in the second version."""
    first_only: int = 0
    """Devices that succeeded under the first version only."""
    second_only: int = 0
    lost: Counter[FailureKind] = field(default_factory=Counter)
    """Of those that succeeded under the first only, what they failed of under the second."""
    gained: Counter[FailureKind] = field(default_factory=Counter)
    """Of those that succeeded under the second only, what they had failed of under the first."""
    success: Differences = field(default_factory=Differences)
    """1 for a device that succeeds only now, -1 for one that does no longer, or else 0."""
    time: Differences = field(default_factory=Differences)
    """In attempt time, in milliseconds, of the devices that succeeded under both."""
    gate: Differences = field(default_factory=Differences)
    """In the time from power-on until the gate opened, of the devices whose gate opened under both."""

    def count(self, group: Iterable[tuple[Outcome, Outcome]]) -> None:
        """Take in devices that are not independent of each other, or a single one."""
        pairs = tuple(group)
        self.devices += len(pairs)
        for first, second in pairs:
            self.other_kind += first.part != second.part
            if first.succeeded and not second.succeeded:
                self.first_only += 1
                self.lost.update([second.reason] if second.reason else [])
            elif second.succeeded and not first.succeeded:
                self.second_only += 1
                self.gained.update([first.reason] if first.reason else [])
        self.success.take([b.succeeded - a.succeeded for a, b in pairs])
        self.time.take([*_later((a.attempt_ms, b.attempt_ms) for a, b in pairs)])
        self.gate.take([*_later((a.gate_ms, b.gate_ms) for a, b in pairs)])


def _later(times: Iterable[tuple[int | None, int | None]]) -> Iterator[int]:
    for first_ms, second_ms in times:
        if first_ms is not None and second_ms is not None:
            yield second_ms - first_ms


@dataclass(frozen=True, slots=True)
class Difference:
    """A paired difference: the second's figure less the first's."""

    estimate: float
    interval: Interval
    is_found: bool
    """True when the interval leaves no room for no difference."""
    detectable: float
    """A true difference of this size would have been found in 95 of 100 fleets like this one."""


def rate_difference(pairs: PairTally, level: float = LEVEL) -> Difference | None:
    """The difference in the share of devices that succeeded; None for too few groups of devices.

    The interval adds one device to each of the two kinds that changed: D. G. Bonett and R. M. Price, "Adjusted Wald
    confidence interval for a difference of binomial proportions based on paired data", 2012. With few changes it
    decides as McNemar's exact test does: none below six that all went one way.
    """
    if pairs.success.effective_groups < FEW:
        return None
    count = pairs.devices + 2
    gained, lost = (pairs.second_only + 1) / count, (pairs.first_only + 1) / count
    stretch = pairs.success.stretch
    z = normal_quantile(level) * stretch
    reach = z * math.sqrt((gained + lost - (gained - lost) ** 2) / count)
    interval = (max(-1.0, gained - lost - reach), min(1.0, gained - lost + reach))
    return Difference(
        estimate=(pairs.second_only - pairs.first_only) / pairs.devices,
        interval=interval,
        is_found=not interval[0] <= 0 <= interval[1],
        detectable=_detectable_rate(gained + lost, count / stretch**2, level),
    )


def _detectable_rate(changed: float, count: float, level: float) -> float:
    """The smallest difference that would be found as often as `POWER` says.

    R. Connor, "Sample size for testing differences in proportions for the paired-sample design", 1987, solved for the
    difference; no difference is greater than the share of devices that change.
    """
    z_level, z_power = normal_quantile(level), normal_quantile(2 * POWER - 1)
    low, high = 0.0, 1.0
    for _ in range(50):
        guess = (low + high) / 2
        share = max(changed, guess)
        needed = z_level * math.sqrt(share) + z_power * math.sqrt(share - guess * guess)
        low, high = (low, guess) if guess * math.sqrt(count) >= needed else (guess, high)
    return high


def mean_difference(differences: Differences, level: float = LEVEL) -> Difference | None:
    """The mean of differences in time, in milliseconds, by Student's paired interval; None for too few groups."""
    count = differences.count
    if count < CHANGED_MIN or differences.effective_groups < FEW:
        return None
    mean, error = differences.total / count, differences.standard_error * differences.stretch
    quantile = t_quantile(count - 1, level)
    interval = (mean - quantile * error, mean + quantile * error)
    reach = quantile + normal_quantile(2 * POWER - 1)
    return Difference(
        estimate=mean,
        interval=interval,
        is_found=differences.moved >= CHANGED_MIN and not interval[0] <= 0 <= interval[1],
        detectable=_detectable_mean(reach, error, differences.moved),
    )


def _detectable_mean(reach: float, error: float, moved: int) -> float:
    """The smallest mean difference that would be found as often as `POWER` says.

    A difference that only the devices that moved bring about makes them differ more from the others, so that it has to
    be `reach` standard errors of the greater spread. Few moved devices are taken for more: a real difference moves some.
    """
    return reach * error / math.sqrt(1 - reach**2 / max(moved, 2 * reach**2))
