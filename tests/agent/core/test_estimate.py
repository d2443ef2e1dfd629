"""The remaining time: what moves the range, and when there is none."""

from __future__ import annotations

from math import sqrt

import pytest

from agent.core.estimate import ITEM_SIGMA, PACE_SIGMA, RESTART_MS
from agent.core.events import StepFinished, StepMoved, StepResult
from agent.core.plan import make_plan
from agent.core.state import Mode
from agent.wire.assignment import AssignedItem
from agent.wire.progress import Remaining
from agent.wire.vocabulary import EnrollmentType, ItemKind, ItemState
from tests.agent.core.script import LENIENT, Script, fails_with, hangs

WINDOWS = EnrollmentType.WINDOWS_MANUAL
"""Nothing but the assigned items, and no person is asked."""


def app(name: str, expected_s: int = 600, *needs: str) -> AssignedItem:
    return AssignedItem(id=name, name=name, expected_seconds=expected_s, depends_on=needs)


def policy(name: str, expected_s: int = 600, *needs: str) -> AssignedItem:
    return app(name, expected_s, *needs).model_copy(update={"kind": ItemKind.POLICY})


def begun(*items: AssignedItem) -> Script:
    return Script(WINDOWS, items=items).begin().assign()


def range_of(story: Script) -> Remaining:
    """The range as of now, which may be long after the last event."""
    passed_ms = story.now_ms - story.inputs[-1][1]
    remaining = story.machine.progress_after(passed_ms).remaining
    assert remaining is not None
    return remaining


def middle_s(story: Script) -> float:
    found = range_of(story)
    return sqrt(found.low_s * found.high_s)


def width(story: Script) -> float:
    found = range_of(story)
    return found.high_s / found.low_s


def move(story: Script, item: str, state: ItemState, percent: int | None = None) -> None:
    story.feed(StepMoved(item=item, run=1, state=state, percent=percent))


def finish(story: Script, item: str, run: int) -> None:
    story.feed(StepFinished(item=item, run=run, result=StepResult.COMPLETED, detected=True))


def test_one_item_is_expected_in_its_expected_time() -> None:
    assert middle_s(begun(app("office"))) == pytest.approx(600, rel=0.02)


def test_installers_follow_one_another_while_policies_run_side_by_side() -> None:
    apps = middle_s(begun(app("a"), app("b"), app("c")))
    policies = middle_s(begun(policy("a"), policy("b"), policy("c")))
    assert apps == pytest.approx(1_850, rel=0.05)
    assert 600 < policies < 900, "the last of three is a little later than any one of them"


def test_what_needs_another_comes_after_it_in_whatever_order_they_are_listed() -> None:
    chain = middle_s(begun(policy("c", 600, "b"), policy("b", 600, "a"), policy("a")))
    assert chain == pytest.approx(1_850, rel=0.05)


def test_an_installer_waits_for_what_it_needs_outside_its_lane() -> None:
    apart = middle_s(begun(policy("rule", 900), app("office", 300)))
    after = middle_s(begun(policy("rule", 900), app("office", 300, "rule")))
    assert after == pytest.approx(1_200, rel=0.05)
    assert apart < 1_050


def test_a_need_within_a_lane_changes_nothing() -> None:
    apart = begun(app("a"), app("b"), app("c"))
    assert range_of(begun(app("a"), app("b"), app("c", 600, "b"))) == range_of(apart)


def test_items_that_setup_does_not_wait_for_do_not_count() -> None:
    optional = app("game", 9_000).model_copy(update={"required": False})
    assert range_of(begun(app("office"), optional)) == range_of(begun(app("office")))


def test_time_that_passes_is_taken_off() -> None:
    story = begun(app("office", 1_200))
    before = middle_s(story)
    move(story, "office", ItemState.INSTALLING)
    story.wait(5)
    assert before - 330 < middle_s(story) < before - 200


def test_an_overdue_item_never_promises_the_end() -> None:
    story = begun(app("office", 60))
    move(story, "office", ItemState.INSTALLING)
    seen = []
    for _ in range(10):
        story.wait(5)
        seen.append(range_of(story))
    assert [r.low_s for r in seen] == sorted(r.low_s for r in seen), "it only gets later"
    assert seen[0].low_s > 10
    assert seen[-1].high_s - seen[-1].low_s > seen[0].high_s - seen[0].low_s


def test_what_is_overdue_makes_the_rest_later_too() -> None:
    """A policy hangs next to installers that have hours to go; its own end decides nothing."""
    story = begun(policy("slow", 60), app("a", 3_600), app("b", 3_600))
    before = middle_s(story)
    story.wait(20)
    assert middle_s(story) > before


def after_three_apps(seconds_each: int) -> Script:
    story = begun(app("a", 60), app("b", 60), app("c", 60), app("office"))
    for run, name in enumerate("abc", start=1):
        story.wait(seconds_each / 60)
        finish(story, name, run)
    return story


def test_the_pace_of_what_is_done_is_expected_of_the_rest() -> None:
    fast, usual, slow = (middle_s(after_three_apps(s)) for s in (30, 60, 120))
    assert usual == pytest.approx(600, rel=0.05)
    assert 300 < fast < 450
    assert 800 < slow < 1_200


def test_the_range_narrows_as_the_pace_becomes_known() -> None:
    assert width(after_three_apps(60)) < 0.7 * width(begun(app("office")))


def test_expectations_that_prove_unreliable_widen_the_range() -> None:
    story = begun(app("a", 60), app("b", 60), app("c", 60), app("office"))
    for run, (name, seconds) in enumerate((("a", 15), ("b", 240), ("c", 60)), start=1):
        story.wait(seconds / 60)
        finish(story, name, run)
    assert width(story) > 1.3 * width(after_three_apps(60))


def test_what_was_there_already_says_nothing_about_the_pace() -> None:
    story = begun(app("a", 60), app("office"))
    story.feed(StepFinished(item="a", run=1, result=StepResult.ALREADY_PRESENT))
    assert range_of(story) == range_of(begun(app("office")))


def test_an_installers_own_percent_counts_the_more_the_further_it_is() -> None:
    """It is on its way to 20 minutes, where the plan says 5."""
    story = begun(app("office", 300))
    move(story, "office", ItemState.INSTALLING, 0)
    story.wait(5)
    move(story, "office", ItemState.INSTALLING, 25)
    assert 300 < middle_s(story) < 1_000
    story.wait(10)
    move(story, "office", ItemState.INSTALLING, 75)
    assert middle_s(story) == pytest.approx(360, rel=0.25)
    assert width(story) < width(begun(app("office", 300)))


def test_a_download_that_takes_longer_than_the_whole_was_meant_to_counts() -> None:
    story = begun(app("office", 300))
    move(story, "office", ItemState.DOWNLOADING, 0)
    story.wait(4)
    unknown = middle_s(story)
    move(story, "office", ItemState.DOWNLOADING, 10)
    assert middle_s(story) > 2_000 > unknown


def test_the_pause_before_the_next_try_is_part_of_it() -> None:
    story = begun(app("office", 60)).behave("office", fails_with(1618), hangs)
    story.play(inputs_max=3)
    assert story.item("office").state is ItemState.WAITING_TO_RETRY
    assert range_of(story).low_s >= 300, "nothing ends before the next try"
    assert middle_s(story) == pytest.approx(390, rel=0.2)


def test_a_lane_is_free_during_such_a_pause() -> None:
    story = begun(app("office", 60), app("other", 300)).behave("office", fails_with(1618), hangs)
    story.behave("other", hangs).play(inputs_max=3)
    assert middle_s(story) == pytest.approx(420, rel=0.2), "not the sum of pause and other app"


def test_a_restart_that_is_due_is_part_of_it() -> None:
    def soft(exit_code: int) -> float:
        story = begun(app("a", 60), app("office"))
        story.wait(1)
        story.feed(
            StepFinished(
                item="a",
                run=1,
                result=StepResult.COMPLETED,
                exit_code=exit_code,
                detected=True,
            )
        )
        return middle_s(story)

    assert soft(3010) - soft(0) == pytest.approx(RESTART_MS / 1000, rel=0.1)


def test_nobody_knows_before_a_plan_at_the_error_screen_during_a_restart_and_at_the_end() -> None:
    story = Script(WINDOWS, items=[app("office")], error_handling=LENIENT).begin()
    assert story.machine.progress.remaining is None
    story.behave("office", fails_with(1603)).assign().play()
    assert story.machine.mode is Mode.STOPPED
    assert story.machine.progress.remaining is None

    restarting = begun(app("office"))
    restarting.feed(StepFinished(item="office", run=1, result=StepResult.COMPLETED, exit_code=1641))
    assert restarting.machine.mode is Mode.RESTARTING
    assert restarting.machine.progress.remaining is None

    ended = begun(app("office")).play()
    assert ended.machine.mode is Mode.ENDED
    assert ended.machine.progress.remaining is None


def test_screens_that_lie_ahead_are_not_part_of_it() -> None:
    story = Script(EnrollmentType.WINDOWS_AUTOPILOT, items=()).begin().assign()
    plan = make_plan(story.facts, story.admitted).items.values()
    screens_s = sum(i.expected_ms for i in plan if i.screen is not None) / 1000
    steps_s = sum(i.expected_ms for i in plan if i.screen is None and i.tracked) / 1000
    assert screens_s > 0.2 * steps_s
    assert middle_s(story) == pytest.approx(steps_s, rel=0.1)


def test_the_largest_expectations_still_fit_into_a_message() -> None:
    remaining = range_of(begun(*(app(f"app{n}", 10**8) for n in range(5))))
    assert remaining.low_s < remaining.high_s == 10**8


def test_an_item_that_is_expected_to_take_no_time_is_no_obstacle() -> None:
    story = begun(app("a", 0), app("b", 0))
    assert range_of(story).high_s < 15, "nothing but the page's own steps"
    finish(story, "a", 1)
    assert range_of(story).high_s >= 1


def test_before_anything_is_known_the_range_is_as_wide_as_both_uncertainties_together() -> None:
    assert width(begun(app("office"))) == pytest.approx(
        2.718 ** (2 * 1.2816 * sqrt(ITEM_SIGMA**2 + PACE_SIGMA**2)), rel=0.02
    )
