"""A device that is stuck, and a report with every section in it, as the board gets them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from agent.wire.events import ErrorScreenShown, ItemChanged
from agent.wire.messages import CollectLogs, CommandAction, ExtendTimeout, RetryItem
from agent.wire.progress import Failure
from agent.wire.vocabulary import (
    Choice,
    Context,
    EndState,
    EnrollmentType,
    FailureKind,
    Gate,
    ItemKind,
    ItemState,
    Phase,
    Section,
    Stage,
)
from collector.attempts import AttemptView
from collector.board.ports import ActionCount, DeviceStory, IncompleteReport
from collector.device_commands import CommandState
from collector.pages.history import AttemptSummary, CommandLine, DeviceHistory, ReportLine
from collector.stuck.item_work import work_of
from collector.stuck.limit import Limit, Stuck
from collector.stuck.standing import Facts, standing

AT = datetime(2025, 6, 15, 12, 0, tzinfo=UTC)
NOW_MS = int(AT.timestamp() * 1000)
MINUTE_MS = 60_000
DEVICE = "DESKTOP-NEW001"

_COUNTS = {
    Section.SETUP_CHECKLIST: (2, 3, 1, 0, 0, 4, 6, 5, 3, 2, 0, 1, 7, 4),
    Section.PLATFORM_SCREENS: (1, 0, 2, 1, 0, 1, 3, 2, 4, 1, 0, 0, 2, 3),
    Section.TERMS_OF_USE: (0, 1, 0, 0, 0, 2, 1, 0, 1, 0, 0, 0, 1, 0),
    Section.COMPLIANCE_ACTIVATION: (3, 2, 4, 0, 1, 2, 2, 3, 1, 2, 1, 0, 3, 2),
}
_ACTIONS = (
    (
        Section.SETUP_CHECKLIST,
        "PreEnrollmentWizard",
        "Set up access",
        "iOS/Android",
        "Postpone",
        21,
    ),
    (
        Section.SETUP_CHECKLIST,
        "EnrollmentWrapUp",
        "Enrolling device",
        "iOS/Android",
        "Exceeded 30 minutes",
        12,
    ),
    (
        Section.SETUP_CHECKLIST,
        "DeviceCategory",
        "Device category",
        "iOS/Android",
        "Exceeded 30 minutes",
        5,
    ),
    (Section.PLATFORM_SCREENS, "iOSProfileLaunch", "Install profile", "iOS/iPadOS", "Cancel", 14),
    (Section.PLATFORM_SCREENS, "KnoxActivation", "KLMS agent activation", "Android", "Cancel", 6),
    (Section.TERMS_OF_USE, "TermsofUse", "Terms of use", "iOS/Android", "Decline All", 6),
    (
        Section.COMPLIANCE_ACTIVATION,
        "Compliance",
        "Device compliance",
        "iOS/Android",
        "Postpone",
        17,
    ),
    (
        Section.COMPLIANCE_ACTIVATION,
        "Activation",
        "Enrollment activation",
        "iOS/Android",
        "Postpone",
        9,
    ),
)


def seed_report() -> IncompleteReport:
    """Two weeks with something in every section."""
    return IncompleteReport(
        days=tuple(date(2025, 6, 2) + timedelta(days=n) for n in range(14)),
        initiated=1_204,
        incomplete=131,
        rate_percent=7.5,
        lines=_COUNTS,
        actions=tuple(ActionCount(*row) for row in _ACTIONS),
    )


def empty_report() -> IncompleteReport:
    """Two weeks in which nobody gave up."""
    whole = seed_report()
    return IncompleteReport(
        days=whole.days,
        initiated=0,
        incomplete=0,
        rate_percent=None,
        lines=dict.fromkeys(Section, (0,) * 14),
        actions=(),
    )


def changed(
    item: str,
    name: str,
    state: ItemState,
    *,
    attempt: int = 1,
    problem: Failure | None = None,
    kind: ItemKind = ItemKind.APP,
    blocking: bool = True,
) -> ItemChanged:
    """An item came into this state."""
    return ItemChanged(
        item=item,
        name=name,
        item_kind=kind,
        phase=Phase.DEVICE_SETUP,
        row="apps",
        blocking=blocking,
        state=state,
        attempt=attempt,
        attempts_max=3,
        failure=problem,
    )


FAILED = Failure(
    kind=FailureKind.INSTALLER_FAILED,
    code="0x87D1041C",
    person="An app could not be installed.",
    engineer="Exit code 1603: a fatal error during installation.",
)
_WORK = (
    (1 * MINUTE_MS, changed("wifi", "Contoso Wi-Fi", ItemState.DONE, kind=ItemKind.NETWORK)),
    (2 * MINUTE_MS, changed("portal", "Company Portal", ItemState.DOWNLOADING)),
    (4 * MINUTE_MS, changed("portal", "Company Portal", ItemState.DONE)),
    (4 * MINUTE_MS, changed("vpn", "VPN Client", ItemState.INSTALLING)),
    (6 * MINUTE_MS, changed("vpn", "VPN Client", ItemState.WAITING_TO_RETRY, attempt=2)),
    (7 * MINUTE_MS, changed("m365", "Microsoft 365 Apps", ItemState.DOWNLOADING)),
    (9 * MINUTE_MS, changed("m365", "Microsoft 365 Apps", ItemState.INSTALLING)),
    (9 * MINUTE_MS, changed("reader", "PDF Reader", ItemState.NOT_STARTED, blocking=False)),
)


def view(**given: object) -> AttemptView:
    """The latest attempt."""
    known: dict[str, object] = {
        "device": DEVICE,
        "attempt": f"{DEVICE}-1",
        "stream": "s",
        "first_order": 1,
        "latest": True,
        "begun_ms": NOW_MS - 45 * MINUTE_MS,
        "updated_ms": NOW_MS - 3 * MINUTE_MS,
        "attempt_ms": 42 * MINUTE_MS,
        "stage": Stage.INSTALLING_APPS,
        "percent": 75,
        "number": 1,
        "enrollment_type": EnrollmentType.WINDOWS_AUTOPILOT,
        "platform": "Windows 11",
        "os_version": "10.0.22631",
        "user": "john.doe@company.com",
        "phase": Phase.DEVICE_SETUP,
    }
    return AttemptView(**{**known, **given})  # type: ignore[arg-type]


def stuck_story() -> DeviceStory:
    """An app is at work for far longer than others were."""
    work = work_of(_WORK)
    m365 = work.items["m365"]
    stuck = Stuck(
        item=m365, running_ms=38 * MINUTE_MS, limit=Limit(14 * MINUTE_MS, "history", 1_932)
    )
    told = standing(
        Facts(
            device=DEVICE,
            view=view(),
            registered=True,
            presence="online",
            presence_ms=NOW_MS,
            work=work,
            attempt_now_ms=45 * MINUTE_MS,
            error=None,
            stuck=[stuck],
            now_ms=NOW_MS,
        )
    )
    return DeviceStory(told, history())


def failed_story() -> DeviceStory:
    """The device waits on its error screen, and has lost its connection."""
    failed = changed("vpn", "VPN Client", ItemState.FAILED, attempt=3, problem=FAILED)
    work = work_of([*_WORK[:4], (20 * MINUTE_MS, failed)])
    error = ErrorScreenShown(
        phase=Phase.DEVICE_SETUP,
        failure=FAILED,
        failed_items=("vpn",),
        choices=(Choice.TRY_AGAIN, Choice.CONTINUE_ANYWAY, Choice.COLLECT_LOGS),
    )
    told = standing(
        Facts(
            device=DEVICE,
            view=view(waits_on_error=True, failure=FAILED, stage=Stage.NEEDS_ATTENTION),
            registered=True,
            presence="lost",
            presence_ms=NOW_MS - 25 * MINUTE_MS,
            work=work,
            attempt_now_ms=42 * MINUTE_MS,
            error=error,
            stuck=[],
            now_ms=NOW_MS,
        )
    )
    return DeviceStory(told, history().model_copy(update={"presence": "lost"}))


def history() -> DeviceHistory:
    """Two attempts, the reports of the second, and three commands."""
    return DeviceHistory(
        device=DEVICE,
        presence="online",
        presence_at=AT,
        registered=True,
        attempts=(
            _attempt(1, EndState.TIMED_OUT, hours=26),
            _attempt(2, None, hours=1),
        ),
        reports=tuple(
            _report(100 + order, attempt_ms, body)
            for order, (attempt_ms, body) in reversed(list(enumerate(_WORK)))
        ),
        losses=(),
        commands=(
            command(CollectLogs(), "waiting", 3),
            command(ExtendTimeout(context=Context.DEVICE, minutes=30), "executed", 9),
            command(RetryItem(item="vpn"), "refused", 20, "nothing failed"),
        ),
    )


def _attempt(number: int, end: EndState | None, *, hours: int) -> AttemptSummary:
    return AttemptSummary(
        attempt=f"{DEVICE}-{number}",
        number=number,
        enrollment_type=EnrollmentType.WINDOWS_AUTOPILOT,
        platform="Windows 11",
        os_version="10.0.22631",
        user="john.doe@company.com",
        begun_at=AT - timedelta(hours=hours),
        ended_at=None if end is None else AT - timedelta(hours=hours - 1),
        attempt_ms=42 * MINUTE_MS,
        stage=Stage.INSTALLING_APPS,
        phase=Phase.DEVICE_SETUP,
        progress_percent=75,
        gate=Gate.LOCKED,
        end_state=end,
        silent=False,
        failure=None if end is None else FAILED,
        section=None,
        action_name=None,
        user_action=None,
    )


def _report(order: int, attempt_ms: int, body: ItemChanged) -> ReportLine:
    return ReportLine(
        order=order,
        stream="s",
        seq=order,
        received_at=AT - timedelta(minutes=45) + timedelta(milliseconds=attempt_ms),
        attempt=f"{DEVICE}-2",
        attempt_ms=attempt_ms,
        kind=body.kind,
        body=body.model_dump(mode="json", exclude={"kind"}),
    )


def command(
    action: CommandAction, state: CommandState = "waiting", minutes: int = 0, reason: str = ""
) -> CommandLine:
    """A command with what became of it."""
    return CommandLine(
        id=f"c-{minutes}",
        device=DEVICE,
        attempt=f"{DEVICE}-2",
        action=action,
        issued_by="help-desk",
        issued_at=AT - timedelta(minutes=minutes),
        expires_at=AT + timedelta(minutes=60),
        state=state,
        reason=reason,
    )
