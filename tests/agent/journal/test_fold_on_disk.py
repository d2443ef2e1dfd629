"""After an upgrade that can't read an input on the disk, the journal's checkpoints make up for it, or the file is named."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

import pytest

from agent.core import shell
from agent.journal import open_journal
from agent.runtime.ports import JournalUnreadable
from agent.wire.vocabulary import EndState, Gate
from tests.agent.fakes import admitted
from tests.agent.runtime.test_driver import DEVICE, World, running, until

DECISION = admitted("portal", "office")
SPEED = 100.0
"""A disk takes real time: the hour of a phase is 36 s, far from what a busy machine may hold up."""


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(shell, "DIGEST_INPUTS", 5)
    return World()


@pytest.mark.parametrize("last", [False, True])
async def test_inputs_that_can_t_be_read_any_more_are_made_up_for_on_the_disk(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture, last: bool
) -> None:
    path = tmp_path / "journal.sqlite3"
    world.endpoint.answers_prompts = False
    journal = open_journal(path)
    world.journal = journal  # type: ignore[assignment]
    driver = world.driver(speed=SPEED, connected=False, decision=DECISION)
    async with running(driver):
        await until(driver, lambda p, _: p.prompt is not None)
    newest = (await journal.load(DEVICE, "x")).checkpoints[0].n
    journal.close()
    spoil(path, newest, keep_later=not last)
    world.endpoint = world.endpoint.restarted(world.diary)
    journal = open_journal(path)
    world.journal = journal  # type: ignore[assignment]
    with caplog.at_level(logging.WARNING, "agent.runtime.driver"):
        outcome = await world.driver(
            speed=SPEED, connected=False, decision=DECISION, agent_version="2.0"
        ).run()
    journal.close()
    assert (outcome.end_state, outcome.gate) == (EndState.SUCCEEDED, Gate.RELEASED)
    assert f"Input {newest} is not understood by version 2.0 (it can't be read)" in caplog.text


def spoil(path: Path, n: int, *, keep_later: bool) -> None:
    """Another version wrote one input in words that this one does not know."""
    with sqlite3.connect(path) as spoiler:
        spoiler.execute("""UPDATE entry SET input = '{"kind": "unknown"}' WHERE n = ?""", (n,))
        if not keep_later:
            spoiler.execute("DELETE FROM entry WHERE n > ?", (n,))
    spoiler.close()


async def test_an_input_after_the_newest_state_that_can_t_be_read_is_told_with_the_file(
    world: World, tmp_path: Path
) -> None:
    path = tmp_path / "journal.sqlite3"
    world.endpoint.answers_prompts = False
    journal = open_journal(path)
    world.journal = journal  # type: ignore[assignment]
    driver = world.driver(speed=SPEED, connected=False, decision=DECISION)
    async with running(driver):
        await until(driver, lambda p, _: p.prompt is not None)
    newest = (await journal.load(DEVICE, "x")).checkpoints[0].n
    journal.close()
    spoil(path, newest + 1, keep_later=True)
    journal = open_journal(path)
    world.journal = journal  # type: ignore[assignment]
    with pytest.raises(JournalUnreadable, match=r"journal\.sqlite3: torn .*an entry can't be read"):
        await world.driver(speed=SPEED, connected=False, decision=DECISION).run()
    journal.close()
