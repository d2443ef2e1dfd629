"""Which profile a device gets, what of it acts there, and why: told from the very decisions that admission takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from agent.core.events import DeviceFacts
from agent.core.explanation import Explanation, asks_for_version, explain
from agent.wire.assignment import Admitted, Refused
from agent.wire.events import AttemptStarted
from agent.wire.vocabulary import Context, EnrollmentType, ItemKind, Variant
from collector.answer import moment
from collector.files import ContentRefused
from collector.pages import page
from collector.profiles.choice import Candidate, Choice, Way
from collector.profiles.setup import Registration

UNKNOWN_VERSION: Final = "unknown"
_WINDOWS: Final = frozenset({EnrollmentType.WINDOWS_AUTOPILOT, EnrollmentType.WINDOWS_MANUAL})


class DeviceUnknown(Exception):
    """Too little is known of the device to tell how it would enroll: one sentence with the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The device that is asked about; what is left out is taken from what is known of it."""

    device: str
    enrollment_type: EnrollmentType | None = None
    variant: Variant | None = None
    user: str | None = None
    os_version: str | None = None

    def facts(self, last: AttemptStarted | None, registered: Registration | None) -> AttemptStarted:
        """What the device would report if it began now.

        Raises:
            DeviceUnknown: nobody says how it enrolls.
        """
        known = last or registered
        enrolls = self.enrollment_type or (known.enrollment_type if known else None)
        if enrolls is None:
            raise DeviceUnknown(self._what_to_do(registered))
        # What was reported of another platform's enrollment says nothing of this one.
        same = last if last is not None and last.enrollment_type is enrolls else None
        return AttemptStarted(
            enrollment_type=enrolls,
            variant=self.variant or (same.variant if same else Variant.STANDARD),
            platform=same.platform if same else enrolls.label,
            os_version=self.os_version or (same.os_version if same else UNKNOWN_VERSION),
            user=self.user or (known.user if known else None),
            agent_version=same.agent_version if same else UNKNOWN_VERSION,
        )

    def _what_to_do(self, registered: Registration | None) -> str:
        found = f"nothing is known of '{self.device}'; check its id, or"
        if registered is not None:
            found = f"'{self.device}' is registered without an enrollment type and has not begun;"
        kinds = ", ".join(kind.value for kind in EnrollmentType)
        return f"{found} say how it would enroll: enrollment_type (--type) is one of {kinds}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the device's latest attempt was given."""

    attempt: str
    version: int
    issued_ms: int
    decision: Admitted | Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Everything that decides on one device now."""

    facts: AttemptStarted
    source: page.FactsSource
    choice: Choice
    offered: Admitted
    decision: Admitted | Refused
    minimum_os: str | None
    """What the admission rules ask for."""
    given: Given | None


def effective_profile(question: Question, case: Case) -> page.EffectiveProfile:
    """The answer.

    Raises:
        ContentRefused: the enrollment type has no such variant, or the version is needed and not known.
    """
    _refuse_without_version(case)
    explained = _explained(question.device, case)
    facts, chosen = case.facts, case.choice.chosen
    reason = "no profile is active, not even a default, so the standard settings apply"
    return page.EffectiveProfile(
        device=question.device,
        facts_from=case.source,
        enrollment_type=facts.enrollment_type,
        platform=facts.enrollment_type.label,
        variant=facts.variant,
        os_version=None if facts.os_version == UNKNOWN_VERSION else facts.os_version,
        user=facts.user,
        reason=reason if chosen is None else chosen.reason,
        chosen=None if chosen is None else _considered(chosen),
        rejected=tuple(_considered(c) for c in case.choice.rejected),
        admission=_admission(case.decision),
        given=None if case.given is None else _given(case.given),
        notes=tuple(_notes(case, explained)),
        effect=explained,
    )


def _refuse_without_version(case: Case) -> None:
    if case.facts.os_version != UNKNOWN_VERSION:
        return
    asking = asks_for_version(case.offered.items)
    if case.minimum_os is not None:
        asking = "admission"
    if asking is not None:
        raise ContentRefused(
            "os_version",
            f"is not known, and {asking} asks for a minimum; give one (--os-version), such as 10.0.22631",
        )


def _explained(device: str, case: Case) -> Explanation:
    facts = DeviceFacts(
        device=device,
        enrollment_type=case.facts.enrollment_type,
        variant=case.facts.variant,
        platform=case.facts.platform,
        os_version=case.facts.os_version,
        agent_version=case.facts.agent_version,
        user=case.facts.user,
    )
    try:
        return explain(facts, case.offered)
    except ValueError as error:
        raise ContentRefused("", str(error)) from None


def _considered(candidate: Candidate) -> page.ConsideredProfile:
    stored = candidate.stored
    return page.ConsideredProfile(
        id=stored.profile.id,
        name=stored.profile.name,
        priority=stored.priority,
        default=stored.default,
        status=stored.status,
        assigned_groups=stored.groups,
        reason=candidate.reason,
    )


def _admission(decision: Admitted | Refused) -> page.AdmissionAnswer:
    if isinstance(decision, Admitted):
        return page.AdmissionAnswer(admitted=True, failure=None)
    return page.AdmissionAnswer(admitted=False, failure=decision.failure)


def _given(given: Given) -> page.GivenProfile:
    decision = given.decision
    profile = decision.profile if isinstance(decision, Admitted) else None
    return page.GivenProfile(
        attempt=given.attempt,
        version=given.version,
        issued_at=moment(given.issued_ms),
        profile=profile.id if profile else None,
        profile_name=profile.name if profile else None,
        failure=None if isinstance(decision, Admitted) else decision.failure,
    )


def _notes(case: Case, explained: Explanation) -> Iterator[str]:
    chosen = case.choice.chosen
    if chosen is None or chosen.way is not Way.USER:
        return
    counts = any(
        item.kind is ItemKind.APP and item.context is Context.DEVICE and item.is_tracked
        for item in explained.items
    )
    if counts and case.facts.enrollment_type in _WINDOWS:
        yield (
            f"{chosen.stored.profile.name} comes by the user. Windows itself would ignore its blocking apps "
            "during device setup, because it does not know the user yet. Here the user is known from the "
            "beginning of the attempt, so they count."
        )
