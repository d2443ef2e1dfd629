"""The transition table in the documents is the one in the engine."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from agent.cli import app

PAGE = Path(__file__).parents[2] / "docs" / "transitions.md"


def test_the_table_is_current() -> None:
    printed = CliRunner().invoke(app, ["transitions"]).output
    assert printed.count("\n") > 60
    assert PAGE.read_text(encoding="utf-8").endswith(printed), "esp-agent transitions"
