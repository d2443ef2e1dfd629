"""Live against simulated time: what is the same, what is not, and what nobody can tell."""

from __future__ import annotations

import pytest

from agent.wire.vocabulary import EndState
from simulator.live.same_as_virtual import Life, judge, virtual_lives
from simulator.population import cohorts
from simulator.rollout import Rollout
from simulator.scenario_file import SHIPPED, load_scenario

OK, LATE = EndState.SUCCEEDED, EndState.TIMED_OUT


def life(*ends: tuple[EndState, int], answer_ms: int = 0) -> Life:
    return Life(list(ends), [answer_ms] * len(ends))


def test_the_same_ends_are_the_same_and_their_times_are_told_without_the_answer() -> None:
    virtual = {"a": life((OK, 60_000), answer_ms=1_500)}
    live = {"a": life((OK, 90_000), answer_ms=31_500)}
    found = judge(virtual, [virtual, virtual], live, 31_500)
    assert (found.same, found.different, found.too_near) == (1, (), ())
    assert (found.minutes_off_p99, found.unexplained_max) == (0.5, 0.0)
    assert found.is_good


@pytest.mark.parametrize("live", [{}, {"a": life((LATE, 1))}, {"a": life((OK, 1), (OK, 2))}])
def test_another_end_another_attempt_or_none_is_different(live: dict[str, Life]) -> None:
    virtual = {"a": life((OK, 1))}
    found = judge(virtual, [virtual], live, 0)
    assert (found.same, len(found.different)) == (0, 1)
    assert found.different[0].startswith("a: ")
    assert not found.is_good


def test_whose_end_hangs_on_the_answer_is_too_near_and_more_than_one_in_a_hundred_are_too_many() -> (
    None
):
    virtual = {f"d{n}": life((OK, 1)) for n in range(200)}
    slower = virtual | {"d0": life((LATE, 1)), "d1": life((LATE, 1))}
    found = judge(virtual, [virtual, slower], virtual, 0)
    assert (found.same, found.too_near) == (198, ("d0", "d1"))
    assert found.is_good
    slowest = slower | {"d2": life((LATE, 1))}
    assert not judge(virtual, [slowest], virtual, 0).is_good


def test_simulated_time_shows_what_a_slow_answer_decides() -> None:
    """Whoever hears nothing for an hour ends without an assignment; an answer just before that changes much else."""
    scenario = load_scenario(SHIPPED / "demo.toml")
    rollout, whole = Rollout(scenario), cohorts(scenario, 26, 40)
    quick, slow = (virtual_lives(rollout, 26, whole, ms) for ms in (1_500, 70 * 60_000))
    assert quick.keys() == slow.keys()
    assert len(quick) == 40
    found = judge(quick, [quick, slow], quick, 0)
    assert found.too_near
    assert found.same + len(found.too_near) == 40
