"""The intervals are those of the textbooks, and hold as often as they say."""

from __future__ import annotations

import math
import random
from statistics import stdev

import pytest

from simulator.whatif.intervals import (
    mean_interval,
    normal_quantile,
    rate_interval,
    standard_error,
    t_quantile,
)


@pytest.mark.parametrize(
    ("freedom", "tabled"), [(4, 2.776), (5, 2.571), (9, 2.262), (30, 2.042), (120, 1.980)]
)
def test_students_quantiles_are_the_tables(freedom: int, tabled: float) -> None:
    assert t_quantile(freedom) == pytest.approx(tabled, rel=0.002)


def test_normal_quantiles() -> None:
    assert normal_quantile() == pytest.approx(1.959964, abs=1e-6)
    assert normal_quantile(0.99) == pytest.approx(2.575829, abs=1e-6)


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    # R. G. Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)  # fmt: skip
def test_wilsons_interval_is_the_published_one(
    hits: int, count: int, low: float, high: float
) -> None:
    assert rate_interval(hits, count) == pytest.approx((low, high), abs=5e-5)


def test_no_cases_have_no_interval() -> None:
    assert rate_interval(0, 0) is None
    assert mean_interval(4, 10, 30) is None


def test_the_interval_of_a_mean_comes_from_its_sums() -> None:
    values = [3, 5, 8, 9, 15, 20]
    count, total, squares = len(values), sum(values), sum(v * v for v in values)
    error = stdev(values) / math.sqrt(6)
    assert standard_error(count, total, squares) == pytest.approx(error)
    interval = mean_interval(count, total, squares)
    assert interval == pytest.approx((10 - 2.571 * error, 10 + 2.571 * error), abs=0.01)


def test_great_sums_lose_nothing() -> None:
    """A million times of about a day, a millisecond apart."""
    count, day = 1_000_000, 86_400_000
    total = count * day + count // 2
    squares = (count // 2) * day * day + (count // 2) * (day + 1) ** 2
    assert standard_error(count, total, squares) == pytest.approx(0.5 / 1000, rel=1e-5)


def test_nineteen_of_twenty_intervals_hold_the_true_mean() -> None:
    draw = random.Random(1)
    held = 0
    for _ in range(2000):
        values = [round(draw.gauss(1000, 200)) for _ in range(12)]
        interval = mean_interval(12, sum(values), sum(v * v for v in values))
        assert interval is not None
        held += interval[0] <= 1000 <= interval[1]
    assert 0.935 <= held / 2000 <= 0.965
