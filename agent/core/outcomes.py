"""What follows from the end of a step: done, try again, restart, or failed, with the failure in everybody's words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from agent.core.events import MINUTE_MS, StepFinished, StepResult
from agent.core.plan import ItemPlan
from agent.wire.progress import Failure
from agent.wire.vocabulary import (
    ExitCodeMeaning,
    FailureKind,
    ItemState,
    RebootKind,
    RefusalReason,
    RestartBehavior,
)

OTHER_INSTALLER_EXIT: Final = 1618
"""Windows' ERROR_INSTALL_ALREADY_RUNNING."""

EXIT_CODES: Final = {
    0: ExitCodeMeaning.SUCCESS,
    1707: ExitCodeMeaning.SUCCESS,
    3010: ExitCodeMeaning.SOFT_REBOOT,
    1641: ExitCodeMeaning.HARD_REBOOT,
    OTHER_INSTALLER_EXIT: ExitCodeMeaning.RETRY,
}
"""The default return codes of a Windows app; any other one is a failure, unless detection finds the app."""

RETRY_EXIT_PAUSE_MS: Final = 5 * MINUTE_MS
FIRST_RETRY_PAUSE_MS: Final = 30_000
"""The pause doubles with each further try; a retry exit code waits five minutes, as on Windows."""

NOT_DETECTED_CODE: Final = "0x87D1041C"
TIMEOUT_CODE: Final = "0x800705B4"
WIN32_BASE: Final = 0x80070000

# Names of the module for the members that are asked about most: Python 3.11 finds them ten times as fast.
_COMPLETED: Final = StepResult.COMPLETED
_HARD: Final = RebootKind.HARD
_FAILURE: Final = ExitCodeMeaning.FAILED


class Verdict(StrEnum):
    """What the machine does next about an item."""

    SATISFIED = "satisfied"
    HARD_REBOOT = "hard_reboot"
    TRY_AGAIN = "try_again"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The judgement of one run of one step."""

    verdict: Verdict
    state: ItemState
    reboot: RebootKind | None = None
    failure: Failure | None = None
    pause_ms: int | None = None
    """A pause of its own before the next try; None means the usual growing one."""
    note: str | None = None
    """Why it is as it is, where nothing failed."""


_FOUND: Final = Outcome(Verdict.SATISFIED, ItemState.ALREADY_PRESENT)
_DONE: Final = Outcome(Verdict.SATISFIED, ItemState.DONE)


def judge(item: ItemPlan, event: StepFinished) -> Outcome:
    """Decide what the end of a step means; detection decides over the exit code."""
    if event.result is _COMPLETED:
        return _completed(item, event)
    match event.result:
        case StepResult.ALREADY_PRESENT:
            return _FOUND
        case StepResult.NOT_APPLICABLE:
            note = event.detail[:2000] or "this device says that it does not apply here"
            return Outcome(Verdict.SATISFIED, ItemState.SKIPPED, note=note)
        case StepResult.FAILED:
            return _failed(item, event)


def _completed(item: ItemPlan, event: StepFinished) -> Outcome:
    code = 0 if event.exit_code is None else event.exit_code
    meaning = _meaning(item, code)
    reboot = _REBOOT_AFTER.get((item.rules.restart, meaning))
    if reboot is _HARD:
        return Outcome(Verdict.HARD_REBOOT, ItemState.REBOOT_REQUIRED, _HARD)
    works = meaning in _WORKS
    if event.detected or (works and event.detected is None):
        return _DONE if reboot is None else Outcome(Verdict.SATISFIED, ItemState.DONE, reboot)
    if works:
        failure = not_detected(item, event.detail)
        return Outcome(Verdict.TRY_AGAIN, ItemState.NOT_DETECTED, None, failure)
    failure = _installer_failure(item, code, event.detail)
    pause_ms = RETRY_EXIT_PAUSE_MS if meaning is ExitCodeMeaning.RETRY else None
    return Outcome(Verdict.TRY_AGAIN, ItemState.FAILED, None, failure, pause_ms)


def _meaning(item: ItemPlan, code: int) -> ExitCodeMeaning:
    for known in item.rules.exit_codes:
        if known.code == code:
            return known.meaning
    return EXIT_CODES.get(code, _FAILURE)


_WORKS: Final = frozenset(ExitCodeMeaning) - {ExitCodeMeaning.RETRY, ExitCodeMeaning.FAILED}

_REBOOT_AFTER: Final[dict[tuple[RestartBehavior, ExitCodeMeaning], RebootKind]] = {
    (RestartBehavior.ALWAYS, ExitCodeMeaning.SUCCESS): RebootKind.SOFT,
    **{
        (behavior, meaning): reboot
        for behavior in RestartBehavior
        if behavior is not RestartBehavior.SUPPRESS
        for meaning, reboot in (
            (ExitCodeMeaning.HARD_REBOOT, RebootKind.HARD),
            (ExitCodeMeaning.SOFT_REBOOT, RebootKind.SOFT),
        )
    },
}
"""The restart that follows from an installer's end, where one does."""


def _failed(item: ItemPlan, event: StepFinished) -> Outcome:
    kind = event.failure or item.failure
    failure = Failure(
        kind=kind,
        code=event.code or _hresult(event.exit_code),
        person=_FAILED_SENTENCES.get(kind, "{name} could not be set up.").format(name=item.name),
        engineer=event.detail or f"{item.id}: {kind.label.lower()}",
        item=item.id,
    )
    return Outcome(Verdict.TRY_AGAIN, ItemState.FAILED, None, failure)


_FAILED_SENTENCES: Final = {
    FailureKind.DOWNLOAD_FAILED: "{name} could not be downloaded.",
    FailureKind.NETWORK_TIMEOUT: "{name} could not be reached over the network.",
    FailureKind.INSTALLER_FAILED: "{name} could not be installed.",
    FailureKind.ATTESTATION_FAILED: "This device's hardware could not be verified.",
    FailureKind.NO_POLICY: "Your organization's policy did not arrive in time, so this device resets itself.",
}


def _hresult(exit_code: int | None) -> str:
    """A Windows exit code as HRESULT: 1603 is 0x80070643."""
    if exit_code is None or not 0 < exit_code <= 0xFFFF:
        return "0x80004005" if exit_code is None else f"{exit_code}"
    return f"0x{WIN32_BASE | exit_code:08X}"


def _installer_failure(item: ItemPlan, code: int, detail: str) -> Failure:
    why = ": another installation was running" if code == OTHER_INSTALLER_EXIT else ""
    return Failure(
        kind=FailureKind.INSTALLER_FAILED,
        code=_hresult(code),
        person=f"{item.name} could not be installed{why}.",
        engineer=detail or f"{item.id}: the installer ended with exit code {code}",
        item=item.id,
    )


def not_detected(item: ItemPlan, detail: str = "") -> Failure:
    """The installer reported success, and the item is not there."""
    return Failure(
        kind=FailureKind.NOT_DETECTED,
        code=NOT_DETECTED_CODE,
        person=f"{item.name} was installed but can't be found.",
        engineer=detail or f"{item.id}: not detected after the installation completed successfully",
        item=item.id,
    )


def item_timed_out(item: ItemPlan) -> Failure:
    """One try took longer than the item's own cap."""
    minutes = (item.limit_ms or 0) // MINUTE_MS
    kind = item.failure if item.failure in _FAILED_BY_TIME else FailureKind.ITEM_TIMED_OUT
    return Failure(
        kind=kind,
        code=TIMEOUT_CODE,
        person=_FAILED_SENTENCES.get(kind, "{name} took too long.").format(name=item.name),
        engineer=f"{item.id}: no end within its limit of {minutes} minutes",
        item=item.id,
    )


_FAILED_BY_TIME: Final = frozenset({FailureKind.ATTESTATION_FAILED, FailureKind.NO_POLICY})
"""What has a name of its own when its time is up."""

_NAMES_MAX: Final = 5


def setup_timed_out(minutes: int, running: tuple[str, ...]) -> Failure:
    """The context's budget is used up."""
    more = f" and {len(running) - _NAMES_MAX} more" if len(running) > _NAMES_MAX else ""
    waited = f" Still running: {', '.join(running[:_NAMES_MAX])}{more}." if running else ""
    return Failure(
        kind=FailureKind.SETUP_TIMED_OUT,
        code=TIMEOUT_CODE,
        person=f"Setup took longer than the {minutes} minutes that your organization allows.{waited}",
        engineer=f"the budget of {minutes} minutes ended; items still running: {len(running)}",
    )


def stopped_by_budget(item: ItemPlan, minutes: int) -> Failure:
    """The context's budget ended while this item was not done."""
    return Failure(
        kind=FailureKind.SETUP_TIMED_OUT,
        code=TIMEOUT_CODE,
        person=f"{item.name} was not done in time.",
        engineer=f"{item.id}: not done when the budget of {minutes} minutes ended",
        item=item.id,
    )


def dependency_failed(item: ItemPlan, needed: str) -> Failure:
    """Something that this item depends on is not there."""
    person = f"{item.name} needs {needed}, which could not be set up."
    return _not_attempted(item, person, f"its dependency {needed} failed")


def dependency_not_applicable(item: ItemPlan, needed: str) -> Failure:
    """Something that this item depends on is not meant for this device."""
    person = f"{item.name} needs {needed}, which is not meant for this device."
    return _not_attempted(item, person, f"the requirements of its dependency {needed} are not met")


def dependency_not_installed(item: ItemPlan, needed: str) -> Failure:
    """Something that this item depends on has to be there already, and nothing sets it up."""
    person = f"{item.name} needs {needed}, which is not set up on this device."
    return _not_attempted(item, person, f"automatic installation of its dependency {needed} is off")


def _not_attempted(item: ItemPlan, person: str, why: str) -> Failure:
    return Failure(
        kind=FailureKind.DEPENDENCY_FAILED,
        code="0x87D00215",
        person=person,
        engineer=f"{item.id}: not attempted, {why}",
        item=item.id,
    )


def reboot_loop(item: ItemPlan, times: int) -> Failure:
    """The item asked for one restart too many."""
    return Failure(
        kind=FailureKind.REBOOT_LOOP,
        code="0x80070BC2",
        person=f"{item.name} asked for too many restarts.",
        engineer=f"{item.id}: wanted restart number {times}; the loop breaker stopped it",
        item=item.id,
    )


def no_assignment(minutes: int, refused: Sequence[RefusalReason]) -> Failure:
    """Nothing came from the collector, or nothing that could be believed."""
    person = "Your organization's settings did not arrive. Check the network and start setup again."
    engineer = f"no assignment within {minutes} minutes"
    if refused:
        person = "The settings that arrived can't be accepted. Contact your support person."
        engineer += f"; what came was refused: {', '.join(reason.label for reason in refused)}"
    return Failure(
        kind=FailureKind.NO_ASSIGNMENT, code=TIMEOUT_CODE, person=person, engineer=engineer
    )


def bad_assignment(reason: str) -> Failure:
    """The assignment can't be made into a plan."""
    return Failure(
        kind=FailureKind.BAD_ASSIGNMENT,
        code="badRequest",
        person="Your organization's settings for this device can't be used. Contact your support person.",
        engineer=reason[:2000],
    )


def person_stopped(name: str, what: str, *, silent: bool) -> Failure:
    """A person halted the enrollment, or stayed away; `userAbandonment` is Graph's enrollment failure reason."""
    return Failure(
        kind=FailureKind.PERSON_SILENT if silent else FailureKind.USER_CANCELLED,
        code="userAbandonment",
        person=(
            f"Setup stopped because nobody answered “{name}” in time."
            if silent
            else f"Setup was stopped at “{name}”."
        ),
        engineer=f"{name}: {what}" if silent else f"{name}: User cancelled enrollment ({what})",
    )


def pause_before_retry_ms(item: ItemPlan, attempt: int, outcome: Outcome) -> int:
    """How long to wait before the try after `attempt`, in milliseconds."""
    if outcome.pause_ms is not None:
        return outcome.pause_ms
    if item.retry_pause_ms is not None:
        return item.retry_pause_ms
    return int(FIRST_RETRY_PAUSE_MS * 2 ** (attempt - 1))
