"""Each thing that a device does is counted once, under the right name."""

from __future__ import annotations

from typing import Any

import pytest

from agent.wire.vocabulary import Choice, EnrollmentType, FailureKind, Phase
from simulator.population import Cohort
from simulator.scenario import Scenario
from simulator.scenario_file import read_scenario
from simulator.tally import Tally
from simulator.whatif.run import run_cohort

QUIET = {"answer": {"median_s": 10, "spread": 1}, "silent": 0, "returns": 0}
CANCELLED, SILENT = FailureKind.USER_CANCELLED, FailureKind.PERSON_SILENT
TIMED_OUT = FailureKind.SETUP_TIMED_OUT


def scenario_of(
    *apps: dict[str, Any], kind: str = "windows_manual", minutes: int = 60, **person: Any
) -> Scenario:
    """Devices of one kind whose people answer everything after ten seconds, unless they are said to do otherwise."""
    errors = {"allow_retry": True, "allow_log_collection": True}
    profile = {"id": "esp", "name": "ESP", "timeout_minutes": minutes, "error_handling": errors}
    data = {
        "name": "one",
        "network": {"failure": 0},
        "limits": {"nobody_comes_back_minutes": 30},
        "population": [
            {
                "type": kind,
                "weight": 1,
                "device": "D-{n}",
                "os": [{"name": "System", "version": "15"}],
            }
        ],
        "profiles": [{"priority": 1, "profile": profile}],
        "apps": list(apps),
        "persons": {"typical": QUIET | person},
    }
    return read_scenario(data, "test")


def app(name: str, seconds: int = 60, **more: Any) -> dict[str, Any]:
    return {"id": name, "name": name.title(), "time": {"median_s": seconds, "spread": 1}} | more


def one(scenario: Scenario) -> Tally:
    """The first device."""
    return run_cohort(scenario, 1, Cohort(0, 0, 1))


def failing(kind: str, recovery: float) -> list[dict[str, Any]]:
    return [{"kind": kind, "chance": 1, "recovery": recovery}]


def test_a_device_that_gets_in_is_counted_once() -> None:
    tally = one(scenario_of(app("vpn")))
    (part,) = tally.parts.values()
    assert (part.devices, part.succeeded, part.opened) == (1, 1, 1)
    assert part.times.total() == part.gate_times.total() == 1
    assert part.time_ms >= part.gate_ms > 60_000
    assert part.reasons == part.final_reasons == {}
    assert tally.items.failed_tries == tally.items.given_up == {}
    assert tally.events > 15


def test_failed_tries_are_counted_and_the_last_one_gives_up() -> None:
    """Three tries by themselves, and three more that the person asks for; a failure that stays is not one more."""
    scenario = scenario_of(
        app("vpn", faults=failing("not_detected", 0)),
        error_screen={"retries": 1, "retries_one_item": 0, "then": {"walk_away": 1}},
    )
    tally = one(scenario)
    cause = ("vpn", FailureKind.NOT_DETECTED, "0x87D1041C")
    assert tally.items.failed_tries == {cause: 6}
    assert tally.items.given_up == {cause: 2}
    assert tally.items.ended_by == {cause: 1}
    assert tally.people.error_screens == 2
    assert tally.people.choices[Choice.TRY_AGAIN] == 1
    part = tally.of(EnrollmentType.WINDOWS_MANUAL)
    assert part.reasons == part.final_reasons == {FailureKind.NOT_DETECTED: 1}
    assert part.opened == 0


def test_an_item_that_was_cancelled_for_its_dependency_failed_no_try() -> None:
    scenario = scenario_of(
        app("runtime", faults=failing("not_detected", 0), tries=1),
        app("vpn", depends_on=["runtime"]),
        error_screen={"retries": 0, "then": {"walk_away": 1}},
    )
    tally = one(scenario)
    assert {item for item, _, _ in tally.items.failed_tries} == {"runtime"}


@pytest.mark.parametrize("logs", [0, 1])
def test_the_error_screen_lasts_until_something_else_than_logs_is_chosen(logs: float) -> None:
    scenario = scenario_of(
        app("vpn", faults=failing("installer_failed", 1), tries=1),
        error_screen={
            "answer": {"median_s": 300, "spread": 1},
            "collects_logs": logs,
            "retries_one_item": 0,
        },
    )
    tally = one(scenario)
    assert tally.people.error_screens == 1
    assert tally.people.error_screen_ms == 300_000
    assert tally.whole.error_screen_ms == 300_000
    assert tally.people.choices[Choice.COLLECT_LOGS] == logs
    assert tally.whole.succeeded == 1


def test_an_error_screen_that_nobody_answers_lasts_until_the_attempt_ends() -> None:
    scenario = scenario_of(
        app("vpn", faults=failing("not_detected", 0), tries=1),
        error_screen={"retries": 0, "then": {"walk_away": 1}},
    )
    assert one(scenario).people.error_screen_ms == 30 * 60_000


def test_a_timeout_is_counted_once_with_what_was_under_way() -> None:
    """One installs, the other waits for its turn and is not to blame; the attempt's end is no second timeout."""
    scenario = scenario_of(
        app("suite", 3600),
        app("vpn", 60),
        minutes=20,
        error_screen={"retries": 0, "then": {"walk_away": 1}},
    )
    tally = one(scenario)
    assert tally.items.timeouts == {Phase.DEVICE_SETUP: 1}
    assert tally.items.open_at_timeout == {(Phase.DEVICE_SETUP, "suite"): 1}
    assert tally.items.failed_tries == {}
    assert tally.items.given_up == {("suite", TIMED_OUT, "0x800705B4"): 1}
    assert tally.items.ended_by == {("", TIMED_OUT, "0x800705B4"): 1}


def test_each_time_budget_that_ends_is_a_timeout() -> None:
    habits = {"retries": 2, "retries_one_item": 0, "then": {"walk_away": 1}}
    tally = one(scenario_of(app("suite", 36_000), minutes=20, error_screen=habits))
    assert tally.items.timeouts == {Phase.DEVICE_SETUP: 3}
    assert tally.people.error_screens == 3


def test_a_screen_is_counted_with_the_time_that_it_waited() -> None:
    people = one(scenario_of(kind="ios")).people
    assert people.shown["set_up_access"] == 1
    assert people.screen_ms["set_up_access"] == 10_000
    assert people.abandoned == {}
    assert sum(people.screen_ms.values()) == 10_000 * people.shown.total()


def test_a_person_who_halts_is_counted_at_that_screen() -> None:
    scenario = scenario_of(kind="ios", screens={"show_profile": {"halt": {"ignore": 1}}})
    tally = one(scenario)
    assert tally.people.abandoned == {("show_profile", "Ignore"): 1}
    assert tally.people.screen_ms["show_profile"] == 10_000
    assert tally.whole.reasons == {CANCELLED: 1}


def test_a_person_who_stays_away_is_counted_at_that_screen() -> None:
    scenario = scenario_of(kind="ios", screens={"whats_next": {"silent": 1}})
    tally = one(scenario)
    assert tally.people.abandoned == {("whats_next", "Exceeded 30 minutes"): 1}
    assert tally.whole.final_reasons == {SILENT: 1}


def test_a_span_that_the_device_used_up_is_counted_where_the_device_was() -> None:
    data = scenario_of(kind="ios").model_dump(mode="json", exclude_unset=True)
    slow = {"loading_company_resources": {"time": {"median_s": 4000, "spread": 1}}}
    tally = one(read_scenario(data | {"steps": slow}, "test"))
    ((screen, action),) = tally.people.abandoned
    assert (screen, action) == ("loading_company_resources", "Exceeded 30 minutes")


def test_of_several_attempts_all_count_and_the_last_one_decides() -> None:
    """They halt about every second time and always come back."""
    scenario = scenario_of(
        kind="ios",
        screens={"set_up_access": {"halt": {"postpone": 0.5}}},
        returns=1,
        returns_max=20,
        return_after={"median_s": 60, "spread": 1},
    )
    tally = run_cohort(scenario, 1, Cohort(0, 0, 40))
    whole = tally.whole
    assert whole.devices == whole.succeeded == whole.opened == 40
    assert whole.reasons[CANCELLED] == tally.people.abandoned["set_up_access", "Postpone"] > 10
    assert whole.final_reasons == {}
    assert whole.judged == 40 + whole.reasons[CANCELLED]
    assert whole.gate_ms > whole.time_ms


def test_what_the_gate_waited_for_is_counted_on_devices_that_opened_it() -> None:
    """Side by side on a phone: the longer one is on the path, and alone once the shorter one is done."""
    items = one(scenario_of(app("long", 100), app("short", 70), kind="ios")).items
    ios = EnrollmentType.IOS
    assert items.on_path[ios, "long"] == 1
    assert items.path_ms[ios, "long"] == pytest.approx(100_000, abs=5_000)
    assert items.alone_ms[ios, "long"] == pytest.approx(30_000, abs=5_000)
    assert (ios, "short") not in items.on_path
    assert (ios, "wait:unknown") not in items.on_path
    assert items.last.total() == 1
    halting = scenario_of(kind="ios", screens={"show_profile": {"halt": {"ignore": 1}}})
    assert one(halting).items.on_path == {}


def test_anything_that_a_device_does_otherwise_changes_the_trace() -> None:
    plain = one(scenario_of(app("vpn"))).trace
    assert plain == one(scenario_of(app("vpn"))).trace
    assert plain != one(scenario_of(app("vpn", 61))).trace
    assert plain != one(scenario_of(app("vpn", soft_reboot=1))).trace
    assert plain != one(scenario_of(app("wlan"))).trace
