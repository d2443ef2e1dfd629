"""The words in which a simulated device says how a step goes on and how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final, TypeGuard

from agent.core.effects import RunStep
from agent.core.events import Event, StepFinished, StepMoved, StepResult
from agent.wire.vocabulary import EnrollmentType, FailureKind, ItemKind, ItemState
from simulator.scenario import Fault

Scheduled = tuple[int, Event]
"""An event with the device time at which it happens, in milliseconds."""

PERCENTS: Final = (25, 50, 75)
"""Of a download and of an installation: what an app says on its way, for whoever looks at the page."""

WINDOWS: Final = frozenset({EnrollmentType.WINDOWS_AUTOPILOT, EnrollmentType.WINDOWS_MANUAL})
_APPLE: Final = frozenset({EnrollmentType.MACOS_ADE, EnrollmentType.IOS})

# Codes of Microsoft's table of app installation errors and of Windows' networking and attestation.
_CODES: Final[dict[FailureKind, tuple[str, str, str]]] = {
    FailureKind.INSTALLER_FAILED: ("0x80070643", "0x87D13B64", "0xC7D14FB5"),
    FailureKind.NOT_DETECTED: ("0x87D1041C", "0x87D1041C", "0x87D1041C"),
    FailureKind.DOWNLOAD_FAILED: ("0x87D30068", "0x87D1313C", "0xC7D14FB2"),
    FailureKind.NETWORK_TIMEOUT: ("0x80072EE2", "0x87D1313C", "0xC7D15015"),
    FailureKind.ATTESTATION_FAILED: ("0x81039023", "0x81039023", "0x81039023"),
    FailureKind.STEP_FAILED: ("0x80180006", "MCMDMErrorDomain 12021", "ERROR_OTHER"),
}
"""The code of each failure on Windows, Apple's systems and Android."""

# Names of the module for the members that are asked about most: Python 3.11 finds them ten times as fast.
_APP: Final = ItemKind.APP
_DOWNLOADING: Final = ItemState.DOWNLOADING
_INSTALLING: Final = ItemState.INSTALLING
_VERIFYING: Final = ItemState.VERIFYING
_COMPLETED: Final = StepResult.COMPLETED


def breaks_off(fault: Fault | None) -> TypeGuard[Fault]:
    """True for a fault that ends a try wherever it is."""
    return fault is not None and fault.kind in ("download_failed", "network_timeout")


def download_moves(
    step: RunStep,
    at_ms: int,
    download_ms: int,
    percents: Sequence[int] = PERCENTS,
    *,
    is_timed: bool = True,
) -> tuple[Scheduled, ...]:
    """What a step says of itself while it downloads; only its begin when nobody knows how long it takes."""
    if step.kind is not _APP:
        return ((at_ms, _moved(step.item, step.run, _INSTALLING)),)
    if not is_timed:
        return tuple(tick(step, _DOWNLOADING, at_ms, 0))
    return _ticks(step, _DOWNLOADING, at_ms, download_ms, percents)


def install_moves(
    step: RunStep, at_ms: int, work_ms: int, percents: Sequence[int] = PERCENTS
) -> tuple[Scheduled, ...]:
    """What an app says of itself from the end of its download on."""
    if step.kind is not _APP:
        return ()
    installing_ms = work_ms * 9 // 10
    verifying = _moved(step.item, step.run, _VERIFYING)
    ticks = _ticks(step, _INSTALLING, at_ms, installing_ms, percents)
    return (*ticks, (at_ms + installing_ms, verifying))


def _ticks(
    step: RunStep, state: ItemState, begin_ms: int, length_ms: int, percents: Sequence[int]
) -> tuple[Scheduled, ...]:
    """What an app says on its way through a state; nothing where it takes no time."""
    if length_ms <= 0:
        return ()
    item, run = step.item, step.run
    begun = (begin_ms, _moved(item, run, state, 0))
    if not percents:
        return (begun,)
    return (
        begun,
        *[(begin_ms + length_ms * p // 100, _moved(item, run, state, p)) for p in percents],
    )


@lru_cache(maxsize=65_536)
def _moved(item: str, run: int, state: ItemState, percent: int | None = None) -> StepMoved:
    """The same words for all devices that say them."""
    return StepMoved(item=item, run=run, state=state, percent=percent)


@lru_cache(maxsize=65_536)
def completed(
    item: str, run: int, exit_code: int | None = None, detected: bool | None = None
) -> StepFinished:
    """That a step has done its work; an app has an exit code and is detected."""
    return StepFinished(
        item=item, run=run, result=_COMPLETED, exit_code=exit_code, detected=detected
    )


def tick(step: RunStep, state: ItemState, at_ms: int, percent: int) -> Iterator[Scheduled]:
    """One word of an app on its way; other steps say none."""
    if step.kind is _APP:
        yield at_ms, StepMoved(item=step.item, run=step.run, state=state, percent=percent)


def failed(step: RunStep, fault: Fault, enrollment_type: EnrollmentType) -> StepFinished:
    """How a step ends that meets a fault, in the words of its platform."""
    is_app = step.kind is _APP
    if fault.kind == "not_detected" and is_app:
        return StepFinished(
            item=step.item,
            run=step.run,
            result=_COMPLETED,
            exit_code=0,
            detected=False,
        )
    if fault.kind == "installer_failed" and is_app and enrollment_type in WINDOWS:
        return StepFinished(
            item=step.item,
            run=step.run,
            result=_COMPLETED,
            exit_code=1603 if fault.exit_code is None else fault.exit_code,
            detected=False,
        )
    kind = FailureKind(fault.kind)
    return StepFinished(
        item=step.item,
        run=step.run,
        result=StepResult.FAILED,
        exit_code=fault.exit_code,
        failure=kind,
        code=fault.code or _code(kind, enrollment_type),
        detail=f"{step.item}: {kind.label.lower()} at try {step.attempt}",
    )


def _code(kind: FailureKind, enrollment_type: EnrollmentType) -> str:
    windows, apple, android = _CODES[kind]
    if enrollment_type in WINDOWS:
        return windows
    return apple if enrollment_type in _APPLE else android
