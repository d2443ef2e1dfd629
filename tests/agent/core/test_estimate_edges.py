"""The estimate at its edges: what is nearly done, what waits for a restart, and what a range never is."""

from __future__ import annotations

import pytest

from agent.core import effects as do
from agent.core.events import StepFinished, StepMoved, StepResult
from agent.wire.assignment import AssignedItem
from agent.wire.progress import Remaining
from agent.wire.vocabulary import EnrollmentType, ItemKind, ItemState
from tests.agent.core.script import Script

MANUAL = EnrollmentType.WINDOWS_MANUAL


def policy(name: str, expected_s: int = 600) -> AssignedItem:
    return AssignedItem(id=name, name=name, kind=ItemKind.POLICY, expected_seconds=expected_s)


def begun(*items: AssignedItem) -> Script:
    return Script(MANUAL, items=items).begin().assign().play(stop_at=items[0].id)


def known(story: Script) -> Remaining:
    found = story.machine.progress.remaining
    assert found is not None
    return found


def run_of(story: Script, item: str) -> int:
    runs: list[int] = [s.run for s in story.of(do.RunStep) if s.item == item]
    return runs[-1]


def moved(story: Script, item: str, state: ItemState, percent: int | None = None) -> None:
    story.feed(StepMoved(item=item, run=run_of(story, item), state=state, percent=percent))


def test_what_is_only_checked_is_nearly_done() -> None:
    story = begun(policy("policy"))
    before = known(story)
    moved(story, "policy", ItemState.VERIFYING)
    after = known(story)
    assert after.low_s < before.low_s / 3
    assert after.high_s < before.high_s / 3


def test_what_waits_for_its_restart_needs_that_and_a_look() -> None:
    story = begun(policy("first", 6_000), policy("second", 1))
    story.feed(
        StepFinished(
            item="first",
            run=run_of(story, "first"),
            result=StepResult.COMPLETED,
            exit_code=1641,
        )
    )
    assert story.item("first").state is ItemState.REBOOT_REQUIRED
    rest = known(story)
    assert 30 < rest.low_s <= rest.high_s < 3_000


@pytest.mark.parametrize("percent", [1, 50, 99])
def test_the_range_is_never_empty_and_never_negative(percent: int) -> None:
    story = begun(policy("policy", 10))
    story.wait(0.2)
    moved(story, "policy", ItemState.INSTALLING, percent)
    rest = known(story)
    assert 0 <= rest.low_s < rest.high_s
