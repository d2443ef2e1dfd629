"""The pages about what-if name what the program writes."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from simulator.gate_wait import UNKNOWN, WAIT_NAMES
from simulator.report.folder import write_report
from simulator.scenario_file import SHIPPED, load_scenario
from simulator.whatif.counted import Compare, Question, Sweep
from simulator.whatif.overrides import SHORT_NAMES, overridden, read_change, read_changes
from simulator.whatif.search import TIMEOUTS, Find, read_find
from simulator.whatif.sweep import versions_of
from tests.simulator.whatif.fleets import figures_of

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "whatif.md").read_text(encoding="utf-8")
DEFINITIONS = (DOCS / "definitions.md").read_text(encoding="utf-8")
COMPANY = load_scenario(SHIPPED / "company.toml")


def first_cells(text: str, heading: str) -> list[str]:
    """The first column of the table with this heading."""
    table = text.split(f"| {heading} |", 1)[1].split("\n\n", 1)[0]
    return [line.split("|")[1].strip() for line in table.splitlines()[2:]]


def test_every_file_of_a_report_is_listed(tmp_path: Path) -> None:
    other = overridden(COMPANY, [("timeout", 20)], "test")
    questions: tuple[Question | Find, ...] = (
        Compare(other, "less"), Sweep("timeout", (20, 30)), Find("timeout", 0.0, TIMEOUTS),
    )  # fmt: skip
    for question in questions:
        write_report(tmp_path, figures_of(COMPANY, question, devices=10, seed=1))
    listed = {cell.strip("`") for cell in first_cells(PAGE, "file")}
    assert listed == {path.name for path in tmp_path.iterdir()}


def test_every_part_of_the_figures_is_listed() -> None:
    figures = figures_of(COMPANY, Compare(COMPANY, "nothing"), devices=10, seed=1)
    listed = set(re.findall(r"`(\w+)`", " ".join(first_cells(PAGE, "part"))))
    said_elsewhere = {"title", "devices", "seed", "events", "trace"}
    assert listed - {"sweep", "find"} == figures.keys() - said_elsewhere


def test_every_wait_is_defined() -> None:
    names = [name for key, name in WAIT_NAMES.items() if key != UNKNOWN]
    assert first_cells(DEFINITIONS, "on a path, besides items") == names


def commands() -> list[list[str]]:
    """The words of every command on the page that names a scenario."""
    lines = [line for line in PAGE.splitlines() if line.startswith("esp-sim whatif ")]
    return [shlex.split(line)[2:] for line in lines]


def given(words: list[str], option: str) -> list[str]:
    return [value for name, value in pairwise(words) if name == option]


@pytest.mark.parametrize("words", commands(), ids=lambda words: " ".join(words[1:]))
def test_what_the_page_asks_can_be_asked(words: list[str]) -> None:
    """Every key is one of the scenario that the command names, and every change changes something."""
    scenario = load_scenario(DOCS.parent / words[0])
    for text in given(words, "--with"):
        assert overridden(scenario, [read_change(text)], text) != scenario
    for text in given(words, "--sweep"):
        key, values = read_changes(text)
        assert len({overridden(scenario, [(key, v)], text).model_dump_json() for v in values}) > 1
    for text in given(words, "--find"):
        key, span = read_find(text)
        low, high = versions_of(scenario, key, [span.value(span.low), span.value(span.high)])
        assert low != high


def test_short_names_are_explained() -> None:
    for short, key in SHORT_NAMES.items():
        assert f"`{short}` is short for `{key}`" in PAGE
