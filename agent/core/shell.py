"""What every shell around the machines decides alike: what comes next, what to store, what a power cut may take, what no longer counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from agent.core import effects as do
from agent.core import outbox
from agent.core.batch import Batch, Checkpoint, Entry
from agent.core.effects import Effect
from agent.core.enrollment import Enrollment
from agent.core.events import (
    CommandReceived,
    DeadlinePassed,
    Event,
    LogsCollected,
    PersonActed,
    PersonChose,
    Restarted,
    StepFinished,
    StepMoved,
)
from agent.core.fingerprint import fingerprint_of
from agent.core.inbox import Inbox
from agent.wire.events import AttemptEnded, Report
from agent.wire.progress import Progress
from agent.wire.vocabulary import EndState, Gate

STATUS_INTERVAL_MS: Final = 1_000
"""The least time between two status messages."""
STATUS_SETTLE_MS: Final = 300
"""How long a change waits for those that come with it, as the start of an app with the end of the one before it."""
REBOOT_MS_MAX: Final = 10 * 60 * 1000
"""A planned reboot counts as running time up to this; what is longer was switched off."""
DIGEST_INPUTS: Final = 64
"""Each so many inputs, and at each end of an attempt, the journal keeps a fingerprint of what the fold told."""
CHECKPOINT_BYTES_MAX: Final = 1024 * 1024
"""A longer checkpoint is not kept; a plan of a thousand items makes a shorter one."""
CHECKPOINTS_KEPT: Final = 2
"""The newest, and the one before it in case that one can't be read."""


# What comes next.


def is_due(at_ms: int | None, now_ms: int) -> bool:
    """Whether a time has come; None never does."""
    return at_ms is not None and at_ms <= now_ms


def earliest(times_ms: Iterable[int | None]) -> int | None:
    """The earliest of some times; None never comes."""
    first_ms = None
    for at_ms in times_ms:
        if at_ms is not None and (first_ms is None or at_ms < first_ms):
            first_ms = at_ms
    return first_ms


def next_input(inbox: Inbox, deadline_ms: int | None, now_ms: int) -> tuple[Event, int] | None:
    """The earliest event or deadline that is due, with its stamp; of the same stamp the event comes first."""
    event_ms = inbox.next_ms
    if event_ms is not None and event_ms <= now_ms:
        if deadline_ms is None or event_ms <= deadline_ms:
            return inbox.take()
        return DeadlinePassed(), deadline_ms
    if deadline_ms is not None and deadline_ms <= now_ms:
        return DeadlinePassed(), deadline_ms
    return None


def counted_reboot_ms(off_ms: int) -> int:
    """How much of a planned reboot counts as running time."""
    return min(max(0, off_ms), REBOOT_MS_MAX)


def begins_anew(machine: Enrollment, *, comes_back: bool) -> bool:
    """Whether a start of the agent begins a new attempt: the last one ended locked, and somebody has come back."""
    ended = machine.end_state not in (None, EndState.RESET)
    return comes_back and ended and machine.gate is Gate.LOCKED


def progress_at(machine: Enrollment, handled_ms: int, now_ms: int) -> Progress:
    """The snapshot of now, with the last input handled at a time."""
    return machine.progress_after(passed_ms(machine, handled_ms, now_ms))


def passed_ms(machine: Enrollment, handled_ms: int, now_ms: int) -> int:
    """How much older than the last input its snapshot of now is; one of an attempt that has ended stays as it is."""
    return 0 if machine.end_state is not None else max(0, now_ms - handled_ms)


# When to say how far it is.


class StatusPace:
    """When the next status is due: soon after a change, with what comes together with it, and never too often.

    Times are those of whoever drives the machine, in milliseconds.
    """

    __slots__ = ("_interval_ms", "_settle_ms", "_told_ms", "next_ms")

    next_ms: int | None
    """When the next one is due; None when there is nothing new."""

    def __init__(
        self, interval_ms: int = STATUS_INTERVAL_MS, settle_ms: int = STATUS_SETTLE_MS
    ) -> None:
        self._interval_ms = interval_ms
        self._settle_ms = settle_ms
        self._told_ms: int | None = None
        self.next_ms = None

    def changed(self, now_ms: int, *, at_once: bool) -> None:
        """There is something new."""
        wanted_ms = now_ms if at_once else now_ms + self._settle_ms
        if self._told_ms is not None:
            wanted_ms = max(wanted_ms, self._told_ms + self._interval_ms)
        if self.next_ms is None or wanted_ms < self.next_ms:
            self.next_ms = wanted_ms

    def told(self, now_ms: int) -> None:
        """A status says everything."""
        self._told_ms = now_ms
        self.next_ms = None

    def dropped(self) -> None:
        """There is nothing to say it of, or nobody to say it to."""
        self.next_ms = None


_TOLD_AT_ONCE: Final = (do.SetGate, do.AskPerson, do.Reboot, do.ResetDevice)


def is_urgent(effects: Sequence[Effect]) -> bool:
    """Whether whoever looks at the device from afar should know of it at once: it asks, lets in, restarts or ends."""
    return any(map(_is_told_at_once, effects))


def _is_told_at_once(effect: Effect) -> bool:
    if isinstance(effect, do.OfferChoices):
        return effect.error
    return isinstance(effect, _TOLD_AT_ONCE) or _is_end(effect)


# What to store.


def report_of(fact: do.Report, wall_ms: int) -> Report:
    """A fact as it is reported, with the wall clock of now (milliseconds since 1970)."""
    return Report(
        attempt=fact.attempt,
        attempt_ms=fact.attempt_ms,
        device_time=datetime.fromtimestamp(wall_ms / 1000, UTC),
        stage=fact.stage,
        percent=fact.percent,
        body=fact.body,
    )


def digest_of(machine: Enrollment, number: int, effects: Sequence[Effect]) -> str | None:
    """The fingerprint that the journal keeps with the input of this number; None for most."""
    if number % DIGEST_INPUTS == 0 or any(map(_is_end, effects)):
        return fingerprint_of(machine.progress)
    return None


def checkpoint_of(machine: Enrollment, entry: Entry) -> Checkpoint | None:
    """What the journal keeps beside a fingerprint, to go on from where another version folds otherwise."""
    if entry.digest is None:
        return None
    content = machine.checkpoint()
    return Checkpoint(entry.n, content) if len(content) <= CHECKPOINT_BYTES_MAX else None


def _is_end(effect: Effect) -> bool:
    return isinstance(effect, do.Report) and isinstance(effect.body, AttemptEnded)


def input_batch(
    entry: Entry,
    machine: Enrollment,
    actions: Sequence[object],
    outbox_effects: Sequence[outbox.Effect],
) -> Batch:
    """All that one input makes durable: itself, what the outbox took, and the command that it executed."""
    event = entry.event
    executed = [event.command.id] if isinstance(event, CommandReceived) else []
    return Batch(
        entry=entry,
        checkpoint=checkpoint_of(machine, entry),
        outbox=durable(outbox_effects),
        executed=[command for command in executed if command in machine.executed],
        lazy=may_be_lazy(event, actions, outbox_effects),
    )


def outbox_batch(effects: Sequence[outbox.Effect]) -> Batch | None:
    """What the outbox alone makes durable; None when there is nothing."""
    kept = durable(effects)
    if not kept:
        return None
    # Numbers given must last; an acknowledgement that is lost is simply given again.
    return Batch(outbox=kept, lazy=not any(isinstance(d, outbox.NumberReport) for d in kept))


def durable(effects: Sequence[outbox.Effect]) -> Sequence[outbox.Durable]:
    """What of an outbox's answer a journal has to store before the rest is done."""
    return [e for e in effects if not isinstance(e, _NOT_KEPT)]


_NOT_KEPT: Final = (outbox.SendReport, outbox.FetchReports)


def may_be_lazy(
    event: Event, actions: Sequence[object], outbox_effects: Sequence[outbox.Effect]
) -> bool:
    """Whether a power cut may take this input: a tick that causes nothing and whose report has no number yet."""
    if actions or not isinstance(event, StepMoved):
        return False
    return not any(isinstance(e, outbox.NumberReport) for e in outbox_effects)


# What no longer counts.


def is_answer_to(event: Event, item: str, run: int) -> bool:
    """Whether this is what a stopped step would still have said."""
    return isinstance(event, StepMoved | StepFinished) and (event.item, event.run) == (item, run)


def is_of_the_wiped(event: Event) -> bool:
    """Whether this was scheduled before the device was reset, or meant for what was on the screen then."""
    return isinstance(
        event, StepMoved | StepFinished | LogsCollected | PersonActed | PersonChose | Restarted
    )
