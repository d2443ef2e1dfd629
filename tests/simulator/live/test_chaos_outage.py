"""The outage as it is asked for, and what is counted around it."""

from __future__ import annotations

import pytest

from agent.core.link import LinkLimits
from simulator.live.chaos_network import Meter
from simulator.live.chaos_outage import Herd, Outage, after_outage


@pytest.mark.parametrize(
    ("text", "minutes"), [("collector:10m", 10), ("collector:1.5h", 90), ("collector:30s", 0.5)]
)
def test_an_outage_is_read(text: str, minutes: float) -> None:
    assert Outage.parse(text).device_minutes == minutes


@pytest.mark.parametrize("text", ["", "collector", "broker:10m", "collector:0m", "collector:10"])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="say it like collector:10m"):
        Outage.parse(text)


def test_the_window_is_as_long_as_the_outage_and_never_longer_than_the_link_s() -> None:
    assert Herd(1, 0, 10, 18).window_s == 8
    assert Herd(1, 0, 10, 4_000).window_s == LinkLimits().return_ms_max / 1_000


def test_each_second_is_counted_from_the_return() -> None:
    meter = Meter(lambda: 0.0)
    meter.reports.update({8: 30, 9: 50, 10: 999, 11: 3, 12: 1, 20: 7, 21: 9})
    meter.attempts.update({9: 5, 12: 2, 21: 4})
    meter.states.update({20: 6})
    meter.returned.update({21: 8})
    herd = after_outage(Herd(3, 8, 10, 20), meter, 22.9)
    assert herd.reports == (7, 9)
    assert herd.attempts == (0, 4)
    assert herd.states == (6, 0)
    assert herd.returned == (0, 8)
    assert herd.attempts_meanwhile == 2
    assert herd.reports_before == 40
    assert herd.reports_meanwhile == pytest.approx(4 / 9)
