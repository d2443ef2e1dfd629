from __future__ import annotations

import math
import random
from collections.abc import Iterator

import pytest

from simulator.fit.distribution import ChanceFit, TimesFit, fit_times

MEDIAN_S = 100.0
SPREAD = 1.6


def times(
    seed: int,
    count: int,
    *,
    never: float = 0.0,
    limit_s: float = math.inf,
    rate_s: float = math.inf,
) -> tuple[list[float], list[float]]:
    """Times that ended, and those that a limit or an end at random cut off."""
    chance = random.Random(seed)
    ended: list[float] = []
    cut_off: list[float] = []
    for _ in range(count):
        time_s = math.inf if chance.random() < never else MEDIAN_S * SPREAD ** chance.gauss(0, 1)
        cut_s = min(limit_s, math.inf if rate_s == math.inf else chance.expovariate(1 / rate_s))
        if time_s <= cut_s:
            ended.append(time_s)
        else:
            cut_off.append(cut_s)
    return ended, cut_off


def fitted(ended: list[float], cut_off: list[float] | tuple[float, ...] = ()) -> TimesFit:
    fit = fit_times(ended, cut_off)
    assert fit is not None
    return fit


def test_median_and_spread_come_back() -> None:
    fit = fitted(*times(1, 4000))
    assert fit.median_s == pytest.approx(MEDIAN_S, rel=0.03)
    assert fit.spread == pytest.approx(SPREAD, rel=0.02)
    assert fit.fits


@pytest.mark.parametrize(
    ("limit_s", "rate_s"), [(150.0, math.inf), (math.inf, 200.0), (200.0, 300.0)]
)
def test_times_that_were_cut_off_do_not_bias_the_median(limit_s: float, rate_s: float) -> None:
    """Without them the median is a tenth too low and more; with them it is right."""
    ended, cut_off = times(2, 4000, limit_s=limit_s, rate_s=rate_s)
    assert len(cut_off) > 500
    assert fitted(ended).median_s < 0.9 * MEDIAN_S
    fit = fitted(ended, cut_off)
    assert fit.median_s == pytest.approx(MEDIAN_S, rel=0.04)
    assert fit.spread == pytest.approx(SPREAD, rel=0.04)
    assert fit.never < 0.03


@pytest.mark.parametrize("never", [0.02, 0.1, 0.3])
def test_what_would_never_have_ended_is_told_from_what_was_slow(never: float) -> None:
    fit = fitted(*times(3, 4000, never=never, limit_s=600, rate_s=3000))
    assert fit.never == pytest.approx(never, abs=0.012)
    assert fit.median_s == pytest.approx(MEDIAN_S, rel=0.03)


def test_the_interval_has_the_median_in_it_95_times_of_100() -> None:
    def covers() -> Iterator[bool]:
        for seed in range(200):
            fit = fitted(*times(100 + seed, 100, rate_s=400))
            yield fit.low_s <= MEDIAN_S <= fit.high_s

    assert 180 <= sum(covers()) <= 199


def test_the_distance_tells_times_that_are_not_log_normal() -> None:
    """Two kinds of devices, one ten times as fast, are no log-normal; one kind is, 19 times of 20."""
    slow, _ = times(4, 500)
    fast = [time / 10 for time in times(5, 500)[0]]
    assert not fitted(slow + fast).fits
    good = sum(fitted(times(200 + seed, 300)[0]).fits for seed in range(200))
    assert 184 <= good <= 200


def test_the_distance_takes_what_was_cut_off_into_account() -> None:
    """Half of the times are missing at the top, and the fit is as good as ever."""
    fit = fitted(*times(6, 2000, limit_s=MEDIAN_S))
    assert fit.cut_off == pytest.approx(1000, abs=100)
    assert fit.distance < 0.05


def test_few_are_said_to_be_few() -> None:
    assert fitted([10.0] * 19).is_few
    assert not fitted([10.0] * 20).is_few
    assert ChanceFit(3, 29).is_few
    assert not ChanceFit(3, 30).is_few


def test_nothing_that_ended_is_no_fit() -> None:
    assert fit_times([]) is None
    assert fit_times([], [10.0, 20.0]) is None
    assert fit_times([0.0, 0.01]) is None


def test_times_that_are_all_alike_have_no_spread() -> None:
    fit = fitted([30.0] * 50, [10.0])
    assert fit.median_s == pytest.approx(30)
    assert fit.spread == pytest.approx(1, abs=1e-3)


def test_a_chance_has_wilsons_interval() -> None:
    fit = ChanceFit(10, 100)
    assert fit.chance == 0.1
    assert fit.interval == pytest.approx((0.0552, 0.1744), abs=1e-4)
    assert ChanceFit(0, 0).interval == (0.0, 1.0)
