"""One turn of the enrollment machine: the attempt, the moment, and the effects that one event brings about."""

from __future__ import annotations

from agent.core.effects import Effect, Report
from agent.core.snapshot import stage_of
from agent.core.state import Attempt
from agent.wire.events import Body


class Turn:
    """What the rules work on while an event is handled."""

    __slots__ = ("_attempt", "effects", "now_ms")

    def __init__(self) -> None:
        self._attempt: Attempt | None = None
        self.now_ms = 0
        self.effects: list[Effect] = []

    def begin(self, now_ms: int) -> None:
        """Begin the next turn; time never goes back."""
        self.now_ms = max(self.now_ms, now_ms)
        self.effects = []

    @property
    def has_attempt(self) -> bool:
        """Whether an attempt has begun at all."""
        return self._attempt is not None

    @property
    def attempt(self) -> Attempt:
        """The newest attempt."""
        assert self._attempt is not None, "the first event of a device is AttemptBegan"
        return self._attempt

    @attempt.setter
    def attempt(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def do(self, effect: Effect) -> None:
        """Have something carried out."""
        self.effects.append(effect)

    def report(self, body: Body) -> None:
        """Report one fact, with where the attempt is at this moment."""
        attempt = self.attempt
        attempt_ms = self.now_ms - attempt.began_ms
        self.effects.append(
            Report(attempt.id, attempt_ms, stage_of(attempt), attempt.percent, body)
        )
