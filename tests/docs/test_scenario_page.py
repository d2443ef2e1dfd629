"""The page of the scenario language is the language."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from simulator.cli import app
from simulator.scenario_page import BEGIN, PageRefused, read_examples, with_tables
from simulator.scenario_schema import scenario_schema
from simulator.starter.text import EVERY_KEY

PAGE = Path(__file__).parents[2] / "docs" / "scenario.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_tables_are_current() -> None:
    assert with_tables(TEXT, read_examples([EVERY_KEY])) == TEXT, (
        "run: esp-sim schema --page docs/scenario.md"
    )


def test_every_key_has_a_row_with_meaning_and_example() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", TEXT.partition(BEGIN)[2], re.MULTILINE)
    schema = scenario_schema()
    tables = [schema, *(d for d in schema["$defs"].values() if "properties" in d)]
    assert {key for key, _ in rows} == {key for table in tables for key in table["properties"]}
    for key, row in rows:
        *_, meaning, example = re.split(r" (?<!\\)\| ", row)
        assert meaning, key
        assert example.strip("`"), key


def test_every_link_of_the_tables_leads_to_a_heading() -> None:
    headings = {
        "".join(c for c in heading.lower().replace(" ", "-") if c.isalnum() or c in "_-")
        for heading in re.findall(r"^## (.*)$", TEXT, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]*)\)", TEXT)) <= headings


def test_a_page_without_the_marker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PageRefused, match="has no line"):
        with_tables("# A page\n", [])
    page = tmp_path / "page.md"
    page.write_text("# A page\n", encoding="utf-8")
    result = CliRunner(mix_stderr=False).invoke(app, ["schema", "--page", str(page)])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"esp-sim: {page}: has no line")
    assert page.read_text(encoding="utf-8") == "# A page\n"


def test_the_tables_are_written_below_what_people_wrote(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Mine\n\n{BEGIN}\nold\n", encoding="utf-8")
    assert CliRunner().invoke(app, ["schema", "--page", str(page)]).exit_code == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# Mine\n\n{BEGIN}\n")
    assert text.partition(BEGIN)[2] == TEXT.partition(BEGIN)[2]
