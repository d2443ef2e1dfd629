"""A device's history as data: its attempts, reports and losses, and the commands that it got."""

from __future__ import annotations

from datetime import datetime

from agent.wire.events import MessageRefused
from agent.wire.messages import CommandAction
from agent.wire.progress import Failure
from agent.wire.vocabulary import EndState, EnrollmentType, Gate, Phase, Section, Stage
from collector import reports
from collector.answer import Answer, moment
from collector.attempts import AttemptView, StoredReport
from collector.device_commands import CommandRow, CommandState
from collector.profiles.setup import Registration
from collector.refusals import meaning
from collector.store.records import LossRow


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
    meaning: str | None = None
    """What it means and what to do about it, where a report alone does not say so."""


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
    sent_at: datetime | None = None
    """When the broker had it first."""
    answered_at: datetime | None = None
    """When the device's answer was stored."""
    finished_at: datetime | None = None
    """For logs: when it was stored what came of them."""
    result: str | None = None
    """For logs: where they are on the device, or why there are none."""


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
    """The registered devices: one page of them."""

    devices: tuple[Registration, ...]
    total: int = 0
    next_cursor: str | None = None


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
        meaning=meaning(report.body) if isinstance(report.body, MessageRefused) else None,
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
        sent_at=_moment(row.sent_ms),
        answered_at=_moment(row.answered_ms),
        finished_at=_moment(row.finished_ms),
        result=row.result,
    )


def _moment(ms: int | None) -> datetime | None:
    return None if ms is None else moment(ms)
