"""A search finds the value from which on enough enrollments succeed, and says what it took for granted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from agent.wire.vocabulary import EndState, EnrollmentType, Variant
from simulator.scenario import Scenario
from simulator.tally import Tally
from simulator.whatif.overrides import OverrideRefused
from simulator.whatif.search import (
    TIMEOUTS,
    CutShort,
    Find,
    Goes,
    Span,
    granted_sentence,
    read_find,
    search,
    search_figures,
    search_sentence,
)
from simulator.whatif.versions import Versions
from tests.simulator.whatif.fleets import changed, runner, tight

MEDIAN = "apps.suite.time.median_s"


def timeout_for(rate: float) -> Find:
    return Find("timeout", rate, TIMEOUTS)


def succeeding(
    rate_at: Callable[[float], float], tried: list[float] | None = None
) -> Callable[[Sequence[Scenario]], Versions]:
    """A fleet of 1000 whose success follows from the median time of its app alone."""

    def run(scenarios: Sequence[Scenario]) -> Versions:
        tallies = []
        for scenario in scenarios:
            time = scenario.apps[0].time
            assert time is not None
            value = time.median_s
            if tried is not None:
                tried.append(value)
            tally = Tally()
            part = tally.of_variant(EnrollmentType.WINDOWS_MANUAL, Variant.STANDARD)
            won = round(1000 * rate_at(value))
            for number in range(1000):
                state = EndState.SUCCEEDED if number < won else EndState.FAILED
                part.ended(state, 60_000, None)
            tallies.append(tally)
        return Versions(tallies, [])

    return run


def test_the_smallest_timeout_that_is_enough_is_found() -> None:
    run = runner()
    found = search(tight(), timeout_for(0.9), run)
    assert found.found is not None

    def rate(minutes: int) -> float:
        return run([changed(tight(), "timeout", minutes)]).tallies[0].whole.success_rate or 0

    assert rate(found.found) >= 0.9 > rate(found.found - 1)
    assert len(found.tried) <= 12
    assert f"that reaches 90.00% is {found.found}: " in search_sentence(found)
    assert f"With {found.found - 1} it is " in search_sentence(found)
    assert granted_sentence(found) == (
        "Taken for granted: a greater timeout never lets fewer enrollments succeed. "
        f"The {len(found.tried)} values tried bear it out."
    )


@pytest.mark.parametrize("enough", [1, 2, 3, 4, 44, 45, 719, 720, 721, 722, 1438, 1439, 1440])
def test_every_timeout_can_be_found(enough: int) -> None:
    """A fleet that succeeds from a certain timeout on."""

    def run(scenarios: Sequence[Scenario]) -> Versions:
        (scenario,) = scenarios
        tally = Tally()
        part = tally.of_variant(EnrollmentType.WINDOWS_MANUAL, Variant.STANDARD)
        is_enough = scenario.profiles[0].profile.timeout_minutes >= enough
        part.ended(EndState.SUCCEEDED if is_enough else EndState.TIMED_OUT, 60_000, None)
        return Versions([tally], [])

    found = search(tight(), timeout_for(1.0), run)
    assert found.found == enough
    assert len(found.tried) <= 12
    assert {enough, max(1, enough - 1)} <= set(found.tried)


def test_it_is_said_when_no_timeout_is_enough() -> None:
    refusing = changed(tight(), "admission.minimum_os", {"windows_manual": "99"})
    found = search(refusing, timeout_for(0.9), runner(devices=10))
    assert found.found is None
    assert search_sentence(found).startswith(
        "No timeout from 1 to 1440 reaches 90.00%: even 1440 comes to 0.00%"
    )
    assert len(found.tried) == 1


def test_the_smallest_possible_value_is_the_end() -> None:
    found = search(tight(), timeout_for(0.0), runner(devices=5))
    assert found.found == 1
    assert "With" not in search_sentence(found)
    assert search_sentence(found).endswith("It is the end of the range, all of which is enough.")


# --- any other key --------------------------------------------------------------------------------


@pytest.mark.parametrize("edge", [*range(10, 31)])
def test_every_value_of_a_key_that_hurts_can_be_found(edge: int) -> None:
    tried: list[float] = []
    run = succeeding(lambda value: 0.99 if value <= edge else 0.5, tried)
    found = search(tight(), Find(MEDIAN, 0.98, Span(10, 31)), run)
    assert (found.found, found.goes) == (edge, Goes.FALLING)
    assert len(tried) == len(set(tried)) <= 7
    assert search_sentence(found).startswith(f"The largest {MEDIAN} that reaches 98.00% is {edge}:")
    assert f"With {edge + 1} it is 50.00%." in search_sentence(found)
    assert granted_sentence(found).startswith(
        f"Taken for granted: a greater {MEDIAN} never lets more enrollments succeed, "
        "as the ends of the range suggest. The "
    )


@pytest.mark.parametrize("edge", [*range(11, 32)])
def test_every_value_of_a_key_that_helps_can_be_found(edge: int) -> None:
    run = succeeding(lambda value: 0.99 if value >= edge else 0.5)
    found = search(tight(), Find(MEDIAN, 0.98, Span(10, 31)), run)
    assert (found.found, found.goes) == (edge, Goes.RISING)
    assert "never lets fewer" in granted_sentence(found)


def test_steps_are_as_fine_as_the_range_is_written() -> None:
    run = succeeding(lambda value: 1 - value / 10)
    key, span = read_find(f"{MEDIAN}=0.5..9.25")
    found = search(tight(), Find(key, 0.5, span), run)
    figures = search_figures(found)
    assert (figures["found"], figures["from"], figures["to"]) == (5.0, 0.5, 9.25)
    assert search_sentence(found).startswith(f"The largest {MEDIAN} that reaches 50.00% is 5.00:")
    assert all(
        round(row["value"] * 100) == pytest.approx(row["value"] * 100) for row in figures["tried"]
    )


def test_where_both_ends_are_enough_the_better_known_end_is_the_answer() -> None:
    falling = succeeding(lambda value: 1 - value / 1000)
    found = search(tight(), Find(MEDIAN, 0.9, Span(10, 30)), falling)
    assert found.found == 30
    assert "all of which is enough" in search_sentence(found)
    rising = succeeding(lambda value: 0.9 + value / 1000)
    assert search(tight(), Find(MEDIAN, 0.9, Span(10, 30)), rising).found == 10


def test_a_key_that_decides_nothing_is_said_to_be_one() -> None:
    found = search(tight(), Find(MEDIAN, 0.9, Span(10, 30)), succeeding(lambda _: 0.95))
    assert len(found.tried) == 2
    assert search_sentence(found) == (
        f"{MEDIAN} decides nothing here: at 10 and at 30 the rate is 95.00%, which is enough."
    )
    never = search(tight(), Find(MEDIAN, 0.99, Span(10, 30)), succeeding(lambda _: 0.95))
    assert never.found is None
    assert search_sentence(never).startswith(f"No {MEDIAN} from 10 to 30 reaches 99.00%: even 10 ")


def test_values_that_go_the_other_way_are_named() -> None:
    """Success that rises, falls and rises again: halving may miss the smallest, and says so."""
    run = succeeding(lambda value: {20: 0.97, 15: 0.99, 17: 0.5}.get(int(value), value / 30))
    found = search(tight(), Find(MEDIAN, 0.96, Span(10, 30)), run)
    assert found.goes is Goes.RISING
    assert {15, 20} <= set(found.tried)
    assert "The values tried speak against it: 15 comes to 99.00% and 20 to 97.00%; " in (
        granted_sentence(found)
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("apps.suite.size_mb", "KEY=LOW..HIGH"),
        ("apps.suite.size_mb=", "KEY=LOW..HIGH"),
        ("apps.suite.size_mb=5", "KEY=LOW..HIGH"),
        ("apps.suite.size_mb=a..b", "KEY=LOW..HIGH"),
        ("=1..2", "KEY=LOW..HIGH"),
        ("apps.suite.size_mb=9..5", "write the smaller value first"),
        ("apps.suite.size_mb=5..5", "write the smaller value first"),
        ("apps.suite.size_mb=0..0.00000000001..", "KEY=LOW..HIGH"),
        ("apps.suite.size_mb=0..9.999999999", "so few decimals"),
    ],
)
def test_what_is_no_range_is_refused(text: str, said: str) -> None:
    with pytest.raises(OverrideRefused, match=said):
        read_find(text)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("timeout", TIMEOUTS),
        ("timeout=30..90", Span(30, 90)),
        ("network.failure=0..0.05", Span(0, 5, 2)),
        ("x=-1.5..2", Span(-15, 20, 1)),
    ],
)
def test_a_range_is_read_with_its_decimals(text: str, span: Span) -> None:
    assert read_find(text)[1] == span


def test_a_search_that_is_interrupted_says_where_the_answer_lies() -> None:
    calls = iter(range(100))
    whole = succeeding(lambda value: value / 100)

    def run(scenarios: Sequence[Scenario]) -> Versions:
        if next(calls) == 3:
            raise CutShort
        return whole(scenarios)

    found = search(tight(), Find(MEDIAN, 0.5, Span(10, 90)), run)
    assert found.found is None
    assert search_sentence(found) == (
        f"Interrupted: the smallest {MEDIAN} that reaches 50.00% is 50, or lies between 30 and 50."
    )
    assert search_figures(found)["found"] is None


def test_a_search_that_is_interrupted_early_knows_one_end() -> None:
    calls = iter(range(100))
    whole = runner(devices=5)

    def run(scenarios: Sequence[Scenario]) -> Versions:
        if next(calls) == 1:
            raise CutShort
        return whole(scenarios)

    found = search(tight(), timeout_for(0.5), run)
    assert search_sentence(found) == (
        "Interrupted: the smallest timeout that reaches 50.00% is 1440, or a smaller one."
    )
    assert granted_sentence(found).endswith("never lets fewer enrollments succeed.")


def test_a_search_that_had_no_time_has_no_answer() -> None:
    def run(_: Sequence[Scenario]) -> Versions:
        raise CutShort

    with pytest.raises(CutShort):
        search(tight(), timeout_for(0.5), run)
