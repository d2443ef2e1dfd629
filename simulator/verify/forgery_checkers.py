"""What has to be true of a device on whose topics somebody else writes: it does nothing of it, and says so once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from agent.core.batch import Batch
from agent.core.effects import Effect
from agent.core.events import AssignmentArrived, CommandReceived, Event
from agent.core.outbox import KeepReport
from agent.wire.events import AttemptStarted, MessageRefused
from simulator.verify.disk import Kept
from simulator.verify.intruder import FORGER
from simulator.verify.plan import WorldPlan
from simulator.verify.watch import ExcusesRestored, Finding
from simulator.verify.world import HOUR_MS

TOLD_WITHIN_MS: Final = HOUR_MS
"""Running time. A disk that is full and what arrived before may hold it up; nothing else does."""


class ForgeriesTold(ExcusesRestored):
    """What somebody else planted is not acted on, and is reported once for each message and reason of an attempt."""

    name = "forgeries told"

    def __init__(self, plan: WorldPlan) -> None:
        super().__init__(plan)
        self._findings: dict[tuple[str, bytes], Finding] = {}
        self._due: defaultdict[str, dict[Finding, int]] = defaultdict(dict)
        """What was heard and not reported yet, with when it was heard."""
        self._told: defaultdict[str, set[tuple[str, Finding]]] = defaultdict(set)
        self._attempts: dict[str, str] = {}

    def planted(self, topic: str, payload: bytes, finding: Finding | None) -> None:
        """See `Checker`."""
        if finding is not None:
            self._findings[topic, payload] = finding

    def heard(self, device: str, at_ms: int, topic: str, payload: bytes) -> None:
        """See `Checker`."""
        finding = self._findings.get((topic, payload))
        told = (self._attempts.get(device, ""), finding) in self._told[device]
        if finding is not None and not told:
            self._due[device].setdefault(finding, at_ms)

    def booted(self, device: str, kept: Kept, running_ms: int) -> None:
        """What was heard and not yet kept is gone with the power."""
        self._due[device].clear()

    def input(self, device: str, at_ms: int, event: Event) -> None:
        """See `Checker`."""
        match event:
            case AssignmentArrived(assignment=assignment) if assignment.store == FORGER:
                raise self.violated(f"{device} takes a forged assignment")
            case CommandReceived(command=command) if command.issued_by == FORGER:
                raise self.violated(f"{device} takes a forged command, '{command.action.kind}'")
            case _:
                pass

    def committed(self, device: str, batch: Batch) -> None:
        """See `Checker`."""
        if batch.entry is None or device in self.restored:
            return
        for change in batch.outbox:
            if not isinstance(change, KeepReport):
                continue
            report = change.report
            if isinstance(report.body, AttemptStarted):
                self._attempts[device] = report.attempt
            elif isinstance(report.body, MessageRefused):
                finding = report.body.message, report.body.reason
                if (report.attempt, finding) in self._told[device]:
                    raise self.violated(f"{device} reports twice: {' '.join(finding)}")
                self._told[device].add((report.attempt, finding))
                self._due[device].pop(finding, None)

    def took(
        self, device: str, at_ms: int, event: Event, effects: Sequence[Effect], refusal: str | None
    ) -> None:
        """See `Checker`."""
        if device in self.restored:
            return
        for finding, heard_ms in self._due[device].items():
            if at_ms > heard_ms + TOLD_WITHIN_MS:
                raise self.violated(f"{device} never reports: {' '.join(finding)}")
