from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from agent.core.events import Hardware
from agent.core.flows import BUILT_IN_STEPS, FLOWS
from agent.core.person_screens import PERSON_SCREENS
from agent.wire.assignment import InstallRules, Requirements
from agent.wire.vocabulary import Architecture, EnrollmentType, RestartBehavior, Variant
from simulator.population import simulated_device
from simulator.rollout import Rollout
from simulator.scenario_file import SHIPPED, ScenarioRefused, load_scenario, read_scenario

GOOD = """
name = "small"

[[population]]
type = "windows_autopilot"
weight = 1
device = "DESKTOP-{n:06}"
os = [{ name = "Windows 11", version = "10.0.22631" }]

[[groups]]
name = "Executives"
share = 0.1

[[profiles]]
priority = 1
groups = ["All Devices"]
profile = { id = "default-esp", name = "Default ESP", blocking_apps = ["vpn-client"] }

[[apps]]
id = "vpn-client"
name = "VPN Client"
depends_on = ["vcredist"]
time = { median_s = 60 }

[[apps]]
id = "vcredist"
name = "Visual C++ Runtime"

[persons.typical.screens.sign_in]
silent = 0.1

[steps.entra_join]
time = { median_s = 30 }
"""


def data(text: str = GOOD) -> dict[str, Any]:
    return tomllib.loads(text)


def test_a_good_scenario_is_read() -> None:
    scenario = read_scenario(data(), "small.toml")
    assert scenario.population[0].type is EnrollmentType.WINDOWS_AUTOPILOT
    assert scenario.apps[0].depends_on == ("vcredist",)


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda p: p.stem)
def test_the_shipped_scenarios_are_good(path: Path) -> None:
    assert load_scenario(path).name == path.stem


@pytest.mark.parametrize(
    ("old", "new", "key", "remedy"),
    [
        ('name = "small"', 'name = "small"\nsed = 4', "sed", "did you mean 'seed'?"),
        ("median_s = 60", "median = 60", "apps[0].time.median", "did you mean 'median_s'?"),
        (
            'id = "default-esp", name',
            'id = "default-esp", timeout_minuts = 3, name',
            "profiles[0].profile.timeout_minuts",
            "did you mean 'timeout_minutes'?",
        ),
        (
            "[persons.typical.screens.sign_in]\nsilent",
            "[persons.typical.screens.sign_in]\nsilence",
            "persons.typical.screens.sign_in.silence",
            "did you mean 'silent'?",
        ),
        (
            "weight = 1",
            'weight = "many"',
            "population[0].weight",
            "expected a number, found 'many'",
        ),
        ("weight = 1", 'weight = "1"', "population[0].weight", "expected a number, found '1'"),
        (
            "depends_on",
            'required = "no"\ndepends_on',
            "apps[0].required",
            "expected true or false, found 'no'",
        ),
        (
            "share = 0.1",
            "share = 2026-11-21",
            "groups[0].share",
            "2026-11-21 is a date or time of TOML, which no key takes",
        ),
        (
            "[persons.typical.screens.sign_in]",
            "[persons.typical.hours]\nbegin = 09:00:00\n[persons.typical.screens.sign_in]",
            "persons.typical.hours.begin",
            'a time of day stands in quotes, as in "09:30"',
        ),
        (
            'name = "VPN Client"',
            'name = "VPN \\u001b[31mClient"',
            "apps[0].name",
            "has the control character '\\x1b'; remove it",
        ),
        ('name = "small"', 'name = "small"\n"a\\nb" = 1', "a\\nb", "unknown key; "),
        ("[[groups]]", "[networks]\nid = 3\n[[groups]]", "networks", "expected a list in [ ]"),
        ("weight = 1", "weight = -1", "population[0].weight", "it has to be at least 0"),
        ('name = "small"', 'name = "small"\ndevices = 2.5', "devices", "expected a whole number"),
        ('name = "small"', 'name = "small"\ndevices = 0', "devices", "at least 1"),
        ("share = 0.1", "share = 1.1", "groups[0].share", "at most 1"),
        (
            "windows_autopilot",
            "windows_autopilt",
            "population[0].type",
            "did you mean 'windows_autopilot'?",
        ),
        ("DESKTOP-{n:06}", "DESKTOP", "population[0].device", "DESKTOP-{n:06}"),
        ("10.0.22631", "eleven", "population[0].os[0].version", "10.0.22631"),
        ('name = "small"\n', "", "name", "is missing; add it"),
        ("priority = 1", "", "profiles[0].priority", "is missing; add it"),
        (
            'blocking_apps = ["vpn-client"]',
            'blocking_apps = ["vpn-clint"]',
            "profiles[0].profile.blocking_apps",
            "did you mean 'vpn-client'?",
        ),
        ('depends_on = ["vcredist"]', 'depends_on = ["vcredits"]', "apps", "choose one of"),
        (
            'name = "Visual C++ Runtime"',
            'name = "Visual C++ Runtime"\ndepends_on = ["vpn-client"]',
            "apps",
            "go in a circle: vpn-client → vcredist → vpn-client; remove one",
        ),
        ('id = "vcredist"', 'id = "vpn-client"', "apps", "listed twice; give each item its own id"),
        (
            'groups = ["All Devices"]',
            'groups = ["All Devices", "Executive"]',
            "profiles[0].groups",
            "did you mean 'Executives'?",
        ),
        ('groups = ["All Devices"]', 'groups = ["Executives"]', "profiles", "add one"),
        ("weight = 1", 'weight = 1\nperson = "typicl"', "population[0].person", "'typical'"),
        ("weight = 1", "weight = 0", "population[0].weight", "more than 0"),
        ("screens.sign_in", "screens.sing_in", "persons.typical.screens.sing_in", "'sign_in'"),
        ("steps.entra_join", "steps.entra_jion", "steps.entra_jion", "'entra_join'"),
        (
            "[steps.entra_join]",
            "[limits]\nnobody_comes_back_minutes = 0\n[steps.entra_join]",
            "limits.nobody_comes_back_minutes",
            "more than 0",
        ),
        (
            "weight = 1",
            'weight = 1\nvariant = "automated"',
            "population[0].variant",
            "no variant 'automated'; choose one of: standard, hybrid_join, self_deploying, pre_provisioned",
        ),
        (
            "weight = 1",
            'weight = 1\nvariant = "hybrid"',
            "population[0].variant",
            "did you mean 'hybrid_join'?",
        ),
        (
            "[steps.entra_join]",
            "[hardware.old]\nmemry_mb = 1\n[steps.entra_join]",
            "hardware.old.memry_mb",
            "did you mean 'memory_mb'?",
        ),
        (
            "[steps.entra_join]",
            '[hardware.old]\narchitecture = "arm"\n[steps.entra_join]',
            "hardware.old.architecture",
            "did you mean 'arm64'?",
        ),
        (
            "[steps.entra_join]",
            "[hardware.old]\nprocessors = -4\n[steps.entra_join]",
            "hardware.old.processors",
            "at least 0",
        ),
        (
            'name = "small"',
            'name = "small"\nbegins = "8:00"',
            "begins",
            "two digits for hours and minutes, as in 09:30",
        ),
        (
            "[persons.typical.screens.sign_in]",
            '[persons.typical.hours]\nbegin = "18:00"\nend = "09:00"\n[persons.typical.screens.sign_in]',
            "persons.typical.hours.end",
            "'09:00' is not later than begin, '18:00'; exchange them",
        ),
        (
            "[persons.typical.screens.sign_in]",
            '[persons.typical.hours]\ndays = ["mondy"]\n[persons.typical.screens.sign_in]',
            "persons.typical.hours.days[0]",
            "did you mean 'monday'?",
        ),
        (
            "[persons.typical.screens.sign_in]",
            "[persons.typical.hours]\ndays = []\n[persons.typical.screens.sign_in]",
            "persons.typical.hours.days",
            "expected one entry at least",
        ),
        (
            "[persons.typical.screens.sign_in]",
            "[persons.typical]\nother_devices = { 3 = 0 }\n[persons.typical.screens.sign_in]",
            "persons.typical.other_devices",
            "more than 0",
        ),
        (
            "[steps.entra_join]",
            "[users]\ndevices = { many = 1 }\n[steps.entra_join]",
            "users.devices.many",
            "expected a whole number",
        ),
        (
            "[steps.entra_join]",
            "[users]\ndevices = { 0 = 1 }\n[steps.entra_join]",
            "users.devices.0",
            "at least 1",
        ),
        (
            "[steps.entra_join]",
            '[start]\npattern = "rollin"\n[steps.entra_join]',
            "start.pattern",
            "did you mean 'rolling'?",
        ),
        (
            "[[groups]]",
            '[[sites]]\nname = "Office"\nmegabits = 3\n[[groups]]',
            "sites[0].megabits",
            "use one of: cache, devices, megabits_per_second",
        ),
        (
            "[[groups]]",
            '[[sites]]\nname = "Office"\ncache = {}\n[[groups]]',
            "sites[0].cache",
            "add megabits_per_second, or remove cache",
        ),
        (
            "[[groups]]",
            '[[sites]]\nname = "Office"\n[[sites]]\nname = "Office"\n[[groups]]',
            "sites[1].name",
            "give each its own",
        ),
        (
            "[[groups]]",
            '[[sites]]\nname = "Office"\nweight = 0\n[[groups]]',
            "sites[0].weight",
            "more than 0",
        ),
        (
            "[[groups]]",
            '[[sites]]\nname = "Office"\nstart = { hours = { begin = "23:00" } }\n[[groups]]',
            "sites[0].start.hours.end",
            "exchange them",
        ),
        (
            'depends_on = ["vcredist"]',
            'faults = [{ kind = "hangs", chance = 1, hardware = ["old"] }]',
            "apps[0].faults[0].hardware",
            "unknown hardware class 'old'",
        ),
        (
            "weight = 1",
            "weight = 1\nhardware = { old = 1 }",
            "population[0].hardware.old",
            "describe it under [hardware.old]",
        ),
        (
            'depends_on = ["vcredist"]',
            "rules = { requirments = { memory_mb = 1 } }",
            "apps[0].rules.requirments",
            "did you mean 'requirements'?",
        ),
        (
            'depends_on = ["vcredist"]',
            "rules = { requirements = { memory = 1 } }",
            "apps[0].rules.requirements.memory",
            "did you mean 'memory_mb'?",
        ),
        (
            'depends_on = ["vcredist"]',
            'rules = { exit_codes = [{ code = 75, meaning = "retri" }] }',
            "apps[0].rules.exit_codes[0].meaning",
            "did you mean 'retry'?",
        ),
        (
            'depends_on = ["vcredist"]',
            'rules = { supersedes = [{ id = "old", removes = true }] }',
            "apps[0].rules.supersedes[0].removes",
            "use one of: id, uninstall",
        ),
        (
            'depends_on = ["vcredist"]',
            'rules = { supersedes = [{ id = "vpn-client" }] }',
            "apps",
            "supersede each other: vpn-client → vpn-client",
        ),
        (
            'name = "Default ESP"',
            'name = "Default ESP", windows = { quality_update = true }',
            "profiles[0].profile.windows.quality_update",
            "did you mean 'quality_updates'?",
        ),
        (
            "[steps.entra_join]",
            "[screens.android_enterprise]\nsetup_actions = true\n[steps.entra_join]",
            "screens.android_enterprise.setup_actions",
            "did you mean 'setup_action'?",
        ),
        (
            "steps.entra_join",
            "steps.reseal",
            "steps.reseal",
            "write it under persons.NAME.screens.reseal",
        ),
        (
            "[steps.entra_join]",
            '[steps.entra_join]\nvariants = ["hybrid_joined"]',
            "steps.entra_join.variants[0]",
            "did you mean 'hybrid_join'?",
        ),
    ],
)
def test_a_mistake_gets_one_message_with_file_key_and_remedy(
    old: str, new: str, key: str, remedy: str
) -> None:
    assert old in GOOD
    with pytest.raises(ScenarioRefused) as refused:
        read_scenario(data(GOOD.replace(old, new)), "small.toml")
    message = str(refused.value)
    assert message.startswith(f"small.toml: {key}: ")
    assert remedy in message
    assert "\n" not in message


def test_a_missing_file_names_the_scenarios_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(ScenarioRefused, match=r"no such file; .*company\.toml"):
        load_scenario(tmp_path / "none.toml")


def test_what_is_no_toml_is_said_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("name = \n")
    with pytest.raises(ScenarioRefused, match=r"broken\.toml: is not TOML: .*line 1"):
        load_scenario(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"seed = 1\nseed = 2\n",
            "is not TOML: a key is there twice (at line 2, column 9); correct",
        ),
        (b'name = "a\n', "is not TOML: a quote is not closed (at line 1, column 10); correct"),
        (
            b"[start]\n[start]\n",
            "is not TOML: a table is there twice (at line 2, column 7); correct",
        ),
        (GOOD.encode("utf-16"), "is not UTF-8 text; save it as UTF-8"),
        (b"\x9b\xff", "is not UTF-8 text; save it as UTF-8"),
        (b"x = " + b"[" * 5000, "is nested too deeply; write it flatter"),
        (
            GOOD.encode() + b"[[profiles]]\n[profiles.profile.graph" + b".x" * 5000 + b"]",
            "is nested too deeply; write it flatter",
        ),
    ],
)
def test_what_can_not_be_parsed_is_one_sentence_with_a_remedy(
    content: bytes, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(ScenarioRefused) as refused:
        load_scenario(path)
    assert str(refused.value).startswith(f"{path}: {said}")


def test_a_folder_is_no_scenario(tmp_path: Path) -> None:
    with pytest.raises(ScenarioRefused, match="Is a directory; name the TOML file of a scenario"):
        load_scenario(tmp_path)


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "marked.toml"
    path.write_text(GOOD, encoding="utf-8-sig")
    assert load_scenario(path) == read_scenario(data(), "small.toml")


def test_two_profiles_of_one_priority_are_refused() -> None:
    again = '\n[[profiles]]\npriority = 1\nprofile = { id = "other", name = "Other" }\n'
    with pytest.raises(
        ScenarioRefused, match=r"profiles\[1\].priority: 1 is profiles\[0\]'s already"
    ):
        read_scenario(data(GOOD + again), "small.toml")


def test_every_step_that_a_platform_brings_may_have_its_own_time() -> None:
    steps = BUILT_IN_STEPS.keys() - PERSON_SCREENS.keys()
    text = "".join(f"\n[steps.{step}]\ntime = {{ median_s = 3 }}\n" for step in steps)
    scenario = read_scenario(
        data(GOOD.replace("[steps.entra_join]\ntime = { median_s = 30 }", text)), "x"
    )
    assert scenario.steps.keys() == steps
    assert {"first_policy", "hybrid_registration", "quality_updates"} <= steps


@pytest.mark.parametrize(("kind", "variant"), FLOWS)
def test_every_variant_of_a_type_is_accepted_with_it(
    kind: EnrollmentType, variant: Variant
) -> None:
    text = GOOD.replace('"windows_autopilot"', f'"{kind}"\nvariant = "{variant}"')
    assert read_scenario(data(text), "x").population[0].variant is variant


def test_hardware_rules_and_windows_settings_reach_device_and_assignment() -> None:
    text = (
        GOOD.replace(
            "weight = 1",
            'weight = 1\nmanufacturer = "Dell"\nhardware = { notebook = 1 }',
        )
        .replace(
            'name = "Default ESP"', 'name = "Default ESP", windows = { quality_updates = true }'
        )
        .replace(
            'depends_on = ["vcredist"]',
            'rules = { requirements = { memory_mb = 4096 }, restart = "suppress" }',
        )
    )
    text += '\n[hardware.notebook]\narchitecture = "x64"\nmemory_mb = 8192\n'
    scenario = read_scenario(data(text), "x")
    device = simulated_device(scenario, 1, 0)
    assert device.facts.manufacturer == "Dell"
    assert device.facts.hardware == Hardware(architecture=Architecture.X64, memory_mb=8192)
    offer = Rollout(scenario).offer(device)
    assert offer.profile.windows.quality_updates
    rules = {item.id: item.rules for item in offer.items}
    assert rules["vcredist"] is None
    assert rules["vpn-client"] == InstallRules(
        requirements=Requirements(memory_mb=4096), restart=RestartBehavior.SUPPRESS
    )
