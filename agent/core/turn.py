"""One turn of the enrollment machine: the attempt, the moment, and the effects that one event brings about."""

from __future__ import annotations

from agent.core.blueprints import Blueprints
from agent.core.effects import Effect, Report
from agent.core.snapshot import stage_of
from agent.core.state import Attempt
from agent.wire.events import Body

_new_tuple = tuple.__new__
"""Makes a `Report` from all of its fields: what a named tuple does too, one call later."""


class Turn:
    """What the rules work on while an event is handled."""

    __slots__ = ("attempt", "blueprints", "effects", "has_attempt", "now_ms")

    attempt: Attempt
    """The newest attempt; there is none before the first event of a device, which is `AttemptBegan`."""

    def __init__(self, blueprints: Blueprints) -> None:
        self.blueprints = blueprints
        self.has_attempt = False
        self.now_ms = 0
        self.effects: list[Effect] = []

    def begin(self, now_ms: int) -> None:
        """Begin the next turn; time never goes back."""
        self.now_ms = max(self.now_ms, now_ms)
        self.effects = []

    def take_up(self, attempt: Attempt) -> None:
        """From now on this is the attempt."""
        self.attempt = attempt
        self.has_attempt = True

    def do(self, effect: Effect) -> None:
        """Have something carried out."""
        self.effects.append(effect)

    def report(self, body: Body) -> None:
        """Report one fact, with where the attempt is at this moment."""
        attempt = self.attempt
        attempt_ms = self.now_ms - attempt.began_ms
        fields = (attempt.id, attempt_ms, stage_of(attempt), attempt.percent, body)
        self.effects.append(_new_tuple(Report, fields))
