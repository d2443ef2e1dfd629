"""Fingerprints in the journal: when they are kept, and what a version says that folds the journal otherwise."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from agent.core.enrollment import Enrollment
from agent.core.events import AttemptBegan
from agent.core.fingerprint import is_told_otherwise
from agent.runtime import driver as drivers
from agent.wire.vocabulary import EndState, Gate
from tests.agent.fakes import admitted
from tests.agent.runtime.test_driver import World, running, until

SENTENCE = "understands its journal otherwise"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(drivers, "DIGEST_INPUTS", 5)
    return World()


@pytest.mark.parametrize("every", [5, 1_000])
async def test_a_fingerprint_is_kept_now_and_then_and_at_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    monkeypatch.setattr(drivers, "DIGEST_INPUTS", every)
    await world.driver(connected=False, decision=admitted("portal", "office")).run()
    machine = Enrollment()
    kept: list[int] = []
    ends: list[int] = []
    for entry in world.kept.entries:
        ended = machine.end_state if machine.attempt else None
        machine.handle(entry.event, entry.at_ms)
        assert not is_told_otherwise(entry.digest, machine)
        if machine.end_state is not None and ended is None:
            ends.append(entry.n)
        if entry.digest is not None:
            kept.append(entry.n)
    count = len(world.kept.entries)
    assert count > 10
    assert len(ends) == 1
    assert kept == sorted({*range(every, count + 1, every), *ends})


@pytest.mark.parametrize("spoiled", [False, True])
async def test_a_restart_that_folds_otherwise_says_so_and_goes_on(
    world: World, caplog: pytest.LogCaptureFixture, spoiled: bool
) -> None:
    """The older version told something else at the fifth input; the new one goes on from its own fold."""
    world.endpoint.is_silent = True
    decision = admitted("portal", "office")
    driver = world.driver(connected=False, decision=decision)
    async with running(driver):
        await until(driver, lambda p, _: p.phase is not None)
    world.power_returns()
    await stopped_soon(world)
    entries = world.kept.entries
    assert len(entries) >= 5
    if spoiled:
        entries[4] = replace(entries[4], digest="0" * 16, machine_version="0.9")
    world.power_returns()
    with caplog.at_level(logging.WARNING, "agent.runtime.driver"):
        outcome = await world.driver(connected=False, decision=decision).run()
    told = [r.getMessage() for r in caplog.records if SENTENCE in r.getMessage()]
    assert len(told) == spoiled
    if spoiled:
        assert told[0].startswith("from input 5 on, this agent (1.0) understands")
        assert "than agent 0.9, which wrote it; it goes on from its own understanding" in told[0]
    assert (outcome.end_state, outcome.gate) == (EndState.SUCCEEDED, Gate.RELEASED)
    assert sum(isinstance(e.event, AttemptBegan) for e in world.kept.entries) == 1


async def stopped_soon(world: World) -> None:
    """A few restarts, so that there are inputs enough for a fingerprint."""
    for _ in range(3):
        driver = world.driver(connected=False)
        async with running(driver):
            await until(driver, lambda p, _: p.phase is not None)
        world.power_returns()
