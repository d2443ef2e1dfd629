"""The enrollment status page: overview and platforms, who enrolls now, and who failed."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from agent.wire.vocabulary import EndState, FailureKind, Stage
from collector.access import Role
from collector.api.conditional import tagged
from collector.api.links import link_next
from collector.api.parameters import (
    PAGE_MAX,
    Listed,
    Platforms,
    SearchedDevice,
    SearchedUser,
    Since,
    milliseconds,
)
from collector.api.problems import ALWAYS
from collector.api.services import Given, needs
from collector.pages import page
from collector.queries import attempts
from collector.queries.attempts import ACTIVE_ORDERS, FAILURE_ORDERS, AttemptFilter
from collector.reports import RECENT_DAYS

PATH: Final = "/api/devices/enrollment-status"

router = APIRouter(
    prefix=PATH, tags=["Enrollment status"], dependencies=[needs(Role.READ)], responses=ALWAYS
)

_GENERATED: Final[dict[str, Any]] = {"generated_at": True}
_AGES: Final[dict[str, Any]] = {
    "generated_at": True,
    "recent": {"__all__": {"age": True, "age_seconds": True}},
}


class StatusQuery(BaseModel):
    """What the summary is narrowed to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    platform: Platforms = ()


class ActiveQuery(Listed):
    """Which active enrollments, in which order."""

    platform: Platforms = ()
    stage: Annotated[tuple[Stage, ...], Field(max_length=12)] = ()
    user: SearchedUser | None = None
    device: SearchedDevice | None = None
    since: Since | None = None
    """Begun then or later."""
    silent: bool | None = None
    sort: Literal[
        "begun", "-begun", "updated", "-updated", "device", "-device", "user", "-user",
        "platform", "-platform", "stage", "-stage", "progress", "-progress",
    ] = "-begun"  # fmt: skip


class FailuresQuery(Listed):
    """Which failures, in which order."""

    platform: Platforms = ()
    user: SearchedUser | None = None
    device: SearchedDevice | None = None
    status: Annotated[
        tuple[Literal["failed", "timed_out", "abandoned", "refused", "waiting"], ...],
        Field(
            max_length=5,
            description="How they ended; `waiting` is a device on its error screen.",
        ),
    ] = ()
    kind: Annotated[
        tuple[FailureKind, ...], Field(max_length=30, description="Only failures of these kinds.")
    ] = ()
    since: Since | None = None
    """Failed then or later."""
    sort: Literal[
        "failed", "-failed", "device", "-device", "user", "-user", "platform", "-platform",
    ] = "-failed"  # fmt: skip
    limit: Annotated[int, Field(ge=1, le=PAGE_MAX)] = page.RECENT_FAILURES
    window_days: Annotated[
        int, Field(ge=1, le=365, description="The window of the common reasons, in days.")
    ] = RECENT_DAYS
    reasons: Annotated[
        int, Field(ge=1, le=len(FailureKind), description="How many common reasons.")
    ] = page.COMMON_REASONS


@router.get("")
def enrollment_status(
    given: Given, asked: Annotated[StatusQuery, Query()], request: Request, response: Response
) -> page.EnrollmentStatus:
    """The overview and enrollment by platform. With a filter, both speak of these platforms alone."""
    now_ms, database = given.clock.now_ms(), given.store.database
    answer = page.enrollment_status(
        attempts.tallies(database, now_ms, asked.platform),
        attempts.waiting_registrations(database, asked.platform),
        now_ms,
        asked.platform,
    )
    return tagged(request, response, answer, _GENERATED)


@router.get("/active")
def active(
    given: Given, asked: Annotated[ActiveQuery, Query()], request: Request, response: Response
) -> page.ActiveEnrollments:
    """The enrollments in progress, the most recently begun first."""
    now_ms = given.clock.now_ms()
    found = attempts.active(
        given.store.database,
        AttemptFilter(
            platforms=asked.platform,
            stages=asked.stage,
            user=asked.user,
            device=asked.device,
            since_ms=milliseconds(asked.since),
            silent=asked.silent,
        ),
        ACTIVE_ORDERS[asked.sort],
        now_ms=now_ms,
        limit=asked.limit,
        cursor=asked.cursor,
    )
    link_next(request, response, found.next_cursor)
    return tagged(request, response, page.active_enrollments(found, now_ms), _GENERATED)


@router.get("/failures")
def failures(
    given: Given, asked: Annotated[FailuresQuery, Query()], request: Request, response: Response
) -> page.EnrollmentFailures:
    """The devices that have failed now, the most recent first, and how often attempts failed in the window, by reason.

    All filters but the window are for both; the window is for the reasons alone.
    """
    now_ms, database = given.clock.now_ms(), given.store.database
    wanted = AttemptFilter(
        platforms=asked.platform,
        end_states=[None if s == "waiting" else EndState(s) for s in asked.status],
        kinds=asked.kind,
        user=asked.user,
        device=asked.device,
        since_ms=milliseconds(asked.since),
    )
    found = attempts.failed(
        database,
        wanted,
        FAILURE_ORDERS[asked.sort],
        now_ms=now_ms,
        limit=asked.limit,
        cursor=asked.cursor,
    )
    answer = page.enrollment_failures(
        found,
        attempts.reasons(database, wanted, now_ms=now_ms, window_days=asked.window_days),
        now_ms,
        window_days=asked.window_days,
        reasons=asked.reasons,
    )
    link_next(request, response, found.next_cursor)
    return tagged(request, response, answer, _AGES)
