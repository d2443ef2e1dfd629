"""Admission decides from the stored facts, with the code that the platform itself would show."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from agent.wire.assignment import Admitted, Refused
from agent.wire.events import AttemptStarted
from agent.wire.profile import EspProfile
from agent.wire.versions import is_older
from agent.wire.vocabulary import EnrollmentType, FailureKind
from collector.admission import AdmissionRules, Standing, code_of, decide

OFFER = Admitted(profile=EspProfile(id="default", name="Default ESP"))
AUTOPILOT = EnrollmentType.WINDOWS_AUTOPILOT


def started(
    enrollment_type: EnrollmentType = AUTOPILOT,
    os_version: str = "10.0.22631",
    user: str | None = "john.doe@company.com",
) -> AttemptStarted:
    return AttemptStarted(
        enrollment_type=enrollment_type,
        platform="Windows 11",
        os_version=os_version,
        user=user,
        agent_version="0.1.0",
    )


def refusal(decision: Admitted | Refused) -> tuple[FailureKind, str]:
    assert isinstance(decision, Refused)
    assert decision.failure.person
    assert decision.failure.engineer
    return decision.failure.kind, decision.failure.code


def test_without_rules_everybody_gets_the_offer() -> None:
    assert decide(started(), Standing(), AdmissionRules(), OFFER) == OFFER


@pytest.mark.parametrize(
    ("rules", "standing", "kind", "code"),
    [
        (
            AdmissionRules(blocked_types=(AUTOPILOT,)),
            Standing(),
            FailureKind.PLATFORM_BLOCKED,
            "0x80180014",
        ),
        (
            AdmissionRules(registered_only=True),
            Standing(registered=False),
            FailureKind.NOT_REGISTERED,
            "0x80180014",
        ),
        (
            AdmissionRules(minimum_os={AUTOPILOT: "10.0.26100"}),
            Standing(),
            FailureKind.OS_NOT_SUPPORTED,
            "0x80180014",
        ),
        (
            AdmissionRules(),
            Standing(owner="jane.smith@company.com"),
            FailureKind.DIFFERENT_USER,
            "0x801c0003",
        ),
        (
            AdmissionRules(device_limit=5),
            Standing(other_devices=5),
            FailureKind.DEVICE_LIMIT_EXCEEDED,
            "0x80180013",
        ),
    ],
)
def test_each_rule_refuses_with_its_reason_and_code(
    rules: AdmissionRules, standing: Standing, kind: FailureKind, code: str
) -> None:
    assert refusal(decide(started(), standing, rules, OFFER)) == (kind, code)


@pytest.mark.parametrize(
    ("rules", "standing"),
    [
        (AdmissionRules(blocked_types=(EnrollmentType.IOS,)), Standing()),
        (AdmissionRules(minimum_os={AUTOPILOT: "10.0.22631"}), Standing()),
        (AdmissionRules(minimum_os={EnrollmentType.IOS: "99"}), Standing()),
        (AdmissionRules(), Standing(owner="John.Doe@Company.com")),
        (AdmissionRules(device_limit=5), Standing(other_devices=4)),
        (AdmissionRules(registered_only=True), Standing(registered=True)),
    ],
)
def test_just_inside_each_rule_the_device_is_admitted(
    rules: AdmissionRules, standing: Standing
) -> None:
    assert decide(started(), standing, rules, OFFER) == OFFER


def test_a_device_without_a_user_is_nobodys_and_no_limit_counts_it() -> None:
    rules = AdmissionRules(device_limit=1)
    standing = Standing(owner="jane.smith@company.com", other_devices=9)
    assert decide(started(user=None), standing, rules, OFFER) == OFFER


@pytest.mark.parametrize("enrollment_type", list(EnrollmentType))
def test_every_refusal_has_a_code_on_every_platform(enrollment_type: EnrollmentType) -> None:
    for kind in (
        FailureKind.PLATFORM_BLOCKED,
        FailureKind.NOT_REGISTERED,
        FailureKind.OS_NOT_SUPPORTED,
        FailureKind.DIFFERENT_USER,
        FailureKind.DEVICE_LIMIT_EXCEEDED,
    ):
        assert code_of(kind, enrollment_type)


@pytest.mark.parametrize(
    ("version", "minimum", "older"),
    [
        ("10.0.9", "10.0.10", True),
        ("14.5", "14.5.0", False),
        ("14", "14.0.1", True),
        ("15 beta", "15.1", True),
        ("17.0-rc1", "17", False),
        ("unknown", "1", True),
        ("10.0.22631.4037", "10.0.22631", False),
    ],
)
def test_versions_are_compared_number_by_number(version: str, minimum: str, older: bool) -> None:
    assert is_older(version, minimum) is older


def test_a_minimum_that_is_no_version_is_refused_with_the_remedy() -> None:
    with pytest.raises(ValidationError, match=r"is no version; write numbers with dots"):
        AdmissionRules(minimum_os={AUTOPILOT: "latest"})
