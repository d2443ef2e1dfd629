"""The screens that wait for a person, and the nineteen ways of the incomplete-enrollments report to end on one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from agent.core.events import MINUTE_MS
from agent.wire.vocabulary import EnrollmentType, PersonAction, Section

SPAN_LIMIT_MS: Final = 30 * MINUTE_MS
"""The report's "more than 30 minutes", over a row's whole span, machine time included."""

_IOS: Final = frozenset({EnrollmentType.IOS})
_ANDROID: Final = frozenset({EnrollmentType.ANDROID_ENTERPRISE})
_BOTH: Final = _IOS | _ANDROID


@dataclass(frozen=True, slots=True)
class AbandonmentRow:
    """One row of the report's four tables.

    `action` None means that the time ran out between the start of item `start` and the end of item `end`.
    """

    id: str
    section: Section
    action_name: str
    platforms: frozenset[EnrollmentType]
    action: PersonAction | None
    start: str
    end: str


def _halt(
    row: str,
    section: Section,
    name: str,
    platforms: frozenset[EnrollmentType],
    action: PersonAction,
    item: str,
) -> AbandonmentRow:
    return AbandonmentRow(row, section, name, platforms, action, item, item)


def _span(
    row: str,
    section: Section,
    name: str,
    platforms: frozenset[EnrollmentType],
    start: str,
    end: str,
) -> AbandonmentRow:
    return AbandonmentRow(row, section, name, platforms, None, start, end)


_CHECKLIST = Section.SETUP_CHECKLIST
_PLATFORM = Section.PLATFORM_SCREENS
_TERMS = Section.TERMS_OF_USE
_COMPLIANCE = Section.COMPLIANCE_ACTIVATION

# fmt: off
ABANDONMENT_ROWS: Final[tuple[AbandonmentRow, ...]] = (
    _halt("wrap-up-cancel", _CHECKLIST, "EnrollmentWrapUp", _BOTH, PersonAction.CANCEL, "open_company_portal"),
    _span("wrap-up-time", _CHECKLIST, "EnrollmentWrapUp", _BOTH, "enrolling_device", "loading_company_resources"),
    _span("device-category-time", _CHECKLIST, "DeviceCategory", _BOTH, "device_category", "device_category"),
    _halt("wizard-postpone", _CHECKLIST, "PreEnrollmentWizard", _BOTH, PersonAction.POSTPONE, "set_up_access"),
    _span("wizard-time", _CHECKLIST, "PreEnrollmentWizard", _BOTH, "set_up_access", "whats_next"),
    _halt("profile-ignore", _PLATFORM, "iOSProfileLaunch", _IOS, PersonAction.IGNORE, "show_profile"),
    _halt("profile-install-cancel", _PLATFORM, "iOSProfileLaunch", _IOS, PersonAction.CANCEL, "install_profile"),
    _halt("profile-trust-cancel", _PLATFORM, "iOSProfileLaunch", _IOS, PersonAction.CANCEL, "trust_profile"),
    _span("profile-time", _PLATFORM, "iOSProfileLaunch", _IOS, "install_profile", "profile_installation"),
    _halt("permissions-cancel", _PLATFORM, "AndroidPermissions", _ANDROID, PersonAction.CANCEL, "device_administrator"),
    _span("permissions-time", _PLATFORM, "AndroidPermissions", _ANDROID, "phone_permission", "device_administrator"),
    _halt("knox-cancel", _PLATFORM, "KnoxActivation", _ANDROID, PersonAction.CANCEL, "knox_activation"),
    _span("knox-time", _PLATFORM, "KnoxActivation", _ANDROID, "knox_activation", "knox_activation"),
    _halt("terms-decline", _TERMS, "TermsofUse", _BOTH, PersonAction.DECLINE_ALL, "terms_of_use"),
    _span("terms-time", _TERMS, "TermsofUse", _BOTH, "terms_of_use", "terms_of_use"),
    _halt("compliance-postpone", _COMPLIANCE, "Compliance", _BOTH, PersonAction.POSTPONE, "compliance"),
    _span("compliance-time", _COMPLIANCE, "Compliance", _BOTH, "compliance", "compliance_check"),
    _halt("activation-postpone", _COMPLIANCE, "Activation", _BOTH, PersonAction.POSTPONE, "activation"),
    # The report prints "Compliance" as the action name of this row too.
    _span("activation-time", _COMPLIANCE, "Compliance", _BOTH, "activation", "activation_check"),
)
# fmt: on


@dataclass(frozen=True, slots=True)
class PersonScreen:
    """A screen that waits for a person.

    A screen with a section belongs to the Company Portal: it may be closed, and 30 minutes of silence end the
    attempt under its action name. One without may wait as long as nobody comes back to an error screen.
    """

    id: str
    title: str
    text: str
    proceed: str
    section: Section | None = None
    action_name: str | None = None
    halts: tuple[PersonAction, ...] = ()


def _portal(
    item: str, section: Section, name: str, title: str, text: str, proceed: str
) -> PersonScreen:
    halts = [r.action for r in ABANDONMENT_ROWS if r.action is not None and r.start == item]
    return PersonScreen(item, title, text, proceed, section, name, (*halts, PersonAction.CLOSE))


_SCREENS: Final = (
    PersonScreen(
        "sign_in",
        "Sign in",
        "Sign in with your work or school account. Your own settings and apps are set up next.",
        "I have signed in",
    ),
    PersonScreen(
        "remote_management",
        "Remote Management",
        "Your organization manages this device. Enroll to receive its settings and apps.",
        "Enroll",
        halts=(PersonAction.CANCEL,),
    ),
    PersonScreen(
        "create_account",
        "Create your account",
        "Choose the name and password that you will use on this Mac.",
        "Create account",
    ),
    PersonScreen(
        "reseal",
        "Ready for its user",
        "Everything that could be set up beforehand is in place. Reseal the device and hand it over.",
        "Reseal",
    ),
    PersonScreen(
        "enrollment_token",
        "Enroll this device",
        "Scan the QR code that your organization gave you, or enter its enrollment token.",
        "I have scanned it",
    ),
    PersonScreen(
        "device_terms",
        "This device belongs to your organization",
        "Your organization sees and manages everything on it. Accept to go on with setup.",
        "Accept and continue",
    ),
    PersonScreen(
        "setup_action",
        "Finish in the setup app",
        "An app of your organization opens now. Follow its steps and come back here.",
        "Done",
    ),
    _portal(
        "set_up_access", _CHECKLIST, "PreEnrollmentWizard", "Set up access",
        "Let's set up this device so that you can reach your work mail, files and apps.", "Begin",
    ),
    _portal(
        "whats_next", _CHECKLIST, "PreEnrollmentWizard", "What's next",
        "Your device will ask for a few permissions. Your organization can't see your personal data.", "Next",
    ),
    _portal(
        "terms_of_use", _TERMS, "TermsofUse", "Terms of use",
        "Read your organization's terms. Access needs all of them accepted.", "Accept all",
    ),
    _portal(
        "show_profile", _PLATFORM, "iOSProfileLaunch", "Show the configuration profile",
        "This website wants to show you a configuration profile. Allow it to go on.", "Allow",
    ),
    _portal(
        "install_profile", _PLATFORM, "iOSProfileLaunch", "Install the management profile",
        "Open Settings, choose the downloaded profile and install it.", "Install",
    ),
    _portal(
        "trust_profile", _PLATFORM, "iOSProfileLaunch", "Trust remote management",
        "Trust the profile's source to enroll this device.", "Trust",
    ),
    _portal(
        "create_work_profile", _PLATFORM, "WorkProfile", "Create the work profile",
        "A work profile keeps your work apart from your personal apps.", "Accept and continue",
    ),
    _portal(
        "phone_permission", _PLATFORM, "AndroidPermissions", "Allow phone calls",
        "Allow Company Portal to make and manage phone calls; it reads the device's number only.", "Allow",
    ),
    _portal(
        "device_administrator", _PLATFORM, "AndroidPermissions", "Activate the device administrator",
        "Activate the device administrator so that your organization's settings can be applied.", "Activate",
    ),
    _portal(
        "knox_activation", _PLATFORM, "KnoxActivation", "Samsung Knox",
        "Confirm the Knox privacy policy to activate the KLMS agent.", "Confirm",
    ),
    _portal(
        "open_company_portal", _CHECKLIST, "EnrollmentWrapUp", "Open Company Portal",
        "Go back to Company Portal to finish setting up.", "Open",
    ),
    _portal(
        "device_category", _CHECKLIST, "DeviceCategory", "Choose a device category",
        "Choose the category that fits how you use this device.", "Done",
    ),
    _portal(
        "compliance", _COMPLIANCE, "Compliance", "Update device settings",
        "Some settings have to change before this device may reach company data.", "Update settings",
    ),
    _portal(
        "activation", _COMPLIANCE, "Activation", "Activate enrollment",
        "Activate this device's enrollment to reach company data.", "Activate",
    ),
)  # fmt: skip

PERSON_SCREENS: Final = {screen.id: screen for screen in _SCREENS}
"""All person screens by the id of the item that shows them."""
