"""The plan at its edges: what holds the gate, whose device has which step, and what the page shows of it."""

from __future__ import annotations

import pytest

from agent.core.events import DeviceFacts, StepFinished, StepResult
from agent.core.outcomes import Outcome, Verdict, judge
from agent.core.plan import Plan, make_plan
from agent.wire.assignment import Admitted, AssignedItem, InstallRules, Requirements
from agent.wire.profile import AccountSetupSettings, DeviceSetupSettings, WindowsSettings
from agent.wire.vocabulary import (
    Context,
    EnrollmentType,
    FailureKind,
    ItemKind,
    ItemState,
    Phase,
    RebootKind,
    Variant,
)
from tests.agent.core.script import facts, profile

APP = AssignedItem(id="app", name="App", expected_seconds=4_000)
POLICY = AssignedItem(id="policy", name="Policy", kind=ItemKind.POLICY)


def planned(device: DeviceFacts | None = None, *items: AssignedItem, **settings: object) -> Plan:
    return make_plan(device or facts(), Admitted(profile=profile(**settings), items=items))


@pytest.mark.parametrize("blocks", [True, False])
def test_device_preparation_holds_the_gate_whatever_the_profile_blocks(blocks: bool) -> None:
    plan = planned(
        None,
        device_setup=DeviceSetupSettings(block_until_complete=blocks),
        account_setup=AccountSetupSettings(block_until_complete=not blocks),
    )
    first = [i for i in plan.items.values() if i.phase is Phase.DEVICE_PREPARATION]
    assert {i.id for i in first if not i.blocking} == {i.id for i in first if i.step.is_best_effort}
    assert any(i.blocking for i in first)
    registration = plan.items["account_registration"]
    assert registration.blocking is not blocks


@pytest.mark.parametrize(("device", "account"), [(True, False), (False, True)])
def test_each_context_is_shown_as_the_profile_says(device: bool, account: bool) -> None:
    plan = planned(
        None,
        device_setup=DeviceSetupSettings(show_progress=device),
        account_setup=AccountSetupSettings(show_progress=account),
    )
    assert {p.phase: p.shown for p in plan.phases} == {
        Phase.DEVICE_PREPARATION: device,
        Phase.DEVICE_SETUP: device,
        Phase.ACCOUNT_SETUP: account,
    }


def test_what_is_planned_takes_the_time_that_was_said_and_fails_as_what_it_is() -> None:
    plan = planned(None, APP, POLICY)
    assert plan.items["app"].expected_ms == 4_000_000
    assert plan.items["app"].failure is FailureKind.INSTALLER_FAILED
    assert plan.items["policy"].failure is FailureKind.STEP_FAILED
    hybrid = planned(facts(variant=Variant.HYBRID_JOIN))
    assert hybrid.items["hybrid_registration"].expected_ms == 900_000


def test_person_screens_and_steps_are_told_apart() -> None:
    plan = planned()
    assert plan.items["sign_in"].kind is ItemKind.SCREEN
    assert plan.items["sign_in"].screen is not None
    assert plan.items["entra_join"].kind is ItemKind.STEP
    assert plan.items["entra_join"].screen is None


def test_rows_count_what_they_do() -> None:
    verbs = {r.id: r.verb for p in planned(None, APP).phases for r in p.rows}
    assert verbs["apps"] == "installed"
    assert verbs["network_connections"] == "added"
    assert verbs["joining_network"] == "completed"


def test_a_maker_s_step_is_on_that_maker_s_devices_only() -> None:
    kind, variant = EnrollmentType.ANDROID_ENTERPRISE, Variant.DEVICE_ADMINISTRATOR
    for manufacturer, expected in (("Samsung", True), ("Google", False), (None, False)):
        plan = planned(facts(kind, variant, manufacturer))
        assert ("knox_activation" in plan.items) is expected


@pytest.mark.parametrize(
    ("depends_on", "order"), [(("a", "b"), {"a", "b", "c"}), (("b",), {"b", "c"}), ((), {"c"})]
)
def test_the_list_pulls_in_everything_that_its_items_need_through_every_branch(
    depends_on: tuple[str, ...], order: set[str]
) -> None:
    items = (
        AssignedItem(id="a", name="A"),
        AssignedItem(id="b", name="B"),
        AssignedItem(id="c", name="C", depends_on=depends_on),
    )
    plan = planned(facts(EnrollmentType.WINDOWS_MANUAL), *items, blocking_apps=("c",))
    assert {i.id for i in plan.items.values() if i.is_assigned and i.blocking} == order


def test_a_need_that_two_share_does_not_hide_what_else_they_need() -> None:
    items = (
        AssignedItem(id="shared", name="Shared"),
        AssignedItem(id="own", name="Own"),
        AssignedItem(id="one", name="One", depends_on=("shared",)),
        AssignedItem(id="two", name="Two", depends_on=("own", "shared")),
    )
    plan = planned(facts(EnrollmentType.WINDOWS_MANUAL), *items, blocking_apps=("one", "two"))
    assert {i.id for i in plan.items.values() if i.is_assigned and i.blocking} == {
        "shared", "own", "one", "two",
    }  # fmt: skip


def test_a_branch_of_needs_is_followed_to_its_end_and_the_others_after_it() -> None:
    items = (
        AssignedItem(id="deep", name="Deep"),
        AssignedItem(id="left", name="Left"),
        AssignedItem(id="right", name="Right", depends_on=("deep",)),
        AssignedItem(id="top", name="Top", depends_on=("left", "right")),
    )
    plan = planned(facts(EnrollmentType.WINDOWS_MANUAL), *items, blocking_apps=("top",))
    assert all(plan.items[i.id].blocking for i in items)


def test_what_does_not_apply_here_pulls_nothing_in() -> None:
    rules = InstallRules(requirements=Requirements(minimum_os="99.0"))
    items = (
        AssignedItem(id="needed", name="Needed"),
        AssignedItem(id="new", name="New", depends_on=("needed",), rules=rules),
    )
    plan = planned(facts(EnrollmentType.WINDOWS_MANUAL), *items, blocking_apps=("new",))
    assert plan.items["new"].skip is not None
    assert not plan.items["needed"].tracked


def test_a_page_that_is_hidden_on_this_device_holds_nothing() -> None:
    plan = planned(
        facts(EnrollmentType.WINDOWS_MANUAL), APP, windows=WindowsSettings(only_out_of_box=True)
    )
    assert not any(i.blocking for i in plan.items.values())
    assert not any(p.shown for p in plan.phases)
    assert not plan.profile.device_setup.block_until_complete
    assert not plan.profile.account_setup.block_until_complete


def test_a_hard_restart_is_judged_as_one_with_its_state() -> None:
    item = planned(None, APP).items["app"]
    ended = StepFinished(item="app", run=1, result=StepResult.COMPLETED, exit_code=1641)
    assert judge(item, ended) == Outcome(
        Verdict.HARD_REBOOT, ItemState.REBOOT_REQUIRED, RebootKind.HARD
    )


def test_account_items_belong_to_account_setup() -> None:
    item = APP.model_copy(update={"context": Context.ACCOUNT})
    assert planned(None, item).items["app"].phase is Phase.ACCOUNT_SETUP
    assert planned(None, item).items["app"].row == "account_apps"
