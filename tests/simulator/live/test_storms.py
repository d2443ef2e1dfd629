"""When devices are switched on and cut off: the scenario's pattern, the ramp, and the storms."""

from __future__ import annotations

import pytest

from simulator.live.storms import PlannedStorm, StormKind, parse_rate, starts


def test_a_storm_is_read() -> None:
    assert PlannedStorm.parse("reconnect@60s") == PlannedStorm(StormKind.RECONNECT, 60)
    assert PlannedStorm.parse("start@1.5m") == PlannedStorm(StormKind.START, 90)


@pytest.mark.parametrize("text", ["reconnect", "reboot@1s", "start@", "start@5", "start@-1s"])
def test_what_is_no_storm_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write reconnect@60s"):
        PlannedStorm.parse(text)


def test_a_rate_is_read() -> None:
    assert parse_rate("50/s") == 50
    assert parse_rate("600/m") == 10


@pytest.mark.parametrize("text", ["50", "0/s", "x/s", "50/h"])
def test_what_is_no_rate_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write 50/s"):
        parse_rate(text)


def test_the_ramp_delays_whoever_comes_too_fast_and_nobody_else() -> None:
    """Three at once at two a second, and one much later."""
    assert starts([0, 0, 0, 9], 2, ()) == [0, 0.5, 1, 9]


def test_whoever_comes_first_in_the_pattern_is_switched_on_first() -> None:
    assert starts([3, 0, 0], 1, ()) == [3, 0, 1]


def test_a_start_storm_switches_on_everybody_who_is_still_off() -> None:
    storm = PlannedStorm(StormKind.START, 1.2)
    assert starts([0, 0, 0, 9], 1, (storm,)) == [0, 1, 1.2, 1.2]


def test_a_reconnect_storm_moves_no_start() -> None:
    assert starts([0, 5], 10, (PlannedStorm(StormKind.RECONNECT, 1),)) == [0, 5]
