"""Upgrades: what the journal keeps for them, and how a version goes on that folds the journal otherwise."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from agent.core import shell
from agent.core.effects import Effect, RunStep
from agent.core.enrollment import Enrollment
from agent.core.events import AttemptBegan, Event, Restarted, StepFinished, StepMoved
from agent.core.fingerprint import is_told_otherwise
from agent.core.shell import CHECKPOINTS_KEPT
from agent.runtime.ports import JournalUnreadable
from agent.wire.vocabulary import EndState, Gate, ItemState
from tests.agent.fakes import admitted
from tests.agent.runtime.test_driver import World, running, until

HANDLE = Enrollment.handle
DECISION = admitted("portal", "office")
Handling = Callable[[Enrollment, Event, int], Sequence[Effect]]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(shell, "DIGEST_INPUTS", 5)
    return World()


@pytest.mark.parametrize("every", [5, 1_000])
async def test_a_fingerprint_is_kept_now_and_then_and_at_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    monkeypatch.setattr(shell, "DIGEST_INPUTS", every)
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


@pytest.mark.parametrize("every", [5, 1_000])
async def test_beside_the_newest_fingerprints_the_journal_keeps_all_that_the_machine_remembers(
    world: World, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    monkeypatch.setattr(shell, "DIGEST_INPUTS", every)
    await world.driver(connected=False, decision=DECISION).run()
    kept = {checkpoint.n: checkpoint.content for checkpoint in world.kept.checkpoints}
    digests = [entry.n for entry in world.kept.entries if entry.digest is not None]
    assert sorted(kept) == digests[-CHECKPOINTS_KEPT:]
    machine = Enrollment()
    for entry in world.kept.entries:
        machine.handle(entry.event, entry.at_ms)
        assert kept.get(entry.n, machine.checkpoint()) == machine.checkpoint()


async def test_a_checkpoint_that_is_too_long_is_not_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "CHECKPOINT_BYTES_MAX", 100)
    await world.driver(connected=False, decision=DECISION).run()
    assert world.kept.checkpoints == []
    assert any(entry.digest for entry in world.kept.entries)


# Upgrades: version 1.0 brings the device to the sign-in screen, then 2.0 is installed.


async def stopped_at_sign_in(world: World) -> int:
    """What version 1.0 leaves behind; how many inputs."""
    world.endpoint.answers_prompts = False
    driver = world.driver(connected=False, decision=DECISION)
    async with running(driver):
        await until(driver, lambda p, _: p.prompt is not None)
    world.power_returns()
    count = len(world.kept.entries)
    assert count % 5, "the newest checkpoint is not of the last input"
    assert count > 10
    return count


def otherwise(machine: Enrollment, event: Event, now_ms: int) -> Sequence[Effect]:
    """Version 2.0 takes the end of one step for a step that goes on."""
    if isinstance(event, StepFinished) and event.item == "entra_join":
        event = StepMoved(item=event.item, run=event.run, state=ItemState.INSTALLING)
    return HANDLE(machine, event, now_ms)


def stumbling(machine: Enrollment, event: Event, now_ms: int) -> Sequence[Effect]:
    """Version 2.0 fails at the end of one step."""
    if isinstance(event, StepFinished) and event.item == "entra_join":
        raise KeyError("entra_join")
    return HANDLE(machine, event, now_ms)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize("handling", [HANDLE, otherwise, stumbling])
async def test_after_an_upgrade_the_enrollment_goes_on_from_where_it_was(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    handling: Handling,
) -> None:
    """Nothing is installed twice, nothing is asked twice, and what differs is said once."""
    count = await stopped_at_sign_in(world)
    monkeypatch.setattr(Enrollment, "handle", handling)
    driver = world.driver(connected=False, decision=DECISION, agent_version="2.0")
    with caplog.at_level(logging.WARNING, "agent.runtime.driver"):
        outcome = await driver.run()
    entries = world.kept.entries
    assert entries[count].event == Restarted(planned=False)
    assert (outcome.end_state, outcome.gate) == (EndState.SUCCEEDED, Gate.RELEASED)
    assert sum(isinstance(e.event, AttemptBegan) for e in entries) == 1
    assert not {"portal", "office", "entra_join"} & steps_of(world), "they were done before"
    told = warnings_of(caplog)
    if handling is HANDLE:
        assert told == []
        return
    newest = count - count % 5
    (sentence,) = told
    assert sentence.endswith(
        f"from input {newest} on, the story goes on from the state that version 1.0 kept after input {newest}; "
        "`esp-agent replay` shows it"
    )
    # Version 2.0 itself starts again, from what it kept.
    world.power_returns()
    caplog.clear()
    again = world.driver(connected=False, decision=DECISION, agent_version="2.0")
    assert (await again.run()).end_state is EndState.SUCCEEDED
    assert steps_of(world) == set()
    (sentence,) = warnings_of(caplog)
    assert "the state that version 2.0 kept after input" in sentence


def steps_of(world: World) -> set[str]:
    """The steps that the endpoint was asked to run since the power returned."""
    return {about.item for _, about in world.diary.lines if isinstance(about, RunStep)}


async def test_a_fold_that_differs_with_no_state_kept_goes_on_by_itself_and_says_so(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await stopped_at_sign_in(world)
    world.kept.checkpoints.clear()
    entries = world.kept.entries
    entries[4] = replace(entries[4], digest="0" * 16)
    with caplog.at_level(logging.WARNING, "agent.runtime.driver"):
        outcome = await world.driver(connected=False, decision=DECISION, agent_version="2.0").run()
    assert outcome.end_state is EndState.SUCCEEDED
    (sentence,) = warnings_of(caplog)
    assert sentence == (
        "From input 1 to 5 on, version 2.0 tells this otherwise than version 1.0 did on the device; "
        "`esp-agent replay` shows it"
    )


@pytest.mark.parametrize(
    ("version", "remedy"),
    [
        ("2.0", "start agent 1.0 again, or begin anew with --set-aside, which keeps the file"),
        ("1.0", "keep a copy of the file for whoever maintains the agent, or begin anew with "),
    ],
)
async def test_a_fold_that_fails_with_no_state_kept_is_told_and_nothing_happens(
    world: World, monkeypatch: pytest.MonkeyPatch, version: str, remedy: str
) -> None:
    """The gate stays as it is, the journal too, and a second start says the same."""
    count = await stopped_at_sign_in(world)
    world.kept.checkpoints.clear()
    gates = list(world.endpoint.gates)
    monkeypatch.setattr(Enrollment, "handle", stumbling)
    for _ in range(2):
        driver = world.driver(connected=False, decision=DECISION, agent_version=version)
        with pytest.raises(JournalUnreadable) as raised:
            await driver.run()
        told = str(raised.value)
        assert f"the journal: this agent ({version}) can't go on from input " in told
        assert "which agent 1.0 wrote (KeyError: 'entra_join')" in told
        assert "the gate stays as it is" in told
        assert remedy in told
    assert world.endpoint.gates == gates
    assert world.diary.lines == []
    assert len(world.kept.entries) == count
