"""What a fit found for one key of a scenario, and how far it can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from simulator.fit.distribution import ChanceFit, TimesFit
from simulator.scenario import Duration

SEEN_MIN: Final = 10
"""With fewer cases a chance is hardly known better than before."""
KeyPath = tuple[str | int, ...]
SPREAD_MAX: Final = 20.0
"""What a scenario takes."""


class Verdict(StrEnum):
    """How good a fit is."""

    GOOD = "good"
    NOT_LOG_NORMAL = "not log-normal"
    """The median is right, and the spread tells little of how the times really differ."""
    AS_SAID = "as said"
    """It happened too seldom to better what the scenario says, which is in the interval."""
    AS_USUAL = "as usual"
    """The scenario says nothing, and what it takes the platform to need is in the interval."""
    TOO_FEW = "too few"


@dataclass(frozen=True, slots=True)
class Finding:
    """One key with its fitted value."""

    path: KeyPath
    label: str
    """The key as people find it: by the id of its item rather than by its number."""
    value: Any
    """What the scenario should say: a number, or a table with `median_s` and `spread`."""
    before: Any
    """What it says; None when it says nothing."""
    count: int
    low: float
    high: float
    """The 95 % interval of the chance, the mean or the median."""
    verdict: Verdict
    cut_off: int = 0
    """Of the times, those that did not end by themselves, beside the `count` that did."""
    distance: float | None = None
    """Of the measured times from the fitted distribution."""

    @property
    def is_used(self) -> bool:
        """Whether the value goes into the scenario."""
        return self.verdict in (Verdict.GOOD, Verdict.NOT_LOG_NORMAL)


def time_finding(
    path: KeyPath,
    label: str,
    fit: TimesFit,
    before: Duration | None,
    *,
    spread: float | None = None,
    usual_s: float | None = None,
) -> Finding:
    """A time with its median; `spread` is its own where the measured one holds more than it.

    `usual_s` is what the simulator takes where the scenario says nothing.
    """
    found = min(SPREAD_MAX, max(1.0, significant(fit.spread if spread is None else spread)))
    return Finding(
        path=path,
        label=label,
        value={"median_s": significant(fit.median_s), "spread": found},
        before=None if before is None else before.model_dump(),
        count=fit.count,
        low=fit.low_s,
        high=fit.high_s,
        verdict=_verdict(fit, before, usual_s),
        cut_off=fit.cut_off,
        distance=fit.distance,
    )


def _verdict(fit: TimesFit, before: Duration | None, usual_s: float | None) -> Verdict:
    if fit.is_few:
        return Verdict.TOO_FEW
    if before is None and usual_s is not None and fit.low_s <= usual_s <= fit.high_s:
        return Verdict.AS_USUAL
    return Verdict.GOOD if fit.fits else Verdict.NOT_LOG_NORMAL


def chance_finding(path: KeyPath, label: str, fit: ChanceFit, before: float | None) -> Finding:
    """A chance. What was seldom seen to happen replaces only what that rules out."""
    low, high = fit.interval
    is_possible = before is not None and low <= before <= high
    verdict = (
        Verdict.TOO_FEW
        if fit.is_few
        else Verdict.AS_SAID
        if is_possible and fit.hits < SEEN_MIN
        else Verdict.GOOD
    )
    return Finding(
        path=path,
        label=label,
        value=significant(fit.chance) if fit.hits >= 0.5 else 0.0,
        before=before,
        count=fit.count,
        low=low,
        high=high,
        verdict=verdict,
    )


def significant(value: float) -> float:
    """Three digits of it: more would be noise."""
    return float(f"{value:.3g}")
