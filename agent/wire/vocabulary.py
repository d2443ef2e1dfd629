"""The words everybody uses: one closed list for each thing that a report, a screen or a rule can name."""

from __future__ import annotations

from enum import StrEnum


class EnrollmentType(StrEnum):
    """The five rows of the enrollment-by-platform table."""

    WINDOWS_AUTOPILOT = "windows_autopilot"
    WINDOWS_MANUAL = "windows_manual"
    MACOS_ADE = "macos_ade"
    IOS = "ios"
    ANDROID_ENTERPRISE = "android_enterprise"

    @property
    def label(self) -> str:
        """The name that the enrollment-by-platform table prints."""
        return _ENROLLMENT_TITLES[self]


_ENROLLMENT_TITLES = {
    EnrollmentType.WINDOWS_AUTOPILOT: "Windows (Autopilot)",
    EnrollmentType.WINDOWS_MANUAL: "Windows (Manual)",
    EnrollmentType.MACOS_ADE: "macOS (ADE)",
    EnrollmentType.IOS: "iOS/iPadOS",
    EnrollmentType.ANDROID_ENTERPRISE: "Android Enterprise",
}


class Variant(StrEnum):
    """How a device of one enrollment type comes in; `standard` is the type's most common way."""

    STANDARD = "standard"
    """User-driven Autopilot; macOS with a person; Company Portal on iOS; the work profile on Android."""
    HYBRID_JOIN = "hybrid_join"
    SELF_DEPLOYING = "self_deploying"
    PRE_PROVISIONED = "pre_provisioned"
    AUTOMATED = "automated"
    """Apple's Automated Device Enrollment of an iPhone or iPad."""
    FULLY_MANAGED = "fully_managed"
    DEDICATED = "dedicated"
    DEVICE_ADMINISTRATOR = "device_administrator"

    @property
    def label(self) -> str:
        """What a person reads after the enrollment type."""
        return _VARIANT_TITLES[self]


_VARIANT_TITLES = {
    Variant.STANDARD: "standard",
    Variant.HYBRID_JOIN: "hybrid join",
    Variant.SELF_DEPLOYING: "self-deploying",
    Variant.PRE_PROVISIONED: "pre-provisioned",
    Variant.AUTOMATED: "automated",
    Variant.FULLY_MANAGED: "fully managed",
    Variant.DEDICATED: "dedicated",
    Variant.DEVICE_ADMINISTRATOR: "device administrator",
}


class Phase(StrEnum):
    """The three phases, always in this order, on every platform."""

    DEVICE_PREPARATION = "device_preparation"
    DEVICE_SETUP = "device_setup"
    ACCOUNT_SETUP = "account_setup"

    @property
    def label(self) -> str:
        """The heading on the screen."""
        return self.value.replace("_", " ").capitalize()

    @property
    def context(self) -> Context:
        """The context whose budget pays for this phase."""
        return Context.ACCOUNT if self is Phase.ACCOUNT_SETUP else Context.DEVICE


class Context(StrEnum):
    """Whose setup it is; each context has one time budget."""

    DEVICE = "device"
    ACCOUNT = "account"


class Stage(StrEnum):
    """What the active-enrollments table shows; the value is the text."""

    WAITING_FOR_ASSIGNMENT = "Waiting for Assignment"
    PREPARING = "Preparing Device"
    WAITING_FOR_PERSON = "Waiting for User"
    DEVICE_SETUP = "Device Setup"
    APPLYING_POLICIES = "Applying Policies"
    INSTALLING_CERTIFICATES = "Adding Certificates"
    CONNECTING_NETWORKS = "Adding Networks"
    INSTALLING_APPS = "Installing Apps"
    ACCOUNT_SETUP = "Account Setup"
    RESTARTING = "Restarting"
    NEEDS_ATTENTION = "Needs Attention"
    FINISHED = "Finished"


class Gate(StrEnum):
    """The only thing that lets a person use the device."""

    LOCKED = "locked"
    RELEASED = "released"
    BYPASSED = "bypassed"


class GateCause(StrEnum):
    """Why the gate changed."""

    ENROLLMENT_BEGAN = "enrollment_began"
    SETUP_COMPLETE = "setup_complete"
    DEVICE_SETUP_COMPLETE = "device_setup_complete"
    NOTHING_TO_SHOW = "nothing_to_show"
    ACCOUNT_SETUP_SKIPPED = "account_setup_skipped"
    CONTINUED_ANYWAY = "continued_anyway"
    EMERGENCY_EXIT = "emergency_exit"


class ItemKind(StrEnum):
    """What an item is; it decides the row's verb and the stage."""

    STEP = "step"
    SCREEN = "screen"
    POLICY = "policy"
    CERTIFICATE = "certificate"
    NETWORK = "network"
    APP = "app"


class ItemState(StrEnum):
    """Where one tracked item is."""

    NOT_STARTED = "not_started"
    WAITING_FOR_PERSON = "waiting_for_person"
    WAITING_TO_RETRY = "waiting_to_retry"
    DOWNLOADING = "downloading"
    INSTALLING = "installing"
    VERIFYING = "verifying"
    REBOOT_REQUIRED = "reboot_required"
    DONE = "done"
    ALREADY_PRESENT = "already_present"
    SKIPPED = "skipped"
    FAILED = "failed"
    NOT_DETECTED = "not_detected"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"


WORKING_STATES = frozenset({ItemState.DOWNLOADING, ItemState.INSTALLING, ItemState.VERIFYING})
SATISFIED_STATES = frozenset({ItemState.DONE, ItemState.ALREADY_PRESENT, ItemState.SKIPPED})
UNSATISFIED_STATES = frozenset(
    {ItemState.FAILED, ItemState.NOT_DETECTED, ItemState.TIMED_OUT, ItemState.CANCELLED}
)


class RowState(StrEnum):
    """Where a row or a phase is."""

    NOT_STARTED = "not_started"
    IN_PROGRESS = "in_progress"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"


class EndState(StrEnum):
    """How an attempt ended; exactly one for each attempt."""

    SUCCEEDED = "succeeded"
    SUCCEEDED_ON_RETRY = "succeeded_on_retry"
    BYPASSED = "bypassed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    ABANDONED = "abandoned"
    REFUSED = "refused"
    RESET = "reset"
    SUPERSEDED = "superseded"


SUCCESS_STATES = frozenset({EndState.SUCCEEDED, EndState.SUCCEEDED_ON_RETRY, EndState.BYPASSED})


class FailureKind(StrEnum):
    """What went wrong, platform by platform the same words; reports count these."""

    DEVICE_LIMIT_EXCEEDED = "device_limit_exceeded"
    OS_NOT_SUPPORTED = "os_not_supported"
    DIFFERENT_USER = "different_user"
    PLATFORM_BLOCKED = "platform_blocked"
    NOT_REGISTERED = "not_registered"
    USER_CANCELLED = "user_cancelled"
    PERSON_SILENT = "person_silent"
    NETWORK_TIMEOUT = "network_timeout"
    DOWNLOAD_FAILED = "download_failed"
    INSTALLER_FAILED = "installer_failed"
    NOT_DETECTED = "not_detected"
    ITEM_TIMED_OUT = "item_timed_out"
    SETUP_TIMED_OUT = "setup_timed_out"
    ATTESTATION_FAILED = "attestation_failed"
    DEPENDENCY_FAILED = "dependency_failed"
    REBOOT_LOOP = "reboot_loop"
    NO_ASSIGNMENT = "no_assignment"
    BAD_ASSIGNMENT = "bad_assignment"
    STEP_FAILED = "step_failed"
    NO_POLICY = "no_policy"

    @property
    def label(self) -> str:
        """The text in the list of common failure reasons."""
        return _FAILURE_TITLES[self]


_FAILURE_TITLES = {
    FailureKind.DEVICE_LIMIT_EXCEEDED: "Device limit exceeded",
    FailureKind.OS_NOT_SUPPORTED: "OS version not supported",
    FailureKind.DIFFERENT_USER: "Device already enrolled with different user",
    FailureKind.PLATFORM_BLOCKED: "Platform blocked",
    FailureKind.NOT_REGISTERED: "Device not registered",
    FailureKind.USER_CANCELLED: "User cancelled",
    FailureKind.PERSON_SILENT: "User did not respond",
    FailureKind.NETWORK_TIMEOUT: "Network timeout",
    FailureKind.DOWNLOAD_FAILED: "Download failed",
    FailureKind.INSTALLER_FAILED: "Installer failed",
    FailureKind.NOT_DETECTED: "Not detected after installing",
    FailureKind.ITEM_TIMED_OUT: "Installation took too long",
    FailureKind.SETUP_TIMED_OUT: "Setup timed out",
    FailureKind.ATTESTATION_FAILED: "Hardware attestation failed",
    FailureKind.DEPENDENCY_FAILED: "Dependency failed",
    FailureKind.REBOOT_LOOP: "Restart loop",
    FailureKind.NO_ASSIGNMENT: "No assignment received",
    FailureKind.BAD_ASSIGNMENT: "Assignment not usable",
    FailureKind.STEP_FAILED: "Setup step failed",
    FailureKind.NO_POLICY: "No policy received",
}


class Choice(StrEnum):
    """What a person or a command may choose outside of a person screen."""

    TRY_AGAIN = "try_again"
    TRY_ITEM_AGAIN = "try_item_again"
    CONTINUE_ANYWAY = "continue_anyway"
    RESET_DEVICE = "reset_device"
    SKIP_ACCOUNT_SETUP = "skip_account_setup"
    COLLECT_LOGS = "collect_logs"

    @property
    def label(self) -> str:
        """The text on the button."""
        return _CHOICE_TITLES[self]


_CHOICE_TITLES = {
    Choice.TRY_AGAIN: "Try again",
    Choice.TRY_ITEM_AGAIN: "Try one item again",
    Choice.CONTINUE_ANYWAY: "Continue anyway",
    Choice.RESET_DEVICE: "Reset device",
    Choice.SKIP_ACCOUNT_SETUP: "Skip for now",
    Choice.COLLECT_LOGS: "Collect logs",
}


class PersonAction(StrEnum):
    """What a person does on a person screen; every one but `proceed` halts the enrollment."""

    PROCEED = "proceed"
    CANCEL = "cancel"
    POSTPONE = "postpone"
    IGNORE = "ignore"
    DECLINE_ALL = "decline_all"
    CLOSE = "close"

    @property
    def label(self) -> str:
        """The user action as the incomplete-enrollments report prints it."""
        return _PERSON_ACTION_TITLES[self]


_PERSON_ACTION_TITLES = {
    PersonAction.PROCEED: "Continue",
    PersonAction.CANCEL: "Cancel",
    PersonAction.POSTPONE: "Postpone",
    PersonAction.IGNORE: "Ignore",
    PersonAction.DECLINE_ALL: "Decline All",
    PersonAction.CLOSE: "Closed",
}

EXCEEDED_30_MINUTES = "Exceeded 30 minutes"


class Section(StrEnum):
    """The four sections of the incomplete-enrollments report; the value is the heading."""

    SETUP_CHECKLIST = "Setup Checklist"
    PLATFORM_SCREENS = "Platform Screens"
    TERMS_OF_USE = "Terms of Use"
    COMPLIANCE_ACTIVATION = "Compliance/Activation"


class RebootKind(StrEnum):
    """When a restart that an item asked for has to happen."""

    SOFT = "soft"
    HARD = "hard"


class Architecture(StrEnum):
    """What kind of processor a device has."""

    X86 = "x86"
    X64 = "x64"
    ARM64 = "arm64"


class ExitCodeMeaning(StrEnum):
    """What an installer's exit code says."""

    SUCCESS = "success"
    SOFT_REBOOT = "soft_reboot"
    HARD_REBOOT = "hard_reboot"
    RETRY = "retry"
    FAILED = "failed"


class RestartBehavior(StrEnum):
    """What follows from an installer's wish to restart the device."""

    BY_EXIT_CODE = "by_exit_code"
    SUPPRESS = "suppress"
    """No restart, whatever the exit code says."""
    ALWAYS = "always"
    """A restart after every installation."""


class MessageKind(StrEnum):
    """What is written for one device alone, and read by nobody else."""

    ACK = "ack"
    ASSIGNMENT = "assignment"
    COMMAND = "command"

    @property
    def label(self) -> str:
        """What a sentence calls it."""
        return _MESSAGE_TITLES[self]


_MESSAGE_TITLES = {
    MessageKind.ACK: "acknowledgement",
    MessageKind.ASSIGNMENT: "assignment",
    MessageKind.COMMAND: "command",
}


class RefusalReason(StrEnum):
    """Why a device refused a message on one of its own topics; only what does not happen in normal life."""

    UNSIGNED = "unsigned"
    """Not in signed form, where everything is signed."""
    SIGNATURE = "signature"
    """The signature does not hold: altered, or signed as something else."""
    UNKNOWN_KEY = "unknown_key"
    """Signed with a key that the device's identity does not name."""
    OTHER_DEVICE = "other_device"
    OTHER_COMMAND = "other_command"
    """A command under the id of another one."""
    REPLAYED = "replayed"
    """A command that was answered before came again after its time."""
    UNREADABLE = "unreadable"
    """Signed as it has to be, or needing no signature, and not to be understood."""

    @property
    def label(self) -> str:
        """A few words for a line."""
        return _REFUSAL_TITLES[self]


_REFUSAL_TITLES = {
    RefusalReason.UNSIGNED: "not signed",
    RefusalReason.SIGNATURE: "the signature does not hold",
    RefusalReason.UNKNOWN_KEY: "signed with a key that is not trusted",
    RefusalReason.OTHER_DEVICE: "meant for another device",
    RefusalReason.OTHER_COMMAND: "under the id of another command",
    RefusalReason.REPLAYED: "an old one, played again",
    RefusalReason.UNREADABLE: "not to be understood",
}
