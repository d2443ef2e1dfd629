"""A device's commands on the board: each state has its sign, and its definition."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from agent.wire.messages import CollectLogs
from collector.board import device_rows
from collector.device_commands import CommandState
from tests.collector.board import stories

DEFINITIONS = Path(__file__).parents[3] / "docs" / "definitions.md"


@pytest.mark.parametrize("state", get_args(CommandState))
def test_each_state_has_a_sign(state: CommandState) -> None:
    shown = device_rows._command_state(stories.command(CollectLogs(), state)).plain
    assert re.fullmatch(rf"\S {state}", shown)


def test_each_state_is_defined_and_no_other() -> None:
    section = DEFINITIONS.read_text().split("## Commands to a device")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == set(get_args(CommandState))
