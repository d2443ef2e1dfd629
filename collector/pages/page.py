"""The enrollment status page as data: what the API answers, the board draws and `report` prints."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from agent.core.explanation import Explanation
from agent.wire.base import Identifier
from agent.wire.profile import EspProfile
from agent.wire.progress import Failure
from agent.wire.vocabulary import (
    EndState,
    EnrollmentType,
    FailureKind,
    ItemKind,
    Phase,
    Stage,
    Variant,
)
from collector import reports
from collector.answer import MINUTE_MS, Answer, age, moment
from collector.attempts import AttemptView
from collector.profiles.choice import StoredProfile
from collector.profiles.setup import Catalogue
from collector.queries.paging import Page

RECENT_FAILURES = 50
COMMON_REASONS = 10


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
    begun_at: datetime | None = None


class ActiveEnrollments(Answer):
    """The enrollments in progress: one page of them."""

    generated_at: datetime
    devices: tuple[ActiveEnrollment, ...]
    total: int = 0
    """How many there are, on all pages."""
    next_cursor: str | None = None
    """Where the next page begins; null on the last one."""


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
    summary: str = ""
    """Code and text as the page prints them: `Error 0x801c0003: Device already enrolled with different user`."""


class FailureReason(Answer):
    """One of the common failure reasons."""

    kind: FailureKind
    reason: str
    count: int


class EnrollmentFailures(Answer):
    """Recent failures and common reasons."""

    generated_at: datetime
    recent: tuple[RecentFailure, ...]
    """One page of the devices that have failed now."""
    window_days: int
    common_reasons: tuple[FailureReason, ...]
    total: int = 0
    """How many devices have failed now, on all pages."""
    next_cursor: str | None = None
    """Where the next page of recent failures begins; null on the last one."""


class BlockingApp(Answer):
    """One app that has to be there before a person gets in."""

    id: str
    name: str
    """As the catalogue has it; the id where no enrollment type is assigned the app."""
    required: bool
    """False where the app is named, and optional or not assigned: it blocks nobody."""


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
    apps: tuple[BlockingApp, ...] = ()
    """The blocking apps by name."""


class ProfileList(Answer):
    """The ESP profiles, in the order in which they are looked at unless another one was asked for."""

    profiles: tuple[ProfileRow, ...]
    total: int = 0
    next_cursor: str | None = None


class ProfileOrder(BaseModel):
    """Profiles by their ids, the first one first; the default always stands last and is not among them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    profiles: Annotated[tuple[Identifier, ...], Field(max_length=1_000)]


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


def enrollment_status(
    tallies: Sequence[reports.Tally],
    waiting: int,
    now_ms: int,
    platforms: Sequence[EnrollmentType] = (),
) -> EnrollmentStatus:
    """The summary; `waiting` are registered devices that have not begun."""
    figures = reports.overview(tallies, waiting)
    return EnrollmentStatus(
        generated_at=moment(now_ms),
        overview=OverviewFigures(
            enrolled=figures.enrolled,
            in_progress=figures.in_progress,
            pending=figures.pending,
            failed=figures.failed,
        ),
        platforms=tuple(_platform(row) for row in reports.platforms(tallies, platforms)),
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


def active_enrollments(found: Page[AttemptView], now_ms: int) -> ActiveEnrollments:
    """The active enrollments."""
    return ActiveEnrollments(
        generated_at=moment(now_ms),
        devices=tuple(_active(view, now_ms) for view in found.rows),
        total=found.total,
        next_cursor=found.next_cursor,
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
        begun_at=moment(view.begun_ms),
    )


def enrollment_failures(
    found: Page[AttemptView],
    counted: Iterable[reports.ReasonCount],
    now_ms: int,
    *,
    window_days: int,
    reasons: int = COMMON_REASONS,
) -> EnrollmentFailures:
    """Recent failures and the most common reasons."""
    common = reports.common_reasons(counted)[:reasons]
    return EnrollmentFailures(
        generated_at=moment(now_ms),
        recent=tuple(_failure(view, now_ms) for view in found.rows),
        window_days=window_days,
        common_reasons=tuple(
            FailureReason(kind=kind, reason=kind.label, count=count) for kind, count in common
        ),
        total=found.total,
        next_cursor=found.next_cursor,
    )


_NUMBERED: Final = re.compile(r"0x[0-9A-Fa-f]{8}")


def _failure(view: AttemptView, now_ms: int) -> RecentFailure:
    failure = reports.failure_of(view)
    age_ms = max(0, now_ms - view.failed_ms)
    return RecentFailure(
        device=view.device,
        platform=view.platform,
        user=view.user,
        enrollment_type=view.enrollment_type,
        attempt=view.attempt,
        failed_at=moment(view.failed_ms),
        age_seconds=age_ms // 1000,
        age=age(age_ms),
        kind=failure.kind,
        code=failure.code,
        text=failure.kind.label,
        detail=failure.engineer,
        end_state=view.end_state,
        summary=summary(failure),
    )


def summary(failure: Failure) -> str:
    """One line for a list: an error number with its reason, else the engineer's own sentence, which says more."""
    if _NUMBERED.fullmatch(failure.code):
        return f"Error {failure.code}: {failure.kind.label}"
    return failure.engineer or failure.kind.label


def profile_list(found: Page[StoredProfile], catalogues: Iterable[Catalogue]) -> ProfileList:
    """The ESP profiles."""
    apps = assigned_apps(catalogues)
    return ProfileList(
        profiles=tuple(profile_row(stored, apps) for stored in found.rows),
        total=found.total,
        next_cursor=found.next_cursor,
    )


def assigned_apps(catalogues: Iterable[Catalogue]) -> Mapping[str, BlockingApp]:
    """Every app that is assigned to some device, by id; required where any enrollment type requires it."""
    apps: dict[str, BlockingApp] = {}
    for catalogue in catalogues:
        for item in catalogue.items:
            if item.kind is ItemKind.APP:
                known = apps.get(item.id)
                required = item.required or (known is not None and known.required)
                apps[item.id] = BlockingApp(id=item.id, name=item.name, required=required)
    return apps


def profile_row(stored: StoredProfile, assigned: Mapping[str, BlockingApp]) -> ProfileRow:
    """One row of the ESP profiles."""
    apps = tuple(_blocking(stored.profile, assigned))
    return ProfileRow(
        id=stored.profile.id,
        name=stored.profile.name,
        blocking_apps=len(apps),
        blocks_on_all=stored.profile.blocking_apps == "all",
        timeout_minutes=stored.profile.timeout_minutes,
        assigned_groups=stored.groups,
        status=stored.status,
        priority=stored.priority,
        default=stored.default,
        settings=stored.profile,
        apps=apps,
    )


def _blocking(profile: EspProfile, assigned: Mapping[str, BlockingApp]) -> Iterable[BlockingApp]:
    if profile.blocking_apps == "all":
        return (app for app in assigned.values() if app.required)
    return (
        assigned.get(name) or BlockingApp(id=name, name=name, required=False)
        for name in profile.blocking_apps
    )
