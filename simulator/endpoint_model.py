"""What really happens on a simulated device when the agent acts on it, as a schedule of events; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, assert_never

from agent.core.effects import (
    AskPerson,
    CancelStep,
    EndpointEffect,
    OfferChoices,
    Reboot,
    ResetDevice,
    RunStep,
    SetGate,
)
from agent.core.events import (
    MINUTE_MS,
    AttemptBegan,
    DeviceFacts,
    Limits,
    Restarted,
    StepFinished,
    StepMoved,
    StepResult,
)
from agent.core.flows import EXPIRIES
from agent.core.shell import counted_reboot_ms
from agent.wire.vocabulary import ItemKind, ItemState, Variant
from simulator.draws import Draws
from simulator.ground_truth import Asked, Chosen, GateSet, GroundTruth
from simulator.habitat import Course, Habitat
from simulator.person import Answer, Pick, Reaction, Return, SimulatedPerson
from simulator.scenario import CatalogueItem, Duration, Fault
from simulator.step_events import (
    PERCENTS,
    WINDOWS,
    Scheduled,
    breaks_off,
    completed,
    download_moves,
    failed,
    install_moves,
    tick,
)
from simulator.step_times import DIRECTORY_SECONDS

REBOOT: Final = Duration(median_s=90, spread=1.3)
UNINSTALL: Final = Duration(median_s=25, spread=1.5)
DIRECTORY: Final = Duration(median_s=DIRECTORY_SECONDS, spread=1.6)
REGISTRATION: Final = Duration(median_s=20, spread=1.3)
"""What is left of a hybrid registration once the directory knows the device."""
ATTESTATION: Final = "tpm_attestation"
HYBRID_JOIN: Final = "domain_join"
HYBRID_REGISTRATION: Final = "hybrid_registration"
_ATTESTED: Final = frozenset({Variant.SELF_DEPLOYING, Variant.PRE_PROVISIONED})
"""Where the hardware vouches for the device; elsewhere attestation succeeds at once."""

# Names of the module for the members that are asked about most: Python 3.11 finds them ten times as fast.
_APP: Final = ItemKind.APP


class Line(Protocol):
    """Carries downloads whose time depends on those of other devices; `EndpointModel.downloaded` is told how they go."""

    def begin(
        self,
        item: str,
        size_bytes: int,
        megabits_per_second: float,
        at_ms: int,
        *,
        breaks_after_ms: int | None = None,
    ) -> None:
        """Download an item; `megabits_per_second` is what the device's own line carries."""
        ...

    def cancel(self, item: str, at_ms: int) -> None:
        """End a download early; one that is not under way is nothing."""
        ...


@dataclass(frozen=True, slots=True)
class _Downloading:
    """A download on a shared line: what it is for, and how its try goes on."""

    step: RunStep
    number: int
    began_ms: int
    fault: Fault | None


class EndpointModel:
    """One simulated device: each effect gets its answer as events with their times.

    It keeps the ground truth. A `person` of None leaves screens and choices to a real person; a `line` of None leaves
    the device its own line, on which every download's time is known when it begins. `percents` is what apps say of
    their progress within a state; nothing depends on it but what the page shows.
    """

    def __init__(
        self,
        facts: DeviceFacts,
        habitat: Habitat,
        draws: Draws,
        truth: GroundTruth,
        *,
        limits: Limits,
        new_id: Callable[[], str],
        person: SimulatedPerson | None = None,
        line: Line | None = None,
        percents: Sequence[int] = PERCENTS,
    ) -> None:
        self.facts = facts
        self.truth = truth
        self._habitat = habitat
        self._draws = draws
        self._limits = limits
        self._new_id = new_id
        self._person = person
        self._line = line
        self._percents = percents
        self._running: dict[str, RunStep] = {}
        self._downloading: dict[str, _Downloading] = {}
        network = habitat.network
        is_weak = draws.chance(network.weak, "weak")
        self._network_failure = network.weak_failure if is_weak else network.failure
        if not truth.gates:
            self._unpack()

    def act(self, effect: EndpointEffect, at_ms: int) -> Sequence[Scheduled]:
        """What follows from one effect at this device time."""
        if isinstance(effect, RunStep):
            return self.run(effect, at_ms)
        self._let_expire(at_ms)
        match effect:
            case CancelStep():
                self._cancel(effect, at_ms)
                return ()
            case SetGate():
                self._set_gate(effect, at_ms)
                return ()
            case AskPerson():
                return () if self._person is None else self._ask(self._person, effect, at_ms)
            case OfferChoices():
                if self._person is None:
                    return ()
                resets = len(self.truth.resets)
                return self._react(self._person.offered(effect, at_ms, resets))
            case Reboot():
                return self._reboot(at_ms)
            case ResetDevice():
                self.truth.wipe(at_ms)
                self._running.clear()
                for item in tuple(self._downloading):
                    self._stop_download(item, at_ms)
                return ()
            case _:
                assert_never(effect)

    def _unpack(self) -> None:
        """What a device that was never switched on comes with."""
        for item in self._habitat.items.values():
            if item.preinstalled and self._draws.chance(item.preinstalled, "preinstalled", item.id):
                self.truth.appears(item.id, 0)

    # --- steps ----------------------------------------------------------------------------------

    def run(self, step: RunStep, at_ms: int) -> Sequence[Scheduled]:
        """What follows from the begin of a step at this device time."""
        self._let_expire(at_ms)
        name, truth = step.item, self.truth
        self._running[name] = step
        # What an earlier run promised for later does not come true: this run takes its place.
        self._stop_work(step, at_ms)
        known_ms = self._known_to_directory_ms(step) if name == HYBRID_REGISTRATION else None
        if known_ms is not None and known_ms <= at_ms:
            # Windows registers by itself once the directory knows the device; the next try finds it.
            truth.appears(name, known_ms)
        if step.detect_first and truth.is_present(name, at_ms):
            present = StepFinished(
                item=step.item, run=step.run, result=StepResult.ALREADY_PRESENT, detected=True
            )
            return ((at_ms + self._habitat.detection_ms, present),)
        number = truth.tries.get(name, 0)
        truth.tries[name] = number + 1
        course = self._habitat.course(step)
        item = course.item
        if (
            item is not None
            and item.not_applicable
            and self._draws.chance(item.not_applicable, "not_applicable", name)
        ):
            truth.not_applicable[name] = at_ms + self._habitat.detection_ms
            unwanted = StepFinished(item=step.item, run=step.run, result=StepResult.NOT_APPLICABLE)
            return ((at_ms + self._habitat.detection_ms, unwanted),)
        if name == ATTESTATION and self._vouches_for_nothing():
            truth.appears(name, at_ms)
            return ((at_ms, self._finished(step, item, number)),)
        if known_ms is not None and known_ms > at_ms:
            # A try that began too early is not told; the machine starts it anew.
            return (*download_moves(step, at_ms, 0), *install_moves(step, at_ms, 0))
        return self._work(step, course, at_ms, number)

    def _vouches_for_nothing(self) -> bool:
        """True when nothing depends on the attestation, unless the scenario says how it goes."""
        said = ATTESTATION in self._habitat.steps
        return not said and self.facts.variant not in _ATTESTED

    def _known_to_directory_ms(self, step: RunStep) -> int | None:
        """When the directory knows a device that registers; None for one that never joined the domain."""
        joins = self.truth.presences.get(HYBRID_JOIN)
        if not joins:
            return None
        said = self._habitat.steps.get(step.item)
        takes = DIRECTORY if said is None or said.time is None else said.time
        return joins[-1].from_ms + self._draw(takes, "directory", step.item, len(joins) - 1)

    def _work(self, step: RunStep, course: Course, at_ms: int, number: int) -> Sequence[Scheduled]:
        fault = self._fault(step, course, number)
        if self._line is not None and step.size_bytes > 0:
            return self._begin_download(self._line, step, at_ms, number, fault)
        download_ms = self._download_ms(step, number) if step.size_bytes else 0
        if breaks_off(fault):
            work_ms = self._work_ms(step, at_ms + download_ms, number)
            return self._broken_off(step, at_ms, download_ms + work_ms, number, fault)
        return (
            *download_moves(step, at_ms, download_ms, self._percents),
            *self._install(step, course, at_ms + download_ms, number, fault),
        )

    def _install(
        self, step: RunStep, course: Course, at_ms: int, number: int, fault: Fault | None
    ) -> Sequence[Scheduled]:
        """What follows once everything is downloaded."""
        work_ms = self._draw(_time(step, course), "time", step.item, number)
        if step.replaces:
            removals_ms = self._removals_ms(step, at_ms, number)
            work_ms += removals_ms
            for old in step.replaces:
                self.truth.disappears(old, at_ms + removals_ms)
        moves = install_moves(step, at_ms, work_ms, self._percents)
        done_ms = at_ms + work_ms
        if fault is None:
            self.truth.appears(step.item, done_ms)
            return (*moves, (done_ms, self._finished(step, course.item, number)))
        if fault.kind == "hangs":
            return moves
        return (*moves, (done_ms, self._failed(step, fault)))

    def _work_ms(self, step: RunStep, at_ms: int, number: int) -> int:
        time = _time(step, self._habitat.course(step))
        time_ms = self._draw(time, "time", step.item, number)
        return self._removals_ms(step, at_ms, number) + time_ms

    # --- downloads on a shared line ----------------------------------------------------------------

    def _begin_download(
        self, line: Line, step: RunStep, at_ms: int, number: int, fault: Fault | None
    ) -> Sequence[Scheduled]:
        breaks_after_ms = None
        if breaks_off(fault):
            after = self._habitat.network.failure_after
            breaks_after_ms = max(1_000, self._draw(after, "breaks_off", step.item, number))
        own = self._habitat.megabits_per_second / self._download_factor(step, number)
        line.begin(step.item, step.size_bytes, own, at_ms, breaks_after_ms=breaks_after_ms)
        self._downloading[step.item] = _Downloading(step, number, at_ms, fault)
        return download_moves(step, at_ms, 0, is_timed=False)

    def downloaded(
        self, item: str, percent: int, at_ms: int, *, broke: bool
    ) -> Sequence[Scheduled]:
        """What follows when a download on a shared line comes to so many percent, or breaks off."""
        download = self._downloading[item]
        step, fault = download.step, download.fault
        if percent < 100 and not broke:
            if percent not in self._percents:
                return ()
            return tuple(tick(step, ItemState.DOWNLOADING, at_ms, percent))
        del self._downloading[item]
        if broke:
            assert fault is not None, "a download breaks off by a fault"
            return ((at_ms, self._failed(step, fault)),)
        if fault is None or not breaks_off(fault):
            course = self._habitat.course(step)
            return self._install(step, course, at_ms, download.number, fault)
        # The line did its part before the network failed; the try fails in what is left of it.
        work_ms = self._work_ms(step, at_ms, download.number)
        after = self._habitat.network.failure_after
        after_ms = max(1_000, self._draw(after, "breaks_off", item, download.number))
        failed_ms = min(download.began_ms + after_ms, at_ms + work_ms)
        return ((max(at_ms, failed_ms), self._failed(step, fault)),)

    def _stop_download(self, item: str, at_ms: int) -> None:
        if self._downloading.pop(item, None) is not None and self._line is not None:
            self._line.cancel(item, at_ms)

    # --- times and faults --------------------------------------------------------------------------

    def _removals_ms(self, step: RunStep, at_ms: int, number: int) -> int:
        """How long it takes to remove the older apps that are there, before the new one is installed."""
        there = (old for old in step.replaces if self.truth.is_present(old, at_ms))
        return sum(self._draw(UNINSTALL, "uninstall", old, number) for old in there)

    def _download_ms(self, step: RunStep, number: int) -> int:
        factor = self._download_factor(step, number)
        return round(step.size_bytes * 8 / (self._habitat.megabits_per_second * 1000) * factor)

    def _download_factor(self, step: RunStep, number: int) -> float:
        """How much longer than usual it takes: what is between here and the source is never twice the same."""
        return self._draws.spread(1.0, 1.2, "download", step.item, number)

    def _fault(self, step: RunStep, course: Course, number: int) -> Fault | None:
        """The fault that this try meets: an affected device stays affected until a try recovers."""
        for possible in course.faults:
            fault = possible.fault
            if not self._draws.chance(fault.chance, possible.strikes, step.item):
                continue
            recovered = any(
                self._draws.chance(fault.recovery, possible.recovers, step.item, retry)
                for retry in range(1, number + 1)
            )
            if not recovered:
                return fault
        failure = self._network_failure
        if self._draws.chance(failure, "network", step.item, number):
            return Fault(kind="network_timeout", chance=failure)
        return None

    def _broken_off(
        self, step: RunStep, at_ms: int, whole_ms: int, number: int, fault: Fault
    ) -> Sequence[Scheduled]:
        after_ms = self._draw(self._habitat.network.failure_after, "breaks_off", step.item, number)
        state = ItemState.DOWNLOADING if step.kind is _APP else ItemState.INSTALLING
        moved = StepMoved(item=step.item, run=step.run, state=state)
        failed_ms = at_ms + max(1_000, min(after_ms, whole_ms))
        return ((at_ms, moved), (failed_ms, self._failed(step, fault)))

    def _finished(self, step: RunStep, item: CatalogueItem | None, number: int) -> StepFinished:
        if step.kind is not _APP:
            return completed(step.item, step.run)
        return completed(step.item, step.run, self._exit_code(item, number), True)

    def _exit_code(self, item: CatalogueItem | None, number: int) -> int:
        if item is None or self.facts.enrollment_type not in WINDOWS:
            return 0
        if self._draws.chance(item.hard_reboot, "hard_reboot", item.id, number):
            return 1641
        return 3010 if self._draws.chance(item.soft_reboot, "soft_reboot", item.id, number) else 0

    def _failed(self, step: RunStep, fault: Fault) -> StepFinished:
        return failed(step, fault, self.facts.enrollment_type)

    def _cancel(self, cancel: CancelStep, at_ms: int) -> None:
        step = self._running.get(cancel.item)
        if step is not None and step.run == cancel.run:
            del self._running[cancel.item]
            self._stop_work(step, at_ms)

    def _stop_work(self, step: RunStep, at_ms: int) -> None:
        """What a step would still have installed or removed stays as it is."""
        name = step.item
        if name in self._downloading:
            self._stop_download(name, at_ms)
        self.truth.withdraw(name, at_ms)
        for old in step.replaces:
            self.truth.stays(old, at_ms)

    def _let_expire(self, at_ms: int) -> None:
        """The platform takes away by itself what was not used in time."""
        for expiry in EXPIRIES:
            if expiry.opens not in self.truth.presences:
                continue
            for presence in self.truth.presences[expiry.opens]:
                over_ms = presence.from_ms + expiry.limit_min * MINUTE_MS
                unused = not self.truth.is_present(expiry.closes, over_ms)
                if presence.until_ms is None and over_ms <= at_ms and unused:
                    self.truth.disappears(expiry.opens, over_ms)

    # --- gate, person, restart ------------------------------------------------------------------

    def _set_gate(self, effect: SetGate, at_ms: int) -> None:
        last = self.truth.gates[-1] if self.truth.gates else None
        if last is None or last.gate is not effect.gate:
            self.truth.gates.append(GateSet(at_ms, effect.gate, effect.cause))

    def _ask(self, person: SimulatedPerson, ask: AskPerson, at_ms: int) -> Sequence[Scheduled]:
        """Put up a screen; somebody who is busy or away sees it when they are back at the device."""
        if person.has_had_enough(len(self.truth.resets)):
            return ()
        attends = self.truth.asked
        if attends is not None and attends.lasts(at_ms):
            if attends.screen == ask.screen and attends.answers:
                # Shown anew, after a restart, while they are still at it: they answer as they would have.
                before = self.truth.asks[ask.screen] - 1
                return self._react(person.asked(ask, attends.at_ms, before))
            if attends.screen != ask.screen:
                if attends.until_ms is None or not attends.answers:
                    return ()
                at_ms = attends.until_ms
        occasion = self.truth.asks.get(ask.screen, 0)
        reactions = person.asked(ask, at_ms, occasion)
        self.truth.asks[ask.screen] = occasion + 1
        self.truth.asked = _asked(ask.screen, at_ms, reactions)
        return self._react(reactions)

    def _react(self, reactions: Iterable[Reaction]) -> Sequence[Scheduled]:
        return tuple(self._scheduled(reactions))

    def _scheduled(self, reactions: Iterable[Reaction]) -> Iterator[Scheduled]:
        for reaction in reactions:
            match reaction:
                case Answer():
                    yield reaction.at_ms, reaction.event
                case Pick():
                    self.truth.choices.append(Chosen(reaction.at_ms, reaction.event.choice))
                    yield reaction.at_ms, reaction.event
                case Return():
                    yield reaction.at_ms, self._come_back()
                case _:
                    assert_never(reaction)

    def _come_back(self) -> AttemptBegan:
        assert self._person is not None, "only a simulated person comes back"
        self._person.came_back()
        self.truth.visits = self._person.visit
        self.truth.asks.clear()
        return AttemptBegan(attempt=self._new_id(), facts=self.facts, limits=self._limits)

    def _reboot(self, at_ms: int) -> Sequence[Scheduled]:
        self.truth.reboots.append(at_ms)
        took_ms = self._draw(REBOOT, "reboot", "", len(self.truth.reboots))
        return ((at_ms + counted_reboot_ms(took_ms), Restarted(planned=True)),)

    def _draw(self, time: Duration, purpose: str, item: str, occurrence: int) -> int:
        return round(
            self._draws.spread(time.median_s, time.spread, purpose, item, occurrence) * 1000
        )


def _time(step: RunStep, course: Course) -> Duration:
    return REGISTRATION if step.item == HYBRID_REGISTRATION else course.time


def _asked(screen: str, at_ms: int, reactions: Sequence[Reaction]) -> Asked:
    until_ms = max((reaction.at_ms for reaction in reactions), default=None)
    answers = bool(reactions) and all(isinstance(reaction, Answer) for reaction in reactions)
    return Asked(screen, at_ms, until_ms, answers)
