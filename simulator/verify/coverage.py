"""Which of the machine's rules the worlds have met, so that nobody trusts a rule that no world ever reached."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Final, get_args

from agent.core.effects import Effect, Report
from agent.core.enrollment import TABLE
from agent.core.events import Event
from agent.core.state import Mode
from agent.wire.events import AttemptEnded
from agent.wire.vocabulary import EndState


def _kind(event: type[Event]) -> str:
    return next(str(field.default) for field in fields(event) if field.name == "kind")


KINDS: Final[dict[str, tuple[str, ...]]] = {
    "inputs": tuple(
        f"{mode.value} {_kind(event)}"
        for mode, entries in TABLE.items()
        for event, entry in entries.items()
        if callable(entry)
    ),
    "effects": tuple(effect.__name__ for effect in get_args(Effect)),
    "ends": tuple(state.value for state in EndState),
}
"""What there is to meet: every input with a mode that takes it, every effect, and every end of an attempt."""


def count(met: Counter[str], mode: Mode, event: Event, effects: Sequence[Effect]) -> None:
    """Count what one input met."""
    met[f"{mode.value} {event.kind}"] += 1
    for effect in effects:
        met[type(effect).__name__] += 1
        if isinstance(effect, Report) and isinstance(effect.body, AttemptEnded):
            met[effect.body.end_state.value] += 1


def by_kind(met: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """How often each was met; what no world met is there with 0."""
    return {what: {kind: met.get(kind, 0) for kind in kinds} for what, kinds in KINDS.items()}


def never(met: Mapping[str, int]) -> list[str]:
    """What no world met."""
    return [kind for kinds in KINDS.values() for kind in kinds if not met.get(kind)]
