"""Admission: decides from a stored report, before anything installs, whether a device may enroll."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from agent.wire.assignment import Admitted, Refused
from agent.wire.events import AttemptStarted
from agent.wire.progress import Failure
from agent.wire.versions import is_older
from agent.wire.vocabulary import EnrollmentType, FailureKind

_VERSION = re.compile(r"^[0-9]+(\.[0-9]+){0,5}$")


class AdmissionRules(BaseModel):
    """The administrator's enrollment restrictions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device_limit: Annotated[int, Field(ge=1, le=1000)] | None = None
    """How many devices one user may have, those that are enrolling included; None for no limit."""
    minimum_os: dict[EnrollmentType, str] = {}
    """The lowest version that may enroll, for example `10.0.19045`."""
    blocked_types: tuple[EnrollmentType, ...] = ()
    registered_only: bool = False
    """Refuse a device that was not registered before."""

    @field_validator("minimum_os")
    @classmethod
    def _versions(cls, value: dict[EnrollmentType, str]) -> dict[EnrollmentType, str]:
        for enrollment_type, version in value.items():
            if not _VERSION.fullmatch(version):
                raise ValueError(
                    f"'{version}' for {enrollment_type.value} is no version; write numbers with dots, such as 14.5"
                )
        return value


@dataclass(frozen=True, slots=True)
class Standing:
    """What is already known about the device and its user when they apply."""

    owner: str | None = None
    """Whom the device is enrolled with; None when it is not."""
    other_devices: int = 0
    """Devices of the applying user, this one not counted, that are enrolled or admitted and enrolling."""
    registered: bool = True


def same_user(one: str | None, other: str | None) -> bool:
    """User names are addresses, and those differ not by case."""
    return (one or "").casefold() == (other or "").casefold()


def decide(
    started: AttemptStarted, standing: Standing, rules: AdmissionRules, offer: Admitted
) -> Admitted | Refused:
    """`offer` when the device may enroll, else the refusal with its code.

    The order is from what no user can change to what the user can: type, registration, version, owner, limit.
    """
    kind = _objection(started, standing, rules)
    return offer if kind is None else Refused(failure=_failure(kind, started, standing, rules))


def _objection(
    started: AttemptStarted, standing: Standing, rules: AdmissionRules
) -> FailureKind | None:
    minimum = rules.minimum_os.get(started.enrollment_type)
    if started.enrollment_type in rules.blocked_types:
        return FailureKind.PLATFORM_BLOCKED
    if rules.registered_only and not standing.registered:
        return FailureKind.NOT_REGISTERED
    if minimum is not None and is_older(started.os_version, minimum):
        return FailureKind.OS_NOT_SUPPORTED
    if started.user is None:
        return None
    if standing.owner is not None and not same_user(standing.owner, started.user):
        return FailureKind.DIFFERENT_USER
    if rules.device_limit is not None and standing.other_devices >= rules.device_limit:
        return FailureKind.DEVICE_LIMIT_EXCEEDED
    return None


_WINDOWS = frozenset({EnrollmentType.WINDOWS_AUTOPILOT, EnrollmentType.WINDOWS_MANUAL})
_APPLE = frozenset({EnrollmentType.MACOS_ADE, EnrollmentType.IOS})

# The codes of [MS-MDE2] and of Windows' device registration; Apple's come from its MDM error payloads and Company
# Portal, Android's from the Android Management API's non-compliance reasons and the Graph enrollment categories.
_WINDOWS_CODES = {
    FailureKind.PLATFORM_BLOCKED: "0x80180014",
    FailureKind.NOT_REGISTERED: "0x80180014",
    FailureKind.OS_NOT_SUPPORTED: "0x80180014",
    FailureKind.DIFFERENT_USER: "0x801c0003",
    FailureKind.DEVICE_LIMIT_EXCEEDED: "0x80180013",
}
_APPLE_CODES = {
    FailureKind.PLATFORM_BLOCKED: "DeviceTypeNotSupported",
    FailureKind.NOT_REGISTERED: "com.apple.unrecognized.device",
    FailureKind.OS_NOT_SUPPORTED: "com.apple.softwareupdate.required",
    FailureKind.DIFFERENT_USER: "0x801c0003",
    FailureKind.DEVICE_LIMIT_EXCEEDED: "DeviceCapReached",
}
_ANDROID_CODES = {
    FailureKind.PLATFORM_BLOCKED: "enrollmentRestrictionsEnforced",
    FailureKind.NOT_REGISTERED: "NOT_ENROLLED",
    FailureKind.OS_NOT_SUPPORTED: "OS_NOT_PERMITTED",
    FailureKind.DIFFERENT_USER: "0x801c0003",
    FailureKind.DEVICE_LIMIT_EXCEEDED: "DeviceCapReached",
}


def code_of(kind: FailureKind, enrollment_type: EnrollmentType) -> str:
    """The refusal's code in the platform's own form; KeyError for a kind that admission never gives."""
    if enrollment_type in _WINDOWS:
        return _WINDOWS_CODES[kind]
    return (_APPLE_CODES if enrollment_type in _APPLE else _ANDROID_CODES)[kind]


def _failure(
    kind: FailureKind, started: AttemptStarted, standing: Standing, rules: AdmissionRules
) -> Failure:
    person, engineer = _sentences(kind, started, standing, rules)
    return Failure(
        kind=kind,
        code=code_of(kind, started.enrollment_type),
        person=person,
        engineer=engineer,
    )


def _sentences(
    kind: FailureKind, started: AttemptStarted, standing: Standing, rules: AdmissionRules
) -> tuple[str, str]:
    title = started.enrollment_type.label
    match kind:
        case FailureKind.PLATFORM_BLOCKED:
            return (
                "Your organization does not allow this kind of device to be enrolled. Ask your support person.",
                f"Enrollment type {title} is blocked by the admission rules.",
            )
        case FailureKind.NOT_REGISTERED:
            return (
                "Your organization does not know this device yet. Ask your support person to register it.",
                "The device is not registered and the admission rules ask for registration.",
            )
        case FailureKind.OS_NOT_SUPPORTED:
            minimum = rules.minimum_os[started.enrollment_type]
            return (
                f"This device runs version {started.os_version}. Update it to {minimum} or later and try again.",
                f"Version {started.os_version} is below the minimum {minimum} for {title}.",
            )
        case FailureKind.DIFFERENT_USER:
            return (
                "This device is already enrolled with a different user. Ask your support person to release it.",
                f"The device is enrolled with {standing.owner}; {started.user} asked to enroll it.",
            )
        case _:
            assert kind is FailureKind.DEVICE_LIMIT_EXCEEDED, f"admission never refuses for {kind}"
            return (
                "You have enrolled as many devices as you may. Remove one of them and try again.",
                f"{started.user} has {standing.other_devices} other devices; the limit is {rules.device_limit}.",
            )
