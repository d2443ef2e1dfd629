"""Single keys of a scenario can be changed from the command line, and a mistake is one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.scenario import Scenario
from simulator.scenario_file import SHIPPED, load_scenario
from simulator.whatif.overrides import (
    OverrideRefused,
    described,
    overridden,
    read_change,
    read_changes,
)

COMPANY = load_scenario(SHIPPED / "company.toml")


def changed(*texts: str) -> Scenario:
    return overridden(COMPANY, [read_change(text) for text in texts], "--with")


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_changing_nothing_changes_nothing(path: Path) -> None:
    scenario = load_scenario(path)
    assert overridden(scenario, [], "--with") == scenario


def timeouts(scenario: Scenario) -> dict[str, int]:
    return {entry.profile.id: entry.profile.timeout_minutes for entry in scenario.profiles}


def test_a_profile_is_called_by_its_id() -> None:
    before = timeouts(COMPANY)
    assert timeouts(changed("profiles.default-esp.timeout_minutes=77")) == before | {
        "default-esp": 77
    }


@pytest.mark.parametrize(
    "key", ["timeout", "profiles.*.timeout_minutes", "profiles.*.profile.timeout_minutes"]
)
def test_a_star_is_all_of_them(key: str) -> None:
    assert set(timeouts(changed(f"{key}=77")).values()) == {77}


def test_a_star_is_every_name_of_a_table() -> None:
    scenario = changed("persons.*.silent=0.25")
    assert scenario.persons.keys() == COMPANY.persons.keys()
    assert {person.silent for person in scenario.persons.values()} == {0.25}
    with pytest.raises(OverrideRefused, match="the scenario has nothing under targets; name a key"):
        overridden(load_scenario(SHIPPED / "office.toml"), [("targets.*.minutes", 5)], "--with")


@pytest.mark.parametrize("key", ["profiles.0", 'profiles."Kiosk ESP"', "profiles.kiosk-esp"])
def test_an_entry_is_called_by_number_name_or_id(key: str) -> None:
    kiosk = COMPANY.profiles[0].profile.id
    assert kiosk == "kiosk-esp"
    assert timeouts(changed(f"{key}.timeout_minutes=9"))[kiosk] == 9


def test_values_are_toml_or_text() -> None:
    scenario = changed(
        "profiles.default-esp.blocking_apps=['vpn-client']",
        "title=Another fleet",
        "apps.vpn-client.time={ median_s = 5 }",
        "persons.office.answer.median_s=3",
    )
    default = next(e.profile for e in scenario.profiles if e.profile.id == "default-esp")
    vpn = next(app for app in scenario.apps if app.id == "vpn-client")
    assert default.blocking_apps == ("vpn-client",)
    assert scenario.title == "Another fleet"
    assert vpn.time is not None
    assert vpn.time.median_s == 5
    assert scenario.persons["office"].answer.median_s == 3


def test_several_changes_are_made_in_their_order() -> None:
    scenario = changed("timeout=30", "profiles.default-esp.timeout_minutes=77")
    assert sorted(set(timeouts(scenario).values())) == [30, 77]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("timeout=0", "timeout_minutes: 0 is out of range; it has to be at least 1"),
        ("timeout=soon", "expected a whole number, found 'soon'"),
        ("timout=5", "timout: unknown key"),
        ("profiles.defualt.timeout_minutes=5", "profiles has no 'defualt'; use one of: kiosk-esp"),
        ("profiles=5", "profiles: expected a list"),
        ("profiles.default-esp=5", "a whole part of the scenario; name a key in it"),
        ("title.more=5", "title has no keys of its own; end the key there"),
        ("seed=5", "seed is the same for every version; give it with --seed"),
        ("devices=5", "devices is the same for every version; give it with --devices"),
        ("persons.ofice.silent=0", "persons has no 'ofice'; use one of: office, mac, iphone"),
        ("hardware.phones.pace=2", "hardware has no 'phones'; use one of: notebook, "),
    ],
)
def test_a_mistake_is_one_sentence_with_the_key(text: str, message: str) -> None:
    with pytest.raises(OverrideRefused) as refused:
        changed(text)
    assert message in str(refused.value)
    assert str(refused.value).startswith("--with")


@pytest.mark.parametrize("text", ["timeout", "timeout=", "=5", " =5"])
def test_a_change_needs_key_and_value(text: str) -> None:
    with pytest.raises(OverrideRefused, match="write KEY=VALUE"):
        read_change(text)


def test_several_values_are_read() -> None:
    assert read_changes("timeout=30,45, 60") == ("timeout", (30, 45, 60))
    assert read_changes("x=[['a', 'b'], 'all']") == ("x", (["a", "b"], "all"))


@pytest.mark.parametrize("text", ["timeout", "timeout=30", "timeout=30,", "=1,2", "x=[1]"])
def test_a_sweep_needs_key_and_two_values(text: str) -> None:
    with pytest.raises(OverrideRefused, match=r"write KEY=VALUE,VALUE,\.\.\."):
        read_changes(text)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([("profiles.default-esp.timeout_minutes", 90)], "raising {} from 60 to 90"),
        ([("profiles.default-esp.timeout_minutes", 45)], "lowering {} from 60 to 45"),
        ([("profiles.default-esp.timeout_minutes", 60)], "setting {} to 60"),
        ([("timeout", 60)], "setting timeout to 60"),
        ([("network.failure", 0.5), ("title", "A")], 'and setting title to "A"'),
        ([("apps.vpn-client.required", False)], "setting {} to false"),
    ],
)
def test_changes_are_described(changes: list[tuple[str, object]], words: str) -> None:
    assert words.format(changes[0][0]) in described(COMPANY, changes)
