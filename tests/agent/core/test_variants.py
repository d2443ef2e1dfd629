"""The ways of enrolling: who goes through which steps, who waits for whom, and what each platform does when it fails."""

from __future__ import annotations

from typing import Any

import pytest

from agent.core import effects as do
from agent.core.events import (
    AttemptBegan,
    CommandReceived,
    Event,
    StepFinished,
    StepResult,
)
from agent.core.flows import EXPIRIES, FLOWS, BuiltIn, Slot, flow_of, steps_of
from agent.core.person_screens import PERSON_SCREENS
from agent.wire import events as report
from agent.wire.assignment import AssignedItem, PersonScreens
from agent.wire.messages import RetryPhase
from agent.wire.profile import AccountSetupSettings, DeviceSetupSettings, WindowsSettings
from agent.wire.vocabulary import (
    Choice,
    Context,
    EndState,
    EnrollmentType,
    FailureKind,
    Gate,
    ItemState,
    PersonAction,
    Phase,
    Variant,
)
from tests.agent.core.script import APPS, MINUTE_MS, Script, fails_with, hangs

AUTOPILOT = EnrollmentType.WINDOWS_AUTOPILOT
IOS = EnrollmentType.IOS
ANDROID = EnrollmentType.ANDROID_ENTERPRISE
EVERY_WAY = [pytest.param(t, v, id=f"{t.value}-{v.value}") for t, v in FLOWS]
TEAMS = AssignedItem(id="teams", name="Teams", context=Context.ACCOUNT)
ALL_SCREENS = PersonScreens(
    terms_of_use=True, device_category=True, compliance=True, activation=True, setup_action=True
)


def way(kind: EnrollmentType, variant: Variant, **settings: Any) -> Script:
    return Script(kind, variant=variant, items=(*APPS, TEAMS), screens=ALL_SCREENS, **settings)


def order(story: Script) -> list[str]:
    """What was run or asked, in order."""
    shown = [e for e in story.effects if isinstance(e, do.RunStep | do.AskPerson)]
    return [e.item for e in shown]


def fails(_: Script, step: do.RunStep) -> Event:
    return StepFinished(item=step.item, run=step.run, result=StepResult.FAILED)


@pytest.mark.rule("variants")
@pytest.mark.parametrize(("kind", "variant"), EVERY_WAY)
def test_every_way_ends_in_success_with_the_gate_open(
    kind: EnrollmentType, variant: Variant
) -> None:
    story = way(kind, variant).begin().assign().play()
    assert story.end().end_state is EndState.SUCCEEDED
    assert story.machine.gate is Gate.RELEASED
    assert story.machine.progress.percent == 100


@pytest.mark.rule("variants")
def test_a_variant_of_another_platform_is_refused_with_the_right_ones() -> None:
    with pytest.raises(ValueError, match="no variant 'dedicated'; choose one of: standard, hybrid"):
        flow_of(AUTOPILOT, Variant.DEDICATED)
    story = Script(AUTOPILOT, variant=Variant.DEDICATED).begin().assign()
    assert story.end_failure().kind is FailureKind.BAD_ASSIGNMENT


@pytest.mark.parametrize(("kind", "variant"), EVERY_WAY)
def test_a_step_has_a_deadline_and_a_screen_has_words(
    kind: EnrollmentType, variant: Variant
) -> None:
    for block in (b for blocks in flow_of(kind, variant).values() for b in blocks):
        for step in steps_of(block):
            assert (step.id in PERSON_SCREENS) is (step.limit_min is None), step.id


# Windows.


@pytest.mark.rule("windows-flow")
def test_autopilot_goes_through_its_steps_in_order() -> None:
    story = way(AUTOPILOT, Variant.STANDARD).begin().assign().play()
    assert order(story) == [
        "tpm_attestation", "entra_join", "mdm_enrollment", "policy_providers", "sync_sessions",
        "office", "portal", "vpn", "device_results",
        "sign_in", "account_registration", "user_token", "teams", "account_results",
    ]  # fmt: skip


@pytest.mark.rule("windows-flow")
def test_silent_steps_have_no_row() -> None:
    story = way(AUTOPILOT, Variant.STANDARD).begin().assign().play()
    seen = {i.id for i in story.machine.progress.items()}
    assert seen.isdisjoint({"sync_sessions", "device_results", "user_token", "account_results"})
    rows = [r.id for p in story.machine.progress.phases for r in p.rows]
    assert rows == [
        "securing_hardware", "joining_network", "registering", "preparing",
        "security_policies", "certificates", "network_connections", "apps",
        "account_joining", "account_security_policies", "account_certificates",
        "account_network_connections", "account_apps",
    ]  # fmt: skip


@pytest.mark.rule("windows-flow")
@pytest.mark.parametrize("step", ["sync_sessions", "device_results", "account_results"])
def test_a_step_of_best_effort_stops_nothing(step: str) -> None:
    story = way(AUTOPILOT, Variant.STANDARD).behave(step, fails).begin().assign().play()
    assert story.end().end_state is EndState.SUCCEEDED
    assert [b.state for b in story.of(report.ItemChanged) if b.item == step][-1] is ItemState.FAILED


@pytest.mark.rule("windows-flow")
def test_policy_providers_and_sync_run_side_by_side_and_only_the_providers_are_awaited() -> None:
    story = way(AUTOPILOT, Variant.STANDARD).behave("policy_providers", hangs)
    story.begin().assign().play()
    assert order(story)[-2:] == ["policy_providers", "sync_sessions"]
    assert story.machine.progress.phase is Phase.DEVICE_PREPARATION
    story.wait(14.9)
    assert story.item("policy_providers").attempt == 1
    story.wait(0.2)
    assert story.item("policy_providers").state is ItemState.WAITING_TO_RETRY


@pytest.mark.rule("windows-flow")
def test_account_setup_waits_for_the_sign_in() -> None:
    story = way(AUTOPILOT, Variant.STANDARD).begin().assign().play(stop_at="sign_in")
    assert "teams" not in order(story)
    assert story.machine.progress.deadline_ms is None
    story.wait(20 * 60)
    assert story.machine.end_state is None
    story.act("sign_in", PersonAction.PROCEED)
    assert story.machine.progress.deadline_ms is not None


@pytest.mark.rule("reboots")
def test_the_soft_reboot_comes_before_the_results_are_sent() -> None:
    story = way(AUTOPILOT, Variant.STANDARD).behave("portal", fails_with(3010, detected=True))
    story.begin().assign().play()
    acts = [
        e.item if isinstance(e, do.RunStep) else "reboot"
        for e in story.effects
        if isinstance(e, do.Reboot | do.RunStep)
    ]
    assert acts[acts.index("vpn") :][:3] == ["vpn", "reboot", "device_results"]
    assert acts.count("reboot") == 1


@pytest.mark.rule("self-deploying")
@pytest.mark.parametrize(
    ("kind", "variant"), [(AUTOPILOT, Variant.SELF_DEPLOYING), (ANDROID, Variant.DEDICATED)]
)
def test_a_device_without_a_user_has_no_account_setup(
    kind: EnrollmentType, variant: Variant
) -> None:
    story = way(kind, variant).begin().assign().play()
    assert "sign_in" not in order(story)
    assert "teams" not in order(story)
    assert story.end().end_state is EndState.SUCCEEDED
    assert story.machine.gate is Gate.RELEASED


@pytest.mark.rule("hybrid-join")
def test_a_hybrid_join_registers_anew_every_four_minutes() -> None:
    story = way(AUTOPILOT, Variant.HYBRID_JOIN).behave("hybrid_registration", hangs)
    story.begin().assign().play()
    asked_ms = story.now_ms
    story.wait(13)
    runs = [s for s in story.of(do.RunStep) if s.item == "hybrid_registration"]
    assert [s.attempt for s in runs] == [1, 2, 3, 4]
    assert [s.detect_first for s in runs] == [False, True, True, True]
    assert story.now_ms - asked_ms == 13 * MINUTE_MS


@pytest.mark.rule("hybrid-join")
def test_a_hybrid_join_that_never_registers_ends_with_a_timeout_code() -> None:
    story = way(AUTOPILOT, Variant.HYBRID_JOIN).behave("hybrid_registration", hangs)
    story.begin().assign().play().wait(41)
    failed = story.item("hybrid_registration")
    assert failed.state is ItemState.TIMED_OUT
    assert failed.failure is not None
    assert failed.failure.code == "0x800705B4"


@pytest.mark.rule("hybrid-join")
@pytest.mark.parametrize(
    ("variant", "minutes"), [(Variant.STANDARD, 60), (Variant.HYBRID_JOIN, 100)]
)
def test_a_hybrid_joins_account_setup_may_take_forty_minutes_longer(
    variant: Variant, minutes: int
) -> None:
    blocked = AccountSetupSettings(block_until_complete=True)
    story = way(AUTOPILOT, variant, account_setup=blocked).behave("teams", hangs)
    story.begin().assign().play(stop_at="sign_in").act("sign_in", PersonAction.PROCEED)
    budget_ms = story.machine.progress.deadline_ms
    assert budget_ms is not None
    assert budget_ms - story.machine.progress.attempt_ms == minutes * MINUTE_MS


@pytest.mark.rule("pre-provisioning")
def test_pre_provisioning_ends_with_resealing_and_the_users_part_comes_after() -> None:
    story = way(AUTOPILOT, Variant.PRE_PROVISIONED).begin().assign().play()
    ran = order(story)
    assert ran.index("pre_provisioning_result") < ran.index("reseal") < ran.index("sign_in")
    assert ran.index("device_results") < ran.index("pre_provisioning_result")


@pytest.mark.rule("pre-provisioning")
def test_a_technician_may_take_an_hour_and_more_to_reseal() -> None:
    story = way(AUTOPILOT, Variant.PRE_PROVISIONED).begin().assign().play(stop_at="reseal")
    assert story.machine.progress.deadline_ms is None
    story.wait(120)
    assert story.machine.end_state is None
    story.act("reseal", PersonAction.PROCEED)
    assert story.play().end().end_state is EndState.SUCCEEDED


@pytest.mark.rule("pre-provisioning")
def test_pre_provisioning_that_fails_shows_why_and_no_way_past() -> None:
    story = way(AUTOPILOT, Variant.PRE_PROVISIONED).behave("vpn", fails_with(1603))
    story.begin().assign().play()
    assert story.end().end_state is EndState.FAILED
    assert story.machine.gate is Gate.LOCKED
    assert set(story.machine.progress.choices) == {Choice.COLLECT_LOGS}


@pytest.mark.rule("pre-provisioning")
def test_the_users_part_of_a_pre_provisioned_device_has_its_choices() -> None:
    blocked = AccountSetupSettings(block_until_complete=True)
    story = way(AUTOPILOT, Variant.PRE_PROVISIONED, account_setup=blocked)
    story.behave("teams", fails_with(1603)).begin().assign().play()
    assert Choice.TRY_AGAIN in story.machine.progress.choices
    assert Choice.RESET_DEVICE in story.machine.progress.choices


@pytest.mark.rule("pre-provisioning")
def test_a_command_can_t_lead_past_a_failed_pre_provisioning_either() -> None:
    story = way(
        AUTOPILOT,
        Variant.PRE_PROVISIONED,
        device_setup=DeviceSetupSettings(block_until_complete=False),
    )
    story.behave("office", hangs).begin().assign().play()
    assert story.machine.progress.choices == ()
    story.feed(CommandReceived(command=story.command(RetryPhase())))
    assert story.machine.refusal == (
        "pre-provisioning can't be tried again or left; correct the cause and start it anew"
    )


@pytest.mark.rule("technician-installs-all")
@pytest.mark.parametrize("tries_all", [True, False])
def test_the_technician_tries_all_apps_and_fails_on_the_listed_ones_only(tries_all: bool) -> None:
    story = way(
        AUTOPILOT,
        Variant.PRE_PROVISIONED,
        blocking_apps=("portal",),
        windows=WindowsSettings(technician_installs_all=tries_all),
    )
    story.behave("office", fails_with(1603)).begin().assign().play(stop_at="reseal")
    assert ("office" in story.apps_run()) is tries_all
    assert story.machine.progress.prompt is not None
    assert story.item("portal").state is ItemState.DONE


@pytest.mark.rule("technician-installs-all")
def test_without_a_technician_only_the_listed_apps_are_tried() -> None:
    story = way(
        AUTOPILOT,
        Variant.STANDARD,
        blocking_apps=("portal",),
        windows=WindowsSettings(technician_installs_all=True),
    )
    story.begin().assign().play(stop_at="sign_in")
    assert story.apps_run() == ["portal"]


@pytest.mark.rule("quality-updates")
def test_quality_updates_run_after_the_page_and_outside_its_time() -> None:
    story = way(AUTOPILOT, Variant.STANDARD, windows=WindowsSettings(quality_updates=True))
    story.behave("quality_updates", hangs).begin().assign().play()
    assert order(story)[-1] == "quality_updates"
    assert story.machine.progress.deadline_ms is None
    story.wait(90)
    assert story.machine.progress.error is None
    assert story.machine.gate is Gate.LOCKED


@pytest.mark.rule("quality-updates")
def test_quality_updates_that_fail_stop_nothing() -> None:
    story = way(AUTOPILOT, Variant.STANDARD, windows=WindowsSettings(quality_updates=True))
    story.behave("quality_updates", fails).begin().assign().play()
    assert story.end().end_state is EndState.SUCCEEDED


@pytest.mark.rule("quality-updates")
def test_quality_updates_need_a_device_that_is_blocked() -> None:
    story = way(
        AUTOPILOT,
        Variant.STANDARD,
        windows=WindowsSettings(quality_updates=True),
        device_setup=DeviceSetupSettings(block_until_complete=False),
    )
    assert "quality_updates" not in order(story.begin().assign().play())


@pytest.mark.rule("only-out-of-box")
@pytest.mark.parametrize(
    ("kind", "shown"), [(EnrollmentType.WINDOWS_MANUAL, False), (AUTOPILOT, True)]
)
def test_a_page_for_out_of_box_devices_is_not_shown_on_others(
    kind: EnrollmentType, shown: bool
) -> None:
    story = way(kind, Variant.STANDARD, windows=WindowsSettings(only_out_of_box=True))
    story.behave("office", hangs).begin().assign().play()
    phases = {p.phase: p.shown for p in story.machine.progress.phases}
    assert phases[Phase.DEVICE_SETUP] is shown
    assert phases[Phase.ACCOUNT_SETUP] is shown
    assert (story.machine.gate is Gate.LOCKED) is shown


# Apple.


@pytest.mark.rule("macos-flow")
def test_a_mac_is_held_until_it_is_configured_and_escrows_its_token_last() -> None:
    story = way(EnrollmentType.MACOS_ADE, Variant.STANDARD).begin().assign().play()
    assert order(story) == [
        "activation_record", "remote_management", "enrollment_profile", "device_identity",
        "device_check_in",
        "office", "portal", "vpn", "account_configuration", "await_configuration",
        "create_account", "filevault", "bootstrap_token", "teams",
    ]  # fmt: skip


@pytest.mark.rule("ios-flow")
def test_an_automated_iphone_is_held_like_a_mac() -> None:
    story = way(IOS, Variant.AUTOMATED).begin().assign().play()
    assert order(story) == [
        "activation_record", "remote_management", "enrollment_profile", "device_identity",
        "device_check_in", "office", "portal", "vpn", "await_configuration",
        "sign_in", "device_registration", "teams",
    ]  # fmt: skip


@pytest.mark.rule("profile-window")
def test_a_profile_that_is_not_installed_within_eight_minutes_is_asked_for_again() -> None:
    story = way(IOS, Variant.STANDARD).begin().assign().play(stop_at="install_profile")
    waiting = story.machine.progress.prompt
    assert waiting is not None
    assert waiting.item == "install_profile"
    story.wait(7 + 49 / 60)
    assert story.machine.progress.prompt == waiting
    story.wait(1)
    again = story.machine.progress.prompt
    assert again is not None
    assert again.item == "show_profile"
    assert again.note is not None
    assert "8 minutes" in again.note
    assert story.item("install_profile").state is ItemState.NOT_STARTED
    story.play()
    downloads = [s for s in story.of(do.RunStep) if s.item == "download_profile"]
    assert [s.detect_first for s in downloads] == [False, False]
    assert story.end().end_state is EndState.SUCCEEDED


@pytest.mark.rule("profile-window")
def test_a_profile_that_is_installed_in_time_stays() -> None:
    story = way(IOS, Variant.STANDARD).begin().assign().play(stop_at="open_company_portal")
    story.wait(20)
    waiting = story.machine.progress.prompt
    assert waiting is not None
    assert waiting.item == "open_company_portal"


@pytest.mark.rule("profile-window")
def test_a_running_installation_is_stopped_when_its_profile_is_gone() -> None:
    story = way(IOS, Variant.STANDARD).behave("profile_installation", hangs)
    story.begin().assign().play(stop_at="install_profile")
    story.wait(7).act("install_profile", PersonAction.PROCEED)
    story.act("trust_profile", PersonAction.PROCEED).wait(1)
    cancelled = [e.item for e in story.effects if isinstance(e, do.CancelStep)]
    assert cancelled == ["profile_installation"]


@pytest.mark.rule("profile-window")
def test_downloading_again_and_again_is_abandoned_after_thirty_minutes() -> None:
    story = way(IOS, Variant.STANDARD).begin().assign().play(stop_at="install_profile")
    for _ in range(10):
        if story.machine.end_state is not None:
            break
        story.wait(9)
        waiting = story.machine.progress.prompt
        if waiting is not None and waiting.item == "show_profile":
            story.play(stop_at="install_profile")
    assert story.end().end_state is EndState.ABANDONED
    assert story.end().action_name == "iOSProfileLaunch"


@pytest.mark.rule("profile-window")
def test_the_window_survives_a_crash() -> None:
    story = way(IOS, Variant.STANDARD).begin().assign().play(stop_at="install_profile")
    story.wait(5).crash().wait(3)
    again = story.machine.progress.prompt
    assert again is not None
    assert again.item == "show_profile"


def test_every_expiry_speaks_of_items_of_one_flow() -> None:
    for expiry in EXPIRIES:
        assert any(
            {expiry.opens, expiry.closes, *expiry.again}
            <= {s.id for blocks in flow.values() for b in blocks for s in steps_of(b)}
            for flow in FLOWS.values()
        )


# Android.


@pytest.mark.rule("android-flow")
def test_a_fully_managed_device_is_provisioned_before_its_apps_come() -> None:
    story = way(ANDROID, Variant.FULLY_MANAGED).begin().assign().play()
    assert order(story) == [
        "enrollment_token", "controller_download", "device_terms", "device_owner", "first_policy",
        "office", "portal", "vpn", "setup_action", "sign_in", "device_registration", "teams",
    ]  # fmt: skip


@pytest.mark.rule("android-flow")
def test_a_setup_app_is_opened_only_where_one_is_configured() -> None:
    story = Script(ANDROID, variant=Variant.FULLY_MANAGED).begin().assign().play()
    assert "setup_action" not in order(story)


@pytest.mark.rule("android-flow")
def test_a_kiosk_is_locked_until_the_apps_that_setup_requires_are_in() -> None:
    story = way(ANDROID, Variant.DEDICATED).behave("portal", hangs).begin().assign().play()
    assert "kiosk" not in order(story)
    assert story.machine.gate is Gate.LOCKED


@pytest.mark.rule("no-policy-resets")
@pytest.mark.parametrize("variant", [Variant.FULLY_MANAGED, Variant.DEDICATED])
def test_a_device_without_a_policy_after_five_minutes_is_reset(variant: Variant) -> None:
    story = way(ANDROID, variant).behave("first_policy", hangs).begin().assign().play()
    story.wait(4 + 59 / 60)
    assert story.machine.end_state is None
    story.wait(1 / 60)
    assert story.end().end_state is EndState.RESET
    assert story.end_failure().kind is FailureKind.NO_POLICY
    assert story.effects[-1] == do.ResetDevice()
    assert story.machine.gate is Gate.LOCKED
    assert story.machine.progress.choices == ()


@pytest.mark.rule("no-policy-resets")
def test_a_reset_by_the_platform_is_done_again_after_a_power_cut() -> None:
    story = way(ANDROID, Variant.DEDICATED).behave("first_policy", hangs).begin().assign().play()
    story.wait(5)
    story.crash()
    assert story.effects[-1] == do.ResetDevice()


@pytest.mark.rule("android-flow")
@pytest.mark.parametrize("step", ["controller_download", "device_owner"])
def test_provisioning_that_fails_for_good_resets_the_device(step: str) -> None:
    story = way(ANDROID, Variant.FULLY_MANAGED).behave(step, fails).begin().assign().play()
    assert story.end().end_state is EndState.RESET
    assert len([s for s in story.of(do.RunStep) if s.item == step]) == 3


@pytest.mark.rule("android-flow")
@pytest.mark.parametrize(
    ("manufacturer", "asked"), [("Samsung", True), ("Google", False), (None, False)]
)
def test_only_a_samsung_asks_for_knox(manufacturer: str | None, asked: bool) -> None:
    story = Script(ANDROID, variant=Variant.DEVICE_ADMINISTRATOR, manufacturer=manufacturer)
    assert ("knox_activation" in order(story.begin().assign().play())) is asked


# All of them.


@pytest.mark.rule("deadline-on-every-wait")
@pytest.mark.parametrize(("kind", "variant"), EVERY_WAY)
def test_wherever_everything_stops_a_deadline_ends_the_attempt(
    kind: EnrollmentType, variant: Variant
) -> None:
    """Each step and screen in turn is the one that never answers; nobody ever comes back."""
    steps = [
        s.id for blocks in flow_of(kind, variant).values() for b in blocks for s in steps_of(b)
    ]
    for stuck in [*steps, "office", "teams"]:
        story = way(kind, variant).behave(stuck, hangs).begin().assign().play(stop_at=stuck)
        while story.machine.end_state is None:
            due_ms = story.machine.next_deadline_ms()
            assert due_ms is not None, stuck
            story.wait((due_ms - story.now_ms) / MINUTE_MS + 1)
            assert story.now_ms < 100 * 24 * 60 * MINUTE_MS, stuck
        assert len(story.of(report.AttemptEnded)) == 1, stuck


@pytest.mark.rule("restart-resumes")
@pytest.mark.parametrize(("kind", "variant"), EVERY_WAY)
def test_a_night_switched_off_takes_nothing_of_the_budget(
    kind: EnrollmentType, variant: Variant
) -> None:
    """Running time stands still while the device is off: the deadline after is the deadline before."""
    story = way(kind, variant).behave("office", hangs).begin().assign().play()
    before = story.machine.next_deadline_ms()
    story.crash()
    assert story.machine.next_deadline_ms() is not None
    left_ms = story.machine.progress.deadline_ms
    assert before is not None
    assert left_ms is not None
    story.wait(59)
    assert story.machine.end_state is None


@pytest.mark.rule("superseded")
def test_a_second_attempt_may_come_in_another_way() -> None:
    story = way(IOS, Variant.STANDARD).begin().assign().play(stop_at="install_profile")
    story.facts = way(IOS, Variant.AUTOMATED).facts
    story.feed(AttemptBegan(attempt="attempt-2", facts=story.facts, limits=story.limits))
    assert story.machine.attempt == "attempt-2"
    story.assign().play()
    assert story.machine.end_state is EndState.SUCCEEDED


def test_flows_name_no_step_twice() -> None:
    for (kind, variant), flow in FLOWS.items():
        names = [s.id for blocks in flow.values() for b in blocks for s in steps_of(b)]
        assert len(names) == len(set(names)), (kind, variant)
        assert all(isinstance(b, BuiltIn | Slot) or steps_of(b) for p in flow.values() for b in p)
