"""Watches one simulated device and counts what it comes to."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from agent.core.effects import Effect, Report
from agent.core.events import Event, StepMoved
from agent.wire.events import (
    AttemptEnded,
    ChoiceMade,
    ErrorScreenShown,
    GateChanged,
    ItemAdvanced,
    ItemChanged,
)
from agent.wire.progress import Failure
from agent.wire.vocabulary import (
    SUCCESS_STATES,
    UNSATISFIED_STATES,
    Choice,
    EndState,
    FailureKind,
    ItemKind,
    ItemState,
    Phase,
)
from simulator.device import VirtualDevice
from simulator.gate_wait import GateWait
from simulator.tally import FAILURE_STATES, TRACE_MODULUS, Cause, Part, Tally

# Names of the module for the members that are asked about most: Python 3.11 finds them ten times as fast.
_SCREEN: Final = ItemKind.SCREEN
_WAITING_FOR_PERSON: Final = ItemState.WAITING_FOR_PERSON


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one device came to. Two fleets are compared device by device with these."""

    part: Part
    succeeded: bool
    """Its last attempt succeeded."""
    reason: FailureKind | None
    """What that attempt failed of, if it failed."""
    attempt_ms: int | None
    """The time of that attempt; None when it did not succeed."""
    gate_ms: int | None
    """From power-on until the gate opened; None when it never did."""


class DeviceTally:
    """Watches one device and counts."""

    def __init__(self, tally: Tally, device: VirtualDevice) -> None:
        self._tally = tally
        facts = device.device.facts
        self._part: Part = (facts.enrollment_type, facts.variant)
        self._counted = tally.of_variant(*self._part)
        self._words: list[str] = [device.device.id]
        self._times: list[int] = []
        self._percents: list[int] = []
        """One for each report. With words and times, all that the device did: what the trace is made of."""
        self._gate = GateWait()
        self._screens: dict[str, int] = {}
        """Person screens that are up, with the time since when."""
        self._error_screen_since_ms: int | None = None
        self._last_end: AttemptEnded | None = None
        self._last_attempt_ms = 0

    def watch(self, at_ms: int, event: Event, effects: Sequence[Effect]) -> None:
        """Take in one input with its effects."""
        words, percents = self._words, self._percents
        self._times.append(at_ms)
        if type(event) is not StepMoved:
            words.append(event.kind)
            if self._gate.opened_ms is None:
                self._gate.watch(at_ms, event, effects)
        for effect in effects:
            if type(effect) is not Report:
                words.append(type(effect).__name__)
                continue
            percents.append(effect.percent)
            body = effect.body
            if type(body) is ItemChanged:
                words += (body.item, body.state)
                if body.failure is not None or body.item_kind is _SCREEN:
                    self._item_changed(body, at_ms)
            elif type(body) is not ItemAdvanced:
                words.append(body.kind)
                self._reported(effect, at_ms, effects)

    def _reported(self, effect: Report, at_ms: int, effects: Sequence[Effect]) -> None:
        body = effect.body
        # A pattern asks pydantic, which takes longer than all that follows.
        if type(body) is GateChanged:
            self._words.append(body.gate)
        elif type(body) is ErrorScreenShown:
            self._tally.people.error_screens += 1
            self._error_screen_since_ms = at_ms
            self._stopped(body.phase, body.failure)
        elif type(body) is ChoiceMade:
            self._tally.people.choices[body.choice] += 1
            if body.choice is not Choice.COLLECT_LOGS:
                self._leave_error_screen(at_ms)
        elif type(body) is AttemptEnded:
            self._words.append(body.end_state)
            self._ended(body, effect.attempt_ms, at_ms, effects)

    # --- items ----------------------------------------------------------------------------------

    def _item_changed(self, changed: ItemChanged, at_ms: int) -> None:
        if changed.item_kind is _SCREEN:
            self._screen_changed(changed, at_ms)
        if changed.failure is None:
            return
        if changed.state is ItemState.WAITING_TO_RETRY:
            self._tally.items.failed_tries[_cause(changed.failure)] += 1
        elif changed.state in UNSATISFIED_STATES:
            cause = _cause(changed.failure)
            self._tally.items.given_up[cause] += 1
            if changed.failure.kind is FailureKind.SETUP_TIMED_OUT:
                if changed.state is ItemState.TIMED_OUT:
                    self._tally.items.open_at_timeout[changed.phase, changed.item] += 1
            elif changed.state is not ItemState.CANCELLED:
                self._tally.items.failed_tries[cause] += 1

    def _screen_changed(self, changed: ItemChanged, at_ms: int) -> None:
        people = self._tally.people
        since_ms = self._screens.pop(changed.item, None)
        if since_ms is not None:
            people.screen_ms[changed.item] += at_ms - since_ms
            self._counted.screen_ms += at_ms - since_ms
        if changed.state is _WAITING_FOR_PERSON:
            people.shown[changed.item] += 1
            self._screens[changed.item] = at_ms

    # --- attempts -------------------------------------------------------------------------------

    def _stopped(self, phase: Phase, failure: Failure) -> None:
        """Setup can't go on."""
        if failure.kind is FailureKind.SETUP_TIMED_OUT:
            self._tally.items.timeouts[phase] += 1

    def _leave_error_screen(self, at_ms: int) -> bool:
        """Charge the time on the error screen; False when it was not up."""
        since_ms, self._error_screen_since_ms = self._error_screen_since_ms, None
        if since_ms is None:
            return False
        self._tally.people.error_screen_ms += at_ms - since_ms
        self._counted.error_screen_ms += at_ms - since_ms
        return True

    def _ended(
        self, ended: AttemptEnded, attempt_ms: int, at_ms: int, effects: Sequence[Effect]
    ) -> None:
        failure = ended.failure
        if not self._leave_error_screen(at_ms) and failure is not None and ended.phase is not None:
            self._stopped(ended.phase, failure)
        self._counted.ended(ended.end_state, attempt_ms, None if failure is None else failure.kind)
        if failure is not None and ended.end_state in FAILURE_STATES:
            self._tally.items.ended_by[_cause(failure)] += 1
        if ended.end_state is EndState.ABANDONED:
            self._tally.people.abandoned[_left_at(effects), ended.user_action or ""] += 1
        self._last_end, self._last_attempt_ms = ended, attempt_ms

    @property
    def outcome(self) -> Outcome:
        """What the device has come to."""
        ended = self._last_end
        succeeded = ended is not None and ended.end_state in SUCCESS_STATES
        failed = ended is not None and ended.end_state in FAILURE_STATES
        return Outcome(
            part=self._part,
            succeeded=succeeded,
            reason=ended.failure.kind if ended and failed and ended.failure else None,
            attempt_ms=self._last_attempt_ms if succeeded else None,
            gate_ms=self._gate.opened_ms,
        )

    def close(self) -> None:
        """The device is through."""
        outcome = self.outcome
        self._counted.devices += 1
        self._counted.succeeded += outcome.succeeded
        if outcome.reason is not None:
            self._counted.final_reasons[outcome.reason] += 1
        if self._gate.opened_ms is not None:
            self._counted.gate_opened(self._gate.opened_ms)
            self._count_path()
        self._tally.events += len(self._percents)
        self._tally.trace = (self._tally.trace + self._digest()) % TRACE_MODULUS

    def _digest(self) -> int:
        digest = blake2b("\n".join(self._words).encode(), digest_size=16)
        for numbers in (self._times, self._percents):
            digest.update(struct.pack(f"<{len(numbers)}q", *numbers))
        return int.from_bytes(digest.digest(), "big")

    def _count_path(self) -> None:
        items, kind, alone_ms = self._tally.items, self._part[0], self._gate.alone_ms
        items.last[kind, self._gate.path[0][1]] += 1
        for key, took_ms in self._gate.path_ms.items():
            if took_ms > 0:
                items.on_path[kind, key] += 1
                items.path_ms[kind, key] += took_ms
                # What is not on the path held nobody up, for a person went on without it.
                items.alone_ms[kind, key] += alone_ms.get(key, 0)


def _cause(failure: Failure) -> Cause:
    return failure.item or "", failure.kind, failure.code


def _left_at(effects: Sequence[Effect]) -> str:
    """Where an attempt was abandoned: the screen that was up, or else the item that was under way."""
    bodies = (effect.body for effect in effects if isinstance(effect, Report))
    stopped = (b for b in bodies if isinstance(b, ItemChanged) and b.state is ItemState.CANCELLED)
    return next((changed.item for changed in stopped), "")
