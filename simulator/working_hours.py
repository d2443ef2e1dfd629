"""When somebody is there: device time laid over a week that begins on Monday at midnight."""

from __future__ import annotations

from typing import Final, get_args

from agent.core.events import HOUR_MS, MINUTE_MS
from simulator.scenario import Weekday, WorkingHours

DAY_MS: Final = 24 * HOUR_MS
WEEK_MS: Final = 7 * DAY_MS
WEEKDAYS: Final[tuple[Weekday, ...]] = get_args(Weekday)


def time_of_day_ms(clock: str) -> int:
    """Milliseconds since midnight of a time such as `09:30`."""
    hours, minutes = clock.split(":")
    return int(hours) * HOUR_MS + int(minutes) * MINUTE_MS


def after_working(hours: WorkingHours, from_ms: int, work_ms: int) -> int:
    """When so much work is done that may begin at `from_ms`, and is done in working hours only.

    Times count from a Monday at midnight. Work of no length is done at once in working hours, else when they begin.
    """
    length_ms = time_of_day_ms(hours.end) - time_of_day_ms(hours.begin)
    assert length_ms > 0, "a working day has a length"
    week_ms = length_ms * len(set(hours.days))
    # The end of the last whole week is the end of its work, not the same time a week later.
    weeks = max(0, work_ms - 1) // week_ms
    left_ms = work_ms - weeks * week_ms
    at_ms = from_ms + weeks * WEEK_MS
    while True:
        begin_ms, end_ms = _hours_from(hours, at_ms)
        at_ms = max(at_ms, begin_ms)
        if left_ms <= end_ms - at_ms:
            return at_ms + left_ms
        left_ms -= end_ms - at_ms
        at_ms = end_ms


def _hours_from(hours: WorkingHours, at_ms: int) -> tuple[int, int]:
    """Begin and end of the first working day that is not over at this time."""
    midnight_ms = at_ms - at_ms % DAY_MS
    while True:
        weekday = WEEKDAYS[midnight_ms % WEEK_MS // DAY_MS]
        end_ms = midnight_ms + time_of_day_ms(hours.end)
        if weekday in hours.days and at_ms < end_ms:
            return midnight_ms + time_of_day_ms(hours.begin), end_ms
        midnight_ms += DAY_MS
