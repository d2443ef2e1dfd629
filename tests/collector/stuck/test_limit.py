"""An item is stuck by its own history, or by its assignment where it has none; never by a clock alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wire.events import ItemAdvanced
from agent.wire.vocabulary import ItemState
from collector.stuck.item_work import ItemWork, Span, work_of
from collector.stuck.limit import (
    EXPECTED_TIMES,
    GRACE_MS,
    OBSERVATIONS_MAX,
    OBSERVATIONS_MIN,
    Histories,
    attempt_now_ms,
    duration,
    quantile,
    stuck_items,
)
from tests.collector.board.stories import changed

MINUTE_MS = 60_000
WINDOWS = "Windows 11"


def working(at_ms: int = 0) -> ItemWork:
    return work_of([(at_ms, changed("m365", "Microsoft 365 Apps", ItemState.DOWNLOADING))])


def taught(*took_ms: int, platform: str = WINDOWS) -> Histories:
    histories = Histories()
    for one in took_ms:
        histories.add(platform, Span("m365", one, ItemState.DONE))
    return histories


def test_a_try_is_from_its_first_work_until_it_is_over_waiting_left_out() -> None:
    work = ItemWork()
    steps = [
        (0, ItemState.NOT_STARTED, 1, None),
        (10, ItemState.DOWNLOADING, 1, None),
        (30, ItemState.INSTALLING, 1, None),
        (70, ItemState.WAITING_TO_RETRY, 2, (60, ItemState.WAITING_TO_RETRY)),
        (500, ItemState.DOWNLOADING, 2, None),
        (520, ItemState.VERIFYING, 2, None),
        (525, ItemState.DONE, 2, (25, ItemState.DONE)),
    ]
    for at_ms, state, attempt, ended in steps:
        span = work.apply(at_ms, changed("m365", "M365", state, attempt=attempt))
        assert (span and (span.took_ms, span.state)) == ended, state


def test_another_try_that_comes_without_a_pause_is_a_try_of_its_own() -> None:
    work = working()
    span = work.apply(100, changed("m365", "M365", ItemState.DOWNLOADING, attempt=2))
    assert span == Span("m365", 100, ItemState.DOWNLOADING)
    assert not span.came_in
    assert [item.begun_ms for item in work.working] == [100]


def test_progress_moves_the_item_and_not_its_begin() -> None:
    work = working(10)
    work.apply(50, ItemAdvanced(item="m365", item_percent=40))
    (item,) = work.working
    assert (item.begun_ms, item.percent, item.moved_ms) == (10, 40, 50)
    work.apply(60, ItemAdvanced(item="never-heard-of", item_percent=40))
    assert list(work.items) == ["m365"]


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=300))
def test_the_quantile_is_a_value_that_99_in_100_do_not_exceed_and_none_smaller_is(
    took: list[int],
) -> None:
    limit = quantile(took)
    assert limit in took
    assert sum(one <= limit for one in took) * 100 >= 99 * len(took)
    assert sum(one < limit for one in took) * 100 < 99 * len(took)


def test_past_the_99th_percentile_of_its_own_history_and_a_grace_it_is_stuck() -> None:
    histories = taught(*range(1_000, 101_000, 1_000))
    edge_ms = 99_000 + GRACE_MS
    assert stuck_items(working(), edge_ms, WINDOWS, histories, {"m365": 1}) == []
    (stuck,) = stuck_items(working(), edge_ms + 1, WINDOWS, histories, {"m365": 1})
    assert (stuck.limit.limit_ms, stuck.limit.basis) == (99_000, "history")
    assert stuck.limit.observations == 100


def test_another_platform_has_another_history() -> None:
    histories = taught(*[1_000] * OBSERVATIONS_MIN, platform="macOS 14")
    assert histories.limit("macOS 14", "m365") is not None
    assert stuck_items(working(), 10**9, WINDOWS, histories, {}) == []


def test_too_short_a_history_leaves_it_to_the_assignment() -> None:
    histories = taught(*[1_000] * (OBSERVATIONS_MIN - 1))
    edge_ms = EXPECTED_TIMES * 300_000 + GRACE_MS
    assert stuck_items(working(), edge_ms, WINDOWS, histories, {"m365": 300}) == []
    (stuck,) = stuck_items(working(), edge_ms + 1, WINDOWS, histories, {"m365": 300})
    assert stuck.limit.basis == "expected"
    assert stuck_items(working(), 10**9, WINDOWS, histories, {}) == [], "nobody said anything"


@pytest.mark.parametrize("state", [s for s in ItemState if s.value not in {"done", "already_present", "skipped"}])  # fmt: skip
def test_only_what_came_in_says_how_long_it_takes(state: ItemState) -> None:
    histories = taught(*[1_000] * OBSERVATIONS_MIN)
    for _ in range(1_000):
        histories.add(WINDOWS, Span("m365", 10**9, state))
    limit = histories.limit(WINDOWS, "m365")
    assert limit is not None
    assert limit.limit_ms == 1_000


def test_only_the_newest_count() -> None:
    histories = taught(*[10**9] * OBSERVATIONS_MAX)
    for _ in range(OBSERVATIONS_MAX):
        histories.add(WINDOWS, Span("m365", 1_000, ItemState.DONE))
    limit = histories.limit(WINDOWS, "m365")
    assert limit is not None
    assert (limit.limit_ms, limit.observations) == (1_000, OBSERVATIONS_MAX)


@pytest.mark.parametrize(
    "state",
    [ItemState.WAITING_FOR_PERSON, ItemState.WAITING_TO_RETRY, ItemState.REBOOT_REQUIRED, ItemState.FAILED],
)  # fmt: skip
def test_what_waits_for_somebody_else_is_not_stuck(state: ItemState) -> None:
    work = working()
    work.apply(1, changed("m365", "M365", state))
    assert stuck_items(work, 10**9, WINDOWS, taught(*[1] * 200), {"m365": 1}) == []


def test_time_goes_on_while_the_device_is_there_and_stops_when_it_is_gone() -> None:
    assert attempt_now_ms(500, 10_000, 13_000, None) == 3_500
    assert attempt_now_ms(500, 10_000, 13_000, 11_000) == 1_500
    assert attempt_now_ms(500, 10_000, 13_000, 9_000) == 500, "it left before the report was stored"
    assert attempt_now_ms(500, 10_000, 9_000, None) == 500, "a clock that was set back"


@pytest.mark.parametrize(
    ("took_ms", "told"),
    [(0, "0 s"), (59_999, "59 s"), (60_000, "1 min"), (3_599_999, "59 min"), (11_100_000, "3 h 5 min")],
)  # fmt: skip
def test_durations_as_people_say_them(took_ms: int, told: str) -> None:
    assert duration(took_ms) == told
