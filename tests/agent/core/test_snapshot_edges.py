"""What a snapshot says of an attempt at each moment: whose it is, what may be chosen, and times as attempt time."""

from __future__ import annotations

import pytest

from agent.core import effects as do
from agent.core.events import (
    CommandReceived,
    EmergencyExitUsed,
    Limits,
    StepFinished,
    StepMoved,
    StepResult,
)
from agent.core.snapshot import STANDARD_MESSAGE
from agent.wire import events as report
from agent.wire.assignment import AssignedItem, PersonScreens
from agent.wire.messages import RefreshAssignment
from agent.wire.profile import AccountSetupSettings, DeviceSetupSettings, ErrorHandling
from agent.wire.progress import Progress, RowProgress
from agent.wire.vocabulary import (
    Choice,
    Context,
    EndState,
    EnrollmentType,
    FailureKind,
    Gate,
    ItemKind,
    ItemState,
    PersonAction,
    Phase,
    RowState,
    Section,
    Stage,
    Variant,
)
from tests.agent.core.script import LENIENT, MINUTE_MS, Script, fails_with, hangs

MANUAL = EnrollmentType.WINDOWS_MANUAL
APP = AssignedItem(id="app", name="App", expected_seconds=100, tries=2, install_limit_minutes=10)
LATER = AssignedItem(id="later", name="Later", depends_on=("app",))
ONCE = AssignedItem(id="once", name="Once", tries=1)


def seen(story: Script) -> Progress:
    return story.machine.progress


def row(story: Script, name: str) -> RowProgress:
    return next(r for p in seen(story).phases for r in p.rows if r.id == name)


def moved(story: Script, item: str, state: ItemState, percent: int | None = None) -> None:
    """The endpoint says what the running step of an item does."""
    run = max(s.run for s in story.of(do.RunStep) if s.item == item)
    story.feed(StepMoved(item=item, run=run, state=state, percent=percent))


def test_before_an_assignment_only_the_device_s_own_facts_are_known() -> None:
    story = Script(MANUAL).begin()
    progress = seen(story)
    assert progress.user == "john.doe@company.com"
    assert progress.phases == ()
    assert (progress.organization, progress.profile_name, progress.custom_message) == (
        None, None, None,
    )  # fmt: skip
    assert progress.show_details is True
    assert progress.error is None
    assert progress.prompt is None


def test_an_assignment_says_whose_device_it_is_and_how_the_page_speaks() -> None:
    story = Script(
        MANUAL,
        name="Sales laptops",
        custom_message="Call 12345.",
        error_handling=ErrorHandling(show_details=False),
    ).begin()
    admitted = story.admitted.model_copy(
        update={"organization": "Contoso", "user": "jane.roe@company.com"}
    )
    story.assign(admitted)
    progress = seen(story)
    assert progress.user == "jane.roe@company.com"
    assert progress.organization == "Contoso"
    assert progress.profile_name == "Sales laptops"
    assert progress.custom_message == "Call 12345."
    assert progress.show_details is False


def test_times_are_those_of_the_attempt_whenever_the_device_was_switched_on() -> None:
    story = Script(MANUAL, items=(APP, LATER)).behave("app", hangs).begin()
    began_ms = story.now_ms
    story.wait(2)
    story.assign()
    story.wait(1)
    moved(story, "app", ItemState.DOWNLOADING, 35)
    app = story.item("app")
    assert app.percent == 35
    assert app.moved_ms == story.now_ms - began_ms == 3 * MINUTE_MS
    assert app.deadline_ms == 12 * MINUTE_MS
    assert (app.attempt, app.attempts_max) == (1, 2)
    assert story.item("later").deadline_ms is None
    assert story.item("later").waits_for == ("App",)
    assert seen(story).deadline_ms == 62 * MINUTE_MS
    assert seen(story).attempt_ms == 3 * MINUTE_MS


def test_what_happened_at_the_very_beginning_is_at_zero() -> None:
    story = Script(MANUAL, items=(APP, LATER)).behave("app", hangs).begin().assign()
    assert story.item("app").moved_ms == 0
    assert story.item("later").moved_ms == 0


def test_an_attempt_that_ended_says_how() -> None:
    story = Script(MANUAL, items=()).begin().assign().play()
    assert seen(story).end_state is EndState.SUCCEEDED
    assert seen(story).stage is Stage.FINISHED
    out = Script(MANUAL).begin().assign()
    out.feed(EmergencyExitUsed())
    assert seen(out).end_state is EndState.BYPASSED
    assert seen(out).gate is Gate.BYPASSED


@pytest.mark.parametrize(("allowed", "again"), [(True, ("once",)), (False, ())])
def test_items_are_offered_one_by_one_only_where_trying_again_is_allowed(
    allowed: bool, again: tuple[str, ...]
) -> None:
    settings = LENIENT.model_copy(update={"allow_retry": allowed})
    story = Script(MANUAL, items=(ONCE,), error_handling=settings)
    story.behave("once", fails_with(1603)).begin().assign().play()
    assert seen(story).retryable == again
    assert (Choice.TRY_ITEM_AGAIN in seen(story).choices) is allowed


# Rows.


def test_a_row_passes_from_not_started_through_in_progress_to_succeeded() -> None:
    account = AssignedItem(id="account_app", name="Account app", context=Context.ACCOUNT)
    story = Script(MANUAL, items=(APP, LATER, account), account_setup=AccountSetupSettings())
    story.behave("later", hangs).begin().assign()
    assert row(story, "apps").state is RowState.IN_PROGRESS
    assert (row(story, "apps").done, row(story, "apps").total) == (0, 2)
    assert row(story, "certificates").state is RowState.SUCCEEDED, "nothing to do in a phase begun"
    assert row(story, "account_apps").state is RowState.NOT_STARTED
    assert row(story, "account_certificates").state is RowState.NOT_STARTED
    story.play()
    assert row(story, "apps").state is RowState.IN_PROGRESS
    assert row(story, "apps").text == "1 of 2 installed"
    assert row(story, "account_apps").state is RowState.NOT_STARTED


def test_rows_of_a_phase_that_was_skipped_say_so_and_what_failed_stays_failed() -> None:
    items = (
        AssignedItem(id="one", name="One", context=Context.ACCOUNT, tries=1),
        AssignedItem(id="two", name="Two", context=Context.ACCOUNT, kind=ItemKind.POLICY),
    )
    story = Script(MANUAL, items=items, account_setup=AccountSetupSettings(allow_skip=True))
    story.behave("one", hangs).behave("two", hangs).begin().assign().play()
    story.choose(Choice.SKIP_ACCOUNT_SETUP)
    account = next(p for p in seen(story).phases if p.phase is Phase.ACCOUNT_SETUP)
    assert account.state is RowState.SKIPPED
    assert {r.state for r in account.rows} <= {RowState.SUCCEEDED, RowState.SKIPPED}
    failed = Script(MANUAL, items=(ONCE,)).behave("once", fails_with(1603)).begin().assign().play()
    assert row(failed, "apps").state is RowState.FAILED


# What an item does now.


def test_the_activity_of_an_item_follows_its_state() -> None:
    policy = AssignedItem(id="policy", name="Policy", kind=ItemKind.POLICY)
    network = AssignedItem(id="network", name="Network", kind=ItemKind.NETWORK)
    optional = AssignedItem(id="optional", name="Optional", required=False)
    story = Script(MANUAL, items=(APP, LATER, policy, network, optional))
    story.behave("app", hangs).behave("policy", hangs).behave("network", hangs).begin().assign()
    activities = {i.id: i.activity for i in seen(story).items()}
    assert activities["app"] == "Downloading"
    assert activities["later"] == "Waiting"
    assert activities["policy"] == "Applying"
    assert activities["network"] == "Adding"
    moved(story, "app", ItemState.INSTALLING)
    assert story.item("app").activity == "Installing"
    moved(story, "app", ItemState.VERIFYING)
    assert story.item("app").activity == "Checking"


def test_an_item_that_is_not_tracked_installs_after_setup_and_then_says_what_it_does() -> None:
    items = (APP, AssignedItem(id="extra", name="Extra", required=False))
    story = Script(MANUAL, items=items, blocking_apps=("app",))
    story.behave("app", hangs).behave("extra", hangs).begin().assign()
    extra = [i for i in seen(story).items() if i.id == "extra"]
    assert [i.activity for i in extra] == ["Installs after setup"] * len(extra)
    assert story.item("app").activity == "Downloading"
    story.feed(EmergencyExitUsed())
    story.play()
    moved(story, "app", ItemState.INSTALLING)
    assert story.item("app").activity == "Installing"


# Prompts.


def test_a_prompt_says_where_it_belongs_and_when_it_is_over() -> None:
    story = Script(EnrollmentType.IOS, screens=PersonScreens(terms_of_use=True)).begin()
    story.wait(1)
    story.assign().play(stop_at="set_up_access")
    prompt = seen(story).prompt
    assert prompt is not None
    assert prompt.item == prompt.screen == "set_up_access"
    assert prompt.section is Section.SETUP_CHECKLIST
    assert prompt.action_name == "PreEnrollmentWizard"
    assert prompt.deadline_ms == 31 * MINUTE_MS
    assert prompt.actions[0].action is PersonAction.PROCEED
    assert (prompt.actions[-1].action, prompt.actions[-1].label) == (PersonAction.CLOSE, "Close")
    labels = {a.action: a.label for a in prompt.actions}
    assert labels[PersonAction.POSTPONE] == PersonAction.POSTPONE.label


def test_a_row_s_limit_that_ends_before_the_screen_s_own_is_what_the_prompt_names() -> None:
    """The second screen of the row began later, yet the 30 minutes run from the first."""
    story = Script(EnrollmentType.IOS).begin().assign().play(stop_at="set_up_access")
    began_ms = story.now_ms
    story.wait(10)
    story.act("set_up_access", PersonAction.PROCEED)
    prompt = seen(story).prompt
    assert prompt is not None
    assert prompt.item == "whats_next"
    assert prompt.deadline_ms == began_ms + 30 * MINUTE_MS - 1_000_000


def test_a_screen_outside_the_portal_waits_as_long_as_an_error_screen() -> None:
    limits = Limits(nobody_comes_back_ms=5 * MINUTE_MS)
    story = Script(limits=limits).begin().assign().play(stop_at="sign_in")
    prompt = seen(story).prompt
    assert prompt is not None
    assert (prompt.section, prompt.action_name) == (None, None)
    assert prompt.deadline_ms == story.now_ms - 1_000_000 + 5 * MINUTE_MS


def test_there_is_no_prompt_once_the_attempt_is_over() -> None:
    story = Script(EnrollmentType.IOS).begin().assign().play(stop_at="set_up_access")
    assert seen(story).prompt is not None
    story.feed(EmergencyExitUsed())
    assert seen(story).prompt is None


# The error screen.


def test_the_error_screen_shows_what_failed_and_when_it_ends() -> None:
    story = Script(MANUAL, items=(ONCE, APP)).behave("once", fails_with(1603))
    story.behave("app", hangs).begin()
    story.wait(1)
    story.assign().play()
    error = seen(story).error
    assert error is not None
    assert [f.item for f in error.failures] == ["once"]
    assert error.message == STANDARD_MESSAGE
    assert error.deadline_ms == story.now_ms - 1_000_000 + 24 * 60 * MINUTE_MS


def test_the_error_screen_after_the_budget_names_the_budget_where_no_item_failed() -> None:
    slow = AssignedItem(id="slow", name="Slow", install_limit_minutes=600)
    story = Script(MANUAL, items=(slow,), timeout_minutes=10).behave("slow", hangs)
    story.begin().assign().play().wait(10)
    error = seen(story).error
    assert error is not None
    assert {f.kind for f in error.failures} == {FailureKind.SETUP_TIMED_OUT}
    assert [f.item for f in error.failures] == ["slow"]
    attempt_failure = seen(story).failure
    assert attempt_failure is not None
    assert attempt_failure.item is None


def test_details_that_the_profile_hides_are_not_on_the_error_screen() -> None:
    settings = LENIENT.model_copy(update={"show_details": False})
    story = Script(MANUAL, items=(ONCE,), error_handling=settings, custom_message="Call 12345.")
    story.behave("once", fails_with(1603)).begin().assign().play()
    error = seen(story).error
    assert error is not None
    assert error.failures == ()
    assert error.message == "Call 12345."
    failure = seen(story).failure
    assert failure is not None
    assert failure.kind is FailureKind.INSTALLER_FAILED


def test_the_error_screen_goes_when_the_attempt_ends() -> None:
    story = Script(MANUAL, items=(ONCE,)).behave("once", fails_with(1603)).begin().assign().play()
    assert seen(story).error is not None
    story.choose(Choice.CONTINUE_ANYWAY)
    assert seen(story).error is None
    assert seen(story).failure is not None


def test_a_command_that_changes_nothing_leaves_the_snapshot_as_it_was() -> None:
    story = Script(MANUAL, device_setup=DeviceSetupSettings()).behave("office", hangs)
    story.begin().assign().play()
    before = seen(story)
    story.feed(CommandReceived(command=story.command(RefreshAssignment())))
    assert seen(story) == before


def test_an_item_that_is_still_tried_is_not_among_those_that_failed() -> None:
    items = (
        AssignedItem(id="given_up", name="Given up", kind=ItemKind.POLICY, tries=1),
        AssignedItem(id="tried", name="Tried", kind=ItemKind.POLICY, tries=3),
    )
    story = Script(MANUAL, items=items).begin().assign()
    for item in ("tried", "given_up"):
        run = next(s.run for s in story.of(do.RunStep) if s.item == item)
        story.feed(StepFinished(item=item, run=run, result=StepResult.FAILED))
    assert story.item("tried").failure is not None
    error = seen(story).error
    assert error is not None
    assert [f.item for f in error.failures] == ["given_up"]


@pytest.mark.parametrize("variant", [Variant.STANDARD, Variant.SELF_DEPLOYING])
def test_a_variant_is_named_unless_it_is_the_usual_one(variant: Variant) -> None:
    story = Script(variant=variant).begin()
    assert seen(story).variant is (None if variant is Variant.STANDARD else variant)


def test_what_failed_and_what_was_not_even_attempted_read_differently() -> None:
    items = (ONCE, AssignedItem(id="needs", name="Needs", depends_on=("once",)))
    story = Script(
        MANUAL, items=items, device_setup=DeviceSetupSettings(block_until_complete=False)
    )
    story.behave("once", fails_with(1603)).begin().assign().play()
    activities = {
        c.item: (c.state, c.failure) for c in story.of(report.ItemChanged) if c.failure is not None
    }
    assert activities["once"][0] is ItemState.FAILED
    assert activities["needs"][0] is ItemState.CANCELLED
    stopped = Script(MANUAL, items=items).behave("once", fails_with(1603)).begin().assign().play()
    assert stopped.item("once").activity == "Failed"
