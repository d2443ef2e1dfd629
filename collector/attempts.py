"""The current view of every attempt, folded from its reports, so that it can be thrown away and folded again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

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

Key = tuple[str, str]
"""Device and attempt."""

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


class Attempt:
    """One attempt while reports are folded in: what nearly every report moves lies apart from what few of them change."""

    __slots__ = (
        "attempt_ms", "has_moved", "percent", "phase", "screen", "settled", "settled_is_new", "stage",
        "updated_ms",
    )  # fmt: skip

    def __init__(self, view: AttemptView) -> None:
        self.settled = view
        """All but the six that move, which are older in it."""
        self.updated_ms = view.updated_ms
        self.attempt_ms = view.attempt_ms
        self.stage = view.stage
        self.percent = view.percent
        self.phase = view.phase
        self.screen = view.screen
        self.has_moved = False
        self.settled_is_new = False
        """There is more to save than what moves."""

    @property
    def is_open(self) -> bool:
        """It has not ended."""
        return self.settled.end_state is None

    @property
    def view(self) -> AttemptView:
        """The attempt as it is now."""
        return replace(
            self.settled,
            updated_ms=self.updated_ms,
            attempt_ms=self.attempt_ms,
            stage=self.stage,
            percent=self.percent,
            phase=self.phase,
            screen=self.screen,
        )

    def settle(self, **changes: Any) -> None:
        """Change what few reports do."""
        self.settled = replace(self.settled, **changes)
        self.settled_is_new = True

    def apply(self, stored: StoredReport) -> None:
        """Fold one report in. Of an attempt that has ended only the gate can still change."""
        report = stored.report
        body = report.body
        if isinstance(body, GateChanged):
            self.settle(gate=body.gate)
        if not self.is_open:
            return
        self.has_moved = True
        self.updated_ms = stored.received_ms
        self.attempt_ms = report.attempt_ms
        self.stage = report.stage
        self.percent = report.percent
        waits_on_error = report.stage is Stage.NEEDS_ATTENTION
        match body:
            case ItemChanged(state=ItemState.WAITING_FOR_PERSON, item=screen):
                self.screen = screen
            case ItemChanged():
                pass
            case PersonAnswered(screen=screen):
                self.screen = screen
            case PhaseChanged(state=RowState.IN_PROGRESS):
                self.phase = body.phase
            case AttemptStarted():
                self.settle(
                    number=body.number,
                    enrollment_type=body.enrollment_type,
                    platform=body.platform,
                    os_version=body.os_version,
                    user=body.user,
                )
            case ErrorScreenShown():
                waits_on_error = True
                self.phase = body.phase
                self.settle(failure=body.failure)
            case AttemptEnded():
                waits_on_error = False
                self.phase = body.phase or self.phase
                self.settle(
                    end_state=body.end_state,
                    ended_ms=stored.received_ms,
                    failure=_failure_at_end(self.settled, body),
                    section=body.section,
                    action_name=body.action_name,
                    user_action=body.user_action,
                )
            case _:
                pass
        if waits_on_error is not self.settled.waits_on_error:
            self.settle(waits_on_error=waits_on_error)

    def saved(self) -> None:
        """Nothing of it has to be written any more."""
        self.has_moved = self.settled_is_new = False


class DeviceAttempts:
    """The attempts of one device: the open ones and the latest one at least."""

    __slots__ = ("by_id", "latest")

    def __init__(self) -> None:
        self.by_id: dict[str, Attempt] = {}
        self.latest: Attempt | None = None

    def add(self, view: AttemptView) -> None:
        """One that is stored."""
        attempt = self.by_id[view.attempt] = Attempt(view)
        if view.latest:
            self.latest = attempt

    def apply(self, stored: StoredReport) -> list[Attempt]:
        """Fold one report in; the attempts that changed. The first report of a new one supersedes the open ones."""
        attempt = self.by_id.get(stored.report.attempt)
        if attempt is not None:
            attempt.apply(stored)
            return [attempt]
        retired = self._retire(stored.received_ms)
        attempt = self.latest = self.by_id[stored.report.attempt] = Attempt(_begin(stored))
        attempt.settled_is_new = True
        attempt.apply(stored)
        return [*retired, attempt]

    def _retire(self, now_ms: int) -> list[Attempt]:
        retired = []
        for attempt in self.by_id.values():
            if attempt.is_open:
                attempt.settle(end_state=EndState.SUPERSEDED, ended_ms=now_ms)
                retired.append(attempt)
        if self.latest is not None:
            self.latest.settle(latest=False)
            retired.append(self.latest)
        return retired

    def forget_history(self) -> None:
        """Keep only what folding further reports needs."""
        for attempt in list(self.by_id.values()):
            if attempt is not self.latest and not attempt.is_open:
                del self.by_id[attempt.settled.attempt]


class Attempts:
    """The attempts that a batch of reports may touch; the store loads them before and saves `changed` after."""

    def __init__(self) -> None:
        self._devices: dict[str, DeviceAttempts] = {}
        self._changed: dict[Key, Attempt] = {}

    @classmethod
    def of(cls, views: Iterable[AttemptView]) -> Attempts:
        """Start from stored views; all open attempts and the latest one of every device concerned have to be there."""
        attempts = cls()
        for view in views:
            attempts._of(view.device).add(view)
        return attempts

    def _of(self, device: str) -> DeviceAttempts:
        known = self._devices.get(device)
        if known is None:
            known = self._devices[device] = DeviceAttempts()
        return known

    def put(self, device: str, known: DeviceAttempts) -> None:
        """What is known of a device."""
        self._devices[device] = known

    @property
    def devices(self) -> Mapping[str, DeviceAttempts]:
        """All devices."""
        return self._devices

    def get(self, device: str, attempt: str) -> AttemptView | None:
        """The view of one attempt."""
        known = self._devices.get(device)
        found = None if known is None else known.by_id.get(attempt)
        return None if found is None else found.view

    def all(self) -> list[AttemptView]:
        """All views, in the order of their first reports."""
        views = (one.view for known in self._devices.values() for one in known.by_id.values())
        return sorted(views, key=lambda v: v.first_order)

    def apply(self, stored: StoredReport) -> None:
        """Fold one report in. The first report of a new attempt supersedes the device's open ones."""
        for attempt in self._of(stored.device).apply(stored):
            self._changed[stored.device, attempt.settled.attempt] = attempt

    def platforms(self) -> dict[Key, str]:
        """The platform of each attempt that a report was of."""
        return {key: attempt.settled.platform for key, attempt in self._changed.items()}

    def changed(self) -> list[Attempt]:
        """What has to be saved, by device and attempt."""
        return [attempt for _, attempt in sorted(self._changed.items(), key=itemgetter(0))]


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
