"""The steps in the documents are the ones in the engine."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from agent.cli import app
from agent.core.flows import BUILT_IN_STEPS, FLOWS

PAGE = Path(__file__).parents[2] / "docs" / "flows.md"


def test_the_page_is_current_and_has_every_way_and_step() -> None:
    printed = CliRunner().invoke(app, ["flows"]).output
    assert printed.count("## ") == len(FLOWS) + 1
    assert all(step.name in printed for step in BUILT_IN_STEPS.values())
    assert PAGE.read_text(encoding="utf-8").endswith(printed), "esp-agent flows"
