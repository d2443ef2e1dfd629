"""What has to be true of every device, one property an object: what it keeps, does and sends."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

from agent.core.batch import Batch
from agent.core.effects import Effect, EndpointEffect, ResetDevice, RunStep, SetGate
from agent.core.effects import Report as ReportFact
from agent.core.events import (
    MINUTE_MS,
    AssignmentArrived,
    AttemptBegan,
    CommandReceived,
    DeadlinePassed,
    EmergencyExitUsed,
    Event,
    PersonChose,
    Restarted,
)
from agent.core.flows import BUILT_IN_STEPS, EXPIRIES
from agent.core.outbox import (
    DropReport,
    ForgetReports,
    KeepReport,
    NumberReport,
    RememberStored,
)
from agent.core.person_screens import PERSON_SCREENS
from agent.wire.assignment import Admitted
from agent.wire.events import (
    AgentRestarted,
    AssignmentApplied,
    AttemptEnded,
    AttemptStarted,
    Body,
    ChoiceMade,
    CommandAnswered,
    ErrorScreenShown,
    GateChanged,
    ItemAdvanced,
    ItemChanged,
    PhaseChanged,
    RebootPlanned,
    Report,
)
from agent.wire.messages import ExtendTimeout
from agent.wire.progress import Failure, Progress
from agent.wire.vocabulary import (
    WORKING_STATES,
    Choice,
    Context,
    EndState,
    FailureKind,
    Gate,
    GateCause,
    ItemKind,
    ItemState,
    Phase,
    RowState,
    Variant,
)
from simulator.blocking import blocking_items, for_device
from simulator.ground_truth import GroundTruth
from simulator.verify.disk import Kept
from simulator.verify.plan import WorldPlan
from simulator.verify.store import Store, Transaction
from simulator.verify.watch import Checker, End, ExcusesRestored


class PersistedFirst(Checker):
    """Nothing is done or published before what caused it is in the journal."""

    name = "persisted first"

    def __init__(self, plan: WorldPlan) -> None:
        super().__init__(plan)
        self._pending: dict[str, Event] = {}
        self._next_seq: dict[str, int] = {}

    def booted(self, device: str, kept: Kept, running_ms: int) -> None:
        """See `Checker`."""
        self._pending.pop(device, None)
        self._next_seq[device] = kept.next_seq

    def input(self, device: str, at_ms: int, event: Event) -> None:
        """See `Checker`."""
        self._pending[device] = event

    def committed(self, device: str, batch: Batch) -> None:
        """See `Checker`."""
        if batch.entry is not None and batch.entry.event is self._pending.get(device):
            del self._pending[device]
        for change in batch.outbox:
            if isinstance(change, NumberReport):
                self._next_seq[device] = change.seq + 1
            elif isinstance(change, RememberStored):
                self._next_seq[device] = change.next_seq

    def acted(self, device: str, at_ms: int, effect: EndpointEffect, truth: GroundTruth) -> None:
        """See `Checker`."""
        if device in self._pending:
            raise self.violated(
                f"{device} does {type(effect).__name__} before {self._pending[device].kind} is kept"
            )

    def published(self, device: str, seq: int, report: Report) -> None:
        """See `Checker`."""
        if seq >= self._next_seq[device]:
            raise self.violated(f"{device} sends number {seq}, which is not in its journal")


class NumbersLast(ExcusesRestored):
    """A number belongs to one report for ever, and the collector stores nothing that no journal had.

    An older copy may give a number again: it can't know that it did so before.
    """

    name = "numbers last"

    def __init__(self, plan: WorldPlan) -> None:
        super().__init__(plan)
        self._given: defaultdict[str, dict[int, set[str]]] = defaultdict(dict)
        self._streams: dict[str, str] = {}

    def booted(self, device: str, kept: Kept, running_ms: int) -> None:
        """See `Checker`."""
        self._streams[device] = kept.stream

    def committed(self, device: str, batch: Batch) -> None:
        """See `Checker`."""
        for change in batch.outbox:
            if isinstance(change, NumberReport):
                contents = self._given[self._streams[device]].setdefault(change.seq, set())
                contents.add(change.digest)
                if len(contents) > 1 and device not in self.restored:
                    raise self.violated(f"{device} gives number {change.seq} to two reports")

    def stored(self, collector: str, transaction: Transaction, store: Store) -> None:
        """See `Checker`."""
        for (device, stream), row in transaction.after.items():
            new = row.last_seq - transaction.before[device, stream].last_seq
            events = store.holds.events.get((device, stream), [])
            for event in events[len(events) - max(0, min(new, len(events))) :]:
                if event.digest not in self._given[stream].get(event.seq, ()):
                    raise self.violated(
                        f"number {event.seq} of {device} is stored with what no journal had"
                    )


class FactsKept(Checker):
    """Only a progress tick may be replaced by a newer report; a fact is never dropped, at most queued anew."""

    name = "facts kept"

    def __init__(self, plan: WorldPlan) -> None:
        super().__init__(plan)
        self._facts: defaultdict[str, dict[int, str]] = defaultdict(dict)

    def journal_restored(self, device: str) -> None:
        """An older copy gives the same places in its queue again."""
        self._facts[device].clear()

    def committed(self, device: str, batch: Batch) -> None:
        """See `Checker`."""
        facts = self._facts[device]
        dropped = [
            facts.pop(change.position)
            for change in batch.outbox
            if isinstance(change, DropReport) and change.position in facts
        ]
        kept = [change for change in batch.outbox if isinstance(change, KeepReport)]
        lost = Counter(dropped) - Counter(change.content for change in kept)
        if lost:
            raise self.violated(f"{device} drops the fact {next(iter(lost))[:100]}")
        for change in kept:
            if isinstance(change.report.body, ItemAdvanced):
                facts.pop(change.position, None)
            else:
                facts[change.position] = change.content


class SessionsGrow(Checker):
    """Every connection has a number of its own, higher than all before."""

    name = "sessions grow"

    def __init__(self, plan: WorldPlan) -> None:
        super().__init__(plan)
        self._sessions: defaultdict[str, int] = defaultdict(int)

    def journal_restored(self, device: str) -> None:
        """An older copy counts on from where it was."""
        self._sessions[device] = 0

    def committed(self, device: str, batch: Batch) -> None:
        """See `Checker`."""
        if batch.session is None:
            return
        if batch.session <= self._sessions[device]:
            raise self.violated(f"{device} has session {batch.session} again")
        self._sessions[device] = batch.session


class WindowHeld(Checker):
    """At most so many reports have a number and are not acknowledged."""

    name = "window held"
    WINDOW: Final = 32

    def __init__(self, plan: WorldPlan) -> None:
        super().__init__(plan)
        self._stored_seq: dict[str, int] = {}
        self._gone_seq: dict[str, int] = {}
        """What is no longer held can't be under way."""

    def booted(self, device: str, kept: Kept, running_ms: int) -> None:
        """See `Checker`."""
        self._stored_seq[device] = kept.stored_seq
        self._gone_seq[device] = min(kept.positions, default=kept.next_seq) - 1

    def committed(self, device: str, batch: Batch) -> None:
        """See `Checker`."""
        for change in batch.outbox:
            if isinstance(change, RememberStored):
                self._stored_seq[device] = change.stored_seq
            elif isinstance(change, ForgetReports):
                self._gone_seq[device] = change.through
            elif isinstance(change, NumberReport):
                base = max(self._stored_seq[device], self._gone_seq[device])
                if change.seq - base > self.WINDOW:
                    raise self.violated(
                        f"{device} has {change.seq - base} numbered reports under way"
                    )


class GateSafety(Checker):
    """The gate opens only when what blocks is really there, or somebody who may chose to go on."""

    name = "gate safety"
    WITHOUT_ACCOUNT: Final = frozenset({Variant.SELF_DEPLOYING, Variant.DEDICATED})

    def __init__(self, plan: WorldPlan) -> None:
        super().__init__(plan)
        self._gates: dict[str, Gate] = {}
        self._admitted: dict[str, Admitted | None] = {}
        self._chosen: defaultdict[str, set[Choice]] = defaultdict(set)
        self._has_used_exit: set[str] = set()
        self._facts = {p.device: p.facts for p in plan.devices}

    def booted(self, device: str, kept: Kept, running_ms: int) -> None:
        """An older copy goes on with the assignment, the choices and the exit that it knows."""
        self._admitted[device] = None
        self._chosen[device].clear()
        self._has_used_exit.discard(device)
        for entry in kept.entries:
            self._heard(device, entry.event)
            self._chose(device, entry.event)

    def took(
        self, device: str, at_ms: int, event: Event, effects: Sequence[Effect], refusal: str | None
    ) -> None:
        """See `Checker`."""
        if refusal is None:
            self._heard(device, event)
        self._chose(device, event)

    def _chose(self, device: str, event: Event) -> None:
        match event:
            case AttemptBegan():
                self._chosen[device].clear()
            case PersonChose(choice=choice):
                self._chosen[device].add(choice)
            case CommandReceived(command=command) if command.action.kind in _CHOICES:
                self._chosen[device].add(_CHOICES[command.action.kind])
            case _:
                pass

    def _heard(self, device: str, event: Event) -> None:
        if isinstance(event, AttemptBegan):
            self._admitted[device] = None
            self._has_used_exit.discard(device)
        elif isinstance(event, EmergencyExitUsed):
            self._has_used_exit.add(device)
        elif isinstance(event, AssignmentArrived):
            decision = event.assignment.decision
            self._admitted[device] = decision if isinstance(decision, Admitted) else None

    def acted(self, device: str, at_ms: int, effect: EndpointEffect, truth: GroundTruth) -> None:
        """See `Checker`."""
        if not isinstance(effect, SetGate):
            return
        before, self._gates[device] = self._gates.get(device, Gate.LOCKED), effect.gate
        if effect.gate in (before, Gate.LOCKED):
            return
        if effect.cause is GateCause.EMERGENCY_EXIT:
            if device not in self._has_used_exit:
                raise self.violated(f"{device} opens at {at_ms} ms for an exit that nobody used")
            return
        objection = self._objection(device, at_ms, effect.gate, truth)
        if objection is not None:
            raise self.violated(f"{device} is {effect.gate.value} at {at_ms} ms {objection}")

    def _objection(self, device: str, at_ms: int, gate: Gate, truth: GroundTruth) -> str | None:
        admitted = for_device(self._facts[device], self._admitted.get(device))
        chosen = self._chosen[device]
        if admitted is None:
            return "without an assignment"
        profile = admitted.profile
        if gate is Gate.BYPASSED:
            allowed = profile.error_handling.allow_continue or not _blocks(admitted, Context.DEVICE)
            if Choice.CONTINUE_ANYWAY not in chosen:
                return "and nobody chose to go on"
            return None if allowed else "and the profile does not allow to go on"
        skipped = profile.account_setup.allow_skip and Choice.SKIP_ACCOUNT_SETUP in chosen
        contexts = [Context.DEVICE]
        if self._facts[device].variant not in self.WITHOUT_ACCOUNT and not skipped:
            contexts.append(Context.ACCOUNT)
        for item in blocking_items(admitted, contexts):
            unwanted_ms = truth.not_applicable.get(item)
            unwanted = unwanted_ms is not None and unwanted_ms <= at_ms
            if not unwanted and not truth.is_present(item, at_ms):
                return f"while '{item}' is not there"
        return None


_CHOICES: Final = {
    "retry_phase": Choice.TRY_AGAIN,
    "continue_anyway": Choice.CONTINUE_ANYWAY,
    "skip_account_setup": Choice.SKIP_ACCOUNT_SETUP,
}


def _blocks(admitted: Admitted, context: Context) -> bool:
    setup = (
        admitted.profile.device_setup
        if context is Context.DEVICE
        else admitted.profile.account_setup
    )
    return setup.show_progress and setup.block_until_complete


class GateAsReported(ExcusesRestored):
    """In the end the gate is as the reports say, whatever the power did between the two."""

    name = "gate as reported"

    def __init__(self, plan: WorldPlan) -> None:
        super().__init__(plan)
        self._gates: dict[str, Gate] = {}

    def acted(self, device: str, at_ms: int, effect: EndpointEffect, truth: GroundTruth) -> None:
        """See `Checker`."""
        if isinstance(effect, SetGate):
            self._gates[device] = effect.gate

    def at_the_end(self, end: End) -> None:
        """See `Checker`."""
        for device in end.journals.keys() - self.restored:
            said = [r.body.gate for r in end.reports(device) if isinstance(r.body, GateChanged)]
            if said[-1:] != [self._gates.get(device)]:
                raise self.violated(
                    f"{device} is {self._gates.get(device)}, and says that it is {said[-1:]}"
                )


class ChoicesAllowed(Checker):
    """Only what the profile allows is chosen, by whomever."""

    name = "choices allowed"

    def __init__(self, plan: WorldPlan) -> None:
        super().__init__(plan)
        self._offers = {p.device: p.offer for p in plan.devices}

    def committed(self, device: str, batch: Batch) -> None:
        """See `Checker`."""
        for report in _kept(batch):
            if isinstance(report.body, ChoiceMade) and not self._allows(device, report.body):
                raise self.violated(f"{device}: '{report.body.choice.value}' is not allowed")

    def _allows(self, device: str, made: ChoiceMade) -> bool:
        profile = self._offers[device].profile
        handling = profile.error_handling
        match made.choice:
            case Choice.TRY_AGAIN | Choice.TRY_ITEM_AGAIN:
                return handling.allow_retry
            case Choice.CONTINUE_ANYWAY:
                return handling.allow_continue or not profile.device_setup.block_until_complete
            case Choice.RESET_DEVICE:
                return handling.allow_reset
            case Choice.SKIP_ACCOUNT_SETUP:
                return profile.account_setup.allow_skip
            case Choice.COLLECT_LOGS:
                return handling.allow_log_collection or made.command is not None


class LookedFor(Checker):
    """What may be there already is looked for first: apps always, everything else once it was begun."""

    name = "looked for"
    TAKEN_AWAY: Final = frozenset(item for expiry in EXPIRIES for item in expiry.again)
    """What the platform takes away by itself is not there, whatever was begun."""

    def __init__(self, plan: WorldPlan) -> None:
        super().__init__(plan)
        self._begun: defaultdict[str, set[str]] = defaultdict(set)

    def acted(self, device: str, at_ms: int, effect: EndpointEffect, truth: GroundTruth) -> None:
        """See `Checker`."""
        if not isinstance(effect, RunStep) or effect.item in self.TAKEN_AWAY:
            return
        may_be_there = effect.kind is ItemKind.APP or effect.item in self._begun[device]
        if may_be_there and not effect.detect_first:
            raise self.violated(f"{device} installs '{effect.item}' without looking for it first")
        self._begun[device].add(effect.item)

    def took(
        self, device: str, at_ms: int, event: Event, effects: Sequence[Effect], refusal: str | None
    ) -> None:
        """Another attempt begins with what it finds."""
        if isinstance(event, AttemptBegan):
            self._begun[device].clear()

    def journal_restored(self, device: str) -> None:
        """The older copy may not know what its later life began."""
        self._begun[device].clear()


class DependenciesFirst(Checker):
    """Nothing is installed before what it depends on is there, but for what a copy older than a wipe takes for there."""

    name = "dependencies first"

    def __init__(self, plan: WorldPlan) -> None:
        super().__init__(plan)
        self._wiped: set[str] = set()
        self._excused: set[str] = set()
        self._needs: dict[tuple[str, str], tuple[str, ...]] = {}
        for device in plan.devices:
            asked = for_device(device.facts, device.refreshed)
            for item in () if asked is None else asked.items:
                self._needs[device.device, item.id] = item.depends_on

    def journal_restored(self, device: str) -> None:
        """The copy may be of a time before the wipe."""
        if device in self._wiped:
            self._excused.add(device)

    def acted(self, device: str, at_ms: int, effect: EndpointEffect, truth: GroundTruth) -> None:
        """See `Checker`."""
        if isinstance(effect, ResetDevice):
            self._wiped.add(device)
        elif isinstance(effect, RunStep) and device not in self._excused:
            for needed in self._needs.get((device, effect.item), ()):
                if not truth.is_present(needed, at_ms):
                    raise self.violated(f"{device} installs '{effect.item}' before '{needed}'")


class Wiped(Checker):
    """After a reset the device is wiped before anything begins anew, whatever the power does."""

    name = "wiped"

    def __init__(self, plan: WorldPlan) -> None:
        super().__init__(plan)
        self._owed: set[str] = set()

    def committed(self, device: str, batch: Batch) -> None:
        """See `Checker`."""
        for report in _kept(batch):
            match report.body:
                case AttemptEnded(end_state=EndState.RESET):
                    self._owed.add(device)
                case AttemptStarted() if device in self._owed:
                    raise self.violated(f"{device} begins anew without having been wiped")
                case _:
                    pass

    def journal_restored(self, device: str) -> None:
        """The older copy may not know of the reset yet."""
        self._owed.discard(device)

    def acted(self, device: str, at_ms: int, effect: EndpointEffect, truth: GroundTruth) -> None:
        """See `Checker`."""
        if isinstance(effect, ResetDevice):
            self._owed.discard(device)

    def at_the_end(self, end: End) -> None:
        """See `Checker`."""
        if self._owed:
            raise self.violated(f"{min(self._owed)} was reset and never wiped")


def _kept(batch: Batch) -> list[Report]:
    """What an input brought about; without one an older copy only queues again what it has told before."""
    if batch.entry is None:
        return []
    return [change.report for change in batch.outbox if isinstance(change, KeepReport)]


class DeadlinesKept(Checker):
    """Nothing waits longer than it may, and nothing is timed out too early."""

    name = "deadlines kept"
    OPENS: Final = frozenset(s.id for s in BUILT_IN_STEPS.values() if s.opens_budget)
    CLOSES: Final = frozenset(s.id for s in BUILT_IN_STEPS.values() if s.closes_budget)

    def __init__(self, plan: WorldPlan) -> None:
        super().__init__(plan)
        self._plans = {p.device: p for p in plan.devices}
        self._due: defaultdict[str, dict[str, int]] = defaultdict(dict)
        self._restarted_ms: dict[str, int] = {}
        self._restarting: set[str] = set()
        self._restored: set[str] = set()
        self._phase: dict[str, Phase] = {}

    def booted(self, device: str, kept: Kept, running_ms: int) -> None:
        """Time switched off does not count, but for ten minutes of a restart that was planned."""
        last_ms = kept.entries[-1].at_ms if kept.entries else 0
        allowed_ms = 10 * MINUTE_MS if device in self._restarting else 0
        if not last_ms <= running_ms <= last_ms + allowed_ms:
            raise self.violated(f"{device} goes on at {running_ms} ms after {last_ms} ms")

    def journal_restored(self, device: str) -> None:
        """Running time goes on from the copy's, and what was begun since is begun again."""
        self._restarting.add(device)
        self._restored.add(device)
        self._due[device].clear()

    def input(self, device: str, at_ms: int, event: Event) -> None:
        """After a restart what fell due meanwhile is caught up with first."""
        caught_up = at_ms > self._restarted_ms.get(device, -1) and device not in self._restarting
        if not caught_up or isinstance(event, Restarted | AttemptBegan):
            return
        for what, due_ms in self._due[device].items():
            if due_ms < at_ms:
                raise self.violated(f"{device}: {what} was due at {due_ms} ms, it is {at_ms} ms")

    def took(
        self, device: str, at_ms: int, event: Event, effects: Sequence[Effect], refusal: str | None
    ) -> None:
        """See `Checker`."""
        if isinstance(event, Restarted):
            self._restarted_ms[device] = at_ms
        for effect in effects:
            if isinstance(effect, RunStep):
                self._try_began(device, effect, at_ms)
            elif isinstance(effect, ReportFact):
                self._reported(device, effect.body, at_ms, event)

    def _try_began(self, device: str, step: RunStep, at_ms: int) -> None:
        limit_ms = self._limit_ms(device, step.item)
        if limit_ms is not None:
            self._due[device][f"try {step.item}"] = at_ms + limit_ms

    def _limit_ms(self, device: str, item: str) -> int | None:
        for assigned in self._plans[device].refreshed.items:
            if assigned.id == item:
                return assigned.install_limit_minutes * MINUTE_MS
        return None

    def _reported(self, device: str, body: Body, at_ms: int, event: Event) -> None:
        due, limits = self._due[device], self._plans[device].limits
        match body:
            case AttemptStarted():
                due.clear()
                self._restarting.discard(device)
                self._restored.discard(device)
                due["assignment"] = at_ms + limits.assignment_wait_ms
            case AssignmentApplied():
                due.pop("assignment", None)
            case PhaseChanged(phase=phase, state=state):
                self._phase_changed(device, phase, state, at_ms)
            case ItemChanged():
                self._item_changed(device, body, at_ms)
            case ErrorScreenShown(failure=failure):
                self._not_early(device, failure, at_ms, event)
                due.pop("budget", None)
                due["nobody comes back"] = at_ms + limits.nobody_comes_back_ms
            case CommandAnswered(executed=True):
                self._extended(device, event)
            case RebootPlanned():
                self._restarting.add(device)
            case AgentRestarted():
                self._restarting.discard(device)
            case AttemptEnded(failure=failure):
                self._not_early(device, failure, at_ms, event)
                due.clear()
                self._restarting.discard(device)
            case _:
                pass

    def _extended(self, device: str, event: Event) -> None:
        assert isinstance(event, CommandReceived), "a command is answered at once"
        action, due = event.command.action, self._due[device]
        if isinstance(action, ExtendTimeout) and "budget" in due:
            due["budget"] += action.minutes * MINUTE_MS

    def _not_early(self, device: str, failure: Failure | None, at_ms: int, event: Event) -> None:
        due_ms = self._due[device].get("budget")
        if failure is None or due_ms is None or not isinstance(event, DeadlinePassed):
            return
        if failure.kind is FailureKind.SETUP_TIMED_OUT and at_ms < due_ms:
            raise self.violated(f"{device} timed out at {at_ms} ms, before {due_ms} ms")

    def _phase_changed(self, device: str, phase: Phase, state: RowState, at_ms: int) -> None:
        due = self._due[device]
        if state is RowState.IN_PROGRESS:
            due.pop("nobody comes back", None)
            self._phase[device] = phase
            if phase is not Phase.DEVICE_SETUP:
                due.pop("budget", None)
            elif device in self._restored and "budget" not in due:
                # It goes on with a budget that began before the copy was made.
                return
            due.setdefault("budget", at_ms + self._budget_ms(device, phase))
        elif phase is not Phase.DEVICE_PREPARATION and state is RowState.SUCCEEDED:
            due.pop("budget", None)

    def _budget_ms(self, device: str, phase: Phase) -> int:
        plan = self._plans[device]
        hybrid = plan.facts.variant is Variant.HYBRID_JOIN and phase is Phase.ACCOUNT_SETUP
        return (plan.offer.profile.timeout_minutes + (40 if hybrid else 0)) * MINUTE_MS

    def _item_changed(self, device: str, body: ItemChanged, at_ms: int) -> None:
        due, limits = self._due[device], self._plans[device].limits
        if body.state not in WORKING_STATES:
            due.pop(f"try {body.item}", None)
        due.pop(f"person {body.item}", None)
        if body.state is ItemState.WAITING_FOR_PERSON:
            portal = PERSON_SCREENS[body.item].section is not None
            limit_ms = 30 * MINUTE_MS if portal else limits.nobody_comes_back_ms
            due[f"person {body.item}"] = at_ms + limit_ms
        if body.item in self.OPENS and body.phase is self._phase.get(device):
            if body.state is ItemState.DONE:
                due["budget"] = at_ms + self._budget_ms(device, body.phase)
            elif body.state in (ItemState.WAITING_FOR_PERSON, ItemState.NOT_STARTED):
                due.pop("budget", None)
        elif body.item in self.CLOSES and body.state is not ItemState.NOT_STARTED:
            due.pop("budget", None)


class ProgressMonotone(Checker):
    """Progress never falls within an attempt, but for ticks that a power cut took."""

    name = "progress monotone"

    def __init__(self, plan: WorldPlan) -> None:
        super().__init__(plan)
        self._percent: defaultdict[str, int] = defaultdict(int)
        self._durable: defaultdict[str, int] = defaultdict(int)

    def booted(self, device: str, kept: Kept, running_ms: int) -> None:
        """See `Checker`."""
        self._percent[device] = self._durable[device]

    def journal_restored(self, device: str) -> None:
        """See `Checker`."""
        self._durable[device] = 0

    def committed(self, device: str, batch: Batch) -> None:
        """Whatever was committed lazily before is durable with a batch that is not."""
        for report in _kept(batch):
            if isinstance(report.body, AttemptStarted):
                self._percent[device] = 0
            self._rises(device, report.percent, "a report")
        if not batch.lazy:
            self._durable[device] = self._percent[device]

    def status(self, device: str, progress: Progress) -> None:
        """See `Checker`."""
        self._rises(device, progress.percent, "a status")

    def _rises(self, device: str, percent: int, where: str) -> None:
        if percent < self._percent[device]:
            raise self.violated(
                f"{device}: {where} says {percent} % after {self._percent[device]} %"
            )
        self._percent[device] = percent


class CommandsOnce(Checker):
    """A command is executed at most once and answered once."""

    name = "commands once"

    def __init__(self, plan: WorldPlan) -> None:
        super().__init__(plan)
        self._answered: defaultdict[str, set[str]] = defaultdict(set)

    def journal_restored(self, device: str) -> None:
        """The older copy may not know what its later life executed."""
        self._answered[device].clear()

    def committed(self, device: str, batch: Batch) -> None:
        """See `Checker`."""
        for report in _kept(batch):
            if isinstance(report.body, CommandAnswered):
                if report.body.command in self._answered[device]:
                    raise self.violated(f"{device} answers {report.body.command} twice")
                self._answered[device].add(report.body.command)
