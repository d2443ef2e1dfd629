from __future__ import annotations

import pytest

from agent.core.events import DeviceFacts, Hardware
from agent.wire.assignment import Admitted, AssignedItem, InstallRules
from agent.wire.profile import (
    AccountSetupSettings,
    DeviceSetupSettings,
    ErrorHandling,
    EspProfile,
    WindowsSettings,
)
from agent.wire.vocabulary import (
    Architecture,
    Choice,
    Context,
    EnrollmentType,
    Gate,
    GateCause,
    ItemKind,
    Variant,
)
from simulator.blocking import blocking_items
from simulator.ground_truth import Chosen, GateSet, GroundTruth
from simulator.live.gate_audit import Told, Wanted, violations
from tests.simulator.small_world import facts_of

FACTS = facts_of(EnrollmentType.WINDOWS_AUTOPILOT)

ITEMS = (
    AssignedItem(id="vpn", name="VPN", depends_on=("runtime",)),
    AssignedItem(id="runtime", name="Runtime"),
    AssignedItem(id="game", name="Game", required=False),
    AssignedItem(id="news", name="News"),
    AssignedItem(id="cert", name="Certificate", kind=ItemKind.CERTIFICATE),
    AssignedItem(id="mail", name="Mail", context=Context.ACCOUNT),
)


def admitted(
    *,
    blocking: tuple[str, ...] | None = ("vpn", "mail"),
    device_blocks: bool = True,
    device_shown: bool = True,
    account_blocks: bool = False,
    allow_skip: bool = False,
    allow_continue: bool = False,
) -> Admitted:
    profile = EspProfile(
        id="default-esp",
        name="Default ESP",
        blocking_apps="all" if blocking is None else blocking,
        device_setup=DeviceSetupSettings(
            show_progress=device_shown, block_until_complete=device_blocks
        ),
        account_setup=AccountSetupSettings(
            block_until_complete=account_blocks, allow_skip=allow_skip
        ),
        error_handling=ErrorHandling(allow_continue=allow_continue),
    )
    return Admitted(profile=profile, items=ITEMS)


def truth_with(*present: str, at_ms: int = 100) -> GroundTruth:
    truth = GroundTruth()
    for item in present:
        truth.appears(item, at_ms)
    return truth


def judge(
    truth: GroundTruth,
    offer: Admitted,
    cause: GateCause,
    *,
    gate: Gate = Gate.RELEASED,
    at_ms: int = 100,
    commands: tuple[Wanted, ...] = (),
    facts: DeviceFacts = FACTS,
) -> list[str]:
    truth.gates += [
        GateSet(0, Gate.LOCKED, GateCause.ENROLLMENT_BEGAN),
        GateSet(at_ms, gate, cause),
    ]
    return list(violations(facts, truth, [Told(0, None), Told(10, offer)], commands))


DEVICE_ITEMS = ("vpn", "runtime", "cert")


def test_the_blocking_items_are_the_listed_apps_with_what_they_need_and_every_other_required_kind() -> (
    None
):
    assert set(blocking_items(admitted(), [Context.DEVICE])) == {"vpn", "runtime", "cert"}
    everything = blocking_items(admitted(blocking=None, account_blocks=True), list(Context))
    assert set(everything) == {"vpn", "runtime", "news", "cert", "mail"}
    assert blocking_items(admitted(device_blocks=False), [Context.DEVICE]) == ()


def test_a_gate_that_opens_with_everything_there_is_fine() -> None:
    assert not judge(truth_with(*DEVICE_ITEMS), admitted(), GateCause.DEVICE_SETUP_COMPLETE)


@pytest.mark.parametrize("missing", DEVICE_ITEMS)
def test_one_missing_blocking_item_is_a_violation(missing: str) -> None:
    present = [item for item in DEVICE_ITEMS if item != missing]
    (sentence,) = judge(truth_with(*present), admitted(), GateCause.DEVICE_SETUP_COMPLETE)
    assert (
        sentence
        == f"DESKTOP-000001: the gate was released at 100 ms, while '{missing}' was not there"
    )


def test_a_millisecond_too_early_is_a_violation() -> None:
    truth = truth_with(*DEVICE_ITEMS, at_ms=101)
    assert judge(truth, admitted(), GateCause.DEVICE_SETUP_COMPLETE, at_ms=100)


def test_what_a_reset_took_away_is_not_there() -> None:
    truth = truth_with(*DEVICE_ITEMS, at_ms=20)
    truth.wipe(50)
    assert judge(truth, admitted(), GateCause.DEVICE_SETUP_COMPLETE)


def test_what_the_device_has_no_use_for_is_not_missed() -> None:
    truth = truth_with("vpn", "runtime")
    truth.not_applicable["cert"] = 50
    assert not judge(truth, admitted(), GateCause.DEVICE_SETUP_COMPLETE)


def test_an_account_that_blocks_keeps_the_gate_shut_after_device_setup() -> None:
    offer = admitted(account_blocks=True)
    assert judge(truth_with(*DEVICE_ITEMS), offer, GateCause.DEVICE_SETUP_COMPLETE)
    assert judge(truth_with(*DEVICE_ITEMS), offer, GateCause.SETUP_COMPLETE)
    assert not judge(truth_with(*DEVICE_ITEMS, "mail"), offer, GateCause.SETUP_COMPLETE)


def test_skipping_needs_the_profile_and_the_person() -> None:
    cause, skipped = GateCause.ACCOUNT_SETUP_SKIPPED, Chosen(90, Choice.SKIP_ACCOUNT_SETUP)
    allowing = admitted(account_blocks=True, allow_skip=True)
    assert judge(truth_with(*DEVICE_ITEMS), allowing, cause)
    truth = truth_with(*DEVICE_ITEMS)
    truth.choices.append(skipped)
    assert not judge(truth, allowing, cause)
    truth = truth_with(*DEVICE_ITEMS)
    truth.choices.append(skipped)
    assert judge(truth, admitted(account_blocks=True), cause)


def test_continuing_needs_the_profile_and_somebody_and_is_a_bypass() -> None:
    cause, allowing = GateCause.CONTINUED_ANYWAY, admitted(allow_continue=True)
    by_command = (Wanted(50, Choice.CONTINUE_ANYWAY),)
    assert judge(truth_with(), allowing, cause, gate=Gate.BYPASSED)
    assert not judge(truth_with(), allowing, cause, gate=Gate.BYPASSED, commands=by_command)
    assert judge(truth_with(), allowing, cause, gate=Gate.RELEASED, commands=by_command)
    assert judge(truth_with(), admitted(), cause, gate=Gate.BYPASSED, commands=by_command)


def test_a_choice_of_an_earlier_attempt_opens_nothing() -> None:
    truth = truth_with()
    truth.choices.append(Chosen(50, Choice.CONTINUE_ANYWAY))
    truth.gates.append(GateSet(100, Gate.BYPASSED, GateCause.CONTINUED_ANYWAY))
    offer = admitted(allow_continue=True)
    told = [Told(0, None), Told(10, offer), Told(60, None), Told(70, offer)]
    assert list(violations(FACTS, truth, told))


def test_a_gate_without_an_assignment_or_for_no_reason_is_a_violation() -> None:
    truth = truth_with(*DEVICE_ITEMS)
    truth.gates.append(GateSet(5, Gate.RELEASED, GateCause.SETUP_COMPLETE))
    too_late = Told(6, admitted(device_blocks=False))
    assert list(violations(FACTS, truth, [Told(0, None), too_late])) == [
        "DESKTOP-000001: the gate was released at 5 ms, without an assignment"
    ]
    assert judge(truth_with(*DEVICE_ITEMS), admitted(), GateCause.EMERGENCY_EXIT)
    assert judge(truth_with(*DEVICE_ITEMS), admitted(), GateCause.ENROLLMENT_BEGAN)
    assert judge(truth_with(*DEVICE_ITEMS), admitted(), GateCause.NOTHING_TO_SHOW)
    assert not judge(truth_with(), admitted(device_shown=False), GateCause.NOTHING_TO_SHOW)
    held = admitted(device_shown=False, account_blocks=True)
    assert judge(truth_with(), held, GateCause.NOTHING_TO_SHOW)


def with_rules(**rules: object) -> Admitted:
    """The VPN app needs something of the device."""
    changed = {"rules": InstallRules.model_validate(rules)}
    items = tuple(i.model_copy(update=changed) if i.id == "vpn" else i for i in ITEMS)
    return admitted().model_copy(update={"items": items})


@pytest.mark.parametrize(
    ("needs", "too_little"),
    [
        ({"architectures": ["x64"]}, Hardware(architecture=Architecture.ARM64)),
        ({"disk_mb": 100}, Hardware(disk_free_mb=99)),
        ({"memory_mb": 100}, Hardware(memory_mb=99)),
        ({"processors": 4}, Hardware(processors=3)),
        ({"processor_mhz": 2000}, Hardware(processor_mhz=1999)),
        ({"minimum_os": "10.0.26100"}, Hardware()),
    ],
)
def test_what_a_device_is_not_fit_for_is_not_missed(
    needs: dict[str, object], too_little: Hardware
) -> None:
    offer = with_rules(requirements=needs)
    unfit = facts_of(EnrollmentType.WINDOWS_AUTOPILOT, hardware=too_little)
    cause = GateCause.DEVICE_SETUP_COMPLETE
    assert not judge(truth_with("cert"), offer, cause, facts=unfit)
    enough = Hardware(
        architecture=Architecture.X64,
        disk_free_mb=100,
        memory_mb=100,
        processors=4,
        processor_mhz=2000,
    )
    fit = facts_of(EnrollmentType.WINDOWS_AUTOPILOT, hardware=enough)
    if "minimum_os" not in needs:
        assert judge(truth_with("cert"), offer, cause, facts=fit)
        assert judge(truth_with("cert"), offer, cause)


def test_a_newer_app_is_missed_in_the_place_of_the_one_that_it_supersedes() -> None:
    changed = {"rules": InstallRules.model_validate({"supersedes": [{"id": "runtime"}]})}
    items = tuple(i.model_copy(update=changed) if i.id == "game" else i for i in ITEMS)
    offer = admitted().model_copy(update={"items": items})
    cause = GateCause.DEVICE_SETUP_COMPLETE
    assert not judge(truth_with("vpn", "game", "cert"), offer, cause)
    (sentence,) = judge(truth_with("vpn", "runtime", "cert"), offer, cause)
    assert "'game' was not there" in sentence


def test_a_superseded_app_is_not_missed_although_the_list_names_it() -> None:
    changed = {"rules": InstallRules.model_validate({"supersedes": [{"id": "vpn"}]})}
    items = tuple(i.model_copy(update=changed) if i.id == "game" else i for i in ITEMS)
    offer = admitted().model_copy(update={"items": items})
    assert not judge(truth_with("cert"), offer, GateCause.DEVICE_SETUP_COMPLETE)


@pytest.mark.parametrize("variant", [Variant.SELF_DEPLOYING, Variant.DEDICATED])
def test_nobodys_account_holds_a_device_that_nobody_signs_in_to(variant: Variant) -> None:
    offer = admitted(account_blocks=True)
    alone = facts_of(EnrollmentType.WINDOWS_AUTOPILOT, variant)
    cause = GateCause.SETUP_COMPLETE
    assert not judge(truth_with(*DEVICE_ITEMS), offer, cause, facts=alone)
    assert judge(truth_with(*DEVICE_ITEMS), offer, cause)


def test_a_page_for_new_devices_holds_no_other() -> None:
    offer = admitted(account_blocks=True)
    windows = WindowsSettings(only_out_of_box=True)
    profile = offer.profile.model_copy(update={"windows": windows})
    offer = offer.model_copy(update={"profile": profile})
    manual = facts_of(EnrollmentType.WINDOWS_MANUAL)
    assert not judge(truth_with(), offer, GateCause.NOTHING_TO_SHOW, facts=manual)
    assert judge(truth_with(), offer, GateCause.NOTHING_TO_SHOW)
