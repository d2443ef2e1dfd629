"""The arithmetic of lengths that are not known exactly, against the same thing counted out."""

from __future__ import annotations

from math import exp, log
from statistics import NormalDist, fmean, pvariance

import pytest

from agent.core.uncertain_time import NO_TIME, UncertainTime, later, left_over

STANDARD = NormalDist()
STEPS = 4_000
GRID = [STANDARD.inv_cdf((n + 0.5) / STEPS) for n in range(STEPS)]
"""A standard normal distribution as equally likely values."""


@pytest.mark.parametrize(
    ("sigma", "spent"),
    [(0.1, 0.0), (0.1, 0.9), (0.1, 1.0), (0.4, 0.3), (0.4, 1.0), (0.7, 0.0), (0.7, 2.0)],
)
def test_what_is_left_is_the_mean_of_the_cases_that_are_not_over_yet(
    sigma: float, spent: float
) -> None:
    left = [600 * exp(sigma * z) - 600 * spent for z in GRID]
    open_cases = [case for case in left if case > 0]
    counted = left_over(600, sigma, 600 * spent)
    assert counted.mean_ms == pytest.approx(fmean(open_cases), rel=0.02)
    assert counted.variance == pytest.approx(pvariance(open_cases), rel=0.1)


def test_the_longer_something_is_overdue_the_longer_it_may_still_take() -> None:
    left = [left_over(600, 0.4, 600 * factor).mean_ms for factor in (2, 4, 8, 100, 10_000)]
    assert left == sorted(left)
    assert left[0] > 200


def test_one_after_the_other_adds_up_and_scaling_stretches() -> None:
    assert UncertainTime(3, 4).then(UncertainTime(5, 6)) == UncertainTime(8, 10)
    assert UncertainTime(3, 4).scaled(2) == UncertainTime(6, 16)


@pytest.mark.parametrize("gap", [-90.0, -20.0, 0.0, 20.0, 90.0])
def test_the_later_of_two_ends_is_a_little_later_than_either(gap: float) -> None:
    few = GRID[:: STEPS // 200]
    cases = [max(500 + 30 * a, 500 + gap + 40 * b) for a in few for b in few]
    end = later(UncertainTime(500, 900), UncertainTime(500 + gap, 1600))
    assert end.mean_ms == pytest.approx(fmean(cases), rel=0.005)
    assert end.variance == pytest.approx(pvariance(cases), rel=0.05)


def test_an_end_that_is_far_off_or_no_time_at_all_decides_nothing() -> None:
    long, short = UncertainTime(1_000, 100), UncertainTime(10, 100)
    assert later(long, short) == later(short, long) == long
    assert later(NO_TIME, short) == later(short, NO_TIME) == short
    assert later(UncertainTime(2), UncertainTime(3)) == UncertainTime(3)


def test_the_whole_time_has_its_median_in_the_middle() -> None:
    whole = left_over(600, 0.4, 0)
    assert log(whole.mean_ms / 600) == pytest.approx(0.4**2 / 2)
