"""Moments of enrollments that the real machine has lived through: what the page draws for each way of enrolling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from agent.core import effects as do
from agent.core.events import (
    CommandReceived,
    Hardware,
    LogsCollected,
    StepFinished,
    StepMoved,
    StepResult,
)
from agent.wire.assignment import (
    AssignedItem,
    InstallRules,
    PersonScreens,
    Requirements,
    Superseded,
)
from agent.wire.messages import ExtendTimeout
from agent.wire.profile import AccountSetupSettings, DeviceSetupSettings, WindowsSettings
from agent.wire.progress import Progress
from agent.wire.vocabulary import (
    Choice,
    Context,
    EnrollmentType,
    ItemKind,
    ItemState,
    PersonAction,
    Variant,
)
from tests.agent.core.script import Script, fails_with, hangs
from tests.agent.screen.examples import MESSAGE

AUTOPILOT: Final = EnrollmentType.WINDOWS_AUTOPILOT
IOS: Final = EnrollmentType.IOS
ANDROID: Final = EnrollmentType.ANDROID_ENTERPRISE

POLICY: Final = AssignedItem(
    id="baseline", name="Security baseline", kind=ItemKind.POLICY, expected_seconds=30
)
ROOT: Final = AssignedItem(
    id="root", name="Contoso Root CA", kind=ItemKind.CERTIFICATE, expected_seconds=10
)
OFFICE: Final = AssignedItem(id="office", name="Microsoft 365 Apps", expected_seconds=600)
PORTAL: Final = AssignedItem(id="portal", name="Company Portal", expected_seconds=60)
VPN: Final = AssignedItem(id="vpn", name="VPN Client", expected_seconds=120, depends_on=("portal",))
READER: Final = AssignedItem(id="reader", name="Adobe Acrobat Reader", required=False)
TEAMS: Final = AssignedItem(
    id="teams", name="Microsoft Teams", context=Context.ACCOUNT, expected_seconds=90
)
ITEMS: Final = (POLICY, ROOT, OFFICE, PORTAL, VPN, READER, TEAMS)
PHONE_ITEMS: Final = (
    POLICY,
    AssignedItem(id="outlook", name="Outlook", expected_seconds=60),
    AssignedItem(id="mobile_vpn", name="VPN Client", expected_seconds=60),
    TEAMS,
)
SCREENS: Final = PersonScreens(
    terms_of_use=True, device_category=True, activation=True, setup_action=True
)
BLOCKED: Final = AccountSetupSettings(block_until_complete=True)
LAPTOP: Final = Hardware(memory_mb=4_096, disk_free_mb=50_000)


def story(
    kind: EnrollmentType = AUTOPILOT, variant: Variant = Variant.STANDARD, **settings: Any
) -> Script:
    """A device of one kind whose organization has a message."""
    phone = kind in (IOS, ANDROID)
    given: dict[str, Any] = {
        "items": PHONE_ITEMS if phone else ITEMS,
        "screens": SCREENS,
        "custom_message": MESSAGE,
        "account_setup": BLOCKED,
    }
    told = Script(kind, variant=variant, **(given | settings))
    user = None if variant in (Variant.SELF_DEPLOYING, Variant.DEDICATED) else told.facts.user
    told.facts = replace(told.facts, user=user)
    told.admitted = told.admitted.model_copy(update={"user": user, "organization": "Contoso"})
    return told


def seen(told: Script, after_s: int = 5) -> Progress:
    """What the page shows some seconds from now."""
    return told.machine.progress_after(told.now_ms - told.inputs[-1][1] + after_s * 1_000)


def at(item: str, told: Script, *, after_min: float = 0.5) -> Progress:
    """The moment some time after an item was asked or run."""
    told.behave(item, hangs).begin().assign().play(stop_at=item).wait(after_min)
    return seen(told, 12)


def moving(
    item: str,
    percent: int,
    told: Script,
    state: ItemState = ItemState.INSTALLING,
    after_min: float = 1,
) -> Progress:
    """The moment shortly after a running item has said how far it is."""
    told.behave(item, hangs).begin().assign().play()
    run = next(s.run for s in reversed(told.of(do.RunStep)) if s.item == item)
    told.wait(after_min).feed(StepMoved(item=item, run=run, state=state, percent=percent))
    return seen(told, 8)


def played(told: Script, after_min: float = 0) -> Progress:
    """The moment in which nothing more happens by itself."""
    return seen(told.begin().assign().play().wait(after_min))


# Windows.


def hybrid_registration() -> Progress:
    """The directory has not synchronized yet: the third of ten tries."""
    return at("hybrid_registration", story(AUTOPILOT, Variant.HYBRID_JOIN), after_min=9)


def pre_provisioning_failed() -> Progress:
    """A technician reads why; there is nothing to choose."""
    told = story(AUTOPILOT, Variant.PRE_PROVISIONED).behave("vpn", fails_with(1603))
    return played(told)


def quality_updates() -> Progress:
    """Windows updates itself after setup, before the person gets in."""
    told = story(
        windows=WindowsSettings(quality_updates=True), account_setup=AccountSetupSettings()
    )
    return moving("quality_updates", 35, told, after_min=11)


def left_out() -> Progress:
    """Apps that this device can't take, that a newer one replaces, and that come after setup."""
    studio = AssignedItem(
        id="studio",
        name="Design Studio",
        rules=InstallRules(requirements=Requirements(memory_mb=8_192)),
    )
    newer = AssignedItem(
        id="portal5",
        name="Company Portal 5",
        expected_seconds=60,
        rules=InstallRules(supersedes=(Superseded(id="portal"),)),
    )
    newest = AssignedItem(
        id="plant",
        name="Plant Maintenance",
        rules=InstallRules(requirements=Requirements(minimum_os="10.0.26100")),
    )
    told = story(items=(POLICY, studio, newest, PORTAL, newer, OFFICE, READER), hardware=LAPTOP)
    return moving("office", 40, told, ItemState.DOWNLOADING)


def dependency_not_meant() -> Progress:
    """An app needs another one that this device can't take, and a second needs one that nobody sets up."""
    studio = AssignedItem(
        id="studio",
        name="Design Studio",
        rules=InstallRules(requirements=Requirements(memory_mb=8_192)),
    )
    plugin = AssignedItem(id="plugin", name="Studio Plug-in", depends_on=("studio",))
    agent = AssignedItem(
        id="print",
        name="Print Agent",
        rules=InstallRules(must_be_present=("reader",)),
    )
    return played(story(items=(PORTAL, studio, plugin, agent, READER), hardware=LAPTOP))


def dependency_awaited() -> Progress:
    """The same where device setup does not block: the list alone says why."""
    agent = AssignedItem(
        id="print",
        name="Print Agent",
        rules=InstallRules(must_be_present=("reader",)),
    )
    told = story(
        items=(PORTAL, agent, OFFICE, READER),
        device_setup=DeviceSetupSettings(block_until_complete=False),
    )
    return moving("office", 30, told)


def extended() -> Progress:
    """A help desk gave device setup an hour more."""
    told = story().behave("office", hangs).begin().assign().play().wait(55)
    extend = ExtendTimeout(context=Context.DEVICE, minutes=60)
    told.feed(CommandReceived(command=told.command(extend)))
    run = next(s.run for s in reversed(told.of(do.RunStep)) if s.item == "office")
    told.feed(StepMoved(item="office", run=run, state=ItemState.INSTALLING, percent=80))
    return seen(told, 3)


def tried_again() -> Progress:
    """Another installer was running: the next try comes in five minutes."""
    told = story().behave("office", fails_with(1618)).begin().assign().play(stop_at="office")
    run = next(s.run for s in reversed(told.of(do.RunStep)) if s.item == "office")
    told.wait(1).feed(
        StepFinished(
            item="office", run=run, result=StepResult.COMPLETED, exit_code=1618, detected=False
        )
    )
    return seen(told, 20)


def logs(problem: str = "") -> Progress:
    """The error screen after logs were asked for."""
    told = story().behave("vpn", fails_with(1603)).begin().assign().play()
    told.choose(Choice.COLLECT_LOGS)
    path = "" if problem else "/var/lib/esp-agent/logs/DESKTOP-NEW001-20261121T082640Z.zip"
    told.feed(LogsCollected(path=path, problem=problem))
    return seen(told, 4)


def nearly_done() -> Progress:
    """Most is done, so that the remaining time is a narrow range."""
    return moving("vpn", 50, story(account_setup=AccountSetupSettings()))


# Apple.


def profile_again() -> Progress:
    """The downloaded profile was not installed in time."""
    told = story(IOS).begin().assign().play(stop_at="install_profile").wait(8.2)
    return seen(told)


# Android.


def no_policy() -> Progress:
    """No policy within five minutes: the platform resets the device."""
    told = story(ANDROID, Variant.FULLY_MANAGED).behave("first_policy", hangs)
    return played(told, after_min=5.1)


def declined() -> Progress:
    """A person goes away from a screen that has no limit of its own."""
    told = story(EnrollmentType.MACOS_ADE).begin().assign().play(stop_at="remote_management")
    told.wait(1).act("remote_management", PersonAction.CANCEL)
    return seen(told)


def _moment(
    item: str,
    kind: EnrollmentType,
    variant: Variant = Variant.STANDARD,
    after_min: float = 0.5,
    **settings: Any,
) -> Callable[[], Progress]:
    return lambda: at(item, story(kind, variant, **settings), after_min=after_min)


MAC: Final = EnrollmentType.MACOS_ADE

MOMENTS: Final[Mapping[str, Callable[[], Progress]]] = {
    "autopilot-left-out": left_out,
    "autopilot-dependencies": dependency_not_meant,
    "autopilot-dependency-awaited": dependency_awaited,
    "autopilot-extended": extended,
    "autopilot-tried-again": tried_again,
    "autopilot-nearly-done": nearly_done,
    "autopilot-logs-collected": logs,
    "autopilot-logs-not-collected": lambda: logs("the disk is full; make room, then collect again"),
    "autopilot-quality-updates": quality_updates,
    "autopilot-sign-in": _moment("sign_in", AUTOPILOT, after_min=3),
    "manual-apps": lambda: moving("office", 25, story(EnrollmentType.WINDOWS_MANUAL)),
    "hybrid-domain-join": _moment("domain_join", AUTOPILOT, Variant.HYBRID_JOIN),
    "hybrid-registration": hybrid_registration,
    "self-deploying-attestation": _moment("tpm_attestation", AUTOPILOT, Variant.SELF_DEPLOYING),
    "self-deploying-apps": lambda: moving("vpn", 60, story(AUTOPILOT, Variant.SELF_DEPLOYING)),
    "pre-provisioning-apps": lambda: moving(
        "office", 15, story(AUTOPILOT, Variant.PRE_PROVISIONED)
    ),
    "pre-provisioning-reseal": _moment("reseal", AUTOPILOT, Variant.PRE_PROVISIONED, after_min=4),
    "pre-provisioning-failed": pre_provisioning_failed,
    "macos-remote-management": _moment("remote_management", MAC),
    "macos-configured": _moment("await_configuration", MAC),
    "macos-create-account": _moment("create_account", MAC),
    "macos-declined": declined,
    "ios-ade-remote-management": _moment("remote_management", IOS, Variant.AUTOMATED),
    "ios-ade-configured": _moment("await_configuration", IOS, Variant.AUTOMATED),
    "ios-profile-again": profile_again,
    "fully-managed-token": _moment("enrollment_token", ANDROID, Variant.FULLY_MANAGED),
    "fully-managed-terms": _moment("device_terms", ANDROID, Variant.FULLY_MANAGED),
    "fully-managed-setup-app": _moment("setup_action", ANDROID, Variant.FULLY_MANAGED),
    "fully-managed-no-policy": no_policy,
    "dedicated-first-policy": _moment("first_policy", ANDROID, Variant.DEDICATED, after_min=1),
    "dedicated-kiosk": _moment("kiosk", ANDROID, Variant.DEDICATED),
    "knox": _moment(
        "knox_activation",
        ANDROID,
        Variant.DEVICE_ADMINISTRATOR,
        manufacturer="Samsung",
    ),
}
"""Every moment by name."""
