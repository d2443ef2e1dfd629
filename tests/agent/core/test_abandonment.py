"""All nineteen rows of the incomplete-enrollments report, on every platform that they name."""

from __future__ import annotations

import pytest

from agent.core.person_screens import ABANDONMENT_ROWS, AbandonmentRow
from agent.wire.assignment import PersonScreens
from agent.wire.vocabulary import (
    EXCEEDED_30_MINUTES,
    EndState,
    EnrollmentType,
    Gate,
    PersonAction,
    Variant,
)
from tests.agent.core.script import Script, hangs

EVERY_SCREEN = PersonScreens(
    terms_of_use=True, device_category=True, compliance=True, activation=True
)
DEVICE_ADMINISTRATOR_ROWS = ("AndroidPermissions", "KnoxActivation")
CASES = [
    pytest.param(row, platform, id=f"{row.id}-{platform.value}")
    for row in ABANDONMENT_ROWS
    for platform in sorted(row.platforms)
]
HALTS = [case for case in CASES if case.values[0].action is not None]  # type: ignore[union-attr]
SPANS = [case for case in CASES if case.values[0].action is None]  # type: ignore[union-attr]


def begun(row: AbandonmentRow, platform: EnrollmentType) -> Script:
    """A device of the platform, in the variant that has the row's screens."""
    old = row.action_name in DEVICE_ADMINISTRATOR_ROWS
    variant = Variant.DEVICE_ADMINISTRATOR if old else Variant.STANDARD
    story = Script(platform, screens=EVERY_SCREEN, variant=variant, manufacturer="Samsung")
    return story.begin().assign()


def told(story: Script) -> tuple[object, ...]:
    end = story.end()
    return (end.end_state, end.section, end.action_name, end.user_action)


def test_there_are_nineteen_rows_each_with_a_name_of_its_own() -> None:
    assert len({row.id for row in ABANDONMENT_ROWS}) == 19


@pytest.mark.rule("explicit-halt")
@pytest.mark.parametrize(("row", "platform"), HALTS)
def test_a_halt_ends_the_attempt_under_the_names_of_its_row(
    row: AbandonmentRow, platform: EnrollmentType
) -> None:
    assert row.action is not None
    story = begun(row, platform).play(stop_at=row.start).act(row.start, row.action)
    assert told(story) == (EndState.ABANDONED, row.section, row.action_name, row.action.label)


@pytest.mark.rule("explicit-halt")
@pytest.mark.parametrize(("row", "platform"), CASES)
def test_closing_the_portal_is_told_on_the_current_action(
    row: AbandonmentRow, platform: EnrollmentType
) -> None:
    story = begun(row, platform).play(stop_at=row.start)
    waiting = story.machine.progress.prompt
    if waiting is None:
        assert row.start == "enrolling_device", "the one span that begins with machine work"
        return
    story.act(waiting.item, PersonAction.CLOSE)
    assert told(story)[0] is EndState.ABANDONED
    assert told(story)[3] == "Closed"


@pytest.mark.rule("thirty-minutes")
@pytest.mark.parametrize(("row", "platform"), SPANS)
def test_a_span_ends_the_attempt_at_thirty_minutes_and_not_before(
    row: AbandonmentRow, platform: EnrollmentType
) -> None:
    story = begun(row, platform).behave(row.start, hangs).play(stop_at=row.start)
    story.wait(29 + 59 / 60)
    assert story.machine.end_state is None
    story.wait(1 / 60)
    assert told(story) == (EndState.ABANDONED, row.section, row.action_name, EXCEEDED_30_MINUTES)
    assert story.machine.gate is not Gate.BYPASSED


@pytest.mark.rule("thirty-minutes")
@pytest.mark.parametrize(("row", "platform"), SPANS)
def test_a_span_that_is_done_in_time_ends_nothing(
    row: AbandonmentRow, platform: EnrollmentType
) -> None:
    story = begun(row, platform)
    story.step_ms = 1_000
    story.play().wait(120)
    assert story.end().end_state is EndState.SUCCEEDED
