"""The second shell around the machine: one device enrolls in simulated time, with no event loop and no sockets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol
from uuid import UUID

from agent.core.effects import (
    AskForAssignment,
    CancelStep,
    CollectLogs,
    Effect,
    EndpointEffect,
    Report,
    ResetDevice,
)
from agent.core.enrollment import Enrollment
from agent.core.events import (
    AssignmentArrived,
    AttemptBegan,
    DeadlinePassed,
    Event,
    LogsCollected,
)
from agent.core.shell import is_answer_to, is_of_the_wiped
from agent.wire.assignment import Assignment
from agent.wire.events import AttemptStarted
from agent.wire.vocabulary import EndState
from collector.admission import decide
from simulator.endpoint_model import EndpointModel, Habitat
from simulator.ground_truth import GroundTruth
from simulator.kernel import Kernel
from simulator.person import SimulatedPerson
from simulator.population import SimulatedDevice
from simulator.rollout import Rollout

COLLECTOR_ANSWERS_MS: Final = 1_500
EVENTS_MAX: Final = 200_000
"""More inputs than any enrollment has: a device that reaches it goes round in circles."""
STORE: Final = "simulated-store"
_ISSUED: Final = datetime(2026, 1, 1, tzinfo=UTC)

Watch = Callable[[int, Event, Sequence[Effect]], None]
"""Sees every input with its time and the effects that it had."""


class AnswersAttempts(Protocol):
    """What decides about a device's attempts."""

    def started(self, started: AttemptStarted, attempt: str) -> Assignment:
        """The answer to an attempt."""
        ...

    def again(self) -> Assignment | None:
        """The newest assignment once more; None when there was none."""
        ...


class VirtualCollector:
    """Decides about one device as the collector would, by its own pure rules."""

    def __init__(self, rollout: Rollout, device: SimulatedDevice) -> None:
        self._rollout = rollout
        self._device = device
        self._last: Assignment | None = None
        self._version = 0

    def started(self, started: AttemptStarted, attempt: str) -> Assignment:
        """The answer to an attempt."""
        self._version += 1
        decision = decide(
            started,
            self._rollout.standing(self._device),
            self._rollout.rules,
            self._rollout.offer(self._device),
        )
        self._last = Assignment(
            device=self._device.id,
            attempt=attempt,
            store=STORE,
            term=1,
            version=self._version,
            issued_at=_ISSUED,
            decision=decision,
        )
        return self._last

    def again(self) -> Assignment | None:
        """The newest assignment once more; None when there was none."""
        return self._last


class VirtualDevice:
    """One device from power-on until nothing more will happen to it."""

    def __init__(
        self,
        rollout: Rollout,
        device: SimulatedDevice,
        *,
        collector: AnswersAttempts | None = None,
        answer_ms: int = COLLECTOR_ANSWERS_MS,
    ) -> None:
        self.device = device
        self.truth = GroundTruth()
        self.now_ms = 0
        self._enrollment = Enrollment()
        self._kernel: Kernel[Event] = Kernel()
        self._collector = collector or VirtualCollector(rollout, device)
        self._answer_ms = answer_ms
        self._limits = rollout.limits
        self._attempts = 0
        self._watch: Watch | None = None
        self._model = EndpointModel(
            device.facts,
            Habitat.of(rollout.scenario, device),
            device.draws,
            self.truth,
            limits=self._limits,
            new_id=self._new_attempt,
            person=SimulatedPerson(device.person, device.draws),
        )

    @property
    def end_state(self) -> EndState | None:
        """How its last attempt ended; None while it has not."""
        return self._enrollment.end_state

    def run(self, watch: Watch | None = None) -> None:
        """Enroll; `watch` sees every input."""
        self._watch = watch
        self._kernel.put(0, self._begins())
        for _ in range(EVENTS_MAX):
            if not self._next():
                return
        raise AssertionError(f"{self.device.id} had {EVENTS_MAX} inputs and has not ended")

    def _next(self) -> bool:
        """Feed the next input; False when there is none, or none that could change anything."""
        due_ms, deadline_ms = self._kernel.next_ms(), self._enrollment.next_deadline_ms()
        if due_ms is not None and (deadline_ms is None or due_ms <= deadline_ms):
            at_ms, event = self._kernel.take()
            self._feed(event, at_ms)
        elif deadline_ms is not None:
            self._feed(DeadlinePassed(), deadline_ms)
        else:
            return False
        return True

    def _feed(self, event: Event, at_ms: int) -> None:
        self.now_ms = max(self.now_ms, at_ms)
        effects = self._enrollment.handle(event, self.now_ms)
        if self._watch is not None:
            self._watch(self.now_ms, event, effects)
        for effect in effects:
            self._carry_out(effect)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Report(body=AttemptStarted() as started):
                self._answer(self._collector.started(started, effect.attempt))
            case Report():
                pass
            case AskForAssignment():
                self._answer(self._collector.again())
            case CollectLogs(command=command):
                # No file is written in simulated time, and the path says so.
                path = simulated_archive(self.device.id, self.now_ms)
                self._kernel.put(self.now_ms, LogsCollected(path=path, command=command))
            case CancelStep(item=item, run=run):
                self._kernel.discard(lambda event: is_answer_to(event, item, run))
                self._endpoint(effect)
            case ResetDevice():
                self._kernel.discard(is_of_the_wiped)
                self._endpoint(effect)
                self._kernel.put(self.now_ms, self._begins())
            case _:
                self._endpoint(effect)

    def _endpoint(self, effect: EndpointEffect) -> None:
        for at_ms, event in self._model.act(effect, self.now_ms):
            self._kernel.put(at_ms, event)

    def _answer(self, assignment: Assignment | None) -> None:
        if assignment is not None:
            arrived = AssignmentArrived(assignment=assignment)
            self._kernel.put(self.now_ms + self._answer_ms, arrived)

    def _begins(self) -> AttemptBegan:
        return AttemptBegan(
            attempt=self._new_attempt(), facts=self.device.facts, limits=self._limits
        )

    def _new_attempt(self) -> str:
        self._attempts += 1
        return str(UUID(hex=self.device.draws.hex("attempt", self._attempts)))


def simulated_archive(device: str, at_ms: int) -> str:
    """The name of a log archive that exists in simulated time only."""
    return f"simulated:{device}-{at_ms}.zip"
