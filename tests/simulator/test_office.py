from __future__ import annotations

import tomllib
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

from agent.wire.vocabulary import EnrollmentType, FailureKind
from simulator.population import Cohort, cohorts
from simulator.scenario_file import SHIPPED, read_scenario
from simulator.whatif.run import run_cohort

TEXT = (SHIPPED / "office.toml").read_text(encoding="utf-8")
BRANCH = Cohort(1, 30, 30, 1)
"""A branch office: the second of the scenario's cohorts."""


@dataclass(frozen=True)
class Outcome:
    """What became of a branch office."""

    succeeded: int
    reasons: Counter[FailureKind]


def office(old: str = "", new: str = "", cohort: Cohort = BRANCH) -> Outcome:
    assert old in TEXT
    data: dict[str, Any] = tomllib.loads(TEXT.replace(old, new))
    tally = run_cohort(read_scenario(data, "office.toml"), 9, cohort)
    kinds = [tally.of(kind) for kind in EnrollmentType]
    reasons: Counter[FailureKind] = Counter()
    for kind in kinds:
        reasons.update(kind.reasons)
    return Outcome(sum(kind.succeeded for kind in kinds), reasons)


@pytest.fixture(scope="module")
def tight() -> Outcome:
    return office()


def test_the_timeout_decides_most_failures(tight: Outcome) -> None:
    assert 10 <= tight.succeeded <= 27
    assert tight.reasons.total() >= 3
    assert tight.reasons[FailureKind.SETUP_TIMED_OUT] >= 0.8 * tight.reasons.total()


def test_a_longer_timeout_saves_many(tight: Outcome) -> None:
    longer = [office("timeout_minutes = 50", f"timeout_minutes = {m}") for m in (45, 60, 90)]
    shorter, sixty, ninety = (outcome.succeeded for outcome in longer)
    assert shorter < tight.succeeded < sixty <= ninety
    assert ninety >= tight.succeeded + 5


def test_a_cache_saves_many(tight: Outcome) -> None:
    assert office("# cache", "cache").succeeded >= tight.succeeded + 5


def test_a_wider_line_saves_many(tight: Outcome) -> None:
    wide = office("megabits_per_second = 300", "megabits_per_second = 3000")
    assert wide.succeeded >= tight.succeeded + 5


def test_people_who_start_one_after_another_wait_less(tight: Outcome) -> None:
    assert office("over_minutes = 90", "over_minutes = 400").succeeded >= tight.succeeded + 5


def test_the_branch_office_is_the_scenarios_second_cohort() -> None:
    scenario = read_scenario(tomllib.loads(TEXT), "office.toml")
    assert cohorts(scenario, 9, 60)[1] == BRANCH
    assert scenario.sites[1].name == "Branch office"
