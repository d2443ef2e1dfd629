"""What of an assignment counts on a device, and the sentence that says why."""

from __future__ import annotations

from typing import Any

import pytest

from agent.core.scope import Role, effective_profile, scope
from agent.wire.assignment import Admitted, AssignedItem, InstallRules, Superseded
from agent.wire.profile import AccountSetupSettings, DeviceSetupSettings, WindowsSettings
from agent.wire.vocabulary import Context, EnrollmentType, ItemKind, Variant
from tests.agent.core.script import facts, profile

ITEMS = (
    AssignedItem(id="vpn", name="VPN Client", depends_on=("portal",)),
    AssignedItem(id="portal", name="Company Portal", required=False),
    AssignedItem(id="office", name="Microsoft 365 Apps"),
    AssignedItem(id="game", name="Game", required=False),
    AssignedItem(id="baseline", name="Security baseline", kind=ItemKind.POLICY),
    AssignedItem(id="teams", name="Teams", context=Context.ACCOUNT),
)


def roles(
    *,
    items: tuple[AssignedItem, ...] = ITEMS,
    variant: Variant = Variant.STANDARD,
    **settings: Any,
) -> dict[str, tuple[Role, str]]:
    device = facts(EnrollmentType.WINDOWS_AUTOPILOT, variant)
    admitted = Admitted(profile=profile(**settings), items=items)
    return {p.item.id: (p.role, p.reason) for p in scope(device, admitted)}


@pytest.mark.rule("explained")
def test_every_required_app_counts_where_the_profile_blocks_on_all() -> None:
    found = roles(account_setup=AccountSetupSettings(block_until_complete=True))
    all_apps = "required, and the profile blocks on all required apps"
    assert found == {
        "vpn": (Role.BLOCKING, all_apps),
        "portal": (Role.BLOCKING, "VPN Client needs it"),
        "office": (Role.BLOCKING, all_apps),
        "game": (Role.BACKGROUND, "not required"),
        "baseline": (Role.BLOCKING, "required"),
        "teams": (Role.BLOCKING, all_apps),
    }


@pytest.mark.rule("explained")
def test_the_list_filters_apps_and_nothing_else() -> None:
    found = roles(blocking_apps=("vpn", "game", "never-assigned"))
    unlisted = (Role.BACKGROUND, "required, but the profile's list does not name it")
    assert found["vpn"] == (Role.BLOCKING, "required, and the profile's list names it")
    assert found["portal"] == (Role.BLOCKING, "VPN Client needs it")
    assert found["office"] == unlisted
    assert found["game"] == (Role.BACKGROUND, "not required")
    assert found["baseline"] == (Role.BLOCKING, "required")
    assert found["teams"] == unlisted


@pytest.mark.rule("explained")
def test_where_setup_does_not_block_items_are_awaited_and_hold_nothing() -> None:
    found = roles(device_setup=DeviceSetupSettings(block_until_complete=False))
    assert found["baseline"] == (Role.AWAITED, "required; device setup does not block")
    assert found["teams"][0] is Role.AWAITED
    hidden = roles(device_setup=DeviceSetupSettings(show_progress=False))
    assert hidden["baseline"][0] is Role.AWAITED


@pytest.mark.rule("explained")
def test_without_account_setup_its_items_have_no_place() -> None:
    found = roles(variant=Variant.SELF_DEPLOYING)
    assert found["teams"] == (Role.SKIPPED, "this way of enrolling has no account setup")


@pytest.mark.rule("explained")
def test_the_technician_awaits_what_the_list_does_not_name() -> None:
    found = roles(
        variant=Variant.PRE_PROVISIONED,
        blocking_apps=("portal",),
        windows=WindowsSettings(technician_installs_all=True),
    )
    tried = (Role.AWAITED, "required; the technician's part tries all apps")
    assert found["office"] == found["vpn"] == tried
    assert found["portal"][0] is Role.AWAITED, "the list names it, but nobody requires it"


@pytest.mark.rule("explained")
def test_what_a_listed_app_needs_has_to_be_there_whoever_else_needs_it() -> None:
    items = (
        AssignedItem(id="tool", name="Tool", required=False),
        AssignedItem(id="first", name="First", depends_on=("tool",)),
        AssignedItem(id="second", name="Second", depends_on=("tool",)),
    )
    found = roles(
        items=items,
        variant=Variant.PRE_PROVISIONED,
        blocking_apps=("second",),
        windows=WindowsSettings(technician_installs_all=True),
    )
    assert found["tool"] == (Role.BLOCKING, "Second needs it")
    assert found["first"][0] is Role.AWAITED


@pytest.mark.rule("explained")
def test_an_older_app_names_the_newest_that_takes_its_place() -> None:
    items = (
        AssignedItem(id="v1", name="Tool 1"),
        AssignedItem(id="v2", name="Tool 2", rules=InstallRules(supersedes=(Superseded(id="v1"),))),
        AssignedItem(id="v3", name="Tool 3", rules=InstallRules(supersedes=(Superseded(id="v2"),))),
    )
    found = roles(items=items)
    assert found["v1"] == (Role.SKIPPED, "Tool 3 takes its place")
    assert found["v3"][0] is Role.BLOCKING


@pytest.mark.rule("explained")
@pytest.mark.parametrize("kind", EnrollmentType)
def test_a_profile_acts_as_it_says_except_outside_the_box(kind: EnrollmentType) -> None:
    asked = profile(windows=WindowsSettings(only_out_of_box=True))
    acting, why = effective_profile(asked, facts(kind))
    if kind is EnrollmentType.WINDOWS_MANUAL:
        assert why == "the profile shows the page only on devices that are set up out of the box"
        assert not acting.device_setup.show_progress
        assert not acting.account_setup.show_progress
        assert not acting.account_setup.block_until_complete
    else:
        assert (acting, why) == (asked, None)
    assert effective_profile(profile(), facts(kind)) == (profile(), None)
