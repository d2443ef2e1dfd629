from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.core.events import HOUR_MS, MINUTE_MS
from simulator.scenario import WorkingHours
from simulator.working_hours import DAY_MS, WEEKDAYS, after_working, time_of_day_ms

STEP_MS = 30 * MINUTE_MS


def is_open(hours: WorkingHours, at_ms: int) -> bool:
    day, in_day_ms = divmod(at_ms, DAY_MS)
    begin_ms, end_ms = time_of_day_ms(hours.begin), time_of_day_ms(hours.end)
    return WEEKDAYS[day % 7] in hours.days and begin_ms <= in_day_ms < end_ms


@given(
    st.sets(st.sampled_from(WEEKDAYS), min_size=1),
    st.integers(0, 46),
    st.integers(1, 47),
    st.integers(0, 400),
    st.integers(1, 200),
)
def test_work_goes_on_in_working_hours_only(
    days: set[str], begin: int, length: int, start: int, work: int
) -> None:
    """Against a count of half hours, one after another."""
    end = min(47, begin + length)
    hours = WorkingHours.model_validate(
        {"begin": clock(begin), "end": clock(end), "days": sorted(days)}
    )
    at_ms, left = start * STEP_MS, work
    while left:
        left -= is_open(hours, at_ms)
        at_ms += STEP_MS
    assert after_working(hours, start * STEP_MS, work * STEP_MS) == at_ms


def clock(half_hours: int) -> str:
    return f"{half_hours // 2:02}:{half_hours % 2 * 30:02}"


def test_something_short_waits_for_the_morning_only_when_nobody_is_there() -> None:
    hours = WorkingHours(begin="09:00", end="18:00")
    assert after_working(hours, 10 * HOUR_MS, 0) == 10 * HOUR_MS
    assert after_working(hours, 18 * HOUR_MS, 0) == 33 * HOUR_MS
    saturday_ms = 5 * DAY_MS + 12 * HOUR_MS
    assert after_working(hours, saturday_ms, 1) == 7 * DAY_MS + 9 * HOUR_MS + 1
