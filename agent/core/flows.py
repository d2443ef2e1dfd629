"""What each platform does between power-on and desktop: the built-in steps and screens, in order, as data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from agent.wire.vocabulary import Context, EnrollmentType, FailureKind, Phase, Variant


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A step or person screen that the platform itself brings. One that is a person screen has its id in `PERSON_SCREENS`."""

    id: str
    name: str
    row: str
    row_title: str
    expected_s: int
    limit_min: int | None = None
    """The cap of one try."""
    tries: int = 3
    retry_pause_s: int | None = None
    """The same pause before every further try; None for the usual growing one."""
    when: str | None = None
    """The optional screen of `PersonScreens` that has to be configured for this to be there."""
    only_on: str | None = None
    """The maker whose devices alone have it."""
    opens_budget: bool = False
    """The context's time budget starts once this is done."""
    closes_budget: bool = False
    """The context's time budget is over once this starts: it runs after the page."""
    is_silent: bool = False
    """It runs without a row on the screen."""
    extends_budget_min: int = 0
    """How much longer the context may take because of this."""
    is_best_effort: bool = False
    """Its failure is reported and stops nothing."""
    wipes_on_failure: bool = False
    """The platform resets the device when it fails."""
    after_restart: bool = False
    """It waits until the restart that was put off to the end of the phase has happened."""
    failure: FailureKind = FailureKind.STEP_FAILED


@dataclass(frozen=True, slots=True)
class Together:
    """Steps that run side by side; what follows waits for all of them."""

    steps: tuple[BuiltIn, ...]


@dataclass(frozen=True, slots=True)
class Slot:
    """Where the assigned items of one context go; they run side by side."""

    context: Context


Block = BuiltIn | Together | Slot
Flow = dict[Phase, tuple[Block, ...]]

_DEVICE_ITEMS: Final = Slot(Context.DEVICE)
_ACCOUNT_ITEMS: Final = Slot(Context.ACCOUNT)

_PREPARATION: Final = Phase.DEVICE_PREPARATION
_DEVICE: Final = Phase.DEVICE_SETUP
_ACCOUNT: Final = Phase.ACCOUNT_SETUP

# Windows. Steps, order and which of them have no row: the out-of-box experience's own page; its policy providers:
# EnrollmentStatusTracking CSP; its variants: Microsoft Learn, "Windows Autopilot scenarios".

_SECURING: Final = ("securing_hardware", "Securing your hardware")
_JOINING: Final = ("joining_network", "Joining your organization's network")
_REGISTERING: Final = ("registering", "Registering your device for mobile management")
_PREPARING: Final = ("preparing", "Preparing your device for mobile management")
_ACCOUNT_JOINING: Final = ("account_joining", "Joining your organization's network")
_FINISHING: Final = ("finishing", "Finishing device setup")

# Attestation is capped at 7 minutes and then shows 0x800705B4.
_ATTESTATION: Final = BuiltIn(
    "tpm_attestation", "TPM attestation", *_SECURING, 20,
    limit_min=7, tries=1, failure=FailureKind.ATTESTATION_FAILED,
)  # fmt: skip
_ENTRA_JOIN: Final = BuiltIn("entra_join", "Microsoft Entra join", *_JOINING, 40, limit_min=15)
_DOMAIN_JOIN: Final = BuiltIn(
    "domain_join", "Active Directory domain join", *_JOINING, 120, limit_min=25
)
_MDM_ENROLLMENT: Final = BuiltIn(
    "mdm_enrollment", "Device management enrollment", *_REGISTERING, 60, limit_min=15
)
# A policy provider has 15 minutes by default; sync sessions are started beside it and waited for by nobody's row.
_PROVIDERS: Final = Together(
    (
        BuiltIn("policy_providers", "Policy providers", *_PREPARING, 90, limit_min=15),
        BuiltIn(
            "sync_sessions", "Device management sync", *_PREPARING, 10,
            limit_min=15, tries=1, is_silent=True, is_best_effort=True,
        ),
    )
)  # fmt: skip
_DEVICE_RESULTS: Final = BuiltIn(
    "device_results", "Results to device management", *_FINISHING, 2,
    limit_min=5, tries=1, is_silent=True, is_best_effort=True, after_restart=True,
)  # fmt: skip
_RESULTS_SAVED: Final = BuiltIn(
    "pre_provisioning_result", "Pre-provisioning result", *_FINISHING, 1,
    limit_min=5, is_silent=True, after_restart=True,
)  # fmt: skip
# The technician may take the time that it takes: the page has done its work.
_RESEAL: Final = BuiltIn(
    "reseal", "Reseal", *_FINISHING, 30, closes_budget=True, after_restart=True
)
# After the page, before the person gets in: 20 to 40 minutes, and never a reason to fail.
_QUALITY_UPDATES: Final = BuiltIn(
    "quality_updates", "Windows quality updates", "quality_updates", "Windows updates", 30 * 60,
    limit_min=120, tries=1, when="quality_updates", closes_budget=True, is_best_effort=True, after_restart=True,
)  # fmt: skip
_SIGN_IN: Final = BuiltIn("sign_in", "Sign in", *_ACCOUNT_JOINING, 60, opens_budget=True)
_REGISTRATION: Final = BuiltIn(
    "account_registration", "Account registration", *_ACCOUNT_JOINING, 30, limit_min=20
)
# A hybrid join waits for the directory to synchronize: the registration task is started anew every 4 minutes, and the
# page may run 40 minutes longer.
_HYBRID_REGISTRATION: Final = BuiltIn(
    "hybrid_registration", "Microsoft Entra registration", *_ACCOUNT_JOINING, 15 * 60,
    limit_min=4, tries=10, retry_pause_s=0, extends_budget_min=40,
)  # fmt: skip
_USER_TOKEN: Final = BuiltIn(
    "user_token", "User token", *_ACCOUNT_JOINING, 2, limit_min=5, is_silent=True
)
_ACCOUNT_RESULTS: Final = BuiltIn(
    "account_results", "Results to device management", *_ACCOUNT_JOINING, 2,
    limit_min=5, tries=1, is_silent=True, is_best_effort=True, after_restart=True,
)  # fmt: skip

_WINDOWS_DEVICE: Final = (_DEVICE_ITEMS, _DEVICE_RESULTS)

WINDOWS_AUTOPILOT: Final[Flow] = {
    _PREPARATION: (_ATTESTATION, _ENTRA_JOIN, _MDM_ENROLLMENT, _PROVIDERS),
    _DEVICE: (*_WINDOWS_DEVICE, _QUALITY_UPDATES),
    _ACCOUNT: (_SIGN_IN, _REGISTRATION, _USER_TOKEN, _ACCOUNT_ITEMS, _ACCOUNT_RESULTS),
}

WINDOWS_HYBRID_JOIN: Final[Flow] = {
    _PREPARATION: (_ATTESTATION, _DOMAIN_JOIN, _MDM_ENROLLMENT, _PROVIDERS),
    _DEVICE: (*_WINDOWS_DEVICE, _QUALITY_UPDATES),
    _ACCOUNT: (_SIGN_IN, _HYBRID_REGISTRATION, _USER_TOKEN, _ACCOUNT_ITEMS, _ACCOUNT_RESULTS),
}

WINDOWS_SELF_DEPLOYING: Final[Flow] = {
    _PREPARATION: (_ATTESTATION, _ENTRA_JOIN, _MDM_ENROLLMENT, _PROVIDERS),
    _DEVICE: (*_WINDOWS_DEVICE, _QUALITY_UPDATES),
    _ACCOUNT: (),
}

# The technician's part ends with resealing; the account part is the user's, often weeks later.
WINDOWS_PRE_PROVISIONED: Final[Flow] = {
    _PREPARATION: (_ATTESTATION, _ENTRA_JOIN, _MDM_ENROLLMENT, _PROVIDERS),
    _DEVICE: (*_WINDOWS_DEVICE, _RESULTS_SAVED, _RESEAL),
    _ACCOUNT: (
        _SIGN_IN,
        _REGISTRATION,
        _USER_TOKEN,
        _ACCOUNT_ITEMS,
        _ACCOUNT_RESULTS,
        _QUALITY_UPDATES,
    ),
}

WINDOWS_MANUAL: Final[Flow] = {
    _PREPARATION: (),
    _DEVICE: _WINDOWS_DEVICE,
    _ACCOUNT: (_ACCOUNT_ITEMS, _ACCOUNT_RESULTS),
}

# Apple's Automated Device Enrollment: the device fetches its profile, identifies itself, checks in and is then held
# in Setup Assistant until the server sends `DeviceConfigured` (Apple's device management protocol).

_REMOTE_MANAGEMENT: Final = ("remote_management", "Remote Management")
_AWAITING: Final = ("await_configuration", "Awaiting configuration")
_LOCAL_ACCOUNT: Final = ("local_account", "Your account")

_ADE_CHECK_IN: Final[tuple[Block, ...]] = (
    BuiltIn(
        "activation_record",
        "Activation record",
        *_REMOTE_MANAGEMENT,
        3,
        limit_min=10,
        is_silent=True,
    ),
    BuiltIn("remote_management", "Remote Management", *_REMOTE_MANAGEMENT, 30, opens_budget=True),
    # A server that wants a newer system answers this with com.apple.softwareupdate.required.
    BuiltIn("enrollment_profile", "Enrollment profile", *_REMOTE_MANAGEMENT, 15, limit_min=10),
    BuiltIn("device_identity", "Device identity", *_AWAITING, 5, limit_min=10),
    BuiltIn("device_check_in", "Device check-in", *_AWAITING, 15, limit_min=10),
)
_DEVICE_CONFIGURED: Final = BuiltIn(
    "await_configuration", "Device configured", *_FINISHING, 10, limit_min=15
)

MACOS_ADE: Final[Flow] = {
    _PREPARATION: _ADE_CHECK_IN,
    _DEVICE: (
        _DEVICE_ITEMS,
        # The account's settings and FileVault's have to be there before the device is let go: afterwards the one is
        # refused, and the other's pane does not appear.
        BuiltIn("account_configuration", "Account settings", *_FINISHING, 5, limit_min=10),
        _DEVICE_CONFIGURED,
    ),
    _ACCOUNT: (
        BuiltIn("create_account", "Create account", *_LOCAL_ACCOUNT, 90, opens_budget=True),
        BuiltIn("filevault", "FileVault", *_LOCAL_ACCOUNT, 20, limit_min=15),
        # It is escrowed when there is a user whose secure token vouches for it.
        BuiltIn("bootstrap_token", "Bootstrap token", *_LOCAL_ACCOUNT, 10, limit_min=10),
        _ACCOUNT_ITEMS,
    ),
}

IOS_ADE: Final[Flow] = {
    _PREPARATION: _ADE_CHECK_IN,
    _DEVICE: (_DEVICE_ITEMS, _DEVICE_CONFIGURED),
    _ACCOUNT: (
        BuiltIn("sign_in", "Sign in", *_LOCAL_ACCOUNT, 60, opens_budget=True),
        BuiltIn("device_registration", "Device registration", *_LOCAL_ACCOUNT, 20, limit_min=15),
        _ACCOUNT_ITEMS,
    ),
}

# Company Portal, on iOS and Android: the sections are those of the incomplete-enrollments report.

_CHECKLIST: Final = ("setup_checklist", "Setup checklist")
_TERMS: Final = ("terms_of_use", "Terms of use")
_PLATFORM: Final = ("platform_screens", "Platform screens")
_WRAP_UP: Final = ("setup_checklist_wrap_up", "Setup checklist")
_COMPLIANCE: Final = ("compliance_activation", "Compliance/Activation")

_ACCESS: Final[tuple[Block, ...]] = (
    BuiltIn("set_up_access", "Set up access", *_CHECKLIST, 15),
    BuiltIn("whats_next", "What's next", *_CHECKLIST, 10),
    BuiltIn("terms_of_use", "Terms of use", *_TERMS, 30, when="terms_of_use"),
)
_PORTAL_WRAP_UP: Final[tuple[Block, ...]] = (
    BuiltIn("open_company_portal", "Open Company Portal", *_WRAP_UP, 10),
    BuiltIn("enrolling_device", "Enrolling device", *_WRAP_UP, 50, limit_min=30),
    BuiltIn("loading_company_resources", "Loading company resources", *_WRAP_UP, 15, limit_min=30),
    BuiltIn("device_category", "Device category", *_WRAP_UP, 10, when="device_category"),
    _DEVICE_ITEMS,
)
_PORTAL_ACCOUNT: Final[tuple[Block, ...]] = (
    BuiltIn("compliance", "Device settings", *_COMPLIANCE, 20, when="compliance"),
    BuiltIn(
        "compliance_check", "Compliance check", *_COMPLIANCE, 20, limit_min=30, when="compliance"
    ),
    BuiltIn("activation", "Activation", *_COMPLIANCE, 15, when="activation"),
    BuiltIn(
        "activation_check", "Activation check", *_COMPLIANCE, 15, limit_min=30, when="activation"
    ),
    _ACCOUNT_ITEMS,
)

IOS_COMPANY_PORTAL: Final[Flow] = {
    _PREPARATION: (
        *_ACCESS,
        BuiltIn("show_profile", "Show profile", *_PLATFORM, 5),
        BuiltIn("download_profile", "Download profile", *_PLATFORM, 5, limit_min=8),
        BuiltIn("install_profile", "Install profile", *_PLATFORM, 25),
        BuiltIn("trust_profile", "Trust profile", *_PLATFORM, 5),
        BuiltIn("profile_installation", "Installing profile", *_PLATFORM, 10, limit_min=8),
    ),
    _DEVICE: _PORTAL_WRAP_UP,
    _ACCOUNT: _PORTAL_ACCOUNT,
}

ANDROID_WORK_PROFILE: Final[Flow] = {
    _PREPARATION: (
        *_ACCESS,
        BuiltIn("create_work_profile", "Create work profile", *_PLATFORM, 15),
        BuiltIn("work_profile_setup", "Setting up work profile", *_PLATFORM, 225, limit_min=15),
    ),
    _DEVICE: _PORTAL_WRAP_UP,
    _ACCOUNT: _PORTAL_ACCOUNT,
}

ANDROID_DEVICE_ADMINISTRATOR: Final[Flow] = {
    _PREPARATION: (
        *_ACCESS,
        BuiltIn("phone_permission", "Phone permission", *_PLATFORM, 5),
        BuiltIn("device_administrator", "Device administrator", *_PLATFORM, 10),
        BuiltIn("knox_activation", "Samsung Knox", *_PLATFORM, 10, only_on="samsung"),
    ),
    _DEVICE: _PORTAL_WRAP_UP,
    _ACCOUNT: _PORTAL_ACCOUNT,
}

# Android's own provisioning of a device that the organization owns. Whatever fails once its controller is being put on
# resets the device, and so does a device that gets no policy within 5 minutes (Android Management API).

_PROVISIONING: Final = ("provisioning", "Setting up your work device")
_WORK_ACCOUNT: Final = ("work_account", "Your work account")

_PROVISION: Final[tuple[Block, ...]] = (
    BuiltIn("enrollment_token", "Enrollment token", *_PROVISIONING, 40, opens_budget=True),
    BuiltIn(
        "controller_download", "Android Device Policy", *_PROVISIONING, 25,
        limit_min=15, wipes_on_failure=True, failure=FailureKind.DOWNLOAD_FAILED,
    ),
    BuiltIn("device_terms", "Device terms", *_PROVISIONING, 20),
    BuiltIn(
        "device_owner", "Work device setup", *_PROVISIONING, 30,
        limit_min=15, wipes_on_failure=True,
    ),
    BuiltIn(
        "first_policy", "First policy", *_PROVISIONING, 15,
        limit_min=5, tries=1, wipes_on_failure=True, failure=FailureKind.NO_POLICY,
    ),
)  # fmt: skip

ANDROID_FULLY_MANAGED: Final[Flow] = {
    _PREPARATION: _PROVISION,
    _DEVICE: (
        _DEVICE_ITEMS,
        BuiltIn("setup_action", "Setup app", *_FINISHING, 40, when="setup_action"),
    ),
    _ACCOUNT: (
        BuiltIn("sign_in", "Sign in", *_WORK_ACCOUNT, 60, opens_budget=True),
        BuiltIn("device_registration", "Device registration", *_WORK_ACCOUNT, 20, limit_min=15),
        _ACCOUNT_ITEMS,
    ),
}

ANDROID_DEDICATED: Final[Flow] = {
    _PREPARATION: _PROVISION,
    _DEVICE: (
        _DEVICE_ITEMS,
        BuiltIn("kiosk", "Kiosk mode", *_FINISHING, 10, limit_min=10),
    ),
    _ACCOUNT: (),
}

FLOWS: Final[dict[tuple[EnrollmentType, Variant], Flow]] = {
    (EnrollmentType.WINDOWS_AUTOPILOT, Variant.STANDARD): WINDOWS_AUTOPILOT,
    (EnrollmentType.WINDOWS_AUTOPILOT, Variant.HYBRID_JOIN): WINDOWS_HYBRID_JOIN,
    (EnrollmentType.WINDOWS_AUTOPILOT, Variant.SELF_DEPLOYING): WINDOWS_SELF_DEPLOYING,
    (EnrollmentType.WINDOWS_AUTOPILOT, Variant.PRE_PROVISIONED): WINDOWS_PRE_PROVISIONED,
    (EnrollmentType.WINDOWS_MANUAL, Variant.STANDARD): WINDOWS_MANUAL,
    (EnrollmentType.MACOS_ADE, Variant.STANDARD): MACOS_ADE,
    (EnrollmentType.IOS, Variant.STANDARD): IOS_COMPANY_PORTAL,
    (EnrollmentType.IOS, Variant.AUTOMATED): IOS_ADE,
    (EnrollmentType.ANDROID_ENTERPRISE, Variant.STANDARD): ANDROID_WORK_PROFILE,
    (EnrollmentType.ANDROID_ENTERPRISE, Variant.FULLY_MANAGED): ANDROID_FULLY_MANAGED,
    (EnrollmentType.ANDROID_ENTERPRISE, Variant.DEDICATED): ANDROID_DEDICATED,
    (EnrollmentType.ANDROID_ENTERPRISE, Variant.DEVICE_ADMINISTRATOR): ANDROID_DEVICE_ADMINISTRATOR,
}


def flow_of(enrollment_type: EnrollmentType, variant: Variant = Variant.STANDARD) -> Flow:
    """The flow of an enrollment type.

    Raises:
        ValueError: the type has no such variant.
    """
    try:
        return FLOWS[enrollment_type, variant]
    except KeyError:
        known = ", ".join(v.value for t, v in FLOWS if t is enrollment_type)
        raise ValueError(
            f"{enrollment_type.value} has no variant '{variant.value}'; choose one of: {known}"
        ) from None


def steps_of(block: Block) -> tuple[BuiltIn, ...]:
    """The built-in steps of a block."""
    match block:
        case BuiltIn():
            return (block,)
        case Together(steps):
            return steps
        case Slot():
            return ()


def contexts_of(flow: Flow) -> frozenset[Context]:
    """Whose items this flow has a place for."""
    return frozenset(b.context for blocks in flow.values() for b in blocks if isinstance(b, Slot))


BUILT_IN_STEPS: Final[dict[str, BuiltIn]] = {
    step.id: step
    for flow in FLOWS.values()
    for blocks in flow.values()
    for block in blocks
    for step in steps_of(block)
}
"""Every built-in step and screen by id."""


@dataclass(frozen=True, slots=True)
class Expiry:
    """A time within which something has to be used, or the platform takes it away and the person begins again."""

    opens: str
    """It runs from the end of this item."""
    closes: str
    """To the end of this one."""
    limit_min: int
    again: tuple[str, ...]
    """What has to be done anew when it has passed."""
    note: str
    """What the person is told then."""


EXPIRIES: Final[tuple[Expiry, ...]] = (
    # Intune's user help: a management profile that is not installed within 8 minutes of its download is removed.
    Expiry(
        "download_profile",
        "profile_installation",
        8,
        (
            "show_profile",
            "download_profile",
            "install_profile",
            "trust_profile",
            "profile_installation",
        ),
        "The management profile was not installed within 8 minutes, so this device removed it. Please download it again.",
    ),
)


def described(flow: Flow) -> Iterator[tuple[str, str, str, str]]:
    """A flow in words: phase, row, what runs, and what is particular about it."""
    for phase, blocks in flow.items():
        for block in blocks:
            if isinstance(block, Slot):
                rows = "Security policies, Certificates, Network connections, Apps"
                yield phase.label, rows, f"assigned {block.context.value} items", "side by side"
            for step in steps_of(block):
                row = "no row" if step.is_silent else step.row_title
                yield phase.label, row, step.name, "; ".join(_particulars(step, block))


def _particulars(step: BuiltIn, block: Block) -> Iterator[str]:
    if isinstance(block, Together) and step is not block.steps[0]:
        yield f"beside {block.steps[0].name}"
    if step.when is not None:
        yield "where an administrator asks for it"
    if step.only_on is not None:
        yield f"on {step.only_on.capitalize()} devices only"
    if step.limit_min is None:
        yield "waits for a person"
    else:
        tries = "1 try" if step.tries == 1 else f"{step.tries} tries"
        yield f"{tries} of at most {step.limit_min} min"
    if step.extends_budget_min:
        yield f"{step.extends_budget_min} min more for the whole phase"
    for applies, words in (
        (step.opens_budget, "then the time limit begins to run"),
        (step.closes_budget, "the time limit no longer runs"),
        (step.after_restart, "after a restart that was put off"),
        (step.is_best_effort, "its failure stops nothing"),
        (step.wipes_on_failure, "its failure resets the device"),
    ):
        if applies:
            yield words
