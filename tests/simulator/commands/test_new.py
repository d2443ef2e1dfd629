from __future__ import annotations

import json
import tomllib
from itertools import combinations
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.wire.graph import GRAPH_TYPE, TYPE_KEY, profile_from_graph
from agent.wire.vocabulary import EnrollmentType
from simulator.cli import app
from simulator.plan.report import plan_of
from simulator.scenario_file import SHIPPED, load_scenario, read_scenario
from simulator.scenario_schema import schema_text
from simulator.starter.text import STARTER, starter_text
from tests.simulator.whatif.fleets import figures_of


def call(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner(mix_stderr=False).invoke(app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def test_a_new_scenario_is_good_and_nothing_in_it_looks_wrong(tmp_path: Path) -> None:
    path = tmp_path / "contoso.toml"
    code, out, err = call("new", str(path))
    assert (code, err) == (0, "")
    assert f"esp-sim check {path}" in out
    assert load_scenario(path).name == "contoso"
    code, out, _ = call("check", str(path), "--json")
    assert code == 0
    assert json.loads(out)["warnings"] == []


def test_its_schema_stands_where_its_first_line_says(tmp_path: Path) -> None:
    path = tmp_path / "contoso.toml"
    call("new", str(path))
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert (tmp_path / first.removeprefix("#:schema ")).read_text(encoding="utf-8") == schema_text()


def test_it_is_small_and_whole_and_every_block_says_what_it_is_for() -> None:
    data = tomllib.loads(starter_text())
    counts = {key: len(data[key]) for key in ("sites", "population", "apps", "profiles", "persons")}
    assert counts == {"sites": 1, "population": 2, "apps": 5, "profiles": 1, "persons": 1}
    headings = [line for line in starter_text().splitlines() if line.startswith("# --- ")]
    assert len(headings) >= 8


def test_what_becomes_of_it_is_plausible() -> None:
    """A small company of today: hardly anybody fails, Autopilot takes twenty to forty minutes, a phone takes a few."""
    figures = figures_of(load_scenario(STARTER), devices=400, seed=3)["by_type"]
    assert 0.96 <= figures["windows_autopilot"]["success_rate"] <= 1
    assert 15 <= figures["windows_autopilot"]["minutes"]["p50"] <= 40
    assert 0.96 <= figures["ios"]["success_rate"] <= 1
    assert 3 <= figures["ios"]["minutes"]["p50"] <= 10


def test_a_file_that_is_there_is_not_overwritten_without_force(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("precious", encoding="utf-8")
    code, out, err = call("new", str(path))
    assert (code, out) == (2, "")
    assert err == (
        f"esp-sim: {path}: is there already; choose another name, or overwrite it with --force\n"
    )
    assert path.read_text(encoding="utf-8") == "precious"
    assert not (tmp_path / "scenario.schema.json").exists()
    assert call("new", str(path), "--force")[0] == 0
    assert load_scenario(path).name == "mine"


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("my company.toml", "use letters, digits"), ("no/such.toml", "another place")],
)
def test_a_name_or_place_that_can_not_be_used_is_one_sentence(
    name: str, remedy: str, tmp_path: Path
) -> None:
    code, out, err = call("new", str(tmp_path / name))
    assert (code, out) == (2, "")
    assert remedy in err
    assert err.count("\n") == 1


def test_without_a_file_it_is_printed() -> None:
    assert call("new") == (0, STARTER.read_text(encoding="utf-8"), "")


# --- with the devices that somebody has -----------------------------------------------------------


@pytest.mark.parametrize("count", range(1, 6))
def test_any_types_make_a_scenario_of_which_nothing_looks_wrong(count: int) -> None:
    for types in combinations(EnrollmentType, count):
        text = starter_text(types=types)
        scenario = read_scenario(tomllib.loads(text), "starter.toml")
        assert {population.type for population in scenario.population} == set(types)
        assert plan_of(scenario.model_copy(update={"devices": 120}))["warnings"] == []
        others = [kind for kind in EnrollmentType if kind not in types]
        assert not any(f'"{kind}"' in text or f"{kind} =" in text for kind in others)
        for kind in types:
            blocking = scenario.profiles[0].profile.blocking_apps
            items = {item.id for _, item in scenario.items_of(kind)}
            assert items & set(blocking), f"devices of type {kind} wait for nothing"


def test_what_autopilot_devices_get_other_windows_devices_get_as_well() -> None:
    autopilot, manual = EnrollmentType.WINDOWS_AUTOPILOT, EnrollmentType.WINDOWS_MANUAL
    both = read_scenario(tomllib.loads(starter_text(types=[autopilot, manual])), "both.toml")
    alone = read_scenario(tomllib.loads(starter_text(types=[manual])), "alone.toml")
    got = {item.id for _, item in both.items_of(autopilot)}
    assert "m365-apps" in got
    assert {item.id for _, item in both.items_of(manual)} == got
    assert {item.id for _, item in alone.items_of(manual)} == got


def test_the_types_that_are_asked_for_are_written(tmp_path: Path) -> None:
    path = tmp_path / "macs.toml"
    assert call("new", str(path), "--type", "macos_ade", "--type", "ios")[0] == 0
    assert {p.type.value for p in load_scenario(path).population} == {"macos_ade", "ios"}
    code, _, err = call("new", str(path), "--type", "windows")
    assert code == 2
    assert "windows_autopilot" in err


OF_TENANT = {
    TYPE_KEY: GRAPH_TYPE,
    "id": "tenant-esp",
    "displayName": 'The "ESP" of the tenant',
    "installProgressTimeoutInMinutes": 75,
    "customErrorMessage": "Bitte warten …\nDanke",
    "selectedMobileAppIds": ["company-portal", "b3f0c5a2-0000-4e5f-8a9b-000000000001"],
    "showInstallationProgress": True,
}


def test_a_profile_of_a_tenant_makes_a_scenario_that_has_its_settings_and_apps(
    tmp_path: Path,
) -> None:
    (tmp_path / "esp.json").write_text(json.dumps(OF_TENANT), encoding="utf-8")
    path = tmp_path / "contoso.toml"
    assert call("new", str(path), "--from", str(tmp_path / "esp.json"))[0] == 0
    scenario = load_scenario(path)
    given = profile_from_graph(OF_TENANT)
    assert scenario.profiles[0].profile == given.model_copy(update={"graph": {}})
    unknown = next(app for app in scenario.apps if app.id == given.blocking_apps[1])
    assert unknown.name == "Blocking app 1"
    assert [kind.value for kind in unknown.types] == ["windows_autopilot"]
    assert json.loads(call("check", str(path), "--json")[1])["warnings"] == []


def test_a_profile_that_waits_for_everything_adds_no_app(tmp_path: Path) -> None:
    everything = {**OF_TENANT, "selectedMobileAppIds": []}
    (tmp_path / "esp.json").write_text(json.dumps(everything), encoding="utf-8")
    _, out, _ = call("new", "--from", str(tmp_path / "esp.json"))
    scenario = read_scenario(tomllib.loads(out), "printed")
    assert scenario.profiles[0].profile.blocking_apps == "all"
    assert len(scenario.apps) == 5


@pytest.mark.parametrize("name", ["company", "office", "variants", "demo", "load"])
def test_a_scenario_that_is_there_is_taken_over_with_its_comments(
    name: str, tmp_path: Path
) -> None:
    source, path = SHIPPED / f"{name}.toml", tmp_path / "ours.toml"
    assert call("new", str(path), "--from", str(source))[0] == 0
    taken = load_scenario(path)
    assert taken == load_scenario(source).model_copy(update={"name": "ours"})
    before, after = (file.read_text(encoding="utf-8") for file in (source, path))
    assert after.count("#") == before.count("#")
    assert after.startswith("#:schema ./scenario.schema.json\n")


def test_a_scenario_that_is_there_is_narrowed_to_types(tmp_path: Path) -> None:
    path = tmp_path / "phones.toml"
    source = str(SHIPPED / "company.toml")
    assert call("new", str(path), "--from", source, "--type", "ios")[0] == 0
    assert [population.type.value for population in load_scenario(path).population] == ["ios"]
    assert call("check", str(path))[0] == 0
    code, out, err = call("new", "--from", str(path), "--type", "macos_ade")
    assert (code, out) == (2, "")
    assert err == (
        f"esp-sim: {path}: population: has no devices of type macos_ade; choose among ios\n"
    )


def test_a_profile_in_a_file_is_still_found_from_another_folder(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    (tmp_path / "old" / "esp.json").write_text(
        json.dumps({**OF_TENANT, "selectedMobileAppIds": []}), encoding="utf-8"
    )
    head, _, rest = starter_text().partition("[profiles.profile]")
    tail = rest.partition("# --- What devices get.")[2]
    source, path = tmp_path / "old" / "a.toml", tmp_path / "new" / "b.toml"
    source.write_text(f'{head}profile = "esp.json"\n\n#{tail}', encoding="utf-8")
    assert call("new", str(path), "--from", str(source))[0] == 0
    assert 'profile = "../old/esp.json"' in path.read_text(encoding="utf-8")
    assert load_scenario(path).profiles == load_scenario(source).profiles


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("no.json", None, "no.json: can't be read: No such file or directory; name another"),
        ("a.json", "{", "a.json: is not JSON; export the profile again"),
        ("a.json", "[]", "a.json: is no object; give the object of one ESP profile"),
        ("a.json", "{}", f"a.json: {TYPE_KEY}: is missing; add it"),
        ("no.toml", None, "no.toml: there is no such file; "),
        ("a.toml", 'name = "a"', "a.toml: population: is missing; add it"),
        ("a.toml", "= 3", "a.toml: is not TOML: "),
    ],
)
def test_a_source_that_can_not_be_used_is_one_sentence(
    name: str, content: str | None, said: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content, encoding="utf-8")
    code, out, err = call("new", str(tmp_path / "new.toml"), "--from", str(tmp_path / name))
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "new.toml").exists()
