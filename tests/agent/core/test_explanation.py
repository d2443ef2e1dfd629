"""What is explained of an assignment is what the plan does with it, with a reason for every difference."""

from __future__ import annotations

from typing import Any

import pytest

from agent.core.events import DeviceFacts, Hardware
from agent.core.explanation import (
    EXPLANATION_CODEC,
    LINE_WIDTH,
    Explanation,
    Setting,
    asks_for_version,
    explain,
    explanation_lines,
)
from agent.core.flows import FLOWS
from agent.core.plan import make_plan
from agent.core.scope import Role
from agent.wire.assignment import Admitted
from agent.wire.graph import GRAPH_TYPE, profile_from_graph
from agent.wire.profile import EspProfile
from agent.wire.vocabulary import Choice, Context, EnrollmentType, Gate, Variant
from tests.agent.core.script import Script, fails_with

AUTOPILOT = EnrollmentType.WINDOWS_AUTOPILOT
MANUAL = EnrollmentType.WINDOWS_MANUAL


def facts(
    enrollment_type: EnrollmentType = AUTOPILOT,
    variant: Variant = Variant.STANDARD,
    **more: Any,
) -> DeviceFacts:
    known = {"os_version": "10.0.22631", **more}
    return DeviceFacts(
        device="PC-1",
        enrollment_type=enrollment_type,
        variant=variant,
        platform="any",
        agent_version="0.1.0",
        **known,
    )


def app(name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "name": name.capitalize(), **more}


def admitted(*items: dict[str, Any], **profile: Any) -> Admitted:
    return Admitted.model_validate(
        {"profile": {"id": "default", "name": "Default", **profile}, "items": items}
    )


def explained(
    *items: dict[str, Any], device: DeviceFacts | None = None, **profile: Any
) -> Explanation:
    return explain(device or facts(), admitted(*items, **profile))


def setting(explanation: Explanation, key: str, title: str | None = None) -> Setting:
    [found] = [
        s for s in explanation.settings if s.key == key and (title is None or s.title == title)
    ]
    return found


def acts(explanation: Explanation, key: str) -> tuple[object, object, str | None]:
    found = setting(explanation, key)
    return found.value, found.acts, found.reason


def roles(explanation: Explanation) -> dict[str, tuple[Role, str]]:
    return {item.id: (item.role, item.reason) for item in explanation.items}


def test_a_usual_profile_acts_as_it_says() -> None:
    told = explained(app("office"))
    assert [s.key for s in told.settings if s.acts != s.value or s.reason] == []


def test_every_setting_of_a_profile_is_told() -> None:
    def leaves(model: type, prefix: str) -> set[str]:
        keys = set()
        for name, field in model.model_fields.items():  # type: ignore[attr-defined]
            inner = field.annotation
            if hasattr(inner, "model_fields"):
                keys |= leaves(inner, f"{prefix}{name}.")
            else:
                keys.add(prefix + name)
        return keys

    about_the_profile = {"id", "name", "description", "graph"}
    told = {s.key for s in explained().settings}
    assert told == leaves(EspProfile, "") - about_the_profile


@pytest.mark.parametrize(("enrollment_type", "variant"), FLOWS)
def test_roles_are_those_of_the_plan(enrollment_type: EnrollmentType, variant: Variant) -> None:
    device = facts(enrollment_type, variant)
    given = admitted(
        app("listed"),
        app("other"),
        app("optional", required=False),
        app("mine", context="account"),
        {"id": "wifi", "name": "Wi-Fi", "kind": "network", "context": "account"},
        blocking_apps=["listed", "mine"],
    )
    plan = make_plan(device, given)
    for item in explain(device, given).items:
        planned = plan.items.get(item.id)
        if planned is None:
            assert item.role is Role.SKIPPED
            continue
        assert (planned.blocking, planned.tracked) == (item.role is Role.BLOCKING, item.is_tracked)


def test_the_list_is_told_with_what_it_filters_out_and_what_it_names_in_vain() -> None:
    told = explained(
        app("office"),
        app("vpn"),
        app("chat", required=False),
        app("ca", kind="certificate"),
        app("old", rules={"requirements": {"minimum_os": "10.0.26100"}}),
        blocking_apps=["office", "gone", "chat", "ca", "old"],
    )
    value, acting, reason = acts(told, "blocking_apps")
    assert value == ("office", "gone", "chat", "ca", "old")
    assert acting == ("office",)
    assert reason == (
        "gone: not assigned, and the list assigns nothing; chat: not required; "
        "ca: a certificate, and the list is about apps; "
        "old: it needs version 10.0.26100, this device runs 10.0.22631"
    )
    assert roles(told) == {
        "office": (Role.BLOCKING, "required, and the profile's list names it"),
        "vpn": (Role.BACKGROUND, "required, but the profile's list does not name it"),
        "chat": (Role.BACKGROUND, "not required"),
        "ca": (Role.BLOCKING, "required"),
        "old": (Role.SKIPPED, "it needs version 10.0.26100, this device runs 10.0.22631"),
    }


def test_where_there_is_no_account_setup_its_settings_and_items_have_no_effect() -> None:
    told = explained(app("mine", context="account"), device=facts(variant=Variant.SELF_DEPLOYING))
    no_account = "this way of enrolling has no account setup"
    for name, value in (
        ("show_progress", True),
        ("block_until_complete", False),
        ("allow_skip", True),
    ):
        assert acts(told, f"account_setup.{name}") == (value, None, no_account)
    assert [s.title for s in told.settings if s.key == "timeout_minutes"] == [
        "Time limit, device setup"
    ]
    assert roles(told)["mine"] == (Role.SKIPPED, no_account)


def test_a_hybrid_join_has_more_time_for_account_setup() -> None:
    told = explained(device=facts(variant=Variant.HYBRID_JOIN))
    account = setting(told, "timeout_minutes", "Time limit, account setup")
    assert (account.value, account.acts) == (60, 100)
    assert account.reason == "the platform grants 40 minutes more here"
    assert setting(told, "timeout_minutes", "Time limit, device setup").acts == 60


@pytest.mark.parametrize("context", Context)
def test_a_page_that_is_not_shown_blocks_nothing(context: Context) -> None:
    name = f"{context.value}_setup"
    settings: dict[str, Any] = {name: {"show_progress": False, "block_until_complete": True}}
    told = explained(app("office", context=context.value), **settings)
    why = "the page is not shown there, so nothing of it holds the gate"
    assert acts(told, f"{name}.block_until_complete") == (True, False, why)
    assert roles(told)["office"][0] is Role.AWAITED


def test_a_profile_for_setup_out_of_the_box_hides_the_page_elsewhere() -> None:
    profile: dict[str, Any] = {
        "windows": {"only_out_of_box": True},
        "account_setup": {"block_until_complete": True},
    }
    told = explained(app("office"), device=facts(MANUAL), **profile)
    why = "the profile shows the page only on devices that are set up out of the box"
    for key in (
        "device_setup.show_progress",
        "device_setup.block_until_complete",
        "account_setup.show_progress",
        "account_setup.block_until_complete",
    ):
        assert acts(told, key) == (True, False, why)
    assert roles(told)["office"][0] is Role.AWAITED
    assert acts(explained(**profile), "device_setup.show_progress") == (True, True, None)


def test_device_setup_that_does_not_block_lets_a_person_continue() -> None:
    told = explained(device_setup={"block_until_complete": False})
    value, acting, reason = acts(told, "device_setup.block_until_complete")
    assert (value, acting) == (False, False)
    assert reason == (
        "a person may continue as soon as device preparation is done, before anything fails"
    )
    assert acts(explained(), "account_setup.block_until_complete") == (False, False, None)
    hidden = explained(device_setup={"show_progress": False, "block_until_complete": False})
    assert acts(hidden, "device_setup.block_until_complete") == (False, False, None)


CHOICES = {
    "allow_retry": Choice.TRY_AGAIN,
    "allow_reset": Choice.RESET_DEVICE,
    "allow_continue": Choice.CONTINUE_ANYWAY,
    "allow_log_collection": Choice.COLLECT_LOGS,
}


@pytest.mark.parametrize("variant", [Variant.STANDARD, Variant.PRE_PROVISIONED])
def test_choices_that_the_technician_has_not_are_those_that_the_engine_keeps_back(
    variant: Variant,
) -> None:
    story = Script(variant=variant).begin().assign().behave("office", fails_with(1603)).play()
    assert story.machine.progress.gate is Gate.LOCKED
    offered = {choice for choice in CHOICES.values() if choice in story.machine.progress.choices}
    told = explained(device=facts(variant=variant), error_handling=dict.fromkeys(CHOICES, True))
    acting = {
        choice
        for name, choice in CHOICES.items()
        if not (setting(told, f"error_handling.{name}").reason or "").startswith(
            "in account setup only"
        )
    }
    assert acting == offered


def test_a_choice_that_is_not_allowed_needs_no_reason() -> None:
    told = explained(device=facts(variant=Variant.PRE_PROVISIONED))
    assert acts(told, "error_handling.allow_reset") == (False, False, None)


ALL_WINDOWS = {"only_out_of_box": True, "quality_updates": True, "technician_installs_all": True}


@pytest.mark.parametrize(
    ("device", "blocks", "name", "expected"),
    [
        (facts(), True, "quality_updates", (True, None)),
        (facts(variant=Variant.PRE_PROVISIONED), True, "quality_updates", (True, None)),
        (
            facts(),
            False,
            "quality_updates",
            (False, "device setup does not block, so the person may be gone before they begin"),
        ),
        (
            facts(MANUAL),
            True,
            "quality_updates",
            (False, "only setup out of the box has a place for them"),
        ),
        (facts(variant=Variant.PRE_PROVISIONED), True, "technician_installs_all", (True, None)),
        (
            facts(),
            True,
            "technician_installs_all",
            (False, "only pre-provisioning has a technician's part"),
        ),
        (facts(MANUAL), True, "only_out_of_box", (True, None)),
        *(
            (facts(EnrollmentType.IOS), True, name, (False, "only the Windows page has it"))
            for name in ALL_WINDOWS
        ),
    ],
)
def test_windows_settings_act_only_where_windows_has_a_place_for_them(
    device: DeviceFacts, blocks: bool, name: str, expected: tuple[bool, str | None]
) -> None:
    told = explained(
        device=device, windows=ALL_WINDOWS, device_setup={"block_until_complete": blocks}
    )
    assert acts(told, f"windows.{name}") == (True, *expected)


def test_windows_settings_that_nobody_made_are_left_out_elsewhere() -> None:
    keys = {s.key for s in explained(device=facts(EnrollmentType.IOS)).settings}
    assert not [key for key in keys if key.startswith("windows.")]


def test_dependencies_are_told_the_met_and_the_unmet() -> None:
    told = explained(
        app("vpn", depends_on=["ca"]),
        app("ca", required=False),
        app("tool", rules={"must_be_present": ["runtime"]}),
        blocking_apps=["vpn", "tool"],
    )
    vpn, ca, tool = told.items
    assert vpn.needs == ("ca",)
    assert (ca.role, ca.reason) == (Role.BLOCKING, "Vpn needs it")
    assert tool.unmet == "runtime"
    assert "not attempted: it needs runtime, which nothing installs" in " ".join(
        " ".join(explanation_lines(told)).split()
    )


def test_properties_of_graph_without_a_setting_are_told_by_name() -> None:
    profile = profile_from_graph(
        {
            "@odata.type": GRAPH_TYPE,
            "id": "x",
            "displayName": "X",
            "priority": 3,
            "showInstallationProgress": True,
            "somethingNew": 1,
        }
    )
    told = explain(facts(), Admitted(profile=profile))
    assert {one.key: one.reason for one in told.without_effect} == {
        "@odata.type": "says that the object is an ESP profile; every export has it",
        "priority": "belongs to the list of profiles; the default profile has 0 and still comes last",
        "somethingNew": "not known here; kept for the export",
    }


def test_what_only_the_device_can_measure_is_said() -> None:
    picky = app("cad", rules={"requirements": {"memory_mb": 16_000}})
    dated = app("new", rules={"requirements": {"minimum_os": "10.0.22000"}})
    [note] = explained(picky, dated).notes
    assert note == (
        "Cad asks for hardware that only the device itself can measure; here it counts as met"
    )
    measured = facts(hardware=Hardware(memory_mb=8_000))
    told = explained(picky, device=measured)
    assert told.notes == ()
    assert roles(told)["cad"] == (
        Role.SKIPPED,
        "it needs 16,000 MB of memory, this device has 8,000",
    )


def test_an_item_that_asks_for_a_version_is_named() -> None:
    dated = app("new", rules={"requirements": {"minimum_os": "10.0.22000"}})
    assert asks_for_version(admitted(app("any"), dated).items) == "New"
    assert asks_for_version(admitted(app("any")).items) is None


def test_a_variant_that_the_platform_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match="ios has no variant 'self_deploying'; choose one of"):
        explained(device=facts(EnrollmentType.IOS, Variant.SELF_DEPLOYING))


def test_it_comes_back_from_json() -> None:
    told = explained(app("vpn"), blocking_apps=["vpn", "gone"], custom_message="all")
    assert EXPLANATION_CODEC.loads(EXPLANATION_CODEC.dumps(told)) == told


# As text.


def test_the_text_keeps_to_its_columns_and_to_printable_characters() -> None:
    told = explained(
        app("a" * 100),
        {"id": "odd", "name": "Odd \x1b[31m name\n" + "w" * 90, "required": False},
        custom_message="Call us. " * 40,
        blocking_apps=["a" * 100, "gone"],
    )
    lines = list(explanation_lines(told))
    assert max(map(len, lines)) <= LINE_WIDTH
    assert all(line.isprintable() for line in lines)
    assert "Odd ?[31m name" in "".join(lines)


def test_the_text_of_a_message_is_never_taken_for_a_keyword() -> None:
    lines = list(explanation_lines(explained(custom_message="all")))
    assert "  Custom message                all" in lines
    assert "  Blocking apps                 all required apps" in lines


def test_the_text_has_a_heading_for_each_role_with_items() -> None:
    told = explained(
        app("listed"),
        app("other"),
        app("mine", context="account"),
        blocking_apps=["listed", "mine"],
    )
    text = "\n".join(explanation_lines(told))
    assert "Blocking: the gate stays locked while one of them is not done (1)" in text
    assert "Awaited: setup waits for them, and their failure holds nothing (1)" in text
    assert "In the background: set up once setup has ended (1)" in text
    assert "Skipped" not in text
    assert "yes (the profile says" not in text


def test_the_text_says_what_the_profile_says_where_that_does_not_act() -> None:
    told = explained(device=facts(variant=Variant.SELF_DEPLOYING))
    text = "\n".join(explanation_lines(told))
    assert "Account setup is shown        without effect (the profile says yes)" in text
    hidden = explained(device=facts(MANUAL), windows={"only_out_of_box": True})
    text = "\n".join(explanation_lines(hidden))
    assert "Device setup blocks           no (the profile says yes)" in text


def test_the_text_ends_with_what_has_no_effect_and_what_cannot_be_told() -> None:
    profile = EspProfile(id="x", name="X", graph={"version": 4})
    needed = {"requirements": {"memory_mb": 16_000}}
    given = admitted(app("cad", rules=needed)).model_copy(update={"profile": profile})
    text = "\n".join(explanation_lines(explain(facts(), given)))
    assert (
        "Properties of the Graph object without effect here\n"
        "  version                       Graph's own record\n"
        "\n"
        "Notes\n"
        "  Cad asks for hardware that only the device itself can measure; here it counts\n"
        "  as met" in text
    )


def test_the_text_never_breaks_an_id_in_two() -> None:
    names = [f"vpn-client-{n}" for n in range(9)]
    told = explained(*(app(name) for name in names), blocking_apps=names)
    lines = list(explanation_lines(told))
    assert all(any(name in line for line in lines) for name in names)
    assert not any(line.endswith("-") for line in lines)
