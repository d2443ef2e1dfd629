"""The current view of every attempt, folded from its reports, so that it can be thrown away and folded again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from agent.wire.events import (
    AttemptEnded,
    AttemptStarted,
    ErrorScreenShown,
    GateChanged,
    ItemChanged,
    PersonAnswered,
    PhaseChanged,
    Report,
)
from agent.wire.progress import Failure
from agent.wire.vocabulary import (
    EXCEEDED_30_MINUTES,
    EndState,
    EnrollmentType,
    FailureKind,
    Gate,
    ItemState,
    Phase,
    RowState,
    Section,
    Stage,
)

FAILURE_STATES = frozenset(
    {EndState.FAILED, EndState.TIMED_OUT, EndState.ABANDONED, EndState.REFUSED}
)
"""The end states that the failures list shows: neither a success nor a fresh start."""


@dataclass(frozen=True, slots=True)
class StoredReport:
    """One stored report. `order` grows with every report that the store took in; times are milliseconds since 1970."""

    order: int
    device: str
    stream: str
    received_ms: int
    report: Report


@dataclass(frozen=True, slots=True)
class AttemptView:
    """One attempt as its reports tell it. `attempt_ms` is attempt time, the other times are when reports arrived."""

    device: str
    attempt: str
    stream: str
    first_order: int
    latest: bool
    begun_ms: int
    updated_ms: int
    attempt_ms: int
    stage: Stage
    percent: int
    number: int = 0
    enrollment_type: EnrollmentType | None = None
    """None when the report that names it is lost."""
    platform: str = ""
    os_version: str = ""
    user: str | None = None
    phase: Phase | None = None
    gate: Gate = Gate.LOCKED
    waits_on_error: bool = False
    failure: Failure | None = None
    end_state: EndState | None = None
    ended_ms: int | None = None
    section: Section | None = None
    action_name: str | None = None
    user_action: str | None = None
    screen: str | None = None
    """The person screen that came up last."""

    @property
    def has_failed(self) -> bool:
        """The attempt failed, or waits on an error screen."""
        return self.end_state in FAILURE_STATES or (self.end_state is None and self.waits_on_error)

    @property
    def failed_ms(self) -> int:
        """When the failure was reported; for the order and the age in the failures list."""
        return self.ended_ms if self.ended_ms is not None else self.updated_ms


@dataclass(slots=True)
class Attempts:
    """The attempts that a batch of reports may touch; the store loads them before and saves `changed` after."""

    _views: dict[tuple[str, str], AttemptView] = field(default_factory=dict)
    _open: dict[str, set[str]] = field(default_factory=dict)
    _latest: dict[str, str] = field(default_factory=dict)
    changed: set[tuple[str, str]] = field(default_factory=set)

    @classmethod
    def of(cls, views: Iterable[AttemptView]) -> Attempts:
        """Start from stored views; all open attempts and the latest one of every device concerned have to be there."""
        attempts = cls()
        for view in views:
            attempts._put(view)
        attempts.changed.clear()
        return attempts

    def get(self, device: str, attempt: str) -> AttemptView | None:
        """The view of one attempt."""
        return self._views.get((device, attempt))

    def all(self) -> list[AttemptView]:
        """All views, in the order of their first reports."""
        return sorted(self._views.values(), key=lambda v: v.first_order)

    def apply(self, stored: StoredReport) -> None:
        """Fold one report in. The first report of a new attempt supersedes the device's open ones."""
        key = (stored.device, stored.report.attempt)
        view = self._views.get(key)
        if view is None:
            self._retire(stored.device, stored.received_ms)
            view = _begin(stored)
        self._put(fold(view, stored))

    def _retire(self, device: str, now_ms: int) -> None:
        for attempt in sorted(self._open.get(device, ())):
            old = self._views[device, attempt]
            self._put(replace(old, end_state=EndState.SUPERSEDED, ended_ms=now_ms))
        latest = self._latest.get(device)
        if latest is not None:
            self._put(replace(self._views[device, latest], latest=False))

    def _put(self, view: AttemptView) -> None:
        key = (view.device, view.attempt)
        self._views[key] = view
        self.changed.add(key)
        if view.latest:
            self._latest[view.device] = view.attempt
        still_open = self._open.setdefault(view.device, set())
        if view.end_state is None:
            still_open.add(view.attempt)
        else:
            still_open.discard(view.attempt)


def _begin(stored: StoredReport) -> AttemptView:
    return AttemptView(
        device=stored.device,
        attempt=stored.report.attempt,
        stream=stored.stream,
        first_order=stored.order,
        latest=True,
        begun_ms=stored.received_ms,
        updated_ms=stored.received_ms,
        attempt_ms=stored.report.attempt_ms,
        stage=stored.report.stage,
        percent=stored.report.percent,
    )


def fold(view: AttemptView, stored: StoredReport) -> AttemptView:
    """The view after one more report. Of an attempt that has ended only the gate can still change."""
    report = stored.report
    body = report.body
    if isinstance(body, GateChanged):
        view = replace(view, gate=body.gate)
    if view.end_state is not None:
        return view
    view = replace(
        view,
        updated_ms=stored.received_ms,
        attempt_ms=report.attempt_ms,
        stage=report.stage,
        percent=report.percent,
        waits_on_error=report.stage is Stage.NEEDS_ATTENTION,
    )
    match body:
        case AttemptStarted():
            return _started(view, body)
        case PhaseChanged(state=RowState.IN_PROGRESS):
            return replace(view, phase=body.phase)
        case (
            ItemChanged(state=ItemState.WAITING_FOR_PERSON, item=screen)
            | PersonAnswered(screen=screen)
        ):
            return replace(view, screen=screen)
        case ErrorScreenShown():
            return replace(view, waits_on_error=True, failure=body.failure, phase=body.phase)
        case AttemptEnded():
            return _ended(view, body, stored.received_ms)
        case _:
            return view


def _started(view: AttemptView, body: AttemptStarted) -> AttemptView:
    return replace(
        view,
        number=body.number,
        enrollment_type=body.enrollment_type,
        platform=body.platform,
        os_version=body.os_version,
        user=body.user,
    )


def _ended(view: AttemptView, body: AttemptEnded, now_ms: int) -> AttemptView:
    return replace(
        view,
        end_state=body.end_state,
        ended_ms=now_ms,
        waits_on_error=False,
        phase=body.phase or view.phase,
        failure=_failure_at_end(view, body),
        section=body.section,
        action_name=body.action_name,
        user_action=body.user_action,
    )


def _failure_at_end(view: AttemptView, body: AttemptEnded) -> Failure | None:
    if body.end_state not in FAILURE_STATES:
        return body.failure
    if body.failure is not None:
        return body.failure
    if body.end_state is EndState.ABANDONED:
        return _abandonment(body)
    return view.failure


def _abandonment(body: AttemptEnded) -> Failure:
    silent = body.user_action == EXCEEDED_30_MINUTES
    kind = FailureKind.PERSON_SILENT if silent else FailureKind.USER_CANCELLED
    where = f" on {body.action_name}" if body.action_name else ""
    what = body.user_action or kind.label
    return Failure(
        kind=kind,
        code=body.action_name or kind.value,
        person="Setup was not completed.",
        engineer=f"{what}{where}",
    )
