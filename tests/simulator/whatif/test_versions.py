"""Versions of a scenario are compared on the same devices, and what differs is said in words."""

from __future__ import annotations

from collections.abc import Sequence

from agent.wire.vocabulary import EnrollmentType, Variant
from simulator.counting import Outcome
from simulator.population import cohorts, fleet
from simulator.scenario import Scenario
from simulator.scenario_file import SHIPPED, load_scenario
from simulator.whatif.comparison import Comparison, comparison_figures, verdict
from simulator.whatif.counted import Sweep
from simulator.whatif.figures import labels_of
from simulator.whatif.paired import rate_difference
from simulator.whatif.run import run_cohorts
from simulator.whatif.sweep import Row, rows_of, sweep_sentence
from simulator.whatif.versions import Lived, _group
from tests.simulator.whatif.fleets import changed, counted, runner, tight

COMPANY = load_scenario(SHIPPED / "company.toml")


def sentences(first: Scenario, second: Scenario, devices: int = 80) -> list[str]:
    versions = runner(devices)((first, second))
    before, after = versions.tallies
    comparison = Comparison("the change", before, after, versions.pairs[0])
    return verdict(comparison, labels_of(first))


# --- versions -----------------------------------------------------------------------------------


def test_each_version_comes_to_what_it_comes_to_alone() -> None:
    versions = runner(devices=250, seed=9)((COMPANY, changed(COMPANY, "timeout", 40)))
    for scenario, tally in zip(
        (COMPANY, changed(COMPANY, "timeout", 40)), versions.tallies, strict=True
    ):
        alone = run_cohorts(scenario, 9, cohorts(scenario, 9, 250))
        assert tally.to_json() == alone.to_json()


def test_any_number_of_processes_gives_the_same_comparison() -> None:
    scenarios = (COMPANY, changed(COMPANY, "timeout", 20))
    one, two = (runner(devices=250, jobs=jobs)(scenarios) for jobs in (1, 2))
    assert [t.to_json() for t in one.tallies] == [t.to_json() for t in two.tallies]
    pairs = [{k: p.to_json() for k, p in v.pairs[0].by_type.items()} for v in (one, two)]
    assert pairs[0] == pairs[1]
    assert pairs[0]


def test_a_scenario_that_is_divided_otherwise_is_compared_all_the_same() -> None:
    """Sites make cohorts of another size, so that the smallest common stretch of devices is a larger one."""
    site = {"name": "office", "devices": 30, "weight": 1}
    other = changed(COMPANY, "sites", [site])
    assert {c.count for c in cohorts(other, 3, 300)} == {30}
    versions = runner(devices=320)((COMPANY, other))
    assert versions.pairs[0].whole.devices == 320
    assert [tally.whole.devices for tally in versions.tallies] == [320, 320]


def test_devices_of_one_person_or_one_line_are_a_group() -> None:
    people = changed(tight(), "users.devices", {"1": 1, "3": 1})
    users = {device.facts.user for device in fleet(people, 3, 80)}
    assert len(users) < 60
    success = runner()((people, people)).pairs[0].whole.success
    assert (success.count, success.groups) == (80, len(users))
    line = {"name": "Office", "devices": 20, "megabits_per_second": 300}
    offices = changed(people, "sites", [line])
    for versions in ((offices, offices), (people, offices), (offices, people)):
        assert runner()(versions).pairs[0].whole.success.groups == 4


def test_a_device_of_nobody_is_in_no_line_of_the_same_number() -> None:
    """Device number 1 belongs to nobody, and line number 1 is of twenty others."""
    outcome = Outcome((EnrollmentType.WINDOWS_MANUAL, Variant.STANDARD), True, None, 1, 1)
    alone, at_a_line = Lived(outcome, None, None), Lived(outcome, 1, None)
    assert _group(1, alone, alone) != _group(30, at_a_line, at_a_line)
    assert _group(30, at_a_line, at_a_line) == _group(31, at_a_line, at_a_line)


def test_looking_at_every_type_errs_as_seldom_as_looking_at_one() -> None:
    versions = runner(devices=300)((COMPANY, changed(COMPANY, "timeout", 30)))
    before, after = versions.tallies
    pairs = versions.pairs[0]
    figures = comparison_figures(Comparison("the change", before, after, pairs), labels_of(COMPANY))
    assert figures["level"] == 0.95
    assert figures["by_type_level"] == 0.99
    kind = EnrollmentType.WINDOWS_AUTOPILOT
    wide = rate_difference(pairs.by_type[kind], 0.99)
    assert wide is not None
    told = figures["by_type"][kind.value]["succeeded"]["difference"]["interval"]
    assert told == [round(bound, 6) for bound in wide.interval]


# --- in words -----------------------------------------------------------------------------------


def test_a_change_that_helps_saves_enrollments() -> None:
    first, *others = sentences(tight(), changed(tight(), "timeout", 60))
    assert first.startswith("The change saves ")
    assert " of 10,000 enrollments: " in first
    assert "devices went from failure to success and 0 from success to failure." in first
    assert any(
        sentence.startswith("What no longer fails: Setup timed out (") for sentence in others
    )
    assert any("Suite is on the critical path of 100%" in sentence for sentence in others)


def test_a_change_that_hurts_costs_enrollments() -> None:
    first, *others = sentences(tight(), changed(tight(), "timeout", 15))
    assert first.startswith("The change costs ")
    assert any(sentence.startswith("What fails now: Setup timed out (") for sentence in others)


def test_where_nothing_changes_it_says_so_and_what_would_have_been_found() -> None:
    rate, time, *_ = sentences(tight(), changed(tight(), "title", "Another"))
    assert rate == (
        "The change: not one of 80 devices ended differently; a difference of 14.8 points or more would have been "
        "found in 19 of 20 fleets like this."
    )
    assert time.startswith("Each of the ")
    assert time.endswith("devices that succeed both times takes as long as before.")


def test_where_only_luck_differs_no_difference_is_found() -> None:
    other = changed(tight(), "apps.0.id", "suite-2")
    rate, time, *_ = sentences(tight(), other)
    assert rate.startswith("The change: no difference in success was found: ")
    assert " would have been found in 19 of 20 fleets like this." in rate
    assert time.startswith("No difference in time was found among the ")


def test_a_difference_in_time_is_said_with_its_reach() -> None:
    faster = changed(tight(), "apps.suite.time.median_s", 600)
    _, time, *_ = sentences(tight(), faster)
    assert " minutes ± " in time
    assert " less on average; " in time


def test_two_offices_tell_nothing_for_certain() -> None:
    """What happens at the end of one line is one piece of news, however many devices hear it."""
    office = {"name": "Office", "devices": 40, "megabits_per_second": 300}
    offices = tight(sites=[office])
    first, *_ = sentences(offices, changed(offices, "timeout", 60))
    assert first.startswith("80 devices at so few places and of so few people do not tell the ")
    assert first.endswith("from success to failure. Ask again with more devices.")
    first, *_ = sentences(offices, changed(offices, "timeout", 60), devices=400)
    assert first.startswith("The change saves ")


def test_other_devices_are_said_to_be_others() -> None:
    other = changed(tight(), "population.0.type", "macos_ade")
    assert "80 of the 80 devices are of another type" in sentences(tight(), other)[-1]


# --- sweeps -------------------------------------------------------------------------------------


def sweep_of(scenario: Scenario, key: str, values: Sequence[int]) -> list[Row]:
    whole = counted(scenario, Sweep(key, tuple(values)), devices=80, seed=3)
    return rows_of(values, whole.versions)


def test_a_sweep_has_a_row_for_each_value_beside_the_one_before() -> None:
    rows = sweep_of(tight(), "timeout", (15, 30, 1440))
    assert [row.value for row in rows] == [15, 30, 1440]
    rates = [row.tally.whole.success_rate or 0 for row in rows]
    assert rates[0] < rates[1] < rates[2] == 1
    assert rows[0].beside_previous is None
    assert rows[2].beside_previous is not None
    gained = rows[2].tally.whole.succeeded - rows[1].tally.whole.succeeded
    assert rows[2].beside_previous.whole.second_only == gained
    assert sweep_sentence("timeout", rows) == (
        "Every step of timeout makes a difference in success: from 15 to 30, from 30 to 1440."
    )
    rows = sweep_of(tight(), "timeout", (15, 30, 1439, 1440))
    assert sweep_sentence("timeout", rows) == (
        "Of the 3 steps of timeout, 2 make a difference in success: from 15 to 30, from 30 to 1439."
    )


def test_a_sweep_that_finds_nothing_says_so() -> None:
    rows = sweep_of(tight(), "timeout", (1000, 1440))
    assert sweep_sentence("timeout", rows) == (
        "Between no two neighbouring values of timeout was a difference in success found; one of 14.8 points or more "
        "would have been found in 19 of 20 fleets like this."
    )


def test_a_sweep_of_two_offices_says_that_it_can_not_tell() -> None:
    offices = tight(sites=[{"name": "Office", "devices": 40, "megabits_per_second": 300}])
    rows = sweep_of(offices, "timeout", (15, 30))
    assert sweep_sentence("timeout", rows).endswith(
        "can't be told from chance. Ask again with more devices."
    )
