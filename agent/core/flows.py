"""What each platform does between power-on and desktop: the built-in steps and screens, in order, as data."""

from __future__ import annotations

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
    tries: int = 3
    when: str | None = None
    """The optional screen of `PersonScreens` that has to be configured for this to be there."""
    opens_budget: bool = False
    failure: FailureKind = FailureKind.STEP_FAILED


@dataclass(frozen=True, slots=True)
class Slot:
    """Where the assigned items of one context go; they run side by side."""

    context: Context


Block = BuiltIn | Slot
Flow = dict[Phase, tuple[Block, ...]]

_DEVICE_ITEMS: Final = Slot(Context.DEVICE)
_ACCOUNT_ITEMS: Final = Slot(Context.ACCOUNT)

_PREPARATION: Final = Phase.DEVICE_PREPARATION
_DEVICE: Final = Phase.DEVICE_SETUP
_ACCOUNT: Final = Phase.ACCOUNT_SETUP

_SIGN_IN: Final = BuiltIn(
    "sign_in",
    "Sign in",
    "account_joining",
    "Joining your organization's network",
    60,
    opens_budget=True,
)

WINDOWS_AUTOPILOT: Final[Flow] = {
    _PREPARATION: (
        # Attestation is capped at 7 minutes and then shows 0x800705B4.
        BuiltIn(
            "tpm_attestation", "TPM attestation", "securing_hardware", "Securing your hardware",
            20, limit_min=7, tries=1, failure=FailureKind.ATTESTATION_FAILED,
        ),
        BuiltIn(
            "entra_join", "Microsoft Entra join",
            "joining_network", "Joining your organization's network", 40, limit_min=15,
        ),
        BuiltIn(
            "mdm_enrollment", "Device management enrollment",
            "registering", "Registering your device for mobile management", 60, limit_min=15,
        ),
        # A policy provider has 15 minutes by default.
        BuiltIn(
            "policy_providers", "Policy providers",
            "preparing", "Preparing your device for mobile management", 90, limit_min=15,
        ),
    ),
    _DEVICE: (_DEVICE_ITEMS,),
    _ACCOUNT: (
        _SIGN_IN,
        BuiltIn(
            "account_registration", "Account registration",
            "account_joining", "Joining your organization's network", 30, limit_min=20,
        ),
        _ACCOUNT_ITEMS,
    ),
}  # fmt: skip

WINDOWS_MANUAL: Final[Flow] = {
    _PREPARATION: (),
    _DEVICE: (_DEVICE_ITEMS,),
    _ACCOUNT: (_ACCOUNT_ITEMS,),
}

MACOS_ADE: Final[Flow] = {
    _PREPARATION: (
        BuiltIn(
            "remote_management", "Remote Management", "remote_management", "Remote Management",
            30, opens_budget=True,
        ),
        BuiltIn(
            "enrollment_profile", "Enrollment profile", "remote_management", "Remote Management",
            20, limit_min=10,
        ),
        BuiltIn(
            "device_check_in", "Device check-in", "await_configuration", "Awaiting configuration",
            15, limit_min=10,
        ),
    ),
    _DEVICE: (
        _DEVICE_ITEMS,
        BuiltIn(
            "bootstrap_token", "Bootstrap token", "finishing", "Finishing device setup", 10, limit_min=10
        ),
        BuiltIn(
            "await_configuration", "Device configured", "finishing", "Finishing device setup",
            10, limit_min=15,
        ),
    ),
    _ACCOUNT: (
        BuiltIn(
            "create_account", "Create account", "local_account", "Your account", 90, opens_budget=True
        ),
        BuiltIn("filevault", "FileVault", "local_account", "Your account", 20, limit_min=15),
        _ACCOUNT_ITEMS,
    ),
}  # fmt: skip

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
    BuiltIn("enrolling_device", "Enrolling device", *_WRAP_UP, 25, limit_min=30),
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

IOS: Final[Flow] = {
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
        BuiltIn("work_profile_setup", "Setting up work profile", *_PLATFORM, 60, limit_min=15),
    ),
    _DEVICE: _PORTAL_WRAP_UP,
    _ACCOUNT: _PORTAL_ACCOUNT,
}

ANDROID_DEVICE_ADMINISTRATOR: Final[Flow] = {
    _PREPARATION: (
        *_ACCESS,
        BuiltIn("phone_permission", "Phone permission", *_PLATFORM, 5),
        BuiltIn("device_administrator", "Device administrator", *_PLATFORM, 10),
        BuiltIn("knox_activation", "Samsung Knox", *_PLATFORM, 10),
    ),
    _DEVICE: _PORTAL_WRAP_UP,
    _ACCOUNT: _PORTAL_ACCOUNT,
}

FLOWS: Final[dict[tuple[EnrollmentType, Variant], Flow]] = {
    (EnrollmentType.WINDOWS_AUTOPILOT, Variant.STANDARD): WINDOWS_AUTOPILOT,
    (EnrollmentType.WINDOWS_MANUAL, Variant.STANDARD): WINDOWS_MANUAL,
    (EnrollmentType.MACOS_ADE, Variant.STANDARD): MACOS_ADE,
    (EnrollmentType.IOS, Variant.STANDARD): IOS,
    (EnrollmentType.ANDROID_ENTERPRISE, Variant.STANDARD): ANDROID_WORK_PROFILE,
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


BUILT_IN_STEPS: Final[dict[str, BuiltIn]] = {
    block.id: block
    for flow in FLOWS.values()
    for blocks in flow.values()
    for block in blocks
    if isinstance(block, BuiltIn)
}
"""Every built-in step and screen by id."""
