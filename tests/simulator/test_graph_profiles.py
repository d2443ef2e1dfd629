from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.wire.graph import GRAPH_TYPE, TYPE_KEY, profile_from_graph
from simulator.scenario_file import ScenarioRefused, load_scenario
from simulator.starter.text import STARTER

OF_TENANT: dict[str, Any] = {
    TYPE_KEY: GRAPH_TYPE,
    "id": "tenant-esp",
    "displayName": "ESP of the tenant",
    "priority": 1,
    "installProgressTimeoutInMinutes": 75,
    "selectedMobileAppIds": ["company-portal"],
    "showInstallationProgress": True,
    "somethingNew": True,
}


def scenario(folder: Path, name: str) -> Path:
    """The starter with the profile in a file."""
    head, _, rest = STARTER.read_text(encoding="utf-8").partition("[profiles.profile]")
    _, _, rest = rest.partition("# --- What devices get.")
    path = folder / "company.toml"
    path.write_text(f'{head}profile = "{name}"\n\n# ---{rest}', encoding="utf-8")
    return path


def test_a_profile_comes_from_the_file_beside_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "esp.json").write_text(json.dumps(OF_TENANT), encoding="utf-8")
    profile = load_scenario(scenario(tmp_path, "esp.json")).profiles[0].profile
    assert profile == profile_from_graph(OF_TENANT)
    assert profile.timeout_minutes == 75
    assert profile.blocking_apps == ("company-portal",)
    assert profile.graph["somethingNew"] is True


def test_graphs_own_wrapping_is_taken_off(tmp_path: Path) -> None:
    (tmp_path / "esp.json").write_text(json.dumps({"value": OF_TENANT}), encoding="utf-8")
    assert load_scenario(scenario(tmp_path, "esp.json")).profiles[0].profile.id == "tenant-esp"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "can't be read: No such file or directory; name a file beside the scenario"),
        ("{", "is not JSON; export the profile again"),
        ("[]", "is no object; give the object of one ESP profile"),
        ("{}", f"{TYPE_KEY}: is missing; add it"),
        (
            json.dumps(OF_TENANT | {"installProgressTimeoutInMinutes": 5000}),
            "installProgressTimeoutInMinutes: input should be less than or equal to 1440; correct it",
        ),
    ],
)
def test_a_file_that_is_no_profile_is_one_sentence_with_file_and_key(
    content: str | None, expected: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "esp.json").write_text(content, encoding="utf-8")
    path = scenario(tmp_path, "esp.json")
    with pytest.raises(ScenarioRefused) as refused:
        load_scenario(path)
    message = str(refused.value)
    assert message.startswith(f"{path}: profiles[0].profile: {tmp_path / 'esp.json'}: ")
    assert expected in message
    assert "\n" not in message


def test_an_app_that_the_scenario_does_not_have_is_said_as_ever(tmp_path: Path) -> None:
    content = OF_TENANT | {"selectedMobileAppIds": ["12345678-0000"]}
    (tmp_path / "esp.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ScenarioRefused, match=r"blocking_apps: unknown app '12345678-0000'"):
        load_scenario(scenario(tmp_path, "esp.json"))
