"""What the page says of collected logs: where they are or why there are none, whatever else it has to say."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.screen.plain import plain_page
from agent.wire.progress import CollectedLogs, Progress
from agent.wire.vocabulary import EndState
from tests.agent.screen import examples

PATH = "/var/lib/esp-agent/logs/LAPTOP-7-20261121T082640Z.zip"


def words(progress: Progress, width: int) -> str:
    """The page without its line breaks."""
    return " ".join(plain_page(progress, width=width).split())


@pytest.mark.parametrize("width", [60, 120])
@pytest.mark.parametrize(
    "scene",
    [
        examples.preparing,
        examples.error,
        examples.ios,
        examples.offers,
        lambda: examples.ended(EndState.FAILED),
    ],
)
def test_the_page_says_where_the_logs_are(scene: Callable[[], Progress], width: int) -> None:
    """Beside everything that the page says anyway."""
    plain = scene()
    logs = CollectedLogs(path=PATH)
    told = words(plain.model_copy(update={"logs": logs}), width)
    assert f"The logs are collected: {PATH}" in told
    assert "The logs" not in words(plain, width)
    if plain.error is not None:
        assert plain.error.title in told


@pytest.mark.parametrize("width", [60, 120])
def test_the_page_says_why_there_are_none(width: int) -> None:
    logs = CollectedLogs(path="", problem="the disk is full; make room, then collect again")
    told = words(examples.error().model_copy(update={"logs": logs}), width)
    assert "The logs were not collected: the disk is full; make room, then collect again." in told
