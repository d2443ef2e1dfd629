"""What may be chosen when: each choice in the moments in which it is not offered, with the reason."""

from __future__ import annotations

import pytest

from agent.core import effects as do
from agent.core import permissions
from agent.core.enrollment import Enrollment
from agent.core.events import AttemptBegan, Limits
from agent.core.plan import make_plan
from agent.core.state import Attempt, Mode
from agent.wire import events as report
from agent.wire.assignment import Admitted, AssignedItem
from agent.wire.profile import DeviceSetupSettings
from agent.wire.vocabulary import (
    Choice,
    Context,
    EnrollmentType,
    ItemKind,
    ItemState,
    Phase,
    RebootKind,
    RowState,
    Stage,
)
from tests.agent.core.script import (
    BLOCKED_ACCOUNT,
    MINUTE_MS,
    Script,
    facts,
    fails_with,
    hangs,
    profile,
)

MANUAL = EnrollmentType.WINDOWS_MANUAL
APP = AssignedItem(id="app", name="App", tries=1)
UNBLOCKED = DeviceSetupSettings(block_until_complete=False)
NOT_BEFORE_THE_END = "nothing has failed, and the profile blocks the device until setup is complete"


@pytest.mark.parametrize(
    ("choice", "why"),
    [
        (Choice.TRY_AGAIN, "nothing has failed"),
        (Choice.RESET_DEVICE, "nothing has failed"),
        (Choice.CONTINUE_ANYWAY, NOT_BEFORE_THE_END),
        (Choice.COLLECT_LOGS, "nothing has failed"),
        (Choice.SKIP_ACCOUNT_SETUP, "account setup is not running"),
    ],
)
def test_while_setup_works_what_is_for_a_failure_is_refused(choice: Choice, why: str) -> None:
    story = Script(MANUAL, items=(APP,)).behave("app", hangs).begin().assign().play()
    assert story.choose(choice).machine.refusal == why
    assert not story.of(report.ChoiceMade)
    assert choice not in story.machine.progress.choices


def test_a_device_that_account_setup_holds_can_t_be_continued_for_its_open_device_setup() -> None:
    app = APP.model_copy(update={"context": Context.ACCOUNT})
    story = Script(MANUAL, items=(app,), account_setup=BLOCKED_ACCOUNT, device_setup=UNBLOCKED)
    story.behave("app", hangs).begin().assign().play()
    assert story.machine.progress.phase is Phase.ACCOUNT_SETUP
    assert story.choose(Choice.CONTINUE_ANYWAY).machine.refusal == NOT_BEFORE_THE_END


def test_nobody_leaves_while_the_device_restarts() -> None:
    story = Script(MANUAL, items=(APP,), device_setup=UNBLOCKED)
    story.behave("app", fails_with(1641)).begin().assign()
    while not story.of(do.Reboot):
        story.play(inputs_max=len(story.inputs) + 1)
    assert story.of(do.Reboot)[-1].kind is RebootKind.HARD
    assert story.machine.mode is Mode.RESTARTING
    assert story.choose(Choice.CONTINUE_ANYWAY).machine.refusal == NOT_BEFORE_THE_END


def test_an_error_screen_without_a_failed_item_offers_no_item() -> None:
    attempt = Attempt(
        id="attempt-1",
        number=1,
        facts=facts(MANUAL),
        limits=Limits(),
        began_ms=0,
        mode=Mode.STOPPED,
        plan=make_plan(facts(MANUAL), Admitted(profile=profile())),
        phase=Phase.DEVICE_SETUP,
    )
    attempt.phase_states[Phase.DEVICE_PREPARATION] = RowState.SUCCEEDED
    assert permissions.why_not(attempt, Choice.TRY_ITEM_AGAIN) == "no single item failed"
    assert permissions.why_not(attempt, Choice.TRY_AGAIN) is None


def test_a_policy_at_work_leaves_the_installers_lane_free() -> None:
    policy = AssignedItem(id="policy", name="Policy", kind=ItemKind.POLICY)
    story = Script(MANUAL, items=(policy, APP)).behave("policy", hangs).behave("app", hangs)
    story.begin().assign().play()
    assert story.item("policy").state is ItemState.INSTALLING
    assert story.item("app").state is ItemState.DOWNLOADING


def test_each_report_says_where_the_attempt_was_at_its_moment() -> None:
    story = Script(MANUAL, items=(APP,)).behave("app", hangs).begin().assign().play()
    stages = [e.stage for e in story.effects if isinstance(e, do.Report)]
    assert stages[0] is Stage.WAITING_FOR_ASSIGNMENT
    assert stages[-1] is Stage.INSTALLING_APPS


def test_a_device_whose_running_time_begins_at_zero_begins_at_zero() -> None:
    machine = Enrollment()
    limits = Limits(assignment_wait_ms=20 * MINUTE_MS)
    machine.handle(AttemptBegan(attempt="attempt-1", facts=facts(), limits=limits), 0)
    assert machine.next_deadline_ms() == 20 * MINUTE_MS
