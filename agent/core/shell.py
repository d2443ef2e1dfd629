"""What every shell around the machines decides alike: what to store, what a power cut may take, what no longer counts."""

from __future__ import annotations

from collections.abc import Sequence

from agent.core import outbox
from agent.core.events import (
    Event,
    LogsCollected,
    PersonActed,
    PersonChose,
    Restarted,
    StepFinished,
    StepMoved,
)


def durable(effects: Sequence[outbox.Effect]) -> Sequence[outbox.Durable]:
    """What of an outbox's answer a journal has to store before the rest is done."""
    return [e for e in effects if not isinstance(e, outbox.SendReport | outbox.FetchReports)]


def may_be_lazy(
    event: Event, actions: Sequence[object], outbox_effects: Sequence[outbox.Effect]
) -> bool:
    """Whether a power cut may take this input: a tick that causes nothing and whose report has no number yet."""
    gives_number = any(isinstance(e, outbox.NumberReport) for e in outbox_effects)
    return isinstance(event, StepMoved) and not actions and not gives_number


def is_answer_to(event: Event, item: str, run: int) -> bool:
    """Whether this is what a stopped step would still have said."""
    return isinstance(event, StepMoved | StepFinished) and (event.item, event.run) == (item, run)


def is_of_the_wiped(event: Event) -> bool:
    """Whether this was scheduled before the device was reset, or meant for what was on the screen then."""
    return isinstance(
        event, StepMoved | StepFinished | LogsCollected | PersonActed | PersonChose | Restarted
    )
