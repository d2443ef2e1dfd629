"""What has to be true once faults have stopped and everything is quiet, one property an object."""

from __future__ import annotations

from collections import Counter

from agent.core.outbox import content_of
from agent.wire.events import (
    AttemptEnded,
    AttemptStarted,
    CommandAnswered,
    GateChanged,
    LogsCollected,
)
from agent.wire.vocabulary import (
    EndState,
    Gate,
)
from simulator.verify.disk import Kept
from simulator.verify.plan import WorldPlan
from simulator.verify.store import Store
from simulator.verify.watch import Checker, End, ExcusesRestored


class EveryoneFinishes(Checker):
    """Once faults have stopped, every device gets through within the bound."""

    name = "everyone finishes"

    def at_the_end(self, end: End) -> None:
        """See `Checker`."""
        for device, why in end.unfinished.items():
            raise self.violated(f"{device} is not through: {why}")


class JournalIsStored(ExcusesRestored):
    """The collector has each numbered report of each journal once, with the journal's content, and lost none.

    A store that went back asks for what it lost, and a journal that went back may not have it any more: where both
    did, what is lost has to be recorded, and only what the journal still holds can be asked for.
    """

    name = "journal is stored"

    def __init__(self, plan: WorldPlan) -> None:
        super().__init__(plan)
        self._store_went_back = False

    def store_restored(self, store: Store) -> None:
        """See `Checker`."""
        self._store_went_back = True

    def at_the_end(self, end: End) -> None:
        """See `Checker`."""
        for device, kept in end.journals.items():
            self._each_held(device, kept, end.store)
            if device not in self.restored or not self._store_went_back:
                self._all_told(device, kept, end)
            if end.store.stream(device, kept.stream).last_seq != kept.next_seq - 1:
                raise self.violated(f"{device} and the collector disagree on how far it is")

    def _each_held(self, device: str, kept: Kept, store: Store) -> None:
        stored = {e.seq: e.digest for e in store.holds.events.get((device, kept.stream), ())}
        for row in kept.rows.values():
            if row.seq is None or row.seq not in stored:
                number = "without a number" if row.seq is None else f"{row.seq}"
                raise self.violated(f"report {number} of {device} is not stored")
            if row.digest != stored[row.seq]:
                raise self.violated(f"report {row.seq} of {device} is stored differently")

    def _all_told(self, device: str, kept: Kept, end: End) -> None:
        """Also what the journal has long forgotten, and what an older copy told under numbers that were taken."""
        stored = {content_of(report) for report in end.reports(device)}
        for content in kept.told.values():
            if content not in stored:
                raise self.violated(f"{device} told in vain: {content[:200]}")
        for (loser, _), loss in end.store.holds.losses:
            if loser == device:
                raise self.violated(f"{device} lost {loss.first_seq} to {loss.last_seq}")


class OneEndState(ExcusesRestored):
    """Every attempt ends exactly once; after an older copy it may end again, for twice told is better than lost."""

    name = "one end state"

    def at_the_end(self, end: End) -> None:
        """See `Checker`."""
        for device in end.journals:
            if device in self.restored:
                continue
            ends = Counter(
                r.attempt for r in end.reports(device) if isinstance(r.body, AttemptEnded)
            )
            for report in end.reports(device):
                if isinstance(report.body, AttemptStarted) and ends[report.attempt] != 1:
                    raise self.violated(
                        f"attempt {report.attempt} of {device} ended {ends[report.attempt]} times"
                    )


class StatusIsTheFold(ExcusesRestored):
    """The retained status says what the stored reports add up to."""

    name = "status is the fold"

    def at_the_end(self, end: End) -> None:
        """See `Checker`."""
        for device in end.journals:
            progress = end.statuses.get(device)
            if progress is None:
                raise self.violated(f"{device} has no retained status")
            attempt, gate, ended = None, Gate.LOCKED, None
            for report in end.reports(device):
                match report.body:
                    case AttemptStarted():
                        attempt, ended = report.attempt, None
                    case GateChanged(gate=gate):
                        pass
                    case AttemptEnded(end_state=end_state) if report.attempt == attempt:
                        ended = end_state
                    case _:
                        pass
            said = (progress.attempt, progress.gate, progress.end_state)
            if said != (attempt, gate, ended) and device not in self.restored:
                raise self.violated(f"{device} says {said}, its reports {(attempt, gate, ended)}")
            view = next((v for v in reversed(end.store.views()) if v.device == device), None)
            seen = None if view is None else (view.attempt, view.gate, view.end_state)
            if seen != (attempt, gate, ended) and device not in self.restored:
                raise self.violated(f"{device} is shown as {seen}, not {(attempt, gate, ended)}")


class LogsDelivered(ExcusesRestored):
    """Logs that the help desk asked for are collected, whatever the power does."""

    name = "logs delivered"

    def at_the_end(self, end: End) -> None:
        """A reset or a new attempt takes the wish with it."""
        for device in end.journals.keys() - self.restored:
            reports = end.reports(device)
            last = reports[-1].attempt if reports else ""
            was_reset = any(
                isinstance(r.body, AttemptEnded) and r.body.end_state is EndState.RESET
                for r in reports
                if r.attempt == last
            )
            written = {r.body.command for r in reports if isinstance(r.body, LogsCollected)}
            for report in reports:
                body = report.body
                if (
                    isinstance(body, CommandAnswered)
                    and (body.action, body.executed) == ("collect_logs", True)
                    and body.command not in written
                    and report.attempt == last
                    and not was_reset
                ):
                    raise self.violated(f"{device} never wrote the logs for {body.command}")
