"""One item at its edges: how its percentage moves, when that is reported, and what is left of an earlier life."""

from __future__ import annotations

from agent.core import effects as do
from agent.core.events import DeadlinePassed, Restarted, StepFinished, StepMoved, StepResult
from agent.wire import events as report
from agent.wire.assignment import AssignedItem
from agent.wire.vocabulary import EnrollmentType, FailureKind, ItemKind, ItemState, PersonAction
from tests.agent.core.script import MINUTE_MS, Script, fails_with, hangs

MANUAL = EnrollmentType.WINDOWS_MANUAL
APP = AssignedItem(id="app", name="App", expected_seconds=1_000)


def working(item: AssignedItem = APP) -> Script:
    return Script(MANUAL, items=(item,)).behave(item.id, hangs).begin().assign().play()


def moved(story: Script, percent: int | None, state: ItemState = ItemState.DOWNLOADING) -> None:
    run = max(s.run for s in story.of(do.RunStep) if s.item == "app")
    story.feed(StepMoved(item="app", run=run, state=state, percent=percent))


def ticks(story: Script) -> list[int]:
    return [b.item_percent for b in story.bodies() if isinstance(b, report.ItemAdvanced)]


def test_every_tenth_percent_is_reported_once() -> None:
    story = working()
    for percent in (0, 5, 9, 10, 15, 19, 20, 20, 34, 100):
        moved(story, percent)
    assert ticks(story) == [10, 20, 34, 100]


def test_a_percentage_never_falls_within_a_state_and_begins_anew_in_the_next() -> None:
    story = working()
    shown = []
    for percent in (0, 40, 30, 130):
        moved(story, percent)
        shown.append(story.item("app").percent)
    assert shown == [0, 40, 40, 100]
    moved(story, 0, ItemState.INSTALLING)
    assert story.item("app").percent == 0
    moved(story, 10, ItemState.INSTALLING)
    assert ticks(story) == [40, 100, 10]


def test_an_endpoint_that_can_t_tell_how_far_it_is_shows_no_percentage() -> None:
    story = working()
    moved(story, 50)
    moved(story, None)
    assert story.item("app").percent is None
    moved(story, 5)
    assert story.item("app").percent == 5
    assert ticks(story) == [50]


def test_progress_follows_the_percentage_of_what_runs() -> None:
    story = working()
    before = story.machine.progress.percent
    moved(story, 50)
    half = story.machine.progress.percent
    moved(story, 100)
    whole = story.machine.progress.percent
    assert before < half < whole
    assert abs((half - before) - (whole - half)) <= 1
    run = story.of(do.RunStep)[-1].run
    story.feed(StepFinished(item="app", run=run, result=StepResult.COMPLETED))
    assert story.machine.progress.percent == whole


def test_a_percentage_is_gone_when_the_item_ends_well_and_when_it_is_tried_again() -> None:
    story = working()
    moved(story, 50)
    run = story.of(do.RunStep)[-1].run
    story.feed(StepFinished(item="app", run=run, result=StepResult.FAILED))
    story.now_ms = story.machine.next_deadline_ms() or 0
    story.feed(DeadlinePassed())
    assert story.item("app").percent is None
    moved(story, 10, ItemState.VERIFYING)
    assert story.item("app").percent == 10
    run = story.of(do.RunStep)[-1].run
    story.feed(StepFinished(item="app", run=run, result=StepResult.COMPLETED))
    assert story.item("app").percent is None


def test_the_fifth_restart_for_one_item_is_refused_by_number() -> None:
    story = Script(MANUAL, items=(APP,)).behave("app", fails_with(1641)).begin().assign().play()
    assert len(story.of(do.Reboot)) == 4
    failure = story.item("app").failure
    assert failure is not None
    assert failure.kind is FailureKind.REBOOT_LOOP
    assert "restart number 5" in failure.engineer
    assert story.item("app").deadline_ms is None


def test_what_an_installer_left_undone_at_a_restart_is_looked_at_as_the_same_try() -> None:
    story = Script(MANUAL, items=(APP,)).behave("app", fails_with(1641), hangs)
    story.begin().assign().play()
    step = [s for s in story.of(do.RunStep) if s.item == "app"][-1]
    assert (step.attempt, step.detect_first, step.run) == (1, True, 2)


def test_a_profile_that_was_not_installed_in_time_is_fetched_again_from_the_start() -> None:
    story = Script(EnrollmentType.IOS).begin().assign().play(stop_at="install_profile")
    begins = [c for c in story.of(report.ItemChanged) if c.item == "download_profile"]
    assert begins[-1].state is ItemState.DONE
    story.wait(8)
    again = [c for c in story.of(report.ItemChanged) if c.item == "download_profile"]
    assert ItemState.NOT_STARTED in {c.state for c in again[len(begins) :]}
    restarted = next(c for c in again[len(begins) :] if c.state is ItemState.NOT_STARTED)
    assert restarted.note
    assert restarted.attempt == 0
    assert restarted.failure is None
    story.play(stop_at="install_profile")
    steps = [s for s in story.of(do.RunStep) if s.item == "download_profile"]
    assert [(s.attempt, s.detect_first) for s in steps] == [(1, False), (1, False)]
    story.act("install_profile", PersonAction.PROCEED)
    assert story.item("install_profile").state is ItemState.DONE
    assert story.now_ms > 8 * MINUTE_MS


def test_a_profile_that_was_installed_in_time_is_kept() -> None:
    story = Script(EnrollmentType.IOS).begin().assign().play(stop_at="open_company_portal")
    assert story.item("profile_installation").state is ItemState.DONE
    story.wait(9)
    assert story.item("download_profile").state is ItemState.DONE
    assert story.item("open_company_portal").state is ItemState.WAITING_FOR_PERSON


def test_a_portal_screen_has_thirty_minutes_also_where_no_row_of_the_report_counts_them() -> None:
    story = Script(EnrollmentType.IOS).begin().assign().play(stop_at="show_profile")
    assert story.machine.next_deadline_ms() == story.now_ms + 30 * MINUTE_MS
    story.wait(30)
    assert story.end().user_action == "Exceeded 30 minutes"


def test_a_policy_that_was_being_applied_is_looked_at_after_a_restart() -> None:
    policy = AssignedItem(id="policy", name="Policy", kind=ItemKind.POLICY)
    story = working(policy)
    story.feed(Restarted(planned=False))
    steps = [s for s in story.of(do.RunStep) if s.item == "policy"]
    assert [s.detect_first for s in steps] == [False, True]
    assert [s.attempt for s in steps] == [1, 1]
    assert story.item("policy").state is ItemState.VERIFYING
