"""The second shell around the machine: one device enrolls in simulated time, with no event loop and no sockets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

from agent.core.effects import (
    AskForAssignment,
    CancelStep,
    CollectLogs,
    Effect,
    EndpointEffect,
    Report,
    ResetDevice,
    RunStep,
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
from agent.wire.assignment import Admitted, Assignment
from agent.wire.events import AttemptEnded, AttemptStarted
from agent.wire.vocabulary import SUCCESS_STATES, EndState
from collector.admission import decide
from simulator.draws import Draws
from simulator.endpoint_model import EndpointModel, Line
from simulator.ground_truth import GroundTruth
from simulator.kernel import Kernel
from simulator.person import SimulatedPerson
from simulator.population import SimulatedDevice
from simulator.rollout import Rollout
from simulator.step_events import PERCENTS

COLLECTOR_ANSWERS_MS: Final = 1_500
EVENTS_MAX: Final = 200_000
"""More inputs than any enrollment has: a device that reaches it goes round in circles."""
STORE: Final = "simulated-store"
_ISSUED: Final = datetime(2026, 1, 1, tzinfo=UTC)

OtherEffect = EndpointEffect | AskForAssignment | CollectLogs
"""What happens on the device itself, besides reports."""
_CONCERN_THE_COLLECTOR: Final = frozenset({AttemptStarted, AttemptEnded})
"""Of a hundred reports these two."""

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

    def ended(self, ended: AttemptEnded) -> None:
        """An attempt is over."""
        ...


class Register:
    """Which devices the people of a cohort have enrolled, or are enrolling, in this run."""

    def __init__(self) -> None:
        self._enrolled: dict[str, set[str]] = {}
        self._enrolling: dict[str, set[str]] = {}

    def others(self, user: str, device: str) -> int:
        """How many a user has besides this one."""
        held = self._enrolled.get(user, set()) | self._enrolling.get(user, set())
        return len(held - {device})

    def admitted(self, user: str, device: str) -> None:
        """A device of this user enrolls."""
        self._enrolling.setdefault(user, set()).add(device)

    def ended(self, user: str, device: str, *, succeeded: bool) -> None:
        """It is through; one that succeeded stays enrolled whatever happens to it later."""
        self._enrolling.get(user, set()).discard(device)
        if succeeded:
            self._enrolled.setdefault(user, set()).add(device)


class VirtualCollector:
    """Decides about one device as the collector would, by its own pure rules."""

    def __init__(
        self, rollout: Rollout, device: SimulatedDevice, register: Register | None = None
    ) -> None:
        self._rollout = rollout
        self._device = device
        self._register = Register() if register is None else register
        self._last: Assignment | None = None
        self._version = 0

    def started(self, started: AttemptStarted, attempt: str) -> Assignment:
        """The answer to an attempt."""
        self._version += 1
        enrolled = self._register.others(started.user or "", self._device.id)
        decision = decide(
            started,
            self._rollout.standing(self._device, enrolled),
            self._rollout.rules,
            self._rollout.offer(self._device),
        )
        if isinstance(decision, Admitted):
            self._register.admitted(started.user or "", self._device.id)
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

    def ended(self, ended: AttemptEnded) -> None:
        """An attempt is over."""
        succeeded = ended.end_state in SUCCESS_STATES
        user = self._device.facts.user or ""
        self._register.ended(user, self._device.id, succeeded=succeeded)


class VirtualDevice:
    """One device from power-on until nothing more will happen to it.

    It runs alone with `run`. With others it is switched on and then told `step` at each `next_ms`, all in its own time.
    """

    def __init__(
        self,
        rollout: Rollout,
        device: SimulatedDevice,
        *,
        collector: AnswersAttempts | None = None,
        answer_ms: int = COLLECTOR_ANSWERS_MS,
        line: Line | None = None,
        percents: Sequence[int] = PERCENTS,
    ) -> None:
        self.device = device
        self.truth = GroundTruth()
        self.now_ms = 0
        self._enrollment = Enrollment(rollout.blueprints)
        self._kernel: Kernel[Event] = Kernel()
        self._collector = collector or VirtualCollector(rollout, device)
        self.answer_ms = answer_ms
        self._limits = rollout.limits
        # The model gets no way back to the device: what is no circle is gone as soon as nobody looks at it.
        self._new_attempt = _AttemptIds(device.draws)
        self._inputs = 0
        self._watch: Watch | None = None
        self._model = EndpointModel(
            device.facts,
            rollout.habitat(device),
            device.draws,
            self.truth,
            limits=self._limits,
            new_id=self._new_attempt,
            person=SimulatedPerson(device.person, device.draws, week_ms=device.week_ms),
            line=line,
            percents=percents,
        )

    @property
    def end_state(self) -> EndState | None:
        """How its last attempt ended; None while it has not."""
        return self._enrollment.end_state

    def run(self, watch: Watch | None = None) -> None:
        """Enroll; `watch` sees every input."""
        self.switch_on(watch)
        while self._went_on():
            pass

    def switch_on(self, watch: Watch | None = None) -> None:
        """Begin; `watch` sees every input."""
        self._watch = watch
        self._kernel.put(0, self._begins())

    def next_ms(self) -> int | None:
        """When its next input is due; None when there is none, or none that could change anything."""
        due_ms, deadline_ms = self._kernel.next_ms(), self._enrollment.next_deadline_ms()
        if due_ms is None or (deadline_ms is not None and deadline_ms < due_ms):
            return deadline_ms
        return due_ms

    def step(self) -> None:
        """Feed the next input."""
        went_on = self._went_on()
        assert went_on, "something is due"

    def _went_on(self) -> bool:
        """Feed the next input, at the same time an event before a deadline; False when there is none."""
        deadline_ms = self._enrollment.next_deadline_ms()
        due = self._kernel.take_by(deadline_ms)
        if due is not None:
            self._feed(due[1], due[0])
        elif deadline_ms is not None:
            self._feed(DeadlinePassed(), deadline_ms)
        else:
            return False
        self._inputs += 1
        assert self._inputs <= EVENTS_MAX, f"{self.device.id} goes round in circles"
        return True

    def downloaded(self, item: str, percent: int, at_ms: int, *, broke: bool) -> None:
        """A download on the shared line came to so many percent, or broke off."""
        self._kernel.put_all(self._model.downloaded(item, percent, at_ms, broke=broke))

    def _feed(self, event: Event, at_ms: int) -> None:
        now_ms = self.now_ms = max(self.now_ms, at_ms)
        effects = self._enrollment.handle(event, now_ms)
        if self._watch is not None:
            self._watch(now_ms, event, effects)
        for effect in effects:
            # Most effects are reports, and nearly all others begin a step: for them no pattern is tried.
            if isinstance(effect, Report):
                if type(effect.body) in _CONCERN_THE_COLLECTOR:
                    self._tell(effect)
            elif isinstance(effect, RunStep):
                self._kernel.put_all(self._model.run(effect, now_ms))
            else:
                self._carry_out(effect)

    def _tell(self, report: Report) -> None:
        body = report.body
        if type(body) is AttemptStarted:
            self._answer(self._collector.started(body, report.attempt))
        else:
            assert type(body) is AttemptEnded, f"{body.kind} is none of the collector's business"
            self._collector.ended(body)

    def _carry_out(self, effect: OtherEffect) -> None:
        match effect:
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
        self._kernel.put_all(self._model.act(effect, self.now_ms))

    def _answer(self, assignment: Assignment | None) -> None:
        if assignment is not None:
            arrived = AssignmentArrived(assignment=assignment)
            self._kernel.put(self.now_ms + self.answer_ms, arrived)

    def _begins(self) -> AttemptBegan:
        return AttemptBegan(
            attempt=self._new_attempt(), facts=self.device.facts, limits=self._limits
        )


class _AttemptIds:
    """The ids of a device's attempts, one after another."""

    __slots__ = ("_draws", "_made")

    def __init__(self, draws: Draws) -> None:
        self._draws = draws
        self._made = 0

    def __call__(self) -> str:
        self._made += 1
        digits = self._draws.hex("attempt", self._made)
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def simulated_archive(device: str, at_ms: int) -> str:
    """The name of a log archive that exists in simulated time only."""
    return f"simulated:{device}-{at_ms}.zip"
