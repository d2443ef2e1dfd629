from __future__ import annotations

import json
from collections import Counter

import pytest

from agent.core.flows import FLOWS
from agent.wire.vocabulary import EnrollmentType, Variant
from simulator.cohort import enroll_cohort
from simulator.counting import DeviceTally
from simulator.population import COHORT, Cohort, cohorts
from simulator.rollout import Rollout
from simulator.scenario import Scenario, Users
from simulator.scenario_file import SHIPPED, load_scenario
from simulator.tally import Tally
from simulator.whatif.run import run_cohort, run_cohorts
from tests.simulator.whatif.fleets import counted, figures_of


@pytest.fixture(scope="module")
def company() -> Scenario:
    return load_scenario(SHIPPED / "company.toml")


def test_any_number_of_processes_gives_the_same_bytes(company: Scenario) -> None:
    one, two = (counted(company, devices=COHORT + 30, seed=3, jobs=jobs) for jobs in (1, 2))
    assert one.to_text() == two.to_text()
    assert json.dumps(one.figures()) == json.dumps(two.figures())


def test_a_device_lives_the_same_life_in_any_cohort(company: Scenario) -> None:
    one_each = company.model_copy(update={"users": Users()})
    whole = run_cohort(one_each, 3, Cohort(0, 0, 20))
    parts = run_cohort(one_each, 3, Cohort(0, 10, 10))
    parts.add(run_cohort(one_each, 3, Cohort(0, 0, 10)))
    assert whole.to_json() == parts.to_json()


def test_another_seed_is_another_fleet(company: Scenario) -> None:
    assert (
        run_cohort(company, 3, Cohort(0, 0, 10)).trace
        != run_cohort(company, 4, Cohort(0, 0, 10)).trace
    )


def test_the_figures_have_the_agreed_form(company: Scenario) -> None:
    told: list[int] = []
    figures = counted(company, devices=40, seed=2026, advance=told.append).figures()
    agreed = {"devices", "seed", "by_type", "critical_path", "events", "trace"}
    assert agreed <= figures.keys()
    assert sum(told) == 40
    for figure in figures["by_type"].values():
        assert {"devices", "succeeded", "success_rate", "minutes", "end_states"} <= figure.keys()
        assert list(figure["minutes"]) == ["mean", "p50", "p90", "p99"]
        assert 0 <= figure["success_rate"] <= 1
        assert figure["minutes"]["p50"] <= figure["minutes"]["p90"] <= figure["minutes"]["p99"]
    assert sum(figure["devices"] for figure in figures["by_type"].values()) == 40
    first = figures["critical_path"][0]
    assert {"item", "name", "devices", "share"} <= first.keys()


def test_the_variants_of_a_type_add_up_to_it() -> None:
    variants = load_scenario(SHIPPED / "variants.toml")
    figures = figures_of(variants, devices=60, seed=variants.seed)
    found = {
        (EnrollmentType(kind), Variant(variant))
        for kind, parts in figures["by_variant"].items()
        for variant in parts
    }
    assert found == set(FLOWS)
    for kind, whole in figures["by_type"].items():
        parts = figures["by_variant"][kind].values()
        assert sum(part["devices"] for part in parts) == whole["devices"]
        assert sum(part["succeeded"] for part in parts) == whole["succeeded"]
        ends = Counter[str]()
        for part in parts:
            ends.update(part["end_states"])
        assert ends == whole["end_states"]


@pytest.mark.parametrize("name", ["company", "office", "variants", "demo"])
def test_what_apps_say_of_their_progress_decides_nothing(name: str) -> None:
    """What-if leaves the percents out: every figure but the number of reports is the same with them."""
    scenario = load_scenario(SHIPPED / f"{name}.toml")
    rollout, heard = Rollout(scenario), Tally()
    fleet = cohorts(scenario, 11, 150)
    for cohort in fleet:
        enroll_cohort(rollout, 11, cohort, lambda device: DeviceTally(heard, device))
    told, counted = heard.to_json(), run_cohorts(scenario, 11, fleet).to_json()
    assert {key for key in told if told[key] != counted[key]} == {"events", "trace"}
    assert heard.events > 1.1 * counted["events"]
