"""The pace: what is sent again and when, for what is lost and for what only waits before a collector that is behind."""

from __future__ import annotations

from itertools import pairwise

import pytest

from agent.core.pace import Again, Pace, Patience

PATIENCE = Patience(late_ms=5_000, late_ms_max=120_000, repeat_ms=500)


def sending(*numbers: int, at_ms: int = 0) -> Pace:
    """A pace that has just sent these reports."""
    pace = Pace(PATIENCE)
    for number in numbers:
        pace.sent(number, at_ms)
    return pace


def test_nothing_is_awaited_before_anything_is_sent() -> None:
    pace = sending()
    assert pace.deadline_ms is None
    assert pace.due(10**9) is Again.NOTHING
    assert not pace.is_late


def test_what_is_late_is_asked_for_with_the_first_alone_and_ever_more_patiently() -> None:
    pace = sending(1, 2, 3)
    asked: list[int] = []
    while len(asked) < 7:
        at_ms = pace.deadline_ms
        assert at_ms is not None
        assert pace.due(at_ms - 1) is Again.NOTHING
        assert pace.due(at_ms) is Again.FIRST
        asked.append(at_ms)
    assert [b - a for a, b in pairwise(asked)] == [
        10_000,
        20_000,
        40_000,
        80_000,
        120_000,
        120_000,
    ]
    assert asked[0] == 5_000
    assert pace.is_late


def test_where_only_the_repeated_one_is_answered_all_were_lost() -> None:
    pace = sending(1, 2, 3)
    pace.due(5_000)
    pace.answered(1, 5_010)
    assert pace.deadline_ms == 5_010 + 5_010 // 4
    assert pace.due(pace.deadline_ms) is Again.ALL
    assert pace.deadline_ms is None


@pytest.mark.parametrize("through", [[1, 2], [1, 3], [2], [3]])
def test_where_more_is_answered_than_was_repeated_nothing_was_lost(through: list[int]) -> None:
    pace = sending(1, 2, 3, 4)
    pace.due(5_000)
    for number in through:
        pace.answered(number, 5_010)
    assert pace.deadline_ms is not None
    assert pace.deadline_ms > 5_010 + 5_000
    assert pace.due(pace.deadline_ms) is Again.FIRST


def test_late_is_what_takes_twice_as_long_as_the_last_answer_did() -> None:
    pace = sending(1, at_ms=0)
    pace.answered(1, 20_000)
    pace.sent(2, 20_000)
    assert pace.deadline_ms == 20_000 + 40_000
    pace.answered(2, 20_100)
    pace.sent(3, 20_100)
    assert pace.deadline_ms == 20_100 + 5_000


def test_no_answer_is_late_after_more_than_the_longest_pause() -> None:
    pace = sending(1)
    pace.answered(1, 10**8)
    pace.sent(2, 10**8)
    assert pace.deadline_ms == 10**8 + 120_000


def test_an_answer_is_measured_from_the_first_sending() -> None:
    pace = sending(1)
    pace.due(5_000)
    pace.sent(1, 5_000)
    pace.answered(1, 8_000)
    pace.sent(2, 8_000)
    assert pace.deadline_ms == 8_000 + 16_000


def test_an_answer_ends_the_doubling() -> None:
    pace = sending(1, 2, 3)
    pace.due(5_000)
    pace.due(15_000)
    assert pace.is_late
    pace.answered(2, 15_100)
    assert not pace.is_late


def test_when_all_is_answered_nothing_is_awaited() -> None:
    pace = sending(1, 2)
    pace.answered(2, 100)
    assert pace.deadline_ms is None


def test_an_acknowledgement_that_says_nothing_new_asks_for_all_but_ever_more_seldom() -> None:
    pace = sending(1, 2, 3)
    assert pace.repeated(499) is Again.NOTHING
    assert pace.repeated(500) is Again.ALL
    assert pace.deadline_ms is None
    pace.sent(1, 500)
    assert pace.repeated(500 + 999) is Again.NOTHING
    assert pace.repeated(500 + 1_000) is Again.ALL


def test_it_asks_for_nothing_where_an_answer_could_not_have_come_yet() -> None:
    pace = sending(1, 2, at_ms=0)
    pace.answered(1, 20_000)
    pace.sent(3, 20_000)
    # Number 2 was sent with number 1, whose answer took 20 seconds.
    assert pace.repeated(39_999) is Again.NOTHING
    assert pace.repeated(40_000) is Again.ALL


def test_it_asks_for_nothing_where_nothing_is_on_its_way() -> None:
    assert sending().repeated(10**9) is Again.NOTHING


def test_progress_ends_the_growing_of_the_pause() -> None:
    pace = sending(1, 2)
    assert pace.repeated(500) is Again.ALL
    pace.sent(1, 500)
    pace.sent(2, 500)
    pace.answered(1, 510)
    assert pace.repeated(1_000) is Again.ALL


def test_what_was_on_its_way_is_forgotten_when_sending_is_held() -> None:
    pace = sending(1, 2)
    pace.held()
    assert pace.deadline_ms is None
    pace.sent(1, 60_000)
    pace.answered(1, 60_010)
    pace.sent(3, 60_010)
    assert pace.deadline_ms == 60_010 + 5_000
