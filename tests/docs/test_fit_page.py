"""The page about fitting says what the program does."""

from __future__ import annotations

from pathlib import Path

from simulator.fit.distribution import DISTANCE_UNIMPORTANT, FEW_CASES, FEW_TIMES
from simulator.fit.findings import SEEN_MIN, Verdict
from simulator.fit.graph import DURATIONS

PAGE = (Path(__file__).parents[2] / "docs" / "fit.md").read_text(encoding="utf-8")


def test_every_verdict_is_explained() -> None:
    rows = {line.split("|")[1].strip() for line in PAGE.splitlines() if line.startswith("| ")}
    assert {verdict.value for verdict in Verdict} <= rows


def test_its_numbers_are_those_of_the_program() -> None:
    assert f"fewer than {FEW_TIMES} finished times, or fewer than {FEW_CASES} cases" in PAGE
    assert f"it happened less than {SEEN_MIN} times" in PAGE
    assert f"within {DISTANCE_UNIMPORTANT:g} of a log-normal" in PAGE


def test_the_phases_of_graph_rows_are_named() -> None:
    for words in DURATIONS.values():
        assert words.split(",", maxsplit=1)[0] in PAGE
