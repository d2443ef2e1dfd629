"""What a history of reports says of times, failures and people: folded report by report, without any scenario."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from agent.core.events import MINUTE_MS
from agent.wire.events import (
    AgentRestarted,
    AttemptEnded,
    AttemptStarted,
    Body,
    ChoiceMade,
    ErrorScreenShown,
    ItemChanged,
    PersonAnswered,
    RebootPlanned,
)
from agent.wire.progress import Failure
from agent.wire.vocabulary import (
    Choice,
    EndState,
    EnrollmentType,
    FailureKind,
    ItemKind,
    ItemState,
    Variant,
)

SILENCE_MS: Final = 30 * MINUTE_MS
"""Whoever has not answered by then is silent, as in the incomplete-enrollments report."""
TIMEOUT_CODE: Final = "0x800705B4"
"""Whatever a limit has ended carries it."""

_BEGINS: Final = frozenset({ItemState.DOWNLOADING, ItemState.INSTALLING})
_ENDS_WELL: Final = frozenset({ItemState.DONE, ItemState.REBOOT_REQUIRED})
_FAULTS: Final = frozenset(
    {
        FailureKind.INSTALLER_FAILED,
        FailureKind.NOT_DETECTED,
        FailureKind.DOWNLOAD_FAILED,
        FailureKind.NETWORK_TIMEOUT,
        FailureKind.ATTESTATION_FAILED,
        FailureKind.STEP_FAILED,
    }
)


class Fact(NamedTuple):
    """One report: of which attempt of which device, how far into it, and what it says."""

    device: str
    attempt: str
    attempt_ms: int
    body: Body


class Make(NamedTuple):
    """What a device says of itself: devices of one make are alike as far as reports can tell."""

    enrollment_type: EnrollmentType
    variant: Variant
    model: str | None


class Try(NamedTuple):
    """One try of an item: how it ended, and how long its installer ran."""

    outcome: Literal["worked", "failed", "cut_off"]
    work_s: float | None
    """From the end of the download; None when it did not come that far."""
    kind: FailureKind | None = None
    code: str = ""


ItemKey = tuple[EnrollmentType, str]


@dataclass(slots=True)
class ItemRecord:
    """What one item did on devices of one make."""

    kind: ItemKind
    worked_at_once: int = 0
    """Devices on which the first try worked."""
    finished_s: list[float] = field(default_factory=list)
    """The times of all tries that worked."""
    troubled: list[tuple[Try, ...]] = field(default_factory=list)
    """All tries of the other devices, in their order."""
    download_s: list[float] = field(default_factory=list)
    """Of downloads that came to their end."""


@dataclass(slots=True)
class ScreenRecord:
    """What people did at one screen."""

    answered_s: list[float] = field(default_factory=list)
    """The times of those who answered before they counted as silent."""
    cut_off_s: list[float] = field(default_factory=list)
    """How long it had been shown to the others, until they counted as silent or something took it away."""
    actions: Counter[str] = field(default_factory=Counter)
    """What they did, by the word of the report."""

    @property
    def shown(self) -> int:
        """How often it was shown."""
        return len(self.answered_s) + len(self.cut_off_s)


@dataclass(slots=True)
class ErrorRecord:
    """What people did at the error screen."""

    answered_s: list[float] = field(default_factory=list)
    left_s: list[float] = field(default_factory=list)
    """How long it had been shown when the attempt ended without an answer."""
    offered_logs: int = 0
    collected_logs: int = 0


@dataclass(slots=True)
class History:
    """Everything that was found."""

    devices: Counter[Make] = field(default_factory=Counter)
    items: dict[tuple[Make, str], ItemRecord] = field(default_factory=dict)
    screens: defaultdict[tuple[Make, str], ScreenRecord] = field(
        default_factory=lambda: defaultdict(ScreenRecord)
    )
    errors: defaultdict[Make, ErrorRecord] = field(default_factory=lambda: defaultdict(ErrorRecord))
    ends: defaultdict[EnrollmentType, Counter[EndState]] = field(
        default_factory=lambda: defaultdict(Counter)
    )
    success_s: defaultdict[EnrollmentType, list[float]] = field(
        default_factory=lambda: defaultdict(list)
    )
    network: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Devices by how many of their tries the network failed, and how many it could have failed."""
    reports: int = 0

    def read(self, facts: Iterable[Fact]) -> None:
        """Take in the reports of one device, in their order."""
        _Device(self).read(facts)


@dataclass(slots=True)
class _Running:
    """A try that is under way."""

    kind: ItemKind
    began_ms: int
    installs_from_ms: int | None


class _Device:
    """The fold of one device's reports."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._make: Make | None = None
        self._attempt = ""
        self._last_ms = 0
        self._running: dict[str, _Running] = {}
        self._tries: dict[str, list[Try]] = {}
        self._kinds: dict[str, ItemKind] = {}
        self._waiting: dict[str, int] = {}
        """Since when each screen has been shown."""
        self._is_absent = False
        """A screen was taken away unanswered: until they answer one, the same silence goes on."""
        self._error_ms: int | None = None
        self._logs_wanted = False

    def read(self, facts: Iterable[Fact]) -> None:
        for fact in facts:
            self._history.reports += 1
            if fact.attempt != self._attempt:
                self._leave()
                self._attempt = fact.attempt
            if isinstance(fact.body, AttemptStarted):
                self._start(fact.body)
            elif self._make is not None:
                self._take(self._make, fact.attempt_ms, fact.body)
            self._last_ms = fact.attempt_ms
        self._leave()
        if self._make is not None:
            self._keep(self._make)

    def _start(self, started: AttemptStarted) -> None:
        make = Make(started.enrollment_type, started.variant, started.model)
        if self._make is None:
            self._history.devices[make] += 1
        self._make = make

    def _take(self, make: Make, at_ms: int, body: Body) -> None:
        match body:
            case ItemChanged(item_kind=ItemKind.SCREEN):
                self._screen_changed(make, at_ms, body)
            case ItemChanged():
                self._item_changed(make, at_ms, body)
            case PersonAnswered():
                self._answered(make, body)
            case ErrorScreenShown():
                self._error_ms, self._logs_wanted = at_ms, False
                if Choice.COLLECT_LOGS in body.choices:
                    self._history.errors[make].offered_logs += 1
            case ChoiceMade(command=None):
                self._chosen(make, at_ms, body.choice)
            case RebootPlanned():
                self._cut_all(at_ms)
            case AgentRestarted():
                # Nobody knows when it stopped; what ran then had run until the report before at least.
                self._cut_all(self._last_ms)
            case AttemptEnded():
                self._end(make, at_ms, body)
            case _:
                pass

    # --- items --------------------------------------------------------------------------------------

    def _item_changed(self, make: Make, at_ms: int, body: ItemChanged) -> None:
        name, state = body.item, body.state
        running = self._running.get(name)
        if state in _BEGINS:
            if running is None:
                running = self._running[name] = _Running(body.item_kind, at_ms, None)
            if state is ItemState.INSTALLING and running.installs_from_ms is None:
                running.installs_from_ms = at_ms
                if at_ms > running.began_ms:
                    self._record(make, name, body.item_kind).download_s.append(
                        (at_ms - running.began_ms) / 1000
                    )
            return
        if running is None or state is ItemState.VERIFYING:
            return
        del self._running[name]
        work_s = _seconds(running, at_ms)
        if state in _ENDS_WELL:
            self._tried(name, body.item_kind, Try("worked", work_s))
            return
        failed = _fault_of(body.failure)
        if failed is not None:
            self._tried(name, body.item_kind, Try("failed", work_s, *failed))
        elif state not in (ItemState.ALREADY_PRESENT, ItemState.SKIPPED):
            self._tried(name, body.item_kind, Try("cut_off", work_s))

    def _tried(self, name: str, kind: ItemKind, tried: Try) -> None:
        self._kinds[name] = kind
        self._tries.setdefault(name, []).append(tried)

    def _cut_all(self, at_ms: int) -> None:
        for name, running in self._running.items():
            self._tried(name, running.kind, Try("cut_off", _seconds(running, at_ms)))
        self._running.clear()

    def _record(self, make: Make, name: str, kind: ItemKind) -> ItemRecord:
        return self._history.items.setdefault((make, name), ItemRecord(kind))

    def _keep(self, make: Make) -> None:
        """Put away what all tries of this device came to."""
        failed = possible = 0
        for name, tries in self._tries.items():
            record = self._record(make, name, self._kinds[name])
            record.finished_s.extend(t.work_s for t in tries if t.outcome == "worked" and t.work_s)
            if tries[0].outcome == "worked":
                record.worked_at_once += 1
            else:
                record.troubled.append(tuple(tries))
            by_network = sum(t.kind is FailureKind.NETWORK_TIMEOUT for t in tries)
            failed += by_network
            possible += by_network + sum(t.outcome == "worked" for t in tries)
        self._history.network[failed, possible] += 1

    # --- people -------------------------------------------------------------------------------------

    def _screen_changed(self, make: Make, at_ms: int, body: ItemChanged) -> None:
        if body.state is ItemState.WAITING_FOR_PERSON:
            self._waiting.setdefault(body.item, at_ms)
        elif body.item in self._waiting:
            self._unanswered(make, body.item, at_ms)

    def _unanswered(self, make: Make, screen: str, at_ms: int) -> None:
        waited_ms = at_ms - self._waiting.pop(screen)
        if not self._is_absent:
            cut_s = min(waited_ms, SILENCE_MS) / 1000
            self._history.screens[make, screen].cut_off_s.append(cut_s)
        self._is_absent = True

    def _answered(self, make: Make, body: PersonAnswered) -> None:
        self._waiting.pop(body.screen, None)
        record = self._history.screens[make, body.screen]
        if self._is_absent:
            # They came back at some time after the screen was shown: no measure of how fast they answer.
            self._is_absent = False
        elif body.waited_ms >= SILENCE_MS:
            record.cut_off_s.append(SILENCE_MS / 1000)
        else:
            record.answered_s.append(body.waited_ms / 1000)
            record.actions[body.action] += 1

    def _chosen(self, make: Make, at_ms: int, choice: Choice) -> None:
        if self._error_ms is None:
            return
        record = self._history.errors[make]
        if choice is Choice.COLLECT_LOGS:
            # Logs are collected on the way to a choice, and the screen stays.
            record.collected_logs += not self._logs_wanted
            self._logs_wanted = True
            return
        record.answered_s.append((at_ms - self._error_ms) / 1000)
        self._error_ms = None

    # --- attempts -----------------------------------------------------------------------------------

    def _end(self, make: Make, at_ms: int, body: AttemptEnded) -> None:
        self._history.ends[make.enrollment_type][body.end_state] += 1
        if body.end_state in (EndState.SUCCEEDED, EndState.SUCCEEDED_ON_RETRY, EndState.BYPASSED):
            self._history.success_s[make.enrollment_type].append(at_ms / 1000)
        if self._error_ms is not None:
            self._history.errors[make].left_s.append((at_ms - self._error_ms) / 1000)
            self._error_ms = None
        for screen in tuple(self._waiting):
            self._unanswered(make, screen, at_ms)

    def _leave(self) -> None:
        """Nothing more is known of this attempt: what was under way is cut off at its last report."""
        self._cut_all(self._last_ms)
        if self._make is not None:
            for screen in tuple(self._waiting):
                self._unanswered(self._make, screen, self._last_ms)
        self._error_ms = None
        self._is_absent = False
        self._last_ms = 0


def _seconds(running: _Running, at_ms: int) -> float | None:
    if running.installs_from_ms is None:
        return None
    return (at_ms - running.installs_from_ms) / 1000


def _fault_of(failure: Failure | None) -> tuple[FailureKind, str] | None:
    """What went wrong by itself; None for what a limit, a dependency or somebody ended."""
    if failure is None or failure.kind not in _FAULTS or failure.code == TIMEOUT_CODE:
        return None
    return failure.kind, failure.code
