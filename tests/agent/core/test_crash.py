"""Power cuts: the agent stops after any input, with or without the last step done, and the enrollment ends the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.core import effects as do
from agent.wire import events as report
from agent.wire.assignment import AssignedItem, PersonScreens
from agent.wire.vocabulary import Choice, Context, EnrollmentType, Gate
from tests.agent.core.script import APPS, BLOCKED_ACCOUNT, Script, done, fails_with

SCREENS = PersonScreens(terms_of_use=True, device_category=True, activation=True)
ITEMS = (*APPS, AssignedItem(id="teams", name="Teams", context=Context.ACCOUNT))


def smooth(kind: EnrollmentType) -> Script:
    """Everything works."""
    return Script(kind, items=ITEMS, screens=SCREENS, account_setup=BLOCKED_ACCOUNT)


def rough(kind: EnrollmentType) -> Script:
    """A retry, a soft and a hard reboot on the way."""
    story = smooth(kind)
    story.behave("office", fails_with(1603), done)
    story.behave("portal", fails_with(3010, detected=True))
    return story.behave("vpn", fails_with(1641), done)


def stuck(kind: EnrollmentType) -> Script:
    """It ends on the error screen."""
    return smooth(kind).behave("vpn", fails_with(1603))


def whole(make: Callable[[EnrollmentType], Script], kind: EnrollmentType) -> Script:
    return make(kind).begin().assign().play()


def openings(story: Script) -> int:
    """How often the gate was reported open."""
    return sum(b.gate is not Gate.LOCKED for b in story.of(report.GateChanged))


@pytest.mark.rule("restart-resumes")
@pytest.mark.parametrize("kind", EnrollmentType)
@pytest.mark.parametrize("make", [smooth, rough, stuck])
@pytest.mark.parametrize("heard", [True, False], ids=["heard", "unheard"])
def test_a_crash_at_every_point_changes_nothing_that_counts(
    make: Callable[[EnrollmentType], Script], kind: EnrollmentType, heard: bool
) -> None:
    """`unheard`: the step had put its item on the device when the power went, and nobody was told."""
    reference = whole(make, kind)
    points = len(reference.inputs)
    assert points > 5
    for cut in range(2, points):
        story = make(kind).begin().assign().play(inputs_max=cut)
        running = [e for e in story.effects if isinstance(e, do.RunStep)]
        if not heard and running and running[-1].item not in ("office", "vpn"):
            story.present.add(running[-1].item)
        story.crash().play()
        assert story.machine.mode is reference.machine.mode, cut
        assert story.machine.end_state is reference.machine.end_state, cut
        assert story.machine.gate is reference.machine.gate, cut
        assert openings(story) == openings(reference), cut
        assert len(story.of(report.AttemptStarted)) == 1, cut


@pytest.mark.parametrize("kind", EnrollmentType)
def test_what_is_present_after_a_crash_is_never_installed_again(kind: EnrollmentType) -> None:
    for cut in range(2, len(whole(smooth, kind).inputs)):
        story = smooth(kind).begin().assign().play(inputs_max=cut)
        runs = [e.item for e in story.effects if isinstance(e, do.RunStep)]
        if runs and runs[-1] not in story.present:
            story.present.add(runs[-1])
            story.installed.append(runs[-1])
        story.crash().play()
        assert len(story.installed) == len(set(story.installed)), cut


def test_a_choice_is_not_forgotten_by_a_crash() -> None:
    story = whole(stuck, EnrollmentType.WINDOWS_AUTOPILOT)
    story.choose(Choice.CONTINUE_ANYWAY).crash()
    assert story.machine.gate is Gate.BYPASSED
    assert [e.gate for e in story.effects if isinstance(e, do.SetGate)][-1] is Gate.BYPASSED
