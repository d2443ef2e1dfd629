"""What a simulated world is made of, drawn from its seed: devices, people, items, profiles, rules and faults."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal
from uuid import UUID

from agent.core.events import HOUR_MS, MINUTE_MS, DeviceFacts, Hardware, Limits
from agent.core.flows import FLOWS
from agent.wire.assignment import (
    Admitted,
    ExitCode,
    InstallRules,
    PersonScreens,
    Requirements,
    Superseded,
    check_dependencies,
)
from agent.wire.profile import (
    AccountSetupSettings,
    DeviceSetupSettings,
    ErrorHandling,
    EspProfile,
    WindowsSettings,
)
from agent.wire.vocabulary import (
    Architecture,
    Context,
    EnrollmentType,
    ExitCodeMeaning,
    ItemKind,
    PersonAction,
    RestartBehavior,
    Variant,
)
from collector.admission import AdmissionRules
from simulator.draws import Draws
from simulator.habitat import Habitat
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
OWN_EXIT_CODE: Final = 4711
"""What some installers end with, and what administrators give a meaning."""
_REQUIREMENTS: Final = {
    "architecture": Requirements(architectures=(Architecture.X64,)),
    "system": Requirements(minimum_os="12"),
    "disk": Requirements(disk_mb=64_000),
    "memory": Requirements(memory_mb=8_000),
    "processors": Requirements(processors=4),
    "processor": Requirements(processor_mhz=2_000),
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


Items = tuple[tuple[AssignedKind, CatalogueItem], ...]


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
    impulses_per_hour: float
    """How often a person does something that nobody asked for; per device."""
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
    spread_ms = draws.pick({0: 2.0, MINUTE_MS: 1.0, 30 * MINUTE_MS: 2.0}, "starts within")
    return WorldPlan(
        seed=seed,
        devices=tuple(_device(seed, number, users, spread_ms) for number in range(1, count + 1)),
        rules=_rules(draws),
        faults=draw_faults(draws),
        safety_ms=int((low + (high - low) * draws.uniform("safety")) * HOUR_MS),
        commands_per_hour=draws.pick({0.0: 2.0, 2.0: 2.0, 8.0: 2.0, 40.0: 1.0}, "commands"),
        impulses_per_hour=draws.pick({0.0: 3.0, 2.0: 1.0, 20.0: 1.0}, "impulses"),
        draws=draws,
    )


def _rules(draws: Draws) -> AdmissionRules:
    types = dict.fromkeys(EnrollmentType, 1.0)
    too_old = draws.chance(0.1, "systems are too old")
    blocked = draws.chance(0.1, "a type is blocked")
    return AdmissionRules(
        device_limit=draws.pick({1: 1.5, 2: 2.0, 15: 3.0}, "device limit"),
        minimum_os={draws.pick(types, "too old"): "99"} if too_old else {},
        blocked_types=(draws.pick(types, "blocked"),) if blocked else (),
    )


def _device(seed: int, number: int, users: list[str], spread_ms: int) -> DevicePlan:
    device = f"device-{number}"
    draws = Draws(seed, device)
    enrollment_type, variant = draws.pick(dict.fromkeys(FLOWS, 1.0), "flow")
    platform, os_version = _SYSTEMS[enrollment_type]
    items = _items(draws, enrollment_type)
    facts = DeviceFacts(
        device=device,
        enrollment_type=enrollment_type,
        variant=variant,
        platform=platform,
        os_version=os_version,
        agent_version="1",
        user=draws.pick(dict.fromkeys(users, 1.0), "user"),
        manufacturer=draws.pick({"Samsung": 1.0, "Contoso": 1.0}, "manufacturer"),
        hardware=_hardware(draws),
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
            assignment_wait_ms=draws.pick(
                {2 * MINUTE_MS: 1.0, 60 * MINUTE_MS: 3.0}, "waits for the assignment"
            ),
            nobody_comes_back_ms=draws.pick(
                {20 * MINUTE_MS: 1.0, 3 * HOUR_MS: 1.0, 24 * HOUR_MS: 1.0}, "comes back"
            ),
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
    context = _context(draws, name)
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
        code = draws.pick({1603: 2.0, 1618: 1.0, OWN_EXIT_CODE: 1.0}, "fault code", name)
        exit_code = code if fault == "installer_failed" else None
        faults = (Fault(kind=fault, chance=1, recovery=recovery, exit_code=exit_code),)
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
        soft_reboot=0.5 if draws.chance(0.7, "soft", name) else 0,
        hard_reboot=0.5 if draws.chance(0.7, "hard", name) else 0,
        install_limit_minutes=draws.pick({5: 1.0, 20: 2.0, 60: 2.0}, "limit", name),
        tries=draws.pick({1: 1.0, 2: 1.0, 3: 2.0}, "tries", name),
        rules=_install_rules(draws, name, earlier) if is_app else None,
    )
    return kind, item


def _context(draws: Draws, name: str) -> Context:
    return Context.ACCOUNT if draws.chance(0.3, "account", name) else Context.DEVICE


def _items(draws: Draws, enrollment_type: EnrollmentType) -> Items:
    """The items with what they supersede, as far as an assignment may say so."""
    items = tuple(_item(draws, n, enrollment_type) for n in range(1, _count(draws) + 1))
    for number, (kind, item) in enumerate(items):
        if kind is ItemKind.APP and draws.chance(0.3, "supersedes", item.id):
            newer = (*items[:number], (kind, _superseding(draws, item)), *items[number + 1 :])
            items = newer if _is_sound(newer) else items
    return items


def _superseding(draws: Draws, item: CatalogueItem) -> CatalogueItem:
    """The same app as the successor of another one, which may not be assigned at all."""
    others = dict.fromkeys([f"item-{n}" for n in range(1, ITEMS_MAX + 1)], 1.0)
    old = Superseded(
        id=draws.pick(others, "older", item.id),
        uninstall=draws.chance(0.6, "removes the older", item.id),
    )
    rules = (item.rules or InstallRules()).model_copy(update={"supersedes": (old,)})
    return item.model_copy(update={"rules": rules})


def _is_sound(items: Items) -> bool:
    try:
        check_dependencies(tuple(assigned_item(kind, item, 60) for kind, item in items))
    except ValueError:
        return False
    return True


def _install_rules(draws: Draws, name: str, earlier: list[str]) -> InstallRules | None:
    """Rules as an administrator sets them for one app in three."""
    if not draws.chance(0.35, "rules", name):
        return None
    needs = draws.chance(0.2, "must be present", name)
    meaning = draws.pick(dict.fromkeys(ExitCodeMeaning, 1.0), "own exit code", name)
    return InstallRules(
        requirements=_requirements(draws, name),
        must_be_present=(draws.pick(dict.fromkeys([*earlier, "other"], 1.0), "present", name),)
        if needs
        else (),
        exit_codes=(ExitCode(code=OWN_EXIT_CODE, meaning=meaning),),
        restart=draws.pick(
            {
                RestartBehavior.BY_EXIT_CODE: 2.0,
                RestartBehavior.SUPPRESS: 1.0,
                RestartBehavior.ALWAYS: 1.0,
            },
            "restart",
            name,
        ),
    )


def _requirements(draws: Draws, name: str) -> Requirements:
    if not draws.chance(0.3, "requires", name):
        return Requirements()
    what = draws.pick(dict.fromkeys(_REQUIREMENTS, 1.0), "required thing", name)
    return _REQUIREMENTS[what]


def _hardware(draws: Draws) -> Hardware | None:
    """What the device is made of; some do not know."""
    if draws.chance(0.3, "hardware is unknown"):
        return None
    return Hardware(
        architecture=draws.pick({Architecture.X64: 2.0, Architecture.ARM64: 1.0}, "architecture"),
        disk_free_mb=draws.pick({8_000: 1.0, 200_000: 2.0}, "disk"),
        memory_mb=draws.pick({4_000: 1.0, 16_000: 2.0}, "memory"),
        processors=draws.pick({2: 1.0, 8: 2.0}, "processors"),
        processor_mhz=draws.pick({1_000: 1.0, 3_000: 2.0}, "processor"),
    )


def _profile(draws: Draws, items: Items) -> EspProfile:
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
            show_details=on(0.8, "details"),
        ),
        windows=WindowsSettings(
            only_out_of_box=on(0.2, "only out of box"),
            quality_updates=on(0.3, "quality updates"),
            technician_installs_all=on(0.4, "technician installs all"),
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
