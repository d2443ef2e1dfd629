"""Whatever is in a file that people write, it is read, or refused with one sentence that names the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from agent.given import BadInput, load_assignment
from agent.wire.graph import GraphRefused, profile_from_graph, profile_to_graph
from agent.wire.profile import EspProfile
from collector.files import FileRefused, load, load_json
from simulator.scenario_file import SHIPPED, ScenarioRefused, load_scenario
from tests.fuzz.mutations import broken, hostile, twisted

SCENARIO: Final = (SHIPPED / "demo.toml").read_bytes()
GRAPH: Final = profile_to_graph(EspProfile(id="p-1", name="Default"))
PROFILE: Final = EspProfile(id="p-1", name="Default").model_dump_json().encode()
ASSIGNMENT: Final = (
    Path(__file__).parents[1] / "agent" / "wire" / "golden" / "assignment-admitted.json"
).read_bytes()

with_files = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def refused_by(kind: type[Exception], read: Callable[[], object]) -> str | None:
    """The sentence of the refusal, if there is one; nothing else may be raised."""
    try:
        read()
    except kind as refusal:
        return str(refusal)
    return None


@with_files
@given(content=broken(SCENARIO) | st.binary(max_size=200))
def test_a_broken_scenario_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path, "scenario.toml", content)
    refusal = refused_by(ScenarioRefused, lambda: load_scenario(path))
    assert refusal is None or refusal.startswith(f"{path}: ")
    assert refusal is None or len(refusal) < 2_000


@with_files
@given(content=hostile(PROFILE))
def test_a_broken_profile_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path, "profile.json", content)
    refusal = refused_by(FileRefused, lambda: load(path, EspProfile))
    assert refusal is None or refusal.startswith(f"{path}: ")


@with_files
@given(content=hostile(ASSIGNMENT))
def test_a_broken_assignment_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path, "assignment.json", content)
    refusal = refused_by(BadInput, lambda: load_assignment(path))
    assert refusal is None or refusal.startswith(f"{path}: ")


@given(twisted(GRAPH))
def test_a_twisted_graph_object_is_read_or_refused(content: object) -> None:
    if not isinstance(content, dict):
        return
    try:
        profile = profile_from_graph(content)
    except (GraphRefused, ValidationError):
        return
    assert profile_from_graph(profile_to_graph(profile)) == profile


@pytest.mark.parametrize(
    "content",
    [
        "x = " + "[" * 100_000,
        "x = " + "{a = " * 50_000,
        "[" + "a." * 50_000 + "a]",
        "x = " + "9" * 50_000,
    ],
    ids=["lists", "tables", "keys", "digits"],
)
def test_a_scenario_that_is_a_bomb_is_refused(tmp_path: Path, content: str) -> None:
    path = written(tmp_path, "scenario.toml", content.encode())
    with pytest.raises(ScenarioRefused):
        load_scenario(path)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000, "9" * 100_000])
def test_a_file_that_is_a_bomb_is_refused(tmp_path: Path, content: str) -> None:
    path = written(tmp_path, "profile.json", content.encode())
    with pytest.raises(FileRefused):
        load_json(path)
    with pytest.raises(BadInput):
        load_assignment(path)
