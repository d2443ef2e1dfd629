"""The remaining time against virtual runs: how often the truth falls inside the range, and that the range narrows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median

import pytest

from agent.core.effects import Effect, RunStep
from agent.core.events import Event, StepFinished, StepResult
from agent.wire.vocabulary import EnrollmentType
from benchmarks.estimate import (
    CASES,
    MistakenRollout,
    Watched,
    figures_of,
    watch_fleet,
)
from simulator.device import VirtualDevice
from simulator.population import fleet
from simulator.rollout import Rollout
from simulator.scenario import Duration, Person
from simulator.scenario_file import SHIPPED, load_scenario

COMPANY = load_scenario(SHIPPED / "company.toml")
SEED = 11
DEVICES = 240
"""Enough that the share of looks inside the range is known to a few percent."""


def watched_in(case: str, devices: int) -> list[Watched]:
    rollout = MistakenRollout(COMPANY, CASES[case])
    return list(watch_fleet(rollout, seed=SEED, devices=devices))


@pytest.fixture(scope="module")
def watched() -> list[Watched]:
    return watched_in("right", DEVICES)


def test_the_truth_falls_inside_the_range_eight_times_out_of_ten(watched: list[Watched]) -> None:
    figures = figures_of(watched)
    assert figures["attempts"] > DEVICES * 0.9
    assert 0.75 <= figures["coverage"] <= 0.92
    assert figures["early"] < 0.15
    assert figures["late"] < 0.15


@pytest.mark.parametrize("kind", EnrollmentType)
def test_it_holds_for_every_enrollment_type(watched: list[Watched], kind: EnrollmentType) -> None:
    """Half of the time at least, also where a platform's own step takes several times as long as it is expected to."""
    assert figures_of(one for one in watched if one.enrollment_type is kind)["coverage"] > 0.5


def test_it_holds_from_the_beginning_to_the_end(watched: list[Watched]) -> None:
    by_tenth = figures_of(watched)["by_tenth"]
    assert by_tenth.keys() == {str(tenth) for tenth in range(10)}
    assert min(by_tenth.values()) > 0.6


def test_the_range_says_something(watched: list[Watched]) -> None:
    """A range from nothing to forever would hold every truth."""
    assert figures_of(watched)["width_to_truth"] < 1.0


@pytest.mark.rule("remaining-time")
def test_the_range_narrows_as_the_work_gets_done(watched: list[Watched]) -> None:
    widths = list(figures_of(watched)["width_s_at"].values())
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < widths[0] / 5


@pytest.mark.parametrize(("case", "at_least"), [("double", 0.7), ("half", 0.65), ("mixed", 0.55)])
def test_expected_times_that_are_wrong_by_a_factor_of_two_are_found_out(
    case: str, at_least: float
) -> None:
    """Only the first tenth, where nothing is known yet, may be far off."""
    assert figures_of(watched_in(case, 100))["coverage"] > at_least


def test_the_truth_only_gets_nearer(watched: list[Watched]) -> None:
    for one in watched:
        truths = [look.truth_ms for look in one.looks]
        assert all(0 <= after <= before for before, after in pairwise(truths))


def first_truths_ms(answer_s: float) -> list[int]:
    """Of devices whose persons all take this long to answer a screen."""
    person = Person(answer=Duration(median_s=answer_s, spread=1), silent=0, leaves_early=0)
    persons = dict.fromkeys(COMPANY.persons, person)
    rollout = Rollout(COMPANY.model_copy(update={"persons": persons}))
    watched = watch_fleet(rollout, seed=SEED, devices=20)
    return [
        one.looks[0].truth_ms
        for one in watched
        if one.enrollment_type is EnrollmentType.WINDOWS_AUTOPILOT
    ]


def test_what_persons_take_to_answer_is_not_part_of_the_truth() -> None:
    truths_ms = first_truths_ms(answer_s=1)
    assert len(truths_ms) > 5
    assert first_truths_ms(answer_s=600) == truths_ms


class Stopwatch:
    """How long the assigned items of a fleet took, as a share of what was expected."""

    def __init__(self, expected_s: dict[str, int]) -> None:
        self.ratios: list[float] = []
        self._expected_s = expected_s
        self._began_ms: dict[tuple[str, int], int] = {}

    def watch(self, now_ms: int, event: Event, effects: Sequence[Effect]) -> None:
        """Take in one input."""
        if isinstance(event, StepFinished) and event.result is StepResult.COMPLETED:
            began_ms = self._began_ms.pop((event.item, event.run), None)
            if began_ms is not None and event.item in self._expected_s:
                self.ratios.append((now_ms - began_ms) / 1000 / self._expected_s[event.item])
        for effect in effects:
            if isinstance(effect, RunStep):
                self._began_ms[effect.item, effect.run] = now_ms


@pytest.mark.parametrize("kind", EnrollmentType)
def test_half_of_the_installs_take_less_than_their_expected_seconds(kind: EnrollmentType) -> None:
    rollout = Rollout(COMPANY)
    stopwatch = Stopwatch({item.id: item.expected_seconds for item in rollout.items(kind)})
    for device in fleet(COMPANY, SEED, 400):
        if device.facts.enrollment_type is kind:
            VirtualDevice(rollout, device).run(stopwatch.watch)
    assert len(stopwatch.ratios) > 80
    assert median(stopwatch.ratios) == pytest.approx(1, rel=0.1)
