from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic_core import to_jsonable_python
from typer.testing import CliRunner

from simulator.cli import app
from simulator.scenario import Scenario
from simulator.scenario_file import SHIPPED, read_scenario
from simulator.scenario_schema import DEFS, models_of, scenario_schema, schema_text
from simulator.starter.text import EVERY_KEY, STARTER

FILE = Path(__file__).parents[2] / "docs" / "schemas" / "scenario.schema.json"
SCHEMA = scenario_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
TABLES = {"": SCHEMA} | {n: d for n, d in SCHEMA["$defs"].items() if "properties" in d}
SCENARIOS = [*sorted(SHIPPED.glob("*.toml")), STARTER, EVERY_KEY]


def test_the_schema_in_the_documents_is_current() -> None:
    assert FILE.read_text(encoding="utf-8") == schema_text(), (
        "run: esp-sim schema --out docs/schemas/scenario.schema.json"
    )


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda p: p.stem)
def test_every_scenario_is_valid_and_leads_an_editor_to_the_schema(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    VALIDATOR.validate(tomllib.loads(text))
    first = text.splitlines()[0]
    assert first.startswith("#:schema ")
    if path != STARTER:
        assert (path.parent / first.removeprefix("#:schema ")).resolve() == FILE


@pytest.mark.parametrize("name", TABLES)
def test_every_key_is_explained(name: str) -> None:
    """An editor shows a sentence for each key; it comes from the field's docstring."""
    table = TABLES[name]
    assert table["description"]
    for key, value in table["properties"].items():
        assert value["description"].removeprefix("Unit:"), f"{name or 'Scenario'}.{key}"
        assert not value["description"].startswith("Unit:"), (
            f"{name or 'Scenario'}.{key}: give the field a docstring"
        )


def test_units_ranges_words_and_defaults_are_there() -> None:
    defs = SCHEMA["$defs"]
    median = defs["Duration"]["properties"]["median_s"]
    assert median["description"].endswith("Unit: seconds.")
    assert (median["minimum"], median["maximum"]) == (0, 10**7)
    assert defs["Network"]["properties"]["failure"]["description"].endswith("Unit: share, 0 to 1.")
    assert defs["Start"]["properties"]["pattern"]["default"] == "even"
    assert "truckload" in defs["Start"]["properties"]["pattern"]["enum"]
    assert "tpm_attestation" in SCHEMA["properties"]["steps"]["propertyNames"]["enum"]
    assert "sign_in" in defs["Person"]["properties"]["screens"]["propertyNames"]["enum"]


def test_there_is_no_null() -> None:
    """TOML has none, so an editor must not propose it."""
    assert "null" not in json.dumps(SCHEMA)


def test_a_key_that_no_model_has_is_refused_in_every_table() -> None:
    assert all(table["additionalProperties"] is False for table in TABLES.values())
    data = tomllib.loads(STARTER.read_text(encoding="utf-8"))
    for wrong in ({"sead": 1}, {"network": {"megabits": 1}}):
        with pytest.raises(jsonschema.ValidationError, match=r"(were|was) unexpected"):
            VALIDATOR.validate({**data, **wrong})


def test_defaults_are_those_of_the_models() -> None:
    for model in models_of(Scenario):
        table = SCHEMA if model is Scenario else SCHEMA["$defs"][model.__name__]
        for key, field in model.model_fields.items():
            shown = table["properties"][key].get("default")
            if shown is not None:
                given = field.get_default(call_default_factory=True)
                assert shown == to_jsonable_python(given), f"{model.__name__}.{key}"


def keys_in(value: Any, definition: dict[str, Any], name: str, found: set[tuple[str, str]]) -> None:
    """The keys of each kind of table that a parsed scenario has."""
    for key, part in value.items():
        found.add((name, key))
        for inner in inner_tables(definition["properties"][key]):
            parts = part.values() if isinstance(part, dict) else part
            for table in (part, *parts) if isinstance(part, dict | list) else ():
                if (
                    isinstance(table, dict)
                    and table.keys() <= SCHEMA["$defs"][inner]["properties"].keys()
                ):
                    keys_in(table, SCHEMA["$defs"][inner], inner, found)


def inner_tables(value: dict[str, Any]) -> list[str]:
    choices = [value, value.get("items", {}), value.get("additionalProperties", {})]
    choices += value.get("anyOf", [])
    names = [c["$ref"].removeprefix(DEFS) for c in choices if isinstance(c, dict) and "$ref" in c]
    return [name for name in names if "properties" in SCHEMA["$defs"][name]]


def test_one_scenario_has_every_key() -> None:
    """The page takes its examples from it, and the tests of mistakes their keys."""
    found: set[tuple[str, str]] = set()
    keys_in(tomllib.loads(EVERY_KEY.read_text(encoding="utf-8")), SCHEMA, "", found)
    items = {key for name, key in found if name in ("App", "CatalogueItem")}
    found |= {(name, key) for name in ("App", "CatalogueItem") for key in items}
    wanted = {(name, key) for name, table in TABLES.items() for key in table["properties"]}
    assert wanted - found == set(), f"add them to {EVERY_KEY.name}"


def test_the_command_prints_and_writes_it(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["schema"]).output == schema_text()
    out = tmp_path / "scenario.schema.json"
    assert CliRunner().invoke(app, ["schema", "--out", str(out)]).exit_code == 0
    assert out.read_text(encoding="utf-8") == schema_text()


@pytest.mark.parametrize(
    ("option", "expected"), [("--out", "choose another file"), ("--page", "choose another file")]
)
def test_a_place_that_can_not_be_written_is_one_sentence(
    option: str, expected: str, tmp_path: Path
) -> None:
    result = CliRunner(mix_stderr=False).invoke(app, ["schema", option, str(tmp_path / "no" / "x")])
    assert (result.exit_code, result.stdout) == (2, "")
    assert expected in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_profile_may_be_a_file_of_graph(tmp_path: Path) -> None:
    """The schema takes the name of a file; the reader puts the profile in its place."""
    data = tomllib.loads(STARTER.read_text(encoding="utf-8"))
    data["profiles"][0]["profile"] = "esp.json"
    VALIDATOR.validate(data)
    with pytest.raises(Exception, match=r"profiles\[0\]\.profile: expected a table"):
        read_scenario(data, "parsed.toml")
