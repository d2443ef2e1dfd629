"""Planted bugs, each of which the simulation has to notice: `python -m tests.simulator.verify.mutants` prints how.

A mutant changes the product for the length of a `with` block, from here only. The product knows nothing of it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from types import ModuleType
from typing import Any, Final
from unittest.mock import patch

from agent.core import (
    blueprints,
    choices,
    deadlines,
    enrollment,
    items,
    link,
    outbox,
    outcomes,
    permissions,
    phases,
)
from agent.core.effects import ResetDevice, RunStep, SetGate
from agent.core.enrollment import TABLE, Enrollment
from agent.core.events import MINUTE_MS, CommandReceived, Restarted
from agent.core.link import TRANSITIONS, Link, LinkState
from agent.core.outbox import AckArrived, DropReport, Outbox, OutboxState, SendReport
from agent.core.outcomes import Outcome, Verdict
from agent.core.pace import Pace
from agent.core.reading import Reader
from agent.core.state import Attempt, ItemRun
from agent.core.turn import Turn
from agent.wire.events import AgentRestarted, ItemChanged
from agent.wire.messages import Command, Signed
from agent.wire.topics import Channel
from agent.wire.vocabulary import Gate, GateCause, ItemState, MessageKind, Phase, RefusalReason
from collector import admission, intake, precedence
from collector.intake import Accepted, Duplicate, Gap, Readable, StreamRow
from simulator.verify import shell
from simulator.verify.collector import Collector
from simulator.verify.disk import DiskFull, Kept
from simulator.verify.faults import Faults
from simulator.verify.plan import WorldPlan, draw_world
from simulator.verify.run import run_world
from simulator.verify.shell import Agent
from simulator.verify.store import Store

SEEDS: Final = 40

Apply = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True, slots=True)
class Mutant:
    """One planted bug and the room that it is planted in."""

    name: str
    room: str
    apply: Apply
    faults: Faults | None = None
    """What its worlds suffer from; None for whatever is drawn."""

    def world(self, seed: int) -> WorldPlan:
        """The world of one seed in which it is looked for."""
        plan = draw_world(seed)
        return plan if self.faults is None else replace(plan, faults=self.faults)


MUTANTS: Final[list[Mutant]] = []


JOURNALS_COME_BACK: Final = Faults(
    power_cuts_per_thousand=30,
    journal_restores_share=1,
    collector_outages_per_hour=15,
    connection_breaks_per_hour=20,
    half_open_share=0.7,
)
"""Devices live again what the store knows of their later lives, and often can't hear of it before they report."""


def mutant(room: str, name: str, faults: Faults | None = None) -> Callable[[Apply], Apply]:
    """Register a planted bug."""

    def register(apply: Apply) -> Apply:
        MUTANTS.append(Mutant(name, room, apply, faults))
        return apply

    return register


@contextmanager
def in_table(event: type, handler: Callable[[Any, Any], None]) -> Iterator[None]:
    """Another handler for one event, in every mode that takes it."""
    with ExitStack() as stack:
        for entries in TABLE.values():
            if callable(entries.get(event)):
                stack.enter_context(patch.dict(entries, {event: handler}))
        yield


@contextmanager
def in_modules(name: str, replacement: Callable[..., Any], *modules: ModuleType) -> Iterator[None]:
    """Another function of this name, where it is defined and wherever it was imported."""
    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(patch.object(module, name, replacement))
        yield


# --- the enrollment machine ----------------------------------------------------------------------


@mutant("machine", "the budget begins anew at every restart")
def budget_reset_on_restart() -> AbstractContextManager[Any]:
    original = Enrollment._restarted

    def restarted(self: Enrollment, event: Restarted) -> None:
        original(self, event)
        attempt = self._turn.attempt
        if attempt.budget_deadline_ms is not None:
            budget_ms = attempt.running_plan.budget_ms(attempt.running_phase.context)
            attempt.budget_deadline_ms = self._turn.now_ms + budget_ms

    return in_table(Restarted, restarted)


@mutant("machine", "skipping is offered and taken where the profile forbids it")
def skip_not_allowed() -> AbstractContextManager[Any]:
    original = permissions._skip
    return patch.object(permissions, "_skip", lambda attempt, allowed: original(attempt, True))


@mutant("machine", "continuing is offered and taken where the profile forbids it")
def continue_not_allowed() -> AbstractContextManager[Any]:
    original = permissions._continue
    return patch.object(permissions, "_continue", lambda attempt, allowed: original(attempt, True))


@mutant("machine", "the gate opens after device setup although account setup blocks")
def gate_opens_early() -> AbstractContextManager[Any]:
    def review(turn: Turn) -> None:
        attempt = turn.attempt
        if attempt.gate is Gate.LOCKED and attempt.phase is not Phase.DEVICE_PREPARATION:
            phases.set_gate(turn, Gate.RELEASED, GateCause.SETUP_COMPLETE)

    return patch.object(phases, "_review_gate", review)


@mutant("machine", "the exit code decides, and detection is not asked")
def exit_code_decides() -> AbstractContextManager[Any]:
    original = outcomes._completed

    def completed(item: Any, event: Any) -> Outcome:
        outcome = original(item, event)
        if outcome.verdict is Verdict.TRY_AGAIN and event.exit_code == 0:
            return Outcome(Verdict.SATISFIED, ItemState.DONE)
        return outcome

    return patch.object(outcomes, "_completed", completed)


@mutant("machine", "a phase or item that is tried again is not looked for first")
def retry_without_detection() -> AbstractContextManager[Any]:
    original = items.try_anew

    def try_anew(turn: Any, item: ItemRun) -> None:
        original(turn, item)
        item.detect_first = False

    return in_modules("try_anew", try_anew, phases, choices)


@mutant("machine", "an app is installed without looking for it first")
def installs_blindly() -> AbstractContextManager[Any]:
    def run_step(**step: Any) -> RunStep:
        return RunStep(**{**step, "detect_first": False})

    return patch.object(blueprints, "RunStep", run_step)


@mutant("machine", "after a restart a running step is not looked for first")
def restart_without_detection() -> AbstractContextManager[Any]:
    original = Enrollment._restarted

    def restarted(self: Enrollment, event: Restarted) -> None:
        original(self, event)
        self._turn.effects = [
            replace(effect, detect_first=False) if isinstance(effect, RunStep) else effect
            for effect in self._turn.effects
        ]

    return in_table(Restarted, restarted)


@mutant("machine", "a command that comes again is executed again")
def command_replayed() -> AbstractContextManager[Any]:
    original = Enrollment._command_received

    def received(self: Enrollment, event: CommandReceived) -> None:
        self._executed.discard(event.command.id)
        original(self, event)

    return in_table(CommandReceived, received)


@mutant("machine", "a restart forgets that logs were asked for")
def logs_forgotten() -> AbstractContextManager[Any]:
    original = Enrollment._restarted

    def restarted(self: Enrollment, event: Restarted) -> None:
        self._turn.attempt.logs_wanted.clear()
        original(self, event)

    return in_table(Restarted, restarted)


@mutant("machine", "a power cut before the wipe leaves the device as it was")
def wipe_forgotten() -> AbstractContextManager[Any]:
    original = Enrollment._restarted

    def restarted(self: Enrollment, event: Restarted) -> None:
        original(self, event)
        self._turn.effects = [e for e in self._turn.effects if not isinstance(e, ResetDevice)]

    return in_table(Restarted, restarted)


@mutant("machine", "a power cut before the gate moves leaves it where it was")
def gate_forgotten() -> AbstractContextManager[Any]:
    original = Enrollment._restarted

    def restarted(self: Enrollment, event: Restarted) -> None:
        original(self, event)
        self._turn.effects = [e for e in self._turn.effects if not isinstance(e, SetGate)]

    return in_table(Restarted, restarted)


@mutant("machine", "progress falls when something is tried again")
def progress_falls() -> AbstractContextManager[Any]:
    original = items.try_anew

    def try_anew(turn: Any, item: ItemRun) -> None:
        original(turn, item)
        attempt: Attempt = turn.attempt
        attempt.credited_ms -= item.credited_ms
        item.credited_ms = 0
        attempt.percent = 100 * attempt.credited_ms // max(1, attempt.work_ms)

    return in_modules("try_anew", try_anew, phases, choices)


@mutant("machine", "the end of the budget is missed")
def budget_missed() -> AbstractContextManager[Any]:
    def over(turn: Turn, *_: Any) -> None:
        deadline_ms = turn.attempt.budget_deadline_ms
        assert deadline_ms is not None
        turn.attempt.budget_deadline_ms = deadline_ms + 10 * MINUTE_MS

    return patch.object(deadlines, "_budget_over", over)


@mutant("machine", "the budget ends a minute early")
def budget_early() -> AbstractContextManager[Any]:
    original = phases.open_budget

    def open_budget(turn: Turn) -> None:
        before = turn.attempt.budget_deadline_ms
        original(turn)
        after = turn.attempt.budget_deadline_ms
        if before is None and after is not None:
            turn.attempt.budget_deadline_ms = after - MINUTE_MS

    return in_modules("open_budget", open_budget, phases, choices, enrollment)


@mutant("machine", "a silent person is waited for without end")
def silence_without_end() -> AbstractContextManager[Any]:
    def over(turn: Turn, item: ItemRun) -> None:
        item.deadline_ms = turn.now_ms + 60 * MINUTE_MS

    def span_over(turn: Turn, span: Any) -> None:
        turn.attempt.spans.pop(span.id)

    @contextmanager
    def both() -> Iterator[None]:
        with (
            patch.object(deadlines, "_screen_over", over),
            patch.object(deadlines, "_span_over", span_over),
        ):
            yield

    return both()


@mutant("machine", "the error screen stays up without end")
def error_screen_without_end() -> AbstractContextManager[Any]:
    original = phases.stop

    def stop(turn: Turn, failure: Any) -> None:
        original(turn, failure)
        turn.attempt.wait_deadline_ms = None

    return in_modules("stop", stop, phases, deadlines)


@mutant("machine", "one try of an item has no limit")
def tries_without_limit() -> AbstractContextManager[Any]:
    original = items._run

    def run(turn: Any, item: ItemRun, state: ItemState) -> None:
        original(turn, item, state)
        item.deadline_ms = None

    return patch.object(items, "_run", run)


@mutant("machine", "an attempt that is given up ends twice")
def two_ends() -> AbstractContextManager[Any]:
    original = phases.give_up

    def give_up(turn: Turn) -> None:
        original(turn)
        original(turn)

    # The failure is kept by the first end, so that the second has one to name.
    return in_modules("give_up", give_up, phases, deadlines)


@mutant("machine", "what an item depends on is not waited for")
def dependencies_ignored() -> AbstractContextManager[Any]:
    return patch.object(phases, "_needs_are_settled", lambda turn, item: True)


@mutant("machine", "a restart does not put the device back to work")
def restart_goes_unnoticed() -> AbstractContextManager[Any]:
    def restarted(self: Enrollment, event: Restarted) -> None:
        self._turn.report(AgentRestarted(planned=event.planned))

    return in_table(Restarted, restarted)


@mutant("machine", "a refused message is reported again after every restart")
def refused_told_again() -> AbstractContextManager[Any]:
    original = Enrollment._tell_refused

    def tell(self: Enrollment, message: MessageKind, reason: RefusalReason) -> bool:
        self._turn.attempt.refused.clear()
        return original(self, message, reason)

    return patch.object(Enrollment, "_tell_refused", tell)


# --- reading: what an incoming message is worth --------------------------------------------------


@mutant("reading", "a signature is not looked at")
def signatures_not_checked() -> AbstractContextManager[Any]:
    def opened(_: Reader, __: Channel, payload: bytes) -> bytes:
        return urlsafe_b64decode(Signed.model_validate_json(payload).payload)

    return patch.object(Reader, "_opened", opened)


@mutant("reading", "what is signed for one device is taken by another")
def devices_not_compared() -> AbstractContextManager[Any]:
    original = Reader._command

    def command(self: Reader, payload: bytes, topic_id: str, wall_ms: int) -> CommandReceived:
        content = Command.model_validate_json(self._opened(Channel.COMMAND, payload))
        name, self._device = self._device, content.device
        try:
            return original(self, payload, topic_id, wall_ms)
        finally:
            self._device = name

    return patch.object(Reader, "_command", command)


@mutant("reading", "a forgery is refused and nobody is told")
def forgery_not_told() -> AbstractContextManager[Any]:
    return patch.object(Reader, "_judged", lambda self, refusal, topic, attempt: refusal)


# --- the journal: what the shell restores and commits --------------------------------------------


@mutant("journal", "things are done and published before they are kept")
def publish_before_persist() -> AbstractContextManager[Any]:
    original = Agent._commit
    late: dict[int, Any] = {}

    def commit(self: Agent, batch: Any) -> Any:
        before = late.pop(id(self), None)
        late[id(self)] = batch
        if before is not None:
            yield from original(self, before)

    return patch.object(Agent, "_commit", commit)


@mutant("journal", "numbers are committed as lazily as ticks")
def lazy_numbers() -> AbstractContextManager[Any]:
    original = Agent._commit

    def commit(self: Agent, batch: Any) -> Any:
        yield from original(self, replace(batch, lazy=True))

    return patch.object(Agent, "_commit", commit)


@mutant("journal", "a full disk is taken for a commit")
def failure_ignored() -> AbstractContextManager[Any]:
    def commit(self: Agent, batch: Any) -> Any:
        try:
            self._body.commit(batch)
        except DiskFull:
            return
        yield from ()

    return patch.object(Agent, "_commit", commit)


@mutant("journal", "a restart gives the first number that is not acknowledged")
def numbers_begin_again() -> AbstractContextManager[Any]:
    original = Kept.outbox

    def restored(self: Kept) -> OutboxState:
        state = original(self)
        last = max((one.seq for one in state.numbered), default=0)
        return replace(state, next_seq=last + 1)

    return patch.object(Kept, "outbox", restored)


@mutant("journal", "a restart loses the reports that have no number yet")
def queue_lost() -> AbstractContextManager[Any]:
    original = Kept.outbox
    return patch.object(Kept, "outbox", lambda self: replace(original(self), queued=()))


@mutant("journal", "a restart begins with the first session again")
def session_forgotten() -> AbstractContextManager[Any]:
    return patch.object(shell, "Link", lambda session: Link(0))


@mutant("journal", "time switched off counts as running time")
def off_time_counts() -> AbstractContextManager[Any]:
    original = Agent._restore

    def restore(self: Agent, kept: Kept) -> None:
        original(self, kept)
        if kept.entries:
            off_ms = self._body.wall_ms() - kept.entries[-1].wall_ms
            self._base_ms = self.handled_ms + max(0, off_ms)

    return patch.object(Agent, "_restore", restore)


@mutant("journal", "the end of an attempt is not shown in the status")
def last_status_missing() -> AbstractContextManager[Any]:
    original = Agent._publish_status

    def publish(self: Agent) -> None:
        self._status_pace.dropped()
        if self.machine.end_state is None:
            original(self)

    return patch.object(Agent, "_publish_status", publish)


# --- the outbox ----------------------------------------------------------------------------------


@mutant("outbox", "the window has no end")
def window_ignored() -> AbstractContextManager[Any]:
    return patch.object(outbox, "WINDOW", 10**6)


@mutant("outbox", "an acknowledgement lower than the last is ignored")
def lower_ack_ignored() -> AbstractContextManager[Any]:
    return patch.object(Outbox, "_take_back", lambda self, stored_seq, effects: None)


@mutant("outbox", "what was sent counts as stored")
def sending_frees() -> AbstractContextManager[Any]:
    original = Outbox.handle

    def handle(self: Outbox, event: Any, now_ms: int) -> Any:
        effects = list(original(self, event, now_ms))
        sent = [e.seq for e in effects if isinstance(e, SendReport)]
        if sent:
            effects += original(self, AckArrived(self._store or "none", max(sent)), now_ms)
        return effects

    return patch.object(Outbox, "handle", handle)


@mutant("outbox", "a new connection goes on where the old one broke")
def no_going_back() -> AbstractContextManager[Any]:
    return patch.object(Outbox, "_go_to_base", lambda self: None)


@mutant("outbox", "a fact is dropped like a tick when a newer one comes")
def facts_dropped() -> AbstractContextManager[Any]:
    original = Outbox._keep

    def keep(self: Outbox, report: Any, effects: Any) -> None:
        last = self._queue[-1] if self._queue else None
        if last is not None and last.report is not None:
            same = isinstance(last.report.body, ItemChanged) and isinstance(
                report.body, ItemChanged
            )
            if same:
                self._drop_queued(last.position)
                effects.append(DropReport(last.position))
        original(self, report, effects)

    return patch.object(Outbox, "_keep", keep)


@mutant("outbox", "the digest of an acknowledgement is not compared", JOURNALS_COME_BACK)
def digest_not_compared() -> AbstractContextManager[Any]:
    return patch.object(Outbox, "_is_of_another_life", lambda self, ack: False)


@mutant("outbox", "what an older copy had numbered is not told again", JOURNALS_COME_BACK)
def not_told_again() -> AbstractContextManager[Any]:
    return patch.object(Outbox, "_queue_before", lambda self, reports, effects: None)


@mutant("outbox", "what is acknowledged is forgotten at once")
def forgets_at_once() -> AbstractContextManager[Any]:
    original = Outbox.__init__

    def init(self: Outbox, stream: str, state: Any = None, limits: Any = None) -> None:
        original(self, stream, state, outbox.OutboxLimits(kept_ms=0))

    return patch.object(Outbox, "__init__", init)


@mutant("outbox", "a report that is late is never asked for again")
def never_asks_again() -> AbstractContextManager[Any]:
    return patch.object(Pace, "_late_after_ms", lambda self: 10**15)


@mutant("outbox", "the seven days are counted by the wall clock")
def counts_by_the_wall_clock() -> AbstractContextManager[Any]:
    original = Outbox.__init__

    def init(self: Any, stream: str, state: Any = None, limits: Any = None) -> None:
        original(self, stream, state, limits)
        self._began_ms = self._ran_before_ms

    return patch.object(Outbox, "__init__", init)


# --- the link ------------------------------------------------------------------------------------


@mutant("link", "a session takes the number of the one before")
def session_not_counted() -> AbstractContextManager[Any]:
    original = Link._connect

    def connect(self: Link) -> Any:
        self._session = max(0, self._session - 1)
        return original(self)

    return patch.object(Link, "_connect", connect)


@mutant("link", "a broken connection is not opened again")
def no_reconnect() -> AbstractContextManager[Any]:
    original = Link._back_off

    def back_off(self: Link, event: Any, now_ms: int) -> None:
        original(self, event, now_ms)
        self._deadline_ms = None

    return patch.object(Link, "_back_off", back_off)


@mutant("link", "a collector that was offline once is never believed to be back")
def holds_for_ever() -> AbstractContextManager[Any]:
    original = link.peer_transition

    def transition(state: LinkState, *, online: bool) -> LinkState:
        return state if online else original(state, online=online)

    def probe(self: Link, draw: float, now_ms: int) -> Sequence[link.Effect]:
        self._arm_probe(draw, now_ms)
        return ()

    deaf = {k: to for k, to in TRANSITIONS.items() if k != (LinkState.HOLDING, link.PeerAnswered)}

    @contextmanager
    def all_three() -> Iterator[None]:
        with (
            patch.object(link, "peer_transition", transition),
            patch.object(link, "TRANSITIONS", deaf),
            patch.object(Link, "_probe", probe),
        ):
            yield

    return all_three()


# --- intake, leases and what the collector answers -----------------------------------------------


@mutant("intake", "a number behind a gap is stored")
def gap_accepted() -> AbstractContextManager[Any]:
    original = intake.fold

    def fold(row: Any, incoming: Any) -> Any:
        decision = original(row, incoming)
        if isinstance(decision, Gap) and isinstance(incoming, Readable):
            return original(replace(row, last_seq=incoming.event.seq - 1), incoming)
        return decision

    return patch.object(intake, "fold", fold)


@mutant("intake", "a number that comes again is stored again")
def duplicate_stored() -> AbstractContextManager[Any]:
    original = intake.fold

    def fold(row: Any, incoming: Any) -> Any:
        decision = original(row, incoming)
        if isinstance(decision, Duplicate) and isinstance(incoming, Readable):
            again = original(replace(row, last_seq=incoming.event.seq - 1), incoming)
            if isinstance(again, Accepted):
                return replace(again, row=row)
        return decision

    return patch.object(intake, "fold", fold)


@mutant("intake", "a report that continues another story is stored", JOURNALS_COME_BACK)
def fork_accepted() -> AbstractContextManager[Any]:
    return patch.object(intake, "_forks", lambda row, event: False)


@mutant("intake", "a report is acknowledged before it is committed")
def ack_before_commit() -> AbstractContextManager[Any]:
    original = Collector._begin

    def begin(self: Collector, arrivals: Any) -> None:
        for row in self._store.begin(arrivals).after.values():
            self._say_ack(row)
        original(self, arrivals)

    return patch.object(Collector, "_begin", begin)


@mutant("intake", "an acknowledgement that was said once is not said again")
def duplicates_unanswered() -> AbstractContextManager[Any]:
    original = Collector._say_ack
    said: dict[int, set[StreamRow]] = {}

    def say_ack(self: Collector, row: StreamRow) -> None:
        rows = said.setdefault(id(self), set())
        if row not in rows:
            rows.add(row)
            original(self, row)

    return patch.object(Collector, "_say_ack", say_ack)


@mutant("intake", "the lease of a commit is not compared")
def term_not_compared() -> AbstractContextManager[Any]:
    return patch.object(precedence, "may_commit", lambda term, current_term: True)


@mutant("intake", "a will that comes late is believed")
def late_will_believed() -> AbstractContextManager[Any]:
    return patch.object(precedence, "counts", lambda session, known_session: True)


# --- admission -----------------------------------------------------------------------------------


@mutant("admission", "one device more than allowed is admitted")
def limit_off_by_one() -> AbstractContextManager[Any]:
    original = admission.decide

    def decide(started: Any, standing: Any, rules: Any, offer: Any) -> Any:
        others = max(0, standing.other_devices - 1)
        return original(started, replace(standing, other_devices=others), rules, offer)

    return patch.object(admission, "decide", decide)


@mutant("admission", "the user is not locked while it is decided")
def user_not_locked() -> AbstractContextManager[Any]:
    class NeverHeld(set[str]):
        def __contains__(self, user: object) -> bool:
            return False

    original = Store.__init__

    def init(self: Store) -> None:
        original(self)
        self.locked_users = NeverHeld()

    return patch.object(Store, "__init__", init)


# --- running them --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one mutant."""

    name: str
    room: str
    seeds: int
    caught: int
    checkers: tuple[tuple[str, int], ...]


def judge(planted: Mutant, first_seed: int, seeds: int, *, quick: bool = False) -> Result:
    """Run worlds with one planted bug, once each; `quick` is content with the first that notices it."""
    found: Counter[str] = Counter()
    tried = 0
    with planted.apply():
        for seed in range(first_seed, first_seed + seeds):
            tried += 1
            violation = run_world(planted.world(seed)).violation
            if violation is not None:
                broken = violation.sentence.startswith(("TypeError", "AttributeError"))
                assert not broken, f"{planted.name} does not fit the product: {violation}"
                found[violation.checker] += 1
            if quick and found:
                break
    return Result(planted.name, planted.room, tried, found.total(), tuple(found.most_common()))


def _judge_number(number: int, first_seed: int, seeds: int, quick: bool) -> Result:
    return judge(MUTANTS[number], first_seed, seeds, quick=quick)


def judge_all(
    chosen: Sequence[Mutant], first_seed: int, seeds: int, *, jobs: int, quick: bool
) -> Iterator[Result]:
    """Some mutants, in the order in which they stand here."""
    if jobs == 1:
        for planted in chosen:
            yield judge(planted, first_seed, seeds, quick=quick)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        numbers = [MUTANTS.index(planted) for planted in chosen]
        waiting = [pool.submit(_judge_number, n, first_seed, seeds, quick) for n in numbers]
        for done in waiting:
            yield done.result()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 when a mutant is not caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulator.verify.mutants")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--from", dest="first", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="one catch is enough")
    parser.add_argument("--only", default="", help="mutants whose name has this in it")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    chosen = [planted for planted in MUTANTS if options.only in planted.name]
    began = time.perf_counter()
    results = []
    for result in judge_all(
        chosen, options.first, options.seeds, jobs=options.jobs, quick=options.quick
    ):
        results.append(result)
        if not options.json:
            by = ", ".join(f"{name} {times}" for name, times in result.checkers[:3])
            share = f"{result.caught} of {result.seeds}"
            _say(f"{result.room:<10}{result.name:<72}{share:<11}{by}")
    missed = [r for r in results if r.caught == 0]
    seconds = time.perf_counter() - began
    if options.json:
        _say(json.dumps(_as_json(results, seconds)))
    else:
        _say(f"{len(results) - len(missed)} of {len(results)} mutants caught in {seconds:.0f} s")
    for result in missed:
        sys.stderr.write(f"not caught: {result.name}\n")
    return 1 if missed else 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _as_json(results: Sequence[Result], seconds: float) -> dict[str, Any]:
    return {
        "mutants": [
            {
                "name": r.name,
                "room": r.room,
                "seeds": r.seeds,
                "caught": r.caught,
                "by": dict(r.checkers),
            }
            for r in results
        ],
        "seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
