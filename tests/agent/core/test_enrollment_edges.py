"""The enrollment at its edges: what is reported to the letter, and what a restart, a late answer or a limit leaves behind."""

from __future__ import annotations

import pytest

from agent.core import effects as do
from agent.core.enrollment import Enrollment
from agent.core.events import (
    CommandReceived,
    DeadlinePassed,
    EmergencyExitUsed,
    Limits,
    LogsCollected,
    PersonActed,
    Restarted,
    StepFinished,
    StepResult,
)
from agent.core.phases import REBOOT_WAIT_MS
from agent.core.state import Mode
from agent.wire import events as report
from agent.wire.assignment import AssignedItem, PersonScreens
from agent.wire.messages import CollectLogs, ExtendTimeout, RetryItem, RetryPhase
from agent.wire.profile import DeviceSetupSettings
from agent.wire.vocabulary import (
    Choice,
    Context,
    EndState,
    EnrollmentType,
    FailureKind,
    Gate,
    GateCause,
    ItemKind,
    ItemState,
    PersonAction,
    Phase,
    RebootKind,
    RowState,
    Section,
    Variant,
)
from tests.agent.core.script import BLOCKED_ACCOUNT, MINUTE_MS, Script, done, fails_with, hangs

MANUAL = EnrollmentType.WINDOWS_MANUAL
ONCE = AssignedItem(id="once", name="Once", tries=1)
NEEDS = AssignedItem(id="needs", name="Needs", depends_on=("once",))
OTHER = AssignedItem(id="other", name="Other", tries=1)


def failed(*items: AssignedItem) -> Script:
    """A device at the error screen: `once` failed, and so did `other` where it is assigned."""
    story = Script(MANUAL, items=items or (ONCE,))
    for item in ("once", "other"):
        story.behave(item, fails_with(1603))
    return story.begin().assign().play()


def states(story: Script, item: str) -> list[ItemState]:
    """The states that were reported of an item, in order."""
    return [c.state for c in story.of(report.ItemChanged) if c.item == item]


def mode(story: Script) -> Mode:
    return story.machine.mode


def last(story: Script, kind: type) -> object:
    return story.of(kind)[-1]


# Beginning.


def test_the_first_report_says_what_the_device_is() -> None:
    story = Script()
    story.facts = story.facts.__class__(
        device="DESKTOP-1",
        enrollment_type=EnrollmentType.WINDOWS_AUTOPILOT,
        platform="Windows 11",
        os_version="10.0.22631",
        agent_version="9.9",
        user="jane.roe@company.com",
        model="Latitude",
        serial="SN-1",
    )
    story.begin()
    first = story.effects[0]
    assert isinstance(first, do.Report)
    assert (first.attempt, first.attempt_ms, first.percent) == ("attempt-1", 0, 0)
    assert first.body == report.AttemptStarted(
        enrollment_type=EnrollmentType.WINDOWS_AUTOPILOT,
        variant=story.facts.variant,
        platform="Windows 11",
        os_version="10.0.22631",
        user="jane.roe@company.com",
        model="Latitude",
        serial="SN-1",
        number=1,
        agent_version="9.9",
    )
    assert do.SetGate(Gate.LOCKED, GateCause.ENROLLMENT_BEGAN) in story.effects


def test_the_assignment_is_reported_with_its_profile_and_how_much_blocks() -> None:
    optional = AssignedItem(id="optional", name="Optional")
    story = Script(MANUAL, items=(ONCE, optional), blocking_apps=("once",), name="Sales")
    story.begin().assign(version=7)
    (applied,) = story.of(report.AssignmentApplied)
    assert (applied.store, applied.version) == ("store-1", 7)
    assert (applied.profile, applied.profile_name) == ("default", "Sales")
    empty = Script(MANUAL, items=()).begin().assign().of(report.AssignmentApplied)[0]
    assert applied.items == empty.items + 2
    assert applied.blocking == empty.blocking + 1


def test_without_an_assignment_the_attempt_ends_at_the_minute() -> None:
    story = Script(limits=Limits(assignment_wait_ms=20 * MINUTE_MS)).begin()
    story.wait(19.99)
    assert mode(story) is Mode.WAITING_FOR_ASSIGNMENT
    story.wait(0.01)
    ended = story.end()
    assert ended.end_state is EndState.TIMED_OUT
    assert ended.failure is not None
    assert ended.failure.engineer == "no assignment within 20 minutes"
    assert story.machine.next_deadline_ms() is None


def test_time_never_goes_back() -> None:
    story = Script(MANUAL).begin()
    began_ms = story.now_ms
    story.now_ms += 5 * MINUTE_MS
    story.assign()
    story.now_ms = began_ms
    story.feed(Restarted(planned=False))
    assert story.machine.progress.attempt_ms == 5 * MINUTE_MS


# Person screens.


@pytest.mark.parametrize(
    ("hours", "what"),
    [(24, "Exceeded 24 hours"), (0.5, "Exceeded 30 minutes"), (90, "Exceeded 90 hours")],
)
def test_a_screen_that_nobody_answers_ends_the_attempt_and_says_how_long_it_waited(
    hours: float, what: str
) -> None:
    limits = Limits(nobody_comes_back_ms=int(hours * 60 * MINUTE_MS))
    story = Script(limits=limits).begin().assign().play(stop_at="sign_in")
    story.wait(hours * 60)
    ended = story.end()
    assert ended.end_state is EndState.ABANDONED
    assert (ended.section, ended.action_name, ended.user_action) == (None, None, what)
    assert ended.failure is not None
    assert ended.failure.kind is FailureKind.PERSON_SILENT
    assert ended.failure.engineer == f"Sign in: {what}"


def test_an_answer_is_reported_with_its_screen_and_how_long_it_took() -> None:
    story = Script(EnrollmentType.IOS).begin().assign().play(stop_at="set_up_access")
    story.wait(3)
    story.act("set_up_access", PersonAction.PROCEED)
    assert last(story, report.PersonAnswered) == report.PersonAnswered(
        screen="set_up_access",
        action=PersonAction.PROCEED.label,
        section=Section.SETUP_CHECKLIST,
        action_name="PreEnrollmentWizard",
        waited_ms=3 * MINUTE_MS,
    )


def test_a_screen_that_is_halted_ends_the_attempt_under_its_own_name() -> None:
    story = Script(EnrollmentType.IOS).begin().assign().play(stop_at="set_up_access")
    story.act("set_up_access", PersonAction.POSTPONE)
    ended = story.end()
    assert (ended.section, ended.action_name) == (Section.SETUP_CHECKLIST, "PreEnrollmentWizard")
    assert ended.user_action == PersonAction.POSTPONE.label
    assert ended.failure is not None
    assert ended.failure.kind is FailureKind.USER_CANCELLED
    assert ended.failure.engineer == "Set up access: User cancelled enrollment (Postpone)"
    assert ended.phase is Phase.DEVICE_PREPARATION


def test_a_screen_is_asked_with_its_buttons() -> None:
    story = Script(EnrollmentType.IOS).begin().assign().play(stop_at="set_up_access")
    asked = story.of(do.AskPerson)[-1]
    assert (asked.item, asked.screen) == ("set_up_access", "set_up_access")
    assert asked.actions == (
        PersonAction.PROCEED, PersonAction.POSTPONE, PersonAction.CLOSE,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("item", "action", "why"),
    [
        ("nothing", PersonAction.PROCEED, "'nothing' is not waiting for a person"),
        ("whats_next", PersonAction.PROCEED, "'whats_next' is not waiting for a person"),
        ("set_up_access", PersonAction.IGNORE, "'ignore' can't be chosen on"),
    ],
)
def test_an_answer_that_nothing_asked_for_is_refused(
    item: str, action: PersonAction, why: str
) -> None:
    story = Script(EnrollmentType.IOS).begin().assign().play(stop_at="set_up_access")
    assert story.feed(PersonActed(item=item, action=action)) == []
    assert (story.machine.refusal or "").startswith(why)


def test_a_row_that_took_too_long_ends_the_attempt_under_the_row_s_name() -> None:
    story = Script(EnrollmentType.IOS, screens=PersonScreens(terms_of_use=True))
    story.begin().assign().play(stop_at="set_up_access")
    story.wait(20)
    story.act("set_up_access", PersonAction.PROCEED)
    story.wait(10)
    ended = story.end()
    assert (ended.section, ended.action_name, ended.user_action) == (
        Section.SETUP_CHECKLIST, "PreEnrollmentWizard", "Exceeded 30 minutes",
    )  # fmt: skip
    assert ended.failure is not None
    assert ended.failure.engineer == "What's next: Exceeded 30 minutes"
    assert states(story, "whats_next")[-1] is ItemState.CANCELLED


# Steps.


def test_what_a_step_says_after_its_end_is_refused_by_name() -> None:
    story = Script(MANUAL, items=(ONCE,)).begin().assign().play()
    story.feed(StepFinished(item="once", run=1, result=StepResult.COMPLETED))
    assert story.machine.refusal == "run 1 of 'once' is over; what it says now does not count"
    story.feed(StepFinished(item="unknown", run=1, result=StepResult.COMPLETED))
    assert story.machine.refusal == "'unknown' is not part of this attempt"


def test_an_older_run_of_a_running_step_does_not_count() -> None:
    story = Script(MANUAL, items=(ONCE,)).behave("once", hangs).begin().assign().play()
    story.crash()
    runs = [s.run for s in story.of(do.RunStep) if s.item == "once"]
    assert runs == [1, 2]
    assert story.feed(StepFinished(item="once", run=1, result=StepResult.COMPLETED)) == []
    assert mode(story) is Mode.WORKING
    story.feed(StepFinished(item="once", run=2, result=StepResult.COMPLETED))
    assert story.item("once").state is ItemState.DONE


# The error screen and choices.


def test_the_error_screen_offers_what_it_reports() -> None:
    story = failed(ONCE, NEEDS)
    shown = last(story, report.ErrorScreenShown)
    assert isinstance(shown, report.ErrorScreenShown)
    assert shown.phase is Phase.DEVICE_SETUP
    assert shown.failed_items == ("once",)
    assert story.effects[-1] == do.OfferChoices(shown.choices, ("once",), error=True)
    assert shown.choices == story.machine.progress.choices


def test_the_error_screen_is_put_up_again_after_a_restart() -> None:
    story = failed()
    offered = story.effects[-1]
    assert isinstance(offered, do.OfferChoices)
    assert offered.error
    again = story.feed(Restarted(planned=False))
    assert offered in again
    assert do.SetGate(Gate.LOCKED, GateCause.ENROLLMENT_BEGAN) in again


@pytest.mark.parametrize("planned", [True, False])
def test_a_restart_is_reported_as_what_it_was(planned: bool) -> None:
    story = Script(MANUAL, items=(ONCE,)).behave("once", hangs).begin().assign()
    story.feed(Restarted(planned=planned))
    assert last(story, report.AgentRestarted) == report.AgentRestarted(planned=planned)


def test_trying_one_item_again_takes_what_was_given_up_for_it_and_nothing_else() -> None:
    story = failed(ONCE, NEEDS, OTHER)
    story.behave("once", done)
    before = len(story.of(report.ItemChanged))
    story.choose(Choice.TRY_ITEM_AGAIN, "once")
    assert last(story, report.ChoiceMade) == report.ChoiceMade(
        choice=Choice.TRY_ITEM_AGAIN, item="once"
    )
    changed = {c.item for c in story.of(report.ItemChanged)[before:]}
    assert changed <= {"once", "needs"}
    assert "once" in changed


@pytest.mark.parametrize(
    ("item", "why"),
    [
        (None, "say which item to try again"),
        ("needs", None),
        ("absent", "'absent' is not an item that failed"),
    ],
)
def test_trying_again_an_item_that_did_not_fail_is_refused(
    item: str | None, why: str | None
) -> None:
    story = failed(ONCE, NEEDS)
    story.choose(Choice.TRY_ITEM_AGAIN, item)
    expected = why if why is not None else story.machine.refusal
    assert story.machine.refusal == expected
    if why is not None:
        assert mode(story) is Mode.STOPPED


def test_a_retry_by_command_is_reported_under_the_command() -> None:
    story = failed()
    command = story.command(RetryItem(item="once"))
    story.feed(CommandReceived(command=command))
    assert report.ChoiceMade(
        choice=Choice.TRY_ITEM_AGAIN, item="once", command=command.id
    ) in story.of(report.ChoiceMade)
    assert last(story, report.CommandAnswered) == report.CommandAnswered(
        command=command.id, action="retry_item", executed=True, reason=""
    )


def test_a_reset_keeps_the_failure_that_led_to_it() -> None:
    story = failed()
    story.choose(Choice.RESET_DEVICE)
    ended = story.end()
    assert ended.end_state is EndState.RESET
    assert ended.failure is not None
    assert ended.failure.item == "once"
    assert story.effects[-1] == do.ResetDevice()
    assert do.ResetDevice() in story.feed(Restarted(planned=False))


def test_after_trying_again_nothing_of_the_failure_is_left() -> None:
    story = failed()
    story.behave("once", hangs)
    story.choose(Choice.TRY_AGAIN)
    progress = story.machine.progress
    assert progress.failure is None
    assert progress.error is None
    assert progress.deadline_ms == story.now_ms - 1_000_000 + 60 * MINUTE_MS
    assert story.item("once").attempt == 1
    assert story.item("once").failure is None
    phases = [(c.phase, c.state) for c in story.of(report.PhaseChanged)]
    assert phases[-2:] == [
        (Phase.DEVICE_SETUP, RowState.FAILED),
        (Phase.DEVICE_SETUP, RowState.IN_PROGRESS),
    ]


@pytest.mark.parametrize("retried", [False, True])
def test_skipping_account_setup_ends_as_it_would_have_and_settles_what_is_left(
    retried: bool,
) -> None:
    items = (
        ONCE,
        AssignedItem(id="first", name="First", context=Context.ACCOUNT),
        AssignedItem(id="second", name="Second", context=Context.ACCOUNT),
    )
    story = Script(MANUAL, items=items, account_setup=BLOCKED_ACCOUNT).behave("second", hangs)
    if retried:
        story.behave("once", fails_with(1603), done)
    story.begin().assign().play()
    if retried:
        story.choose(Choice.TRY_AGAIN).play()
    story.choose(Choice.SKIP_ACCOUNT_SETUP)
    assert story.end().end_state is (EndState.SUCCEEDED_ON_RETRY if retried else EndState.SUCCEEDED)
    assert story.end().account_setup is RowState.SKIPPED
    assert states(story, "first")[-1] is ItemState.DONE
    assert states(story, "second")[-1] is ItemState.SKIPPED
    assert do.CancelStep("second", story.of(do.RunStep)[-1].run) in story.effects
    assert do.SetGate(Gate.RELEASED, GateCause.ACCOUNT_SETUP_SKIPPED) in story.effects


def test_the_emergency_exit_keeps_the_failure_on_record() -> None:
    story = failed()
    story.feed(EmergencyExitUsed())
    assert story.end().end_state is EndState.BYPASSED
    assert story.end().failure is not None
    assert story.gates()[-1] is Gate.BYPASSED
    ended_before = len(story.of(report.AttemptEnded))
    story.feed(EmergencyExitUsed())
    assert len(story.of(report.AttemptEnded)) == ended_before


# Logs and commands.


def test_logs_are_asked_for_until_they_are_written_whoever_asked() -> None:
    story = failed()
    command = story.command(CollectLogs())
    assert do.CollectLogs(command.id) in story.feed(CommandReceived(command=command))
    story.choose(Choice.COLLECT_LOGS)
    assert do.CollectLogs(None) in story.effects
    again = [e for e in story.feed(Restarted(planned=False)) if isinstance(e, do.CollectLogs)]
    assert again == [do.CollectLogs(command.id), do.CollectLogs(None)]
    story.feed(LogsCollected(path="/logs/1.zip", command=command.id))
    assert last(story, report.LogsCollected) == report.LogsCollected(
        path="/logs/1.zip", command=command.id
    )
    again = [e for e in story.feed(Restarted(planned=False)) if isinstance(e, do.CollectLogs)]
    assert again == [do.CollectLogs(None)]
    story.feed(LogsCollected(path="", problem="the disk is full"))
    assert last(story, report.LogsCollected) == report.LogsCollected(
        path="", problem="the disk is full"
    )
    logs = story.machine.progress.logs
    assert logs is not None
    assert (logs.path, logs.problem) == ("", "the disk is full")


def test_a_command_that_comes_again_is_neither_executed_nor_answered() -> None:
    story = failed()
    command = story.command(RetryPhase())
    story.feed(CommandReceived(command=command))
    assert story.feed(CommandReceived(command=command)) == []
    assert story.machine.refusal == f"command '{command.id}' was answered before"
    assert story.machine.executed == {command.id}


def test_a_command_is_in_time_to_its_last_millisecond_of_attempt_time() -> None:
    story = failed()
    age_ms = story.now_ms - 1_000_000
    late = story.command(CollectLogs(), attempt_ms_max=age_ms - 1)
    story.feed(CommandReceived(command=late))
    assert story.machine.refusal == "the attempt is older than the command allows"
    story.feed(CommandReceived(command=story.command(CollectLogs(), attempt_ms_max=age_ms)))
    assert story.machine.refusal is None


def test_a_budget_that_does_not_run_can_t_be_extended() -> None:
    extend = ExtendTimeout(context=Context.DEVICE, minutes=10)
    waiting = Script(MANUAL).begin()
    waiting.feed(CommandReceived(command=waiting.command(extend)))
    assert waiting.machine.refusal == "no time budget is running"
    story = failed()
    story.feed(CommandReceived(command=story.command(extend)))
    assert story.machine.refusal == "no time budget is running"
    answered = last(story, report.CommandAnswered)
    assert isinstance(answered, report.CommandAnswered)
    assert (answered.executed, answered.reason) == (False, "no time budget is running")


# Restarts that setup wants.


def test_a_restart_is_planned_for_the_items_that_want_it_and_given_up_in_the_end() -> None:
    story = Script(MANUAL, items=(ONCE, OTHER)).behave("once", fails_with(3010, detected=True))
    story.begin().assign()
    story.play(inputs_max=4)
    planned = last(story, report.RebootPlanned)
    assert planned == report.RebootPlanned(reboot=RebootKind.SOFT, items=("once",))
    assert story.effects[-1] == do.Reboot(RebootKind.SOFT, ("once",))
    assert mode(story) is Mode.RESTARTING
    assert story.machine.next_deadline_ms() == story.now_ms + REBOOT_WAIT_MS
    story.now_ms += REBOOT_WAIT_MS
    story.feed(DeadlinePassed())
    assert mode(story) is Mode.WORKING
    story.play()
    assert story.end().end_state is EndState.SUCCEEDED
    assert len(story.of(do.Reboot)) == 1


def test_a_hard_restart_that_never_comes_is_given_up_and_the_item_is_looked_at() -> None:
    story = Script(MANUAL, items=(ONCE,)).behave("once", fails_with(1641))
    story.begin().assign().play(inputs_max=3)
    assert mode(story) is Mode.RESTARTING
    assert story.item("once").state is ItemState.REBOOT_REQUIRED
    story.now_ms += REBOOT_WAIT_MS
    story.feed(DeadlinePassed())
    step = story.of(do.RunStep)[-1]
    assert (step.item, step.detect_first, step.attempt) == ("once", True, 1)
    assert mode(story) is Mode.WORKING
    limit_ms = ONCE.install_limit_minutes * MINUTE_MS
    assert story.machine.next_deadline_ms() in {story.now_ms + limit_ms, 1_000_000 + limit_ms}


# The budget.


def test_when_the_budget_ends_what_runs_is_stopped_and_named() -> None:
    slow = AssignedItem(id="slow", name="Slow", install_limit_minutes=600)
    story = Script(MANUAL, items=(slow, NEEDS, ONCE), timeout_minutes=45).behave("slow", hangs)
    story.begin().assign().play()
    run = story.of(do.RunStep)[-1].run
    story.wait(45)
    assert do.CancelStep("slow", run) in story.effects
    shown = last(story, report.ErrorScreenShown)
    assert isinstance(shown, report.ErrorScreenShown)
    assert shown.failure.kind is FailureKind.SETUP_TIMED_OUT
    assert "45 minutes" in shown.failure.person
    assert shown.failure.person.endswith("Still running: Slow.")
    stopped = story.item("slow")
    assert stopped.state is ItemState.TIMED_OUT
    assert stopped.failure is not None
    assert stopped.failure.engineer == "slow: not done when the budget of 45 minutes ended"
    assert story.item("once").state is ItemState.NOT_STARTED


def test_a_budget_that_holds_nobody_ends_the_rest_of_the_phase_and_setup_goes_on() -> None:
    slow = AssignedItem(id="slow", name="Slow", install_limit_minutes=600)
    story = Script(
        MANUAL,
        items=(slow, OTHER),
        timeout_minutes=45,
        device_setup=DeviceSetupSettings(block_until_complete=False),
    ).behave("slow", hangs)
    story.begin().assign().play()
    story.wait(45)
    phases = [(c.phase, c.state) for c in story.of(report.PhaseChanged)]
    assert (Phase.DEVICE_SETUP, RowState.FAILED) in phases
    assert ItemState.TIMED_OUT in states(story, "slow")
    changes = [c for c in story.of(report.ItemChanged) if c.item == "other"]
    given_up = next(c for c in changes if c.state is ItemState.CANCELLED)
    assert given_up.failure is not None
    assert given_up.failure.engineer == "other: not done when the budget of 45 minutes ended"
    assert not story.of(report.ErrorScreenShown)


# Tries.


def test_after_a_pause_the_next_try_begins_with_looking() -> None:
    story = Script(MANUAL, items=(AssignedItem(id="app", name="App", tries=2),))
    story.behave("app", fails_with(1603)).begin().assign()
    first = story.of(do.RunStep)[-1]
    story.feed(StepFinished(item="app", run=first.run, result=StepResult.FAILED))
    assert story.item("app").state is ItemState.WAITING_TO_RETRY
    assert story.item("app").failure is not None
    due_ms = story.machine.next_deadline_ms()
    assert due_ms == story.now_ms + 30_000
    story.now_ms = due_ms - 1
    story.feed(DeadlinePassed())
    assert story.machine.refusal == "no deadline has passed"
    story.now_ms = due_ms
    story.feed(DeadlinePassed())
    again = story.of(do.RunStep)[-1]
    assert (again.run, again.attempt, again.detect_first) == (2, 2, True)
    assert states(story, "app")[-2:] == [ItemState.WAITING_TO_RETRY, ItemState.VERIFYING]


def test_a_step_without_an_end_is_stopped_at_its_own_limit() -> None:
    item = AssignedItem(id="app", name="App", tries=1, install_limit_minutes=5)
    story = Script(MANUAL, items=(item,)).behave("app", hangs).begin().assign().play().wait(5)
    changed = last(story, report.ItemChanged)
    assert isinstance(changed, report.ItemChanged)
    assert changed.state is ItemState.TIMED_OUT
    assert changed.failure is not None
    assert changed.failure.kind is FailureKind.ITEM_TIMED_OUT
    assert do.CancelStep("app", 1) in story.effects


def test_a_running_step_is_told_all_that_it_needs() -> None:
    item = AssignedItem(
        id="vpn", name="VPN", kind=ItemKind.NETWORK, context=Context.ACCOUNT, size_bytes=77
    )
    story = Script(MANUAL, items=(item,)).begin().assign()
    story.play()
    assert [s for s in story.of(do.RunStep) if s.item == "vpn"] == [
        do.RunStep(
            item="vpn",
            name="VPN",
            kind=ItemKind.NETWORK,
            context=Context.ACCOUNT,
            run=2,
            attempt=1,
            detect_first=False,
            size_bytes=77,
        )
    ]
    changes = [c for c in story.of(report.ItemChanged) if c.item == "vpn"]
    assert changes[0] == report.ItemChanged(
        item="vpn",
        name="VPN",
        item_kind=ItemKind.NETWORK,
        phase=Phase.ACCOUNT_SETUP,
        row="account_network_connections",
        blocking=story.item("vpn").blocking,
        state=ItemState.INSTALLING,
        attempt=1,
        attempts_max=3,
    )


def test_a_next_try_whose_lane_is_taken_waits_without_a_deadline_of_its_own() -> None:
    first = AssignedItem(id="first", name="First")
    story = Script(MANUAL, items=(first, OTHER)).behave("first", fails_with(1603))
    story.behave("other", hangs).begin().assign()
    story.feed(StepFinished(item="first", run=1, result=StepResult.FAILED))
    story.now_ms = story.machine.next_deadline_ms() or 0
    story.feed(DeadlinePassed())
    assert story.machine.refusal is None
    assert story.of(do.RunStep)[-1].item == "other"
    assert story.item("first").state is ItemState.NOT_STARTED
    assert story.item("first").deadline_ms is None


# Deadlines that do not count.


def test_nothing_is_tried_again_behind_the_error_screen() -> None:
    items = (
        AssignedItem(id="given_up", name="Given up", kind=ItemKind.POLICY, tries=1),
        AssignedItem(id="tried", name="Tried", kind=ItemKind.POLICY),
    )
    story = Script(MANUAL, items=items).begin().assign()
    for item in ("tried", "given_up"):
        run = next(s.run for s in story.of(do.RunStep) if s.item == item)
        story.feed(StepFinished(item=item, run=run, result=StepResult.FAILED))
    assert mode(story) is Mode.STOPPED
    assert story.item("tried").state is ItemState.WAITING_TO_RETRY
    assert story.machine.next_deadline_ms() == story.now_ms + 24 * 60 * MINUTE_MS


def test_a_row_s_time_does_not_run_out_behind_the_error_screen() -> None:
    story = Script(EnrollmentType.IOS).behave("enrolling_device", fails_with(1603))
    story.begin().assign().play()
    assert mode(story) is Mode.STOPPED
    story.wait(60)
    assert mode(story) is Mode.STOPPED


def test_a_screen_that_is_up_at_the_end_has_no_time_limit_any_more() -> None:
    story = Script().begin().assign().play(stop_at="sign_in")
    assert story.machine.next_deadline_ms() is not None
    story.feed(EmergencyExitUsed())
    assert story.machine.next_deadline_ms() is None


def test_what_goes_on_after_the_end_keeps_its_time_limit() -> None:
    item = AssignedItem(id="app", name="App", install_limit_minutes=7, tries=1)
    story = Script(MANUAL, items=(item,), blocking_apps=()).behave("app", hangs)
    story.begin().assign().play()
    assert mode(story) is Mode.ENDED
    started_ms = story.now_ms
    assert story.machine.next_deadline_ms() == started_ms + 7 * MINUTE_MS
    story.wait(7)
    assert story.item("app").state is ItemState.TIMED_OUT
    assert story.machine.is_settled


def test_in_the_background_one_that_is_given_up_does_not_hold_up_the_next() -> None:
    story = Script(MANUAL, items=(ONCE, NEEDS, OTHER), blocking_apps=())
    story.behave("once", fails_with(1603)).behave("other", hangs).begin().assign().play()
    assert mode(story) is Mode.ENDED
    assert story.item("needs").state is ItemState.CANCELLED
    assert story.of(do.RunStep)[-1].item == "other"


def test_leaving_early_is_offered_once_the_device_is_enrolled() -> None:
    story = Script(MANUAL, device_setup=DeviceSetupSettings(block_until_complete=False))
    story.behave("office", hangs).begin().assign().play()
    assert do.OfferChoices((Choice.CONTINUE_ANYWAY,), (), error=False) in story.effects
    assert do.OfferChoices((Choice.CONTINUE_ANYWAY,), (), error=False) in story.feed(
        Restarted(planned=False)
    )


def test_the_budget_that_ended_is_named_with_what_the_platform_granted() -> None:
    slow = AssignedItem(id="slow", name="Slow", install_limit_minutes=600)
    story = Script(
        variant=Variant.HYBRID_JOIN,
        items=(slow.model_copy(update={"context": Context.ACCOUNT}),),
        account_setup=BLOCKED_ACCOUNT,
        timeout_minutes=45,
    )
    story.behave("slow", hangs).begin().assign().play()
    deadline_ms = story.machine.progress.deadline_ms
    opened_ms = next(
        r.attempt_ms
        for r in story.effects
        if isinstance(r, do.Report) and r.body == story.of(report.PersonAnswered)[-1]
    )
    assert deadline_ms is not None
    minutes = (deadline_ms - opened_ms) // MINUTE_MS
    assert minutes > 45
    story.wait(minutes)
    shown = last(story, report.ErrorScreenShown)
    assert isinstance(shown, report.ErrorScreenShown)
    assert f"{minutes} minutes" in shown.failure.person


def test_runs_are_numbered_on_over_all_attempts() -> None:
    """A late answer of the attempt before can't be taken for one of this attempt."""
    story = Script(MANUAL, items=(ONCE,)).behave("once", hangs).begin().assign().play()
    story.begin("attempt-2").assign().play()
    assert [s.run for s in story.of(do.RunStep) if s.item == "once"] == [1, 2]


def test_the_variant_is_reported() -> None:
    story = Script(variant=Variant.SELF_DEPLOYING).begin()
    (started,) = story.of(report.AttemptStarted)
    assert started.variant is Variant.SELF_DEPLOYING


def test_nothing_is_refused_before_anything_happened() -> None:
    assert Enrollment().refusal is None
    assert Enrollment().attempt is None


def test_leaving_is_not_offered_while_setup_holds_the_device() -> None:
    story = Script(MANUAL, items=(ONCE,)).behave("once", hangs).begin().assign().play()
    assert not story.of(do.OfferChoices)
