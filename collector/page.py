"""The enrollment status page as data: what the API answers, the board draws and `report` prints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from agent.core.explanation import Explanation
from agent.wire.messages import CommandAction
from agent.wire.profile import EspProfile
from agent.wire.progress import Failure
from agent.wire.vocabulary import (
    EndState,
    EnrollmentType,
    FailureKind,
    Gate,
    ItemKind,
    Phase,
    Section,
    Stage,
    Variant,
)
from collector import reports
from collector.attempts import AttemptView, StoredReport
from collector.commands import CommandRow, CommandState
from collector.profiles import StoredProfile
from collector.setup import Catalogue, Registration
from collector.store import LossRow

MINUTE_MS = 60_000
RECENT_FAILURES = 50


class Answer(BaseModel):
    """What the API answers: frozen, with every field always there."""

    model_config = ConfigDict(frozen=True)


class OverviewFigures(Answer):
    """The four figures at the top of the page, in devices."""

    enrolled: int
    in_progress: int
    pending: int
    failed: int


class PlatformFigures(Answer):
    """One row of enrollment by platform."""

    enrollment_type: EnrollmentType
    platform: str
    total: int
    last_7_days: int
    success_rate_percent: float | None
    """None while no attempt has ended."""
    average_minutes: float | None
    """Attempt time; None while there is no success."""


class EnrollmentStatus(Answer):
    """The summary: overview and platforms."""

    generated_at: datetime
    overview: OverviewFigures
    platforms: tuple[PlatformFigures, ...]


class ActiveEnrollment(Answer):
    """One row of active enrollments."""

    device: str
    user: str | None
    platform: str
    enrollment_type: EnrollmentType | None
    stage: Stage
    phase: Phase | None
    progress_percent: int
    attempt: str
    attempt_number: int
    attempt_ms: int
    updated_at: datetime
    silent: bool
    """Nothing was heard of it for 24 hours."""


class ActiveEnrollments(Answer):
    """The enrollments in progress, the most recently begun first."""

    generated_at: datetime
    devices: tuple[ActiveEnrollment, ...]


class RecentFailure(Answer):
    """One recent failure."""

    device: str
    platform: str
    user: str | None
    enrollment_type: EnrollmentType | None
    attempt: str
    failed_at: datetime
    age_seconds: int
    age: str
    """As a person says it: `2 hours ago`."""
    kind: FailureKind
    code: str
    text: str
    detail: str
    end_state: EndState | None
    """None while the device waits on its error screen."""


class FailureReason(Answer):
    """One of the common failure reasons."""

    kind: FailureKind
    reason: str
    count: int


class EnrollmentFailures(Answer):
    """Recent failures and common reasons."""

    generated_at: datetime
    recent: tuple[RecentFailure, ...]
    window_days: int
    common_reasons: tuple[FailureReason, ...]


class ProfileRow(Answer):
    """One row of the ESP profiles."""

    id: str
    name: str
    blocking_apps: int
    """How many apps block: those that are named, or with `all` every required one that is assigned to some device."""
    blocks_on_all: bool
    timeout_minutes: int
    assigned_groups: tuple[str, ...]
    status: Literal["Active", "Inactive"]
    priority: int
    default: bool
    settings: EspProfile


class ProfileList(Answer):
    """The ESP profiles, in the order in which they are looked at."""

    profiles: tuple[ProfileRow, ...]


class ConsideredProfile(Answer):
    """A profile that was looked at for a device, and why it was chosen or not."""

    id: str
    name: str
    priority: int
    default: bool
    status: Literal["Active", "Inactive"]
    assigned_groups: tuple[str, ...]
    reason: str


class AdmissionAnswer(Answer):
    """What admission would say now."""

    admitted: bool
    failure: Failure | None
    """Why not."""


class GivenProfile(Answer):
    """What the device's latest attempt was given; a newer choice reaches it with the next attempt or a refresh."""

    attempt: str
    version: int
    issued_at: datetime
    profile: str | None
    profile_name: str | None
    failure: Failure | None
    """The refusal; then there is no profile."""


FactsSource = Literal["attempt", "registration", "request"]


class EffectiveProfile(Answer):
    """Which profile a device gets, why this one, and what of it acts there."""

    device: str
    facts_from: FactsSource
    """Where the facts come from that the request did not give: the latest attempt, the registration, or nowhere."""
    enrollment_type: EnrollmentType
    platform: str
    variant: Variant
    os_version: str | None
    user: str | None
    reason: str
    """Why this profile."""
    chosen: ConsideredProfile | None
    """None when no profile is active: the standard settings apply."""
    rejected: tuple[ConsideredProfile, ...]
    """The others, in the order in which they are looked at."""
    admission: AdmissionAnswer
    given: GivenProfile | None
    notes: tuple[str, ...]
    effect: Explanation


class AttemptSummary(Answer):
    """One attempt in a device's history."""

    attempt: str
    number: int
    enrollment_type: EnrollmentType | None
    platform: str
    os_version: str
    user: str | None
    begun_at: datetime
    ended_at: datetime | None
    attempt_ms: int
    stage: Stage
    phase: Phase | None
    progress_percent: int
    gate: Gate
    end_state: EndState | None
    silent: bool
    """Open, and nothing was heard of it for 24 hours."""
    failure: Failure | None
    section: Section | None
    action_name: str | None
    user_action: str | None


class ReportLine(Answer):
    """One stored report in a device's history."""

    order: int
    stream: str
    seq: int
    received_at: datetime
    attempt: str
    attempt_ms: int
    kind: str
    body: dict[str, object]


class LossLine(Answer):
    """Reports that this store will never have."""

    device: str
    stream: str
    first_seq: int
    last_seq: int
    cause: str
    recorded_at: datetime


class CommandLine(Answer):
    """A command with what became of it."""

    id: str
    device: str
    attempt: str
    action: CommandAction
    issued_by: str
    issued_at: datetime
    expires_at: datetime
    state: CommandState
    reason: str


class DeviceHistory(Answer):
    """Everything that is stored about one device, the newest report first."""

    device: str
    presence: str | None
    presence_at: datetime | None
    registered: bool
    attempts: tuple[AttemptSummary, ...]
    reports: tuple[ReportLine, ...]
    losses: tuple[LossLine, ...]
    commands: tuple[CommandLine, ...]


class Registrations(Answer):
    """The registered devices."""

    devices: tuple[Registration, ...]


class Problem(Answer):
    """What was wrong with a request."""

    code: str
    message: str
    key: str | None = None
    """The field at fault."""


class ProblemAnswer(Answer):
    """The one shape of every refusal."""

    error: Problem


def moment(at_ms: int) -> datetime:
    """Milliseconds since 1970 as a time with its zone."""
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def age(age_ms: int) -> str:
    """How long ago, as a person says it."""
    minutes = age_ms // MINUTE_MS
    if minutes < 1:
        return "just now"
    for size, unit in ((24 * 60, "day"), (60, "hour"), (1, "minute")):
        if minutes >= size:
            count = minutes // size
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    raise AssertionError("a minute or more is at least one minute")


def enrollment_status(
    attempts: Sequence[AttemptView], registered: Iterable[str], now_ms: int
) -> EnrollmentStatus:
    """The summary."""
    figures = reports.overview(attempts, set(registered))
    return EnrollmentStatus(
        generated_at=moment(now_ms),
        overview=OverviewFigures(
            enrolled=figures.enrolled,
            in_progress=figures.in_progress,
            pending=figures.pending,
            failed=figures.failed,
        ),
        platforms=tuple(_platform(row) for row in reports.platforms(attempts, now_ms)),
    )


def _platform(row: reports.PlatformRow) -> PlatformFigures:
    rate, average = row.success_rate, row.average_ms
    return PlatformFigures(
        enrollment_type=row.enrollment_type,
        platform=row.enrollment_type.label,
        total=row.total,
        last_7_days=row.recent,
        success_rate_percent=None if rate is None else round(rate * 100, 1),
        average_minutes=None if average is None else round(average / MINUTE_MS, 1),
    )


def active_enrollments(attempts: Sequence[AttemptView], now_ms: int) -> ActiveEnrollments:
    """The active enrollments."""
    return ActiveEnrollments(
        generated_at=moment(now_ms),
        devices=tuple(_active(view, now_ms) for view in reports.active(attempts)),
    )


def _active(view: AttemptView, now_ms: int) -> ActiveEnrollment:
    return ActiveEnrollment(
        device=view.device,
        user=view.user,
        platform=view.platform,
        enrollment_type=view.enrollment_type,
        stage=view.stage,
        phase=view.phase,
        progress_percent=view.percent,
        attempt=view.attempt,
        attempt_number=view.number,
        attempt_ms=view.attempt_ms,
        updated_at=moment(view.updated_ms),
        silent=reports.is_silent(view, now_ms),
    )


def enrollment_failures(
    attempts: Sequence[AttemptView], now_ms: int, *, window_days: int, limit: int = RECENT_FAILURES
) -> EnrollmentFailures:
    """Recent failures and common reasons."""
    counted = reports.common_reasons(attempts, now_ms, window_days=window_days)
    return EnrollmentFailures(
        generated_at=moment(now_ms),
        recent=tuple(_failure(row) for row in reports.failures(attempts, now_ms, limit=limit)),
        window_days=window_days,
        common_reasons=tuple(
            FailureReason(kind=kind, reason=kind.label, count=count) for kind, count in counted
        ),
    )


def _failure(row: reports.FailureRow) -> RecentFailure:
    view, failure = row.view, row.failure
    return RecentFailure(
        device=view.device,
        platform=view.platform,
        user=view.user,
        enrollment_type=view.enrollment_type,
        attempt=view.attempt,
        failed_at=moment(view.failed_ms),
        age_seconds=row.age_ms // 1000,
        age=age(row.age_ms),
        kind=failure.kind,
        code=failure.code,
        text=failure.kind.label,
        detail=failure.engineer,
        end_state=view.end_state,
    )


def profile_list(profiles: Iterable[StoredProfile], catalogues: Iterable[Catalogue]) -> ProfileList:
    """The ESP profiles."""
    required = {
        item.id
        for catalogue in catalogues
        for item in catalogue.items
        if item.kind is ItemKind.APP and item.required
    }
    return ProfileList(profiles=tuple(profile_row(p, len(required)) for p in profiles))


def profile_row(stored: StoredProfile, required_apps: int) -> ProfileRow:
    """One row of the ESP profiles."""
    named = stored.profile.blocking_apps
    return ProfileRow(
        id=stored.profile.id,
        name=stored.profile.name,
        blocking_apps=required_apps if named == "all" else len(named),
        blocks_on_all=named == "all",
        timeout_minutes=stored.profile.timeout_minutes,
        assigned_groups=stored.groups,
        status=stored.status,
        priority=stored.priority,
        default=stored.default,
        settings=stored.profile,
    )


def attempt_summary(view: AttemptView, now_ms: int) -> AttemptSummary:
    """One attempt in a device's history."""
    return AttemptSummary(
        attempt=view.attempt,
        number=view.number,
        enrollment_type=view.enrollment_type,
        platform=view.platform,
        os_version=view.os_version,
        user=view.user,
        begun_at=moment(view.begun_ms),
        ended_at=None if view.ended_ms is None else moment(view.ended_ms),
        attempt_ms=view.attempt_ms,
        stage=view.stage,
        phase=view.phase,
        progress_percent=view.percent,
        gate=view.gate,
        end_state=view.end_state,
        silent=reports.is_silent(view, now_ms),
        failure=view.failure,
        section=view.section,
        action_name=view.action_name,
        user_action=view.user_action,
    )


def report_line(seq: int, stored: StoredReport) -> ReportLine:
    """One stored report in a device's history."""
    report = stored.report
    return ReportLine(
        order=stored.order,
        stream=stored.stream,
        seq=seq,
        received_at=moment(stored.received_ms),
        attempt=report.attempt,
        attempt_ms=report.attempt_ms,
        kind=report.body.kind,
        body=report.body.model_dump(mode="json", exclude={"kind"}),
    )


def loss_line(row: LossRow) -> LossLine:
    """A recorded loss."""
    return LossLine(
        device=row.device,
        stream=row.stream,
        first_seq=row.loss.first_seq,
        last_seq=row.loss.last_seq,
        cause=row.loss.cause,
        recorded_at=moment(row.recorded_ms),
    )


def command_line(row: CommandRow, wall_ms: int) -> CommandLine:
    """A command with what became of it."""
    return CommandLine(
        id=row.id,
        device=row.device,
        attempt=row.attempt,
        action=row.action,
        issued_by=row.issued_by,
        issued_at=moment(row.issued_ms),
        expires_at=moment(row.expires_ms),
        state=row.state(wall_ms),
        reason=row.reason,
    )
