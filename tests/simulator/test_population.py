from __future__ import annotations

import pickle
import tomllib
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.events import HOUR_MS, MINUTE_MS
from simulator.population import (
    COHORT,
    cohort_of,
    cohorts,
    devices_of,
    fleet,
    simulated_device,
)
from simulator.scenario import Scenario
from simulator.scenario_file import SHIPPED, load_scenario, read_scenario
from simulator.working_hours import DAY_MS

BASE = """
name = "small"
begins = "08:00"
[[population]]
type = "windows_autopilot"
weight = 1
device = "DESKTOP-{n:06}"
os = [{ name = "Windows 11", version = "10.0.22631" }]
[[profiles]]
priority = 1
profile = { id = "default-esp", name = "Default ESP" }
"""
SITES = """
[[sites]]
name = "Headquarters"
weight = 60
devices = 40
megabits_per_second = 500
[[sites]]
name = "Branch"
weight = 30
devices = 10
megabits_per_second = 50
[[sites]]
name = "Home"
weight = 10
devices = 5
"""


def scenario_of(extra: str = "") -> Scenario:
    return read_scenario(tomllib.loads(BASE + extra), "small.toml")


@pytest.mark.parametrize("extra", ["", SITES], ids=["no sites", "sites"])
@given(devices=st.integers(1, 700), more=st.integers(0, 300))
def test_cohorts_divide_a_fleet_and_more_devices_change_no_earlier_one(
    extra: str, devices: int, more: int
) -> None:
    scenario = scenario_of(extra)
    few, many = cohorts(scenario, 1, devices), cohorts(scenario, 1, devices + more)
    assert [c.number for c in few] == list(range(len(few)))
    assert few[0].first == 0
    assert all(one.first + one.count == other.first for one, other in pairwise(few))
    assert few[-1].first + few[-1].count == devices
    assert few[:-1] == many[: len(few) - 1]
    assert many[len(few) - 1].count >= few[-1].count
    assert (many[len(few) - 1].first, many[len(few) - 1].site) == (few[-1].first, few[-1].site)


def test_without_sites_a_hundred_neighbours_are_a_cohort() -> None:
    assert [c.count for c in cohorts(scenario_of(), 1, 250)] == [COHORT, COHORT, 50]
    assert {device.site for device in fleet(scenario_of(), 1, 250)} == {None}


def test_sites_have_their_share_of_the_devices() -> None:
    scenario = scenario_of(SITES)
    counts = Counter(d.site.name for d in fleet(scenario, 1, 2000) if d.site is not None)
    assert counts["Headquarters"] == pytest.approx(1200, abs=40)
    assert counts["Branch"] == pytest.approx(600, abs=20)
    assert counts["Home"] == pytest.approx(200, abs=10)
    shares = {d.site.name for d in fleet(scenario, 1, 200) if d.site and d.shares_a_line}
    assert shares == {"Headquarters", "Branch"}


def test_a_site_without_weight_gets_nobody() -> None:
    scenario = scenario_of(SITES.replace("weight = 30", "weight = 0"))
    names = {d.site.name for d in fleet(scenario, 1, 500) if d.site is not None}
    assert names == {"Headquarters", "Home"}


@pytest.mark.parametrize(
    "extra",
    ["", SITES, SITES + "\n[users]\ndevices = { 1 = 1, 3 = 1 }"],
    ids=["no sites", "sites", "users with three"],
)
def test_a_device_is_the_same_by_itself_and_in_its_cohort(extra: str) -> None:
    scenario = scenario_of(extra)
    made = list(fleet(scenario, 3, 130))
    assert [d.index for d in made] == list(range(130))
    for index in (0, 7, 41, 99, 129):
        alone = simulated_device(scenario, 3, index)
        assert (alone.facts, alone.starts_at_ms, alone.cohort) == (
            made[index].facts,
            made[index].starts_at_ms,
            made[index].cohort,
        )
        assert cohort_of(scenario, index).number == made[index].cohort


def test_a_cohort_is_a_small_value() -> None:
    (cohort, *_) = cohorts(scenario_of(SITES), 1, 100)
    assert len(pickle.dumps(cohort)) < 200
    assert hash(cohort) == hash(pickle.loads(pickle.dumps(cohort)))  # noqa: S301 - its own


def test_people_have_as_many_devices_as_the_scenario_says_and_none_in_two_cohorts() -> None:
    scenario = scenario_of("[users]\ndevices = { 1 = 50, 2 = 30, 5 = 20 }")
    owned: Counter[int] = Counter()
    for cohort in cohorts(scenario, 1, 6000):
        users = [device.facts.user for device in devices_of(scenario, 1, cohort)]
        # The last one's other devices may be beyond the end of the cohort.
        counted = Counter(user for user in users if user != users[-1])
        owned.update(counted.values())
    people = owned.total()
    assert owned.keys() == {1, 2, 5}
    assert owned[1] / people == pytest.approx(0.5, abs=0.04)
    assert owned[5] / people == pytest.approx(0.2, abs=0.03)
    cohort_by_user: dict[str | None, int] = {}
    for device in fleet(scenario, 1, 6000):
        assert cohort_by_user.setdefault(device.facts.user, device.cohort) == device.cohort


def test_one_user_has_the_same_past_whichever_device_applies() -> None:
    extra = "[users]\ndevices = { 3 = 1 }\n[persons.typical]\nother_devices = { 0 = 1, 7 = 1 }"
    devices = list(fleet(scenario_of(extra), 1, 99))
    for first in range(0, 99, 3):
        assert len({(d.facts.user, d.other_devices) for d in devices[first : first + 3]}) == 1
    assert {d.other_devices for d in devices} == {0, 7}


def test_hardware_is_drawn_by_weight_and_known_to_the_device() -> None:
    extra = """
[hardware.new]
pace = 1.2
memory_mb = 16384
[hardware.old]
pace = 0.6
"""
    text = (BASE + extra).replace("weight = 1\n", "weight = 1\nhardware = { new = 3, old = 1 }\n")
    made = list(fleet(read_scenario(tomllib.loads(text), "small.toml"), 1, 2000))
    old = [device for device in made if device.hardware_class == "old"]
    assert len(old) / 2000 == pytest.approx(0.25, abs=0.03)
    assert {device.hardware.pace for device in old} == {0.6}
    assert {device.facts.hardware for device in old} == {None}
    new = next(device for device in made if device.hardware_class == "new")
    assert new.facts.hardware is not None
    assert new.facts.hardware.memory_mb == 16384


def starts(start: str, devices: int, sites: str = "") -> list[int]:
    scenario = scenario_of(f"[start]\n{start}\n{sites}")
    return [device.starts_at_ms for device in fleet(scenario, 1, devices)]


def test_all_at_once_is_at_one_time() -> None:
    assert set(starts('pattern = "at_once"\nafter_minutes = 3', 20)) == {3 * MINUTE_MS}


def test_even_and_morning_fill_the_span_each_in_its_way() -> None:
    even = starts('pattern = "even"\nover_minutes = 60', 600)
    morning = starts('pattern = "morning"\nover_minutes = 60', 600)
    for pattern in (even, morning):
        assert 0 <= min(pattern) <= max(pattern) < HOUR_MS
    later = starts('pattern = "even"\nover_minutes = 60\nafter_minutes = 5', 600)
    assert later == [at + 5 * MINUTE_MS for at in even]
    middle = [sum(HOUR_MS / 4 <= at < 3 * HOUR_MS / 4 for at in p) / 600 for p in (even, morning)]
    assert middle[0] == pytest.approx(0.5, abs=0.02)
    assert middle[1] == pytest.approx(0.75, abs=0.06)


def test_a_rolling_refresh_hands_out_so_many_an_hour_in_working_hours() -> None:
    rolling = 'pattern = "rolling"\nper_hour = 5\nhours = { begin = "09:00", end = "17:00" }'
    at = [8 * HOUR_MS + ms for ms in starts(rolling, 100)]
    assert at == sorted(at)
    days = Counter(ms // DAY_MS for ms in at)
    assert days == {0: 40, 1: 40, 2: 20}
    assert all(9 * HOUR_MS <= ms % DAY_MS < 17 * HOUR_MS for ms in at)
    hours = Counter(ms // HOUR_MS for ms in at)
    assert set(hours.values()) == {5}


def test_a_truckload_starts_at_one_site_in_quick_succession() -> None:
    sites = """
[[sites]]
name = "Warehouse"
weight = 1
devices = 30
start = { pattern = "truckload", seconds_apart = 20, after_minutes = 60 }
[[sites]]
name = "Branch"
weight = 1
devices = 30
"""
    at = starts('pattern = "even"\nover_minutes = 30', 60, sites)
    truck, branch = at[:30], at[30:]
    assert truck == sorted(truck)
    assert 60 * MINUTE_MS <= truck[0] < truck[-1] < 70 * MINUTE_MS
    assert all((ms - 60 * MINUTE_MS) // 20_000 == place for place, ms in enumerate(truck))
    assert max(branch) < 30 * MINUTE_MS


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda p: p.stem)
def test_no_two_devices_of_a_shipped_scenario_have_one_name(path: str) -> None:
    names = [device.id for device in fleet(load_scenario(SHIPPED / path), 1, 300)]
    assert len(set(names)) == 300
