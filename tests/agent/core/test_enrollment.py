"""The enrollment machine, rule by rule, told as stories."""

from __future__ import annotations

from typing import Any

import pytest

from agent.core import effects as do
from agent.core.enrollment import TABLE, Enrollment, transitions
from agent.core.events import (
    AttemptBegan,
    CommandReceived,
    DeadlinePassed,
    EmergencyExitUsed,
    Event,
    LogsCollected,
    PersonActed,
    Restarted,
    StepFinished,
    StepMoved,
    StepResult,
)
from agent.core.state import Mode
from agent.wire import events as report
from agent.wire.assignment import AssignedItem, PersonScreens, Refused
from agent.wire.messages import (
    CollectLogs,
    ContinueAnyway,
    ExtendTimeout,
    RefreshAssignment,
    RetryItem,
    RetryPhase,
)
from agent.wire.profile import DeviceSetupSettings, ErrorHandling
from agent.wire.progress import CollectedLogs, Failure
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
    Stage,
)
from tests.agent.core.script import (
    APPS,
    BLOCKED_ACCOUNT,
    LENIENT,
    Script,
    done,
    fails_with,
    hangs,
)

ALL_SCREENS = PersonScreens(
    terms_of_use=True, device_category=True, compliance=True, activation=True
)
PORTAL_TYPES = (EnrollmentType.IOS, EnrollmentType.ANDROID_ENTERPRISE)


# The happy path, for every type.


@pytest.mark.rule("happy-path")
@pytest.mark.parametrize("kind", EnrollmentType)
def test_a_good_enrollment_opens_the_gate_once_and_ends_succeeded(kind: EnrollmentType) -> None:
    story = Script(kind, screens=ALL_SCREENS).begin().assign().play()
    assert story.end().end_state is EndState.SUCCEEDED
    assert story.gates() == [Gate.LOCKED, Gate.RELEASED]
    assert story.machine.progress.percent == 100
    assert story.machine.is_settled
    assert [
        b.phase for b in story.of(report.PhaseChanged) if b.state is RowState.SUCCEEDED
    ] == list(Phase)


@pytest.mark.parametrize("kind", EnrollmentType)
def test_nothing_runs_before_the_assignment(kind: EnrollmentType) -> None:
    story = Script(kind).begin()
    assert not story.of(do.RunStep)
    assert story.machine.progress.stage is Stage.WAITING_FOR_ASSIGNMENT


@pytest.mark.rule("order")
def test_dependencies_come_before_dependants_and_installers_one_at_a_time() -> None:
    story = Script(EnrollmentType.WINDOWS_MANUAL).begin().assign()
    assert story.apps_run() == ["office"]
    story.play()
    assert story.apps_run() == ["office", "portal", "vpn"]


@pytest.mark.rule("order")
def test_phones_install_side_by_side() -> None:
    story = Script(EnrollmentType.IOS).behave("office", hangs).behave("portal", hangs)
    story.begin().assign().play()
    assert [s.item for s in story.of(do.RunStep)][-2:] == ["office", "portal"]


@pytest.mark.rule("blocking-list")
def test_the_blocking_list_filters_and_pulls_its_dependencies_in() -> None:
    story = Script(EnrollmentType.WINDOWS_MANUAL, blocking_apps=("vpn", "never-assigned"))
    story.behave("office", hangs).begin().assign().play()
    assert story.end().end_state is EndState.SUCCEEDED
    assert story.item("vpn").blocking
    assert story.item("portal").blocking
    assert not story.item("office").blocking
    assert story.item("office").state is ItemState.DOWNLOADING, "it installs after setup"
    assert not story.machine.is_settled


@pytest.mark.rule("gate-waits-for-blocking")
def test_policies_certificates_and_networks_hold_the_gate_whatever_the_app_list_says() -> None:
    policy = AssignedItem(id="bitlocker", name="BitLocker", kind=ItemKind.POLICY)
    story = Script(EnrollmentType.WINDOWS_MANUAL, items=(policy,), blocking_apps=())
    story.behave("bitlocker", hangs).begin().assign().play()
    assert story.machine.gate is Gate.LOCKED
    assert story.machine.progress.stage is Stage.APPLYING_POLICIES


@pytest.mark.rule("gate-waits-for-blocking")
def test_account_setup_that_blocks_keeps_the_gate_locked_until_its_end() -> None:
    items = (*APPS, AssignedItem(id="teams", name="Teams", context=Context.ACCOUNT))
    story = Script(items=items, account_setup=BLOCKED_ACCOUNT).behave("teams", hangs)
    story.begin().assign().play()
    assert story.machine.progress.phase is Phase.ACCOUNT_SETUP
    assert story.machine.gate is Gate.LOCKED


@pytest.mark.rule("account-not-blocking")
def test_account_setup_that_does_not_block_opens_the_gate_after_device_setup() -> None:
    story = Script().begin().assign().play(stop_at="sign_in")
    assert story.machine.gate is Gate.RELEASED
    assert story.machine.end_state is None
    assert story.of(report.GateChanged)[-1].cause is GateCause.DEVICE_SETUP_COMPLETE


@pytest.mark.rule("progress-not-shown")
def test_device_progress_not_shown_opens_the_gate_once_the_device_is_enrolled() -> None:
    hidden = DeviceSetupSettings(show_progress=False)
    story = Script(device_setup=hidden).behave("office", hangs).begin().assign().play()
    assert story.machine.gate is Gate.RELEASED
    assert story.of(report.GateChanged)[-1].cause is GateCause.NOTHING_TO_SHOW


@pytest.mark.rule("gate-waits-for-blocking")
def test_a_hidden_device_setup_opens_nothing_while_account_setup_blocks() -> None:
    hidden = DeviceSetupSettings(show_progress=False)
    story = Script(device_setup=hidden, account_setup=BLOCKED_ACCOUNT)
    story.begin().assign().play(stop_at="sign_in")
    assert story.gates() == [Gate.LOCKED]
    story.act("sign_in", PersonAction.PROCEED).play()
    assert story.gates() == [Gate.LOCKED, Gate.RELEASED]


@pytest.mark.rule("restart-resumes")
def test_an_open_gate_stays_open_for_its_own_reason_over_a_restart() -> None:
    story = Script().begin().assign().play(stop_at="sign_in")
    effects = story.feed(Restarted(planned=False))
    assert do.SetGate(Gate.RELEASED, GateCause.DEVICE_SETUP_COMPLETE) in effects


@pytest.mark.rule("device-not-blocking")
def test_with_device_blocking_off_continue_is_offered_once_preparation_is_done() -> None:
    free = DeviceSetupSettings(block_until_complete=False)
    story = Script(device_setup=free, error_handling=ErrorHandling()).behave("office", hangs)
    story.begin().assign()
    assert Choice.CONTINUE_ANYWAY not in story.machine.progress.choices
    story.play()
    assert Choice.CONTINUE_ANYWAY in story.machine.progress.choices
    assert any(Choice.CONTINUE_ANYWAY in o.choices for o in story.of(do.OfferChoices))
    story.choose(Choice.CONTINUE_ANYWAY)
    assert story.machine.gate is Gate.BYPASSED


# Refusals.


@pytest.mark.rule("refusal")
def test_a_refusal_ends_the_attempt_with_reason_and_code_before_anything_installs() -> None:
    failure = Failure(
        kind=FailureKind.DIFFERENT_USER,
        code="0x801c0003",
        person="This device is enrolled with a different user.",
        engineer="enrolled with jane.smith@company.com",
    )
    story = Script().begin().assign(Refused(failure=failure))
    assert story.end().end_state is EndState.REFUSED
    assert story.end().failure == failure
    assert story.machine.progress.failure == failure
    assert story.machine.gate is Gate.LOCKED
    assert not story.of(do.RunStep)


def test_an_assignment_for_another_device_or_attempt_or_of_an_old_version_changes_nothing() -> None:
    story = Script().begin().assign(version=2)
    runs = len(story.of(do.RunStep))
    story.assign(version=2)
    assert story.machine.refusal == "this assignment, or a newer one, is applied already"
    assert len(story.of(do.RunStep)) == runs


@pytest.mark.rule("assignment-wait")
def test_without_an_assignment_the_attempt_ends_after_an_hour() -> None:
    story = Script().begin().wait(59.9)
    assert story.machine.end_state is None
    story.wait(0.1)
    assert story.end().end_state is EndState.TIMED_OUT
    assert story.end_failure().kind is FailureKind.NO_ASSIGNMENT


def test_an_assigned_item_with_the_id_of_a_built_in_step_is_a_clear_failure() -> None:
    story = Script(items=(AssignedItem(id="sign_in", name="Odd"),)).begin().assign()
    assert story.end().end_state is EndState.FAILED
    assert "sign_in" in story.end_failure().engineer


# A blocking item fails.


@pytest.mark.rule("automatic-retries")
def test_three_tries_with_a_growing_pause_then_the_error_screen() -> None:
    story = Script(EnrollmentType.WINDOWS_MANUAL).behave("office", fails_with(1603))
    story.begin().assign().play()
    runs = [s for s in story.of(do.RunStep) if s.item == "office"]
    assert [s.attempt for s in runs] == [1, 2, 3]
    assert [s.detect_first for s in runs] == [True, True, True]
    assert story.machine.mode is Mode.STOPPED
    (screen,) = story.of(report.ErrorScreenShown)
    assert screen.failure.code == "0x80070643"
    assert screen.failed_items == ("office",)
    assert story.machine.progress.stage is Stage.NEEDS_ATTENTION
    assert story.machine.gate is Gate.LOCKED


@pytest.mark.rule("automatic-retries")
@pytest.mark.parametrize(("tries", "pause_s"), [(1, 30), (2, 60)])
def test_the_pause_between_tries_grows(tries: int, pause_s: int) -> None:
    story = Script(EnrollmentType.WINDOWS_MANUAL, items=APPS[:1])
    story.behave("office", *[fails_with(1603)] * tries, hangs).begin().assign()
    for _ in range(tries):
        before_ms = story.now_ms + story.step_ms
        story._answer(story.of(do.RunStep)[-1])
        due_ms = story.machine.next_deadline_ms() or 0
        story.now_ms = due_ms
        story.feed(DeadlinePassed())
    assert due_ms - before_ms == pause_s * 1000


@pytest.mark.rule("automatic-retries")
def test_a_retry_exit_code_waits_five_minutes() -> None:
    story = Script(EnrollmentType.WINDOWS_MANUAL, items=APPS[:1])
    story.behave("office", fails_with(1618), hangs)
    story.begin().assign()
    story._answer(story.of(do.RunStep)[0])
    assert story.machine.next_deadline_ms() == story.now_ms + 5 * 60_000


@pytest.mark.rule("detection-decides")
@pytest.mark.parametrize(
    ("exit_code", "detected", "state"),
    [
        (0, True, ItemState.DONE),
        (1707, True, ItemState.DONE),
        (1603, True, ItemState.DONE),
        (1618, True, ItemState.DONE),
        (0, False, ItemState.NOT_DETECTED),
        (3010, False, ItemState.NOT_DETECTED),
        (1603, False, ItemState.FAILED),
    ],
)
def test_detection_decides_over_the_exit_code(
    exit_code: int, detected: bool, state: ItemState
) -> None:
    story = Script(EnrollmentType.WINDOWS_MANUAL)
    story.behave("office", fails_with(exit_code, detected=detected)).begin().assign().play()
    assert story.item("office").state is state


@pytest.mark.rule("failures-told-apart")
def test_not_detected_and_installer_failed_and_timed_out_are_told_apart() -> None:
    seen = {}
    for name, answer in {"a": fails_with(1603), "b": fails_with(0), "c": hangs}.items():
        item = AssignedItem(id=name, name=name, tries=1, install_limit_minutes=5)
        story = Script(EnrollmentType.WINDOWS_MANUAL, items=(item,)).behave(name, answer)
        story.begin().assign().play()
        story.wait(6)
        seen[name] = (story.item(name).state, story.failure().code)
    assert seen == {
        "a": (ItemState.FAILED, "0x80070643"),
        "b": (ItemState.NOT_DETECTED, "0x87D1041C"),
        "c": (ItemState.TIMED_OUT, "0x800705B4"),
    }


@pytest.mark.rule("order")
def test_a_failed_dependency_takes_its_dependants_with_it() -> None:
    story = Script(EnrollmentType.WINDOWS_MANUAL).behave("portal", fails_with(1603), done)
    story.behave("portal", fails_with(1603)).begin().assign().play()
    assert story.failure().item == "portal"
    assert not [s for s in story.of(do.RunStep) if s.item == "vpn"]


def test_a_dependant_that_does_not_block_says_which_dependency_failed() -> None:
    items = (
        AssignedItem(id="a", name="Agent", context=Context.ACCOUNT, tries=1),
        AssignedItem(id="b", name="Browser", context=Context.ACCOUNT, depends_on=("a",)),
    )
    story = Script(items=items).behave("a", fails_with(1603)).begin().assign().play()
    failure = story.item("b").failure
    assert failure is not None
    assert (failure.kind, "Agent" in failure.person) == (FailureKind.DEPENDENCY_FAILED, True)
    assert story.item("b").state is ItemState.CANCELLED


@pytest.mark.rule("not-applicable")
def test_not_applicable_is_skipped_and_never_a_failure() -> None:
    def not_applicable(_: Script, step: do.RunStep) -> Event:
        return StepFinished(item=step.item, run=step.run, result=StepResult.NOT_APPLICABLE)

    story = Script().behave("office", not_applicable).begin().assign().play()
    assert story.item("office").state is ItemState.SKIPPED
    assert story.end().end_state is EndState.SUCCEEDED


@pytest.mark.rule("non-blocking-failure")
def test_a_failed_item_that_does_not_block_never_holds_the_gate() -> None:
    items = (*APPS, AssignedItem(id="teams", name="Teams", context=Context.ACCOUNT, tries=1))
    story = Script(items=items).behave("teams", fails_with(1603)).begin().assign().play()
    assert story.gates() == [Gate.LOCKED, Gate.RELEASED]
    assert story.end().end_state is EndState.SUCCEEDED
    assert story.end().account_setup is RowState.FAILED
    assert story.item("teams").failure is not None


# Choices.


def stuck(**settings: Any) -> Script:
    """A device at the error screen because of Microsoft 365 Apps."""
    story = Script(EnrollmentType.WINDOWS_MANUAL, **settings)
    return story.behave("office", fails_with(1603)).begin().assign().play()


@pytest.mark.rule("try-again")
def test_try_again_detects_what_is_there_and_ends_succeeded_on_retry() -> None:
    story = stuck()
    story.behave("office", done).choose(Choice.TRY_AGAIN).play()
    assert story.end().end_state is EndState.SUCCEEDED_ON_RETRY
    assert [s.detect_first for s in story.of(do.RunStep) if s.item == "office"][-1]
    assert story.gates() == [Gate.LOCKED, Gate.RELEASED]


@pytest.mark.rule("try-again")
def test_one_item_alone_can_be_tried_again() -> None:
    story = (
        Script(EnrollmentType.IOS).behave("office", fails_with(1)).behave("portal", fails_with(1))
    )
    story.begin().assign().play()
    assert set(story.machine.progress.retryable) >= {"office"}
    story.behave("office", done).choose(Choice.TRY_ITEM_AGAIN, "office").play()
    assert story.item("office").state is ItemState.DONE
    assert story.machine.end_state is None, "the other one is still missing"


@pytest.mark.rule("try-again")
def test_the_budget_starts_again_with_a_retry() -> None:
    story = stuck().wait(300)
    assert story.machine.progress.deadline_ms is None
    story.behave("office", hangs).choose(Choice.TRY_AGAIN)
    attempt_ms = story.machine.progress.attempt_ms
    assert story.machine.progress.deadline_ms == attempt_ms + 60 * 60_000


@pytest.mark.rule("continue-anyway")
def test_continue_anyway_bypasses_and_keeps_trying_in_the_background() -> None:
    story = stuck()
    story.behave("office", done).choose(Choice.CONTINUE_ANYWAY)
    assert story.machine.gate is Gate.BYPASSED
    assert story.end().end_state is EndState.BYPASSED
    assert story.end_failure().kind is FailureKind.INSTALLER_FAILED
    story.play()
    assert story.item("office").state is ItemState.DONE
    assert story.item("vpn").state is ItemState.DONE
    assert story.machine.is_settled
    assert story.machine.end_state is EndState.BYPASSED, "never shown as a plain success"


@pytest.mark.rule("reset-device")
def test_reset_ends_the_attempt_and_asks_for_a_wipe() -> None:
    story = stuck().choose(Choice.RESET_DEVICE)
    assert story.end().end_state is EndState.RESET
    assert story.of(do.ResetDevice)
    story.begin("attempt-2").assign().behave("office", done).play()
    assert story.machine.progress.attempt_number == 2
    assert story.machine.end_state is EndState.SUCCEEDED


@pytest.mark.rule("choices-by-profile")
@pytest.mark.parametrize(
    ("choice", "setting"),
    [
        (Choice.TRY_AGAIN, "allow_retry"),
        (Choice.TRY_ITEM_AGAIN, "allow_retry"),
        (Choice.CONTINUE_ANYWAY, "allow_continue"),
        (Choice.RESET_DEVICE, "allow_reset"),
        (Choice.COLLECT_LOGS, "allow_log_collection"),
    ],
)
def test_what_the_profile_forbids_is_not_offered_and_refused_with_a_reason(
    choice: Choice, setting: str
) -> None:
    story = stuck(error_handling=LENIENT.model_copy(update={setting: False}))
    assert choice not in story.machine.progress.choices
    before = len(story.effects)
    story.choose(choice, "office")
    assert story.machine.refusal is not None
    assert "does not allow" in story.machine.refusal
    assert len(story.effects) == before


@pytest.mark.rule("nobody-comes-back")
def test_with_no_way_out_the_attempt_ends_at_once() -> None:
    nothing = ErrorHandling(allow_retry=False, allow_log_collection=True)
    story = stuck(error_handling=nothing)
    assert story.end().end_state is EndState.FAILED
    assert story.machine.gate is Gate.LOCKED
    assert story.machine.progress.choices == (Choice.COLLECT_LOGS,)


@pytest.mark.rule("nobody-comes-back")
def test_nobody_comes_back_for_24_hours() -> None:
    story = stuck().wait(24 * 60 - 1)
    assert story.machine.end_state is None
    story.wait(1)
    assert story.end().end_state is EndState.FAILED
    assert story.machine.gate is Gate.LOCKED


@pytest.mark.rule("skip-account-setup")
def test_skipping_account_setup_releases_and_succeeds() -> None:
    items = (*APPS, AssignedItem(id="teams", name="Teams", context=Context.ACCOUNT))
    story = Script(items=items, account_setup=BLOCKED_ACCOUNT).behave("teams", hangs)
    story.begin().assign().play()
    assert Choice.SKIP_ACCOUNT_SETUP in story.machine.progress.choices
    story.choose(Choice.SKIP_ACCOUNT_SETUP)
    assert story.machine.gate is Gate.RELEASED
    assert story.end().end_state is EndState.SUCCEEDED
    assert story.end().account_setup is RowState.SKIPPED


@pytest.mark.rule("skip-account-setup")
def test_skipping_is_refused_when_the_profile_does_not_allow_it() -> None:
    closed = BLOCKED_ACCOUNT.model_copy(update={"allow_skip": False})
    story = Script(account_setup=closed).begin().assign().play(stop_at="sign_in")
    story.choose(Choice.SKIP_ACCOUNT_SETUP)
    assert story.machine.gate is Gate.LOCKED
    assert story.machine.refusal == "the profile does not allow to skip account setup"


@pytest.mark.rule("details-off")
def test_details_stay_hidden_when_the_profile_says_so() -> None:
    hidden = LENIENT.model_copy(update={"show_details": False})
    story = stuck(error_handling=hidden, custom_message="Call 4711.")
    error = story.machine.progress.error
    assert error is not None
    assert error.message == "Call 4711."
    assert error.failures == ()
    assert story.of(report.ErrorScreenShown)[0].failure.code == "0x80070643"


# Time.


@pytest.mark.rule("timeout")
@pytest.mark.parametrize("minutes", [1, 60, 90])
def test_the_budget_ends_in_the_error_screen_that_names_what_was_running(minutes: int) -> None:
    item = AssignedItem(id="slow", name="Slow App", install_limit_minutes=1440)
    story = Script(EnrollmentType.WINDOWS_MANUAL, items=(item,), timeout_minutes=minutes)
    story.behave("slow", hangs).begin().assign().play().wait(minutes - 0.01)
    assert story.machine.progress.error is None
    story.wait(0.01)
    assert story.machine.mode is Mode.STOPPED
    assert story.item("slow").state is ItemState.TIMED_OUT
    assert "Slow App" in story.failure().person
    assert story.of(do.CancelStep)
    story.wait(24 * 60)
    assert story.end().end_state is EndState.TIMED_OUT


@pytest.mark.rule("timeout")
def test_the_account_budget_is_its_own_and_starts_after_sign_in() -> None:
    items = (*APPS, AssignedItem(id="teams", name="Teams", context=Context.ACCOUNT))
    story = Script(items=items, account_setup=BLOCKED_ACCOUNT).behave("teams", hangs)
    story.begin().assign().play(stop_at="sign_in")
    assert story.machine.progress.deadline_ms is None
    story.wait(300).act("sign_in", PersonAction.PROCEED)
    progress = story.machine.progress
    assert progress.deadline_ms == progress.attempt_ms + 60 * 60_000


@pytest.mark.rule("timeout")
def test_a_restart_changes_no_budget() -> None:
    story = Script(EnrollmentType.WINDOWS_MANUAL).behave("office", hangs).begin().assign().play()
    before = story.machine.progress.deadline_ms
    story.wait(10).feed(Restarted(planned=False))
    assert story.machine.progress.deadline_ms == before


@pytest.mark.rule("attestation-cap")
def test_attestation_is_capped_at_seven_minutes() -> None:
    story = Script().behave("tpm_attestation", hangs).begin().assign().play().wait(7)
    failure = story.machine.progress.failure
    assert failure is not None
    assert (failure.kind, failure.code) == (FailureKind.ATTESTATION_FAILED, "0x800705B4")


def test_late_answers_of_a_cancelled_run_do_not_count() -> None:
    item = AssignedItem(id="slow", name="Slow App", install_limit_minutes=5, tries=1)
    story = Script(EnrollmentType.WINDOWS_MANUAL, items=(item,)).behave("slow", hangs)
    story.begin().assign().play().wait(5)
    story.feed(StepFinished(item="slow", run=1, result=StepResult.COMPLETED, detected=True))
    assert story.item("slow").state is ItemState.TIMED_OUT
    assert story.machine.refusal is not None


# Restarts.


@pytest.mark.rule("reboots")
def test_a_soft_reboot_is_coalesced_at_the_end_of_the_phase() -> None:
    story = Script(EnrollmentType.WINDOWS_MANUAL)
    story.behave("office", fails_with(3010, detected=True))
    story.behave("portal", fails_with(3010, detected=True)).begin().assign().play()
    (reboot,) = story.of(do.Reboot)
    assert reboot.kind is RebootKind.SOFT
    assert reboot.items == ("office", "portal")
    assert story.end().end_state is EndState.SUCCEEDED


@pytest.mark.rule("reboots")
def test_after_a_hard_reboot_the_same_item_is_detected_before_anything_else_installs() -> None:
    def reboots(_: Script, step: do.RunStep) -> Event:
        return StepFinished(
            item=step.item, run=step.run, result=StepResult.COMPLETED, exit_code=1641
        )

    story = Script(EnrollmentType.WINDOWS_MANUAL).behave("office", reboots, done)
    story.begin().assign().play()
    kinds = [type(e).__name__ for e in story.effects if isinstance(e, do.RunStep | do.Reboot)]
    assert kinds[:5] == ["RunStep", "Reboot", "RunStep", "RunStep", "RunStep"]
    assert story.apps_run() == ["office", "office", "portal", "vpn"]
    assert story.of(do.RunStep)[1].item == "office"
    assert story.of(do.RunStep)[1].detect_first
    assert story.end().end_state is EndState.SUCCEEDED


@pytest.mark.rule("reboots")
def test_the_loop_breaker_stops_the_fifth_reboot_of_one_item() -> None:
    def reboots(_: Script, step: do.RunStep) -> Event:
        return StepFinished(
            item=step.item, run=step.run, result=StepResult.COMPLETED, exit_code=1641
        )

    story = Script(EnrollmentType.WINDOWS_MANUAL).behave("office", reboots).begin().assign().play()
    assert len(story.of(do.Reboot)) == 4
    assert story.failure().kind is FailureKind.REBOOT_LOOP


@pytest.mark.rule("restart-resumes")
def test_after_a_crash_what_was_running_is_detected_not_run_again() -> None:
    story = Script().behave("office", hangs).begin().assign().play()
    old = story.of(do.RunStep)[-1]
    effects = story.feed(Restarted(planned=False))
    assert do.SetGate(Gate.LOCKED, GateCause.ENROLLMENT_BEGAN) in effects
    (again,) = [e for e in effects if isinstance(e, do.RunStep)]
    assert again.item == "office"
    assert again.detect_first
    assert again.run > old.run


def test_after_a_crash_the_prompt_and_the_error_screen_are_there_again() -> None:
    story = Script(EnrollmentType.IOS).begin().assign()
    assert [e for e in story.feed(Restarted(planned=False)) if isinstance(e, do.AskPerson)]
    assert [e for e in stuck().feed(Restarted(planned=False)) if isinstance(e, do.OfferChoices)]


@pytest.mark.rule("restart-resumes")
def test_a_reset_cut_short_by_a_power_cut_is_asked_for_again() -> None:
    story = stuck().choose(Choice.RESET_DEVICE)
    assert do.ResetDevice() in story.feed(Restarted(planned=False))


# Persons.


@pytest.mark.rule("thirty-minutes")
@pytest.mark.parametrize("kind", PORTAL_TYPES)
def test_thirty_minutes_of_silence_end_the_attempt_as_abandoned(kind: EnrollmentType) -> None:
    story = Script(kind).begin().assign().wait(29.999)
    assert story.machine.end_state is None
    story.wait(0.001)
    end = story.end()
    assert end.end_state is EndState.ABANDONED
    assert (end.section, end.action_name, end.user_action) == (
        Section.SETUP_CHECKLIST,
        "PreEnrollmentWizard",
        "Exceeded 30 minutes",
    )
    assert story.machine.gate is Gate.LOCKED


@pytest.mark.rule("thirty-minutes")
def test_the_thirty_minutes_run_over_the_whole_span_machine_time_included() -> None:
    story = Script(EnrollmentType.IOS).behave("profile_installation", hangs)
    story.begin().assign().play(stop_at="install_profile").wait(25)
    story.act("install_profile", PersonAction.PROCEED).act("trust_profile", PersonAction.PROCEED)
    story.wait(5)
    assert story.end().action_name == "iOSProfileLaunch"
    assert story.end().user_action == "Exceeded 30 minutes"


@pytest.mark.rule("explicit-halt")
@pytest.mark.parametrize(
    ("item", "action", "user_action"),
    [
        ("set_up_access", PersonAction.POSTPONE, "Postpone"),
        ("terms_of_use", PersonAction.DECLINE_ALL, "Decline All"),
        ("show_profile", PersonAction.IGNORE, "Ignore"),
        ("install_profile", PersonAction.CANCEL, "Cancel"),
        ("trust_profile", PersonAction.CANCEL, "Cancel"),
        ("open_company_portal", PersonAction.CANCEL, "Cancel"),
        ("device_category", PersonAction.CLOSE, "Closed"),
        ("compliance", PersonAction.POSTPONE, "Postpone"),
        ("activation", PersonAction.POSTPONE, "Postpone"),
    ],
)
def test_an_explicit_halt_ends_the_attempt_at_once(
    item: str, action: PersonAction, user_action: str
) -> None:
    story = Script(EnrollmentType.IOS, screens=ALL_SCREENS).begin().assign().play(stop_at=item)
    story.act(item, action)
    assert story.end().end_state is EndState.ABANDONED
    assert story.end().user_action == user_action
    assert story.end().section is not None


def test_cancelling_remote_management_is_a_cancelled_enrollment() -> None:
    story = Script(EnrollmentType.MACOS_ADE).begin().assign().play(stop_at="remote_management")
    story.act("remote_management", PersonAction.CANCEL)
    assert story.end().end_state is EndState.ABANDONED
    assert story.end_failure().kind is FailureKind.USER_CANCELLED
    assert "User cancelled enrollment" in story.end_failure().engineer


@pytest.mark.rule("coming-back")
def test_coming_back_is_a_new_attempt() -> None:
    story = Script(EnrollmentType.IOS).begin().assign()
    story.act("set_up_access", PersonAction.POSTPONE)
    story.begin("attempt-2").assign().play()
    assert [b.number for b in story.of(report.AttemptStarted)] == [1, 2]
    assert [b.end_state for b in story.of(report.AttemptEnded)] == [
        EndState.ABANDONED,
        EndState.SUCCEEDED,
    ]


@pytest.mark.rule("superseded")
def test_a_new_attempt_supersedes_an_open_one() -> None:
    story = Script().behave("office", hangs).begin().assign().play().begin("attempt-2")
    assert story.end().end_state is EndState.SUPERSEDED
    assert story.of(do.CancelStep)
    assert story.machine.gate is Gate.LOCKED


# Commands.


@pytest.mark.rule("commands-once")
def test_a_command_runs_once_whatever_is_delivered_again() -> None:
    story = stuck().behave("office", hangs)
    command = story.command(RetryPhase())
    story.feed(CommandReceived(command=command))
    runs = len(story.of(do.RunStep))
    story.feed(CommandReceived(command=command))
    assert len(story.of(do.RunStep)) == runs
    assert len(story.of(report.CommandAnswered)) == 1
    assert story.of(report.ChoiceMade)[0].command == command.id


@pytest.mark.rule("commands-once")
def test_executed_commands_survive_a_reset() -> None:
    story = stuck()
    command = story.command(CollectLogs())
    story.feed(CommandReceived(command=command))
    story.choose(Choice.RESET_DEVICE).begin("attempt-2")
    story.feed(CommandReceived(command=command))
    assert len(story.of(report.CommandAnswered)) == 1


@pytest.mark.rule("commands-refused")
@pytest.mark.parametrize(
    ("changes", "expired", "reason"),
    [
        ({"attempt": "other"}, False, "the command is for another attempt"),
        ({"device": "OTHER"}, False, "the command is for another device"),
        ({}, True, "the command has expired"),
        ({"attempt_ms_max": 1}, False, "the attempt is older than the command allows"),
    ],
)
def test_a_misdirected_or_old_command_is_refused_and_answered(
    changes: dict[str, object], expired: bool, reason: str
) -> None:
    story = stuck()
    command = story.command(ContinueAnyway(), **changes)
    story.feed(CommandReceived(command=command, expired=expired))
    (answer,) = story.of(report.CommandAnswered)
    assert (answer.executed, answer.reason) == (False, reason)
    assert story.machine.gate is Gate.LOCKED


@pytest.mark.rule("commands-refused")
def test_a_command_can_not_do_what_the_profile_forbids() -> None:
    story = stuck(error_handling=ErrorHandling(allow_retry=True))
    story.feed(CommandReceived(command=story.command(ContinueAnyway())))
    assert not story.of(report.CommandAnswered)[0].executed
    assert story.machine.gate is Gate.LOCKED


def test_retrying_one_item_by_command() -> None:
    story = stuck().behave("office", done)
    story.feed(CommandReceived(command=story.command(RetryItem(item="office"))))
    story.play()
    assert story.end().end_state is EndState.SUCCEEDED_ON_RETRY


@pytest.mark.rule("extend-timeout")
def test_the_timeout_can_be_extended_while_it_runs() -> None:
    story = Script(EnrollmentType.WINDOWS_MANUAL).behave("office", hangs).begin().assign().play()
    before = story.machine.progress.deadline_ms or 0
    extend = ExtendTimeout(context=Context.DEVICE, minutes=30)
    story.feed(CommandReceived(command=story.command(extend)))
    assert story.machine.progress.deadline_ms == before + 30 * 60_000
    wrong = ExtendTimeout(context=Context.ACCOUNT, minutes=30)
    story.feed(CommandReceived(command=story.command(wrong)))
    assert not story.of(report.CommandAnswered)[-1].executed


def ends_badly(story: Script, item: str) -> None:
    """The installer that runs now fails."""
    (running,) = [s for s in story.of(do.RunStep) if s.item == item]
    story.feed(
        StepFinished(
            item=item,
            run=running.run,
            result=StepResult.COMPLETED,
            exit_code=1603,
            detected=False,
        )
    )


def two_that_failed() -> Script:
    """The second one fails while the error screen is up already."""
    apps = tuple(AssignedItem(id=name, name=name.title(), tries=1) for name in ("one", "two"))
    story = Script(EnrollmentType.IOS, items=apps).behave("one", fails_with(1603))
    story.behave("two", hangs).begin().assign().play()
    ends_badly(story, "two")
    assert story.machine.progress.retryable == ("one", "two")
    return story


@pytest.mark.rule("try-again")
def test_one_item_is_tried_alone_while_another_stays_failed() -> None:
    story = two_that_failed().behave("one", done)
    story.choose(Choice.TRY_ITEM_AGAIN, "one").play()
    assert story.item("one").state is ItemState.DONE
    assert story.machine.mode is Mode.STOPPED
    assert story.machine.progress.retryable == ("two",)
    assert story.failure().item == "two"
    assert story.machine.gate is Gate.LOCKED


@pytest.mark.rule("try-again")
def test_one_item_after_the_other_leads_to_success_on_retry() -> None:
    story = two_that_failed().behave("one", done).behave("two", done)
    story.choose(Choice.TRY_ITEM_AGAIN, "two").play()
    story.choose(Choice.TRY_ITEM_AGAIN, "one").play()
    assert story.end().end_state is EndState.SUCCEEDED_ON_RETRY


@pytest.mark.rule("try-again")
def test_what_needs_an_item_that_stays_failed_waits_with_it() -> None:
    apps = (
        AssignedItem(id="one", name="One", tries=1),
        AssignedItem(id="two", name="Two", tries=1),
        AssignedItem(id="three", name="Three", depends_on=("two",)),
    )
    story = Script(EnrollmentType.IOS, items=apps).behave("one", fails_with(1603))
    story.behave("two", hangs).begin().assign().play()
    ends_badly(story, "two")
    story.behave("one", done).behave("two", done)
    story.choose(Choice.TRY_ITEM_AGAIN, "one").play()
    assert story.item("one").state is ItemState.DONE
    assert story.item("three").state is ItemState.CANCELLED
    assert story.machine.progress.retryable == ("two", "three")
    story.choose(Choice.TRY_ITEM_AGAIN, "three").play()
    assert story.end().end_state is EndState.SUCCEEDED_ON_RETRY


@pytest.mark.rule("try-again")
def test_trying_an_account_item_again_tries_what_it_needs_of_the_device_too() -> None:
    items = (
        AssignedItem(id="runtime", name="Runtime", tries=1),
        AssignedItem(id="teams", name="Teams", context=Context.ACCOUNT, depends_on=("runtime",)),
    )
    story = Script(
        EnrollmentType.IOS,
        items=items,
        device_setup=DeviceSetupSettings(block_until_complete=False),
        account_setup=BLOCKED_ACCOUNT,
    )
    story.behave("runtime", fails_with(1603), done).begin().assign().play()
    assert story.machine.progress.phase is Phase.ACCOUNT_SETUP
    assert story.machine.progress.retryable == ("teams",)
    story.choose(Choice.TRY_AGAIN).play()
    assert story.item("runtime").state is ItemState.DONE
    assert story.end().end_state is EndState.SUCCEEDED_ON_RETRY


@pytest.mark.rule("try-again")
def test_while_one_item_is_tried_alone_neither_the_others_nor_their_dependants_stop_it() -> None:
    apps = (
        AssignedItem(id="one", name="One", tries=1),
        AssignedItem(id="two", name="Two", tries=1),
        AssignedItem(id="three", name="Three", depends_on=("two",)),
    )
    story = Script(EnrollmentType.IOS, items=apps).behave("one", fails_with(1603))
    story.behave("two", hangs).begin().assign().play()
    ends_badly(story, "two")
    story.behave("one", hangs).choose(Choice.TRY_ITEM_AGAIN, "one").play()
    assert story.item("three").state is ItemState.CANCELLED
    assert story.machine.mode is Mode.WORKING
    assert story.machine.progress.error is None


@pytest.mark.rule("try-again")
def test_an_item_that_fails_again_stops_setup_at_once() -> None:
    apps = tuple(AssignedItem(id=n, name=n.title(), tries=1) for n in ("one", "two", "three"))
    story = Script(EnrollmentType.IOS, items=apps).behave("one", fails_with(1603))
    story.behave("two", fails_with(1603)).behave("three", hangs).begin().assign().play()
    story.choose(Choice.TRY_ITEM_AGAIN, "one").play()
    assert story.machine.mode is Mode.STOPPED
    assert story.failure().item == "one"


@pytest.mark.rule("try-again")
def test_of_what_an_item_needs_only_what_failed_is_tried_again() -> None:
    items = (
        AssignedItem(id="tool", name="Tool", tries=1),
        AssignedItem(id="runtime", name="Runtime", tries=1),
        AssignedItem(id="driver", name="Driver", tries=1),
        AssignedItem(
            id="teams",
            name="Teams",
            context=Context.ACCOUNT,
            depends_on=("tool", "runtime", "driver"),
        ),
    )
    story = Script(
        EnrollmentType.IOS,
        items=items,
        device_setup=DeviceSetupSettings(block_until_complete=False),
        account_setup=BLOCKED_ACCOUNT,
    )
    story.behave("runtime", fails_with(1603), done).behave("driver", fails_with(1603), done)
    story.begin().assign().play()
    story.choose(Choice.TRY_AGAIN).play()
    assert story.end().end_state is EndState.SUCCEEDED_ON_RETRY
    runs = [s.item for s in story.of(do.RunStep)]
    assert (runs.count("tool"), runs.count("runtime"), runs.count("driver")) == (1, 2, 2)


@pytest.mark.rule("refresh-assignment")
def test_refreshing_the_assignment_keeps_what_is_done_and_adds_what_is_new() -> None:
    story = Script(EnrollmentType.WINDOWS_MANUAL).behave("vpn", hangs).begin().assign().play()
    story.feed(CommandReceived(command=story.command(RefreshAssignment())))
    assert story.of(do.AskForAssignment)
    more = story.admitted.model_copy(
        update={"items": (*APPS, AssignedItem(id="zoom", name="Zoom"))}
    )
    story.assign(more, version=2)
    assert story.item("office").state is ItemState.DONE
    assert story.item("zoom").state is ItemState.NOT_STARTED
    percent = story.machine.progress.percent
    vpn = story.of(do.RunStep)[-1]
    story.feed(done(story, vpn))
    story.play()
    assert story.end().end_state is EndState.SUCCEEDED
    assert story.apps_run() == ["office", "portal", "vpn", "zoom"]
    assert percent <= 100


@pytest.mark.rule("refresh-assignment")
def test_a_device_item_that_comes_during_account_setup_holds_the_gate() -> None:
    teams = AssignedItem(id="teams", name="Teams", context=Context.ACCOUNT)
    story = Script(
        EnrollmentType.WINDOWS_MANUAL, items=(*APPS, teams), account_setup=BLOCKED_ACCOUNT
    )
    story.behave("teams", hangs).behave("zoom", hangs).begin().assign().play()
    assert story.machine.progress.phase is Phase.ACCOUNT_SETUP
    zoom = AssignedItem(id="zoom", name="Zoom")
    more = story.admitted.model_copy(update={"items": (*APPS, teams, zoom)})
    story.assign(more, version=2)
    story.feed(done(story, story.of(do.RunStep)[-1])).clear()
    assert story.machine.gate is Gate.LOCKED
    story.choose(Choice.SKIP_ACCOUNT_SETUP)
    assert story.machine.refusal == (
        "the device itself got something new that has to be set up first"
    )
    story.play()
    assert story.machine.gate is Gate.LOCKED
    (ran,) = [s for s in story.of(do.RunStep) if s.item == "zoom"]
    assert ran.context is Context.DEVICE
    story.feed(done(story, ran))
    story.play()
    assert story.end().end_state is EndState.SUCCEEDED
    assert story.item("zoom").state is ItemState.DONE


@pytest.mark.rule("refresh-assignment")
def test_account_setup_can_be_skipped_once_the_late_device_item_is_there() -> None:
    teams = AssignedItem(id="teams", name="Teams", context=Context.ACCOUNT)
    story = Script(EnrollmentType.IOS, items=(*APPS, teams), account_setup=BLOCKED_ACCOUNT)
    story.behave("teams", hangs).begin().assign().play()
    zoom = AssignedItem(id="zoom", name="Zoom")
    more = story.admitted.model_copy(update={"items": (*APPS, teams, zoom)})
    story.assign(more, version=2).play()
    assert story.item("zoom").state is ItemState.DONE
    assert story.item("teams").state is not ItemState.DONE
    story.choose(Choice.SKIP_ACCOUNT_SETUP)
    assert story.end().end_state is EndState.SUCCEEDED
    assert story.item("teams").state is ItemState.SKIPPED


@pytest.mark.rule("collect-logs")
def test_logs_are_collected_and_their_path_is_reported() -> None:
    story = stuck().choose(Choice.COLLECT_LOGS)
    assert do.CollectLogs(None) in story.effects
    story.feed(LogsCollected(path="logs.zip"))
    assert story.of(report.LogsCollected)[0].path == "logs.zip"
    assert story.machine.progress.logs == CollectedLogs(path="logs.zip")


@pytest.mark.rule("collect-logs")
def test_logs_that_could_not_be_collected_are_reported_with_the_reason() -> None:
    story = stuck().choose(Choice.COLLECT_LOGS)
    story.feed(LogsCollected(path="", problem="no room"))
    (told,) = story.of(report.LogsCollected)
    assert (told.path, told.problem) == ("", "no room")
    assert story.machine.progress.logs == CollectedLogs(path="", problem="no room")
    assert do.CollectLogs(None) not in story.feed(Restarted(planned=False))


@pytest.mark.rule("emergency-exit")
def test_the_emergency_exit_bypasses_and_is_reported() -> None:
    story = Script().behave("office", hangs).begin().assign().play()
    story.feed(EmergencyExitUsed())
    assert story.machine.gate is Gate.BYPASSED
    assert story.of(report.GateChanged)[-1].cause is GateCause.EMERGENCY_EXIT
    assert story.end().end_state is EndState.BYPASSED


# Progress.


@pytest.mark.rule("progress")
def test_progress_is_work_done_and_never_falls() -> None:
    story = Script(EnrollmentType.WINDOWS_MANUAL).behave("office", hangs).begin().assign().play()
    seen = []
    for percent in (10, 50, 40, 90):
        story.feed(StepMoved(item="office", run=1, state=ItemState.DOWNLOADING, percent=percent))
        seen.append(story.machine.progress.percent)
    assert seen == sorted(seen)
    story.wait(30)
    assert story.machine.progress.percent == seen[-1], "time alone is no progress"


@pytest.mark.rule("remaining-time")
def test_the_remaining_time_is_a_range_that_narrows_and_is_unknown_while_a_person_is_waited_for() -> (
    None
):
    story = Script(EnrollmentType.WINDOWS_MANUAL).behave("vpn", hangs).begin().assign()
    before = story.machine.progress.remaining
    story.play()
    after = story.machine.progress.remaining
    assert before is not None
    assert after is not None
    assert before.low_s < before.high_s
    assert after.high_s - after.low_s < before.high_s - before.low_s
    assert Script(EnrollmentType.IOS).begin().assign().machine.progress.remaining is None


@pytest.mark.rule("rows")
def test_rows_read_like_the_page() -> None:
    story = Script(EnrollmentType.WINDOWS_MANUAL).behave("vpn", hangs).begin().assign().play()
    rows = {r.title: r.text for p in story.machine.progress.phases[:2] for r in p.rows}
    assert rows["Apps"] == "2 of 3 installed"
    assert rows["Certificates"] == "No setup needed"


@pytest.mark.rule("looks-frozen")
def test_the_waiting_item_says_what_it_waits_for() -> None:
    story = Script(EnrollmentType.WINDOWS_MANUAL).behave("portal", hangs).begin().assign().play()
    assert story.item("vpn").waits_for == ("Company Portal",)


# The table.


def test_every_mode_and_event_is_in_the_table() -> None:
    events = set(Event.__args__)
    assert set(TABLE) == set(Mode)
    for mode, entries in TABLE.items():
        assert set(entries) == events, mode
    assert all(what for _, _, what in transitions())


def test_an_event_that_is_refused_says_why_and_changes_nothing() -> None:
    machine = Enrollment()
    assert machine.handle(PersonActed(item="x", action=PersonAction.PROCEED), 0) == []
    assert machine.refusal == "no attempt has begun"


def test_the_same_script_gives_the_same_effects() -> None:
    def run() -> list[object]:
        return list(Script(screens=ALL_SCREENS).begin().assign().play().effects)

    assert run() == run()


def test_a_snapshot_before_the_first_attempt_is_a_programming_error() -> None:
    with pytest.raises(AssertionError):
        _ = Enrollment().progress


def test_the_first_event_begins() -> None:
    story = Script()
    story.feed(AttemptBegan(attempt="a", facts=story.facts))
    assert story.machine.attempt == "a"
