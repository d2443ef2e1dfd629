"""What a simulated world is made of, drawn from its seed: devices, people, items, profiles, rules and faults."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal
from uuid import UUID

from agent.core.events import HOUR_MS, MINUTE_MS, DeviceFacts, Limits
from agent.core.flows import FLOWS
from agent.wire.assignment import Admitted, PersonScreens
from agent.wire.profile import (
    AccountSetupSettings,
    DeviceSetupSettings,
    ErrorHandling,
    EspProfile,
)
from agent.wire.vocabulary import Context, EnrollmentType, ItemKind, PersonAction, Variant
from collector.admission import AdmissionRules
from simulator.draws import Draws
from simulator.endpoint_model import Habitat
from simulator.scenario import (
    AssignedKind,
    CatalogueItem,
    Duration,
    ErrorHabits,
    Fault,
    Network,
    Person,
    ScreenHabits,
    Step,
    assigned_item,
)
from simulator.verify.faults import Faults, draw_faults

TENANT: Final = "verify"
DEVICES_MAX: Final = 6
ITEMS_MAX: Final = 5
SAFETY_HOURS: Final = (1, 6)
"""How long faults go on."""

_SYSTEMS: Final[dict[EnrollmentType, tuple[str, str]]] = {
    EnrollmentType.WINDOWS_AUTOPILOT: ("Windows 11", "10.0.26100"),
    EnrollmentType.WINDOWS_MANUAL: ("Windows 11", "10.0.26100"),
    EnrollmentType.MACOS_ADE: ("macOS 15", "15.3"),
    EnrollmentType.IOS: ("iOS 18", "18.3"),
    EnrollmentType.ANDROID_ENTERPRISE: ("Android 15", "15"),
}
_DEVICE_COUNTS: Final = {1: 3.0, 2: 4.0, 3: 3.0, 4: 2.0, 5: 1.0, 6: 1.0}
_ITEM_KINDS: Final[dict[AssignedKind, float]] = {
    ItemKind.APP: 6,
    ItemKind.POLICY: 1,
    ItemKind.CERTIFICATE: 1,
    ItemKind.NETWORK: 1,
}
_FAULT_KINDS: Final[
    dict[
        Literal["installer_failed", "not_detected", "download_failed", "network_timeout", "hangs"],
        float,
    ]
] = {
    "installer_failed": 3,
    "not_detected": 3,
    "download_failed": 1,
    "network_timeout": 1,
    "hangs": 1,
}


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """One device with its person and what the administrator has for it."""

    device: str
    facts: DeviceFacts
    limits: Limits
    habitat: Habitat
    person: Person
    offer: Admitted
    refreshed: Admitted
    """What the administrator changes it to in the middle."""
    starts_at_ms: int
    comes_back: bool
    """Whether a restart of the agent begins a new attempt after one that ended locked."""
    draws: Draws

    def hex(self, purpose: str, occurrence: int = 0) -> str:
        """An id."""
        return str(UUID(hex=self.draws.hex(purpose, occurrence)))


@dataclass(frozen=True, slots=True)
class WorldPlan:
    """One world before anything happens."""

    seed: int
    devices: tuple[DevicePlan, ...]
    rules: AdmissionRules
    faults: Faults
    safety_ms: int
    """How long faults go on."""
    commands_per_hour: float
    draws: Draws

    def smaller(self, *, without: tuple[str, ...] = (), devices: tuple[str, ...] = ()) -> WorldPlan:
        """The same world without these faults and, if any are named, with these devices only.

        Raises:
            ValueError: there is no such fault or device.
        """
        faults = self.faults
        for kind in without:
            faults = faults.without(kind)
        known = {plan.device: plan for plan in self.devices}
        for device in devices:
            if device not in known:
                raise ValueError(
                    f"seed {self.seed} has no device '{device}'; choose from: {', '.join(known)}"
                )
        kept = tuple(known[d] for d in known if d in devices) if devices else self.devices
        return replace(self, faults=faults, devices=kept)


def draw_world(seed: int) -> WorldPlan:
    """The world of one seed."""
    draws = Draws(seed, "world")
    count = draws.pick(_DEVICE_COUNTS, "devices")
    users = [f"user{n}@example.org" for n in range(max(1, count // 2))]
    low, high = SAFETY_HOURS
    limit = draws.pick({1: 1.5, 2: 2.0, 15: 3.0}, "device limit")
    spread_ms = draws.pick({0: 2.0, MINUTE_MS: 1.0, 30 * MINUTE_MS: 2.0}, "starts within")
    return WorldPlan(
        seed=seed,
        devices=tuple(_device(seed, number, users, spread_ms) for number in range(1, count + 1)),
        rules=AdmissionRules(device_limit=limit),
        faults=draw_faults(draws),
        safety_ms=int((low + (high - low) * draws.uniform("safety")) * HOUR_MS),
        commands_per_hour=draws.pick({0.0: 1.0, 2.0: 1.0, 8.0: 1.0}, "commands"),
        draws=draws,
    )


def _device(seed: int, number: int, users: list[str], spread_ms: int) -> DevicePlan:
    device = f"device-{number}"
    draws = Draws(seed, device)
    enrollment_type, variant = draws.pick(dict.fromkeys(FLOWS, 1.0), "flow")
    platform, os_version = _SYSTEMS[enrollment_type]
    items = tuple(_item(draws, n, enrollment_type) for n in range(1, _count(draws) + 1))
    facts = DeviceFacts(
        device=device,
        enrollment_type=enrollment_type,
        variant=variant,
        platform=platform,
        os_version=os_version,
        agent_version="1",
        user=draws.pick(dict.fromkeys(users, 1.0), "user"),
    )
    offer = Admitted(
        user=facts.user,
        profile=_profile(draws, items),
        items=tuple(assigned_item(kind, item, 60) for kind, item in items),
        screens=_screens(draws),
    )
    late = _item(draws, ITEMS_MAX + 1, enrollment_type)
    habitat = Habitat(
        items={item.id: item for _, item in (*items, late)},
        steps=_steps(draws, variant),
        network=Network(failure=draws.pick({0.0: 3.0, 0.05: 1.0}, "network")),
        megabits_per_second=draws.spread(50, 2, "bandwidth"),
    )
    return DevicePlan(
        device=device,
        facts=facts,
        limits=Limits(
            nobody_comes_back_ms=draws.pick(
                {20 * MINUTE_MS: 1.0, 3 * HOUR_MS: 1.0, 24 * HOUR_MS: 1.0}, "comes back"
            )
        ),
        habitat=habitat,
        person=_person(draws),
        offer=offer,
        refreshed=offer.model_copy(
            update={"items": (*offer.items, assigned_item(late[0], late[1], 60))}
        ),
        starts_at_ms=int(draws.uniform("starts") * spread_ms),
        comes_back=draws.chance(0.3, "agent comes back"),
        draws=draws,
    )


def _count(draws: Draws) -> int:
    return int(draws.uniform("items") * (ITEMS_MAX + 1))


def _item(
    draws: Draws, number: int, enrollment_type: EnrollmentType
) -> tuple[AssignedKind, CatalogueItem]:
    name = f"item-{number}"
    kind = draws.pick(_ITEM_KINDS, "kind", name)
    context = Context.ACCOUNT if draws.chance(0.3, "account", name) else Context.DEVICE
    earlier = [f"item-{n}" for n in range(1, number) if number <= ITEMS_MAX]
    # Only what is surely in the same context or an earlier one may be depended on.
    earlier = [
        e for e in earlier if context is Context.ACCOUNT or not draws.chance(0.3, "account", e)
    ]
    depends = (
        (draws.pick(dict.fromkeys(earlier, 1.0), "depends on", name),)
        if earlier and draws.chance(0.3, "depends", name)
        else ()
    )
    faults: tuple[Fault, ...] = ()
    if draws.chance(0.45, "faulty", name):
        fault = draws.pick(_FAULT_KINDS, "fault", name)
        recovery = draws.pick({0.0: 2.0, 0.3: 1.0, 0.8: 1.0}, "recovery", name)
        faults = (Fault(kind=fault, chance=1, recovery=recovery),)
    is_app = kind is ItemKind.APP
    item = CatalogueItem(
        id=name,
        name=f"Item {number}",
        types=(enrollment_type,),
        context=context,
        required=draws.chance(0.8, "required", name),
        depends_on=depends,
        size_mb=200 * draws.uniform("size", name) if is_app else 0,
        time=Duration(median_s=20 + 400 * draws.uniform("time", name), spread=1.5),
        faults=faults,
        preinstalled=0.5 if is_app and draws.chance(0.2, "preinstalled", name) else 0,
        not_applicable=0.15 if draws.chance(0.2, "not applicable", name) else 0,
        soft_reboot=0.5 if draws.chance(0.4, "soft", name) else 0,
        hard_reboot=0.4 if draws.chance(0.3, "hard", name) else 0,
        install_limit_minutes=draws.pick({5: 1.0, 20: 2.0, 60: 2.0}, "limit", name),
        tries=draws.pick({1: 1.0, 2: 1.0, 3: 2.0}, "tries", name),
    )
    return kind, item


def _profile(draws: Draws, items: tuple[tuple[AssignedKind, CatalogueItem], ...]) -> EspProfile:
    def on(share: float, name: str) -> bool:
        return draws.chance(share, "profile", name)

    apps = tuple(item.id for kind, item in items if kind is ItemKind.APP)
    listed = tuple(app for app in apps if on(0.5, f"lists {app}"))
    return EspProfile(
        id="profile",
        name="Profile",
        timeout_minutes=draws.pick({10: 1.0, 30: 2.0, 60: 3.0}, "timeout"),
        device_setup=DeviceSetupSettings(
            show_progress=on(0.85, "device shown"), block_until_complete=on(0.8, "device blocks")
        ),
        account_setup=AccountSetupSettings(
            show_progress=on(0.8, "account shown"),
            block_until_complete=on(0.5, "account blocks"),
            allow_skip=on(0.5, "skip"),
        ),
        blocking_apps="all" if on(0.6, "all") else listed,
        error_handling=ErrorHandling(
            allow_retry=on(0.7, "retry"),
            allow_reset=on(0.8, "reset"),
            allow_continue=on(0.4, "continue"),
            allow_log_collection=on(0.5, "logs"),
        ),
    )


def _screens(draws: Draws) -> PersonScreens:
    return PersonScreens(
        **{name: draws.chance(0.4, "screen", name) for name in sorted(PersonScreens.model_fields)}
    )


def _steps(draws: Draws, variant: Variant) -> dict[str, Step]:
    """Now and then a step of the platform itself fails."""
    steps = {}
    for name in ("tpm_attestation", "mdm_enrollment", "enrolling_device", "controller_download"):
        if draws.chance(0.3, "step fails", name):
            fault = Fault(kind="step_failed", chance=1, recovery=draws.uniform("step", name))
            steps[name] = Step(faults=(fault,), variants=(variant,))
    return steps


def _person(draws: Draws) -> Person:
    archetype = draws.pick(
        {"patient": 2.0, "impatient": 2.0, "silent": 1.0, "returning": 2.0, "choosing": 4.0},
        "person",
    )
    match archetype:
        case "impatient":
            halt = {PersonAction.CANCEL: 0.1, PersonAction.POSTPONE: 0.1, PersonAction.CLOSE: 0.1}
            return Person(halt=halt, leaves_early=0.7, returns=0.3, returns_max=1)
        case "silent":
            return Person(silent=0.3, returns=0.5, returns_max=1)
        case "returning":
            halt = {PersonAction.CLOSE: 0.3, PersonAction.DECLINE_ALL: 0.5}
            return Person(halt=halt, returns=1, returns_max=2, return_after=Duration(median_s=600))
        case "choosing":
            habits = ErrorHabits(
                retries=int(2 * draws.uniform("retries")),
                retries_one_item=0.5,
                collects_logs=0.8,
                then={"continue_anyway": 1, "reset_device": 5, "skip_account_setup": 1},
            )
            return Person(error_screen=habits, leaves_early=0.5, resets_max=2)
        case _:
            slow = ScreenHabits(answer=Duration(median_s=60, spread=3))
            habits = ErrorHabits(retries=1, then={"reset_device": 2, "walk_away": 1})
            return Person(screens={"sign_in": slow}, error_screen=habits, resets_max=1)
