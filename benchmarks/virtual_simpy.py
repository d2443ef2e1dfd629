"""The fleet of the virtual engine as a SimPy model: what `benchmarks.virtual` compares with.

The model has the same steps, order, lanes, draws, deadlines and gate. Endpoint and person, admission, plan and the
judgement of a finished step are the very functions that the engine calls; SimPy takes the place of its scheduler, and
processes that of its machine. What it leaves out are the ways that few devices take: the error screen and the choices
on it, resets, attempts after the first, and commands. A device that comes there raises `NotModelled`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import simpy

from agent.core.blueprints import Blueprints
from agent.core.effects import (
    AskPerson,
    CancelStep,
    EndpointEffect,
    OfferChoices,
    Reboot,
    RunStep,
    SetGate,
)
from agent.core.events import PersonActed, Restarted, StepFinished, StepMoved
from agent.core.outcomes import Verdict, judge, pause_before_retry_ms
from agent.core.person_screens import SPAN_LIMIT_MS
from agent.core.plan import ItemPlan, Plan
from agent.core.state import ItemRun
from agent.wire.assignment import Admitted
from agent.wire.events import AttemptStarted, ItemChanged
from agent.wire.vocabulary import (
    SATISFIED_STATES,
    Choice,
    Context,
    EndState,
    Gate,
    GateCause,
    ItemKind,
    ItemState,
    PersonAction,
    Phase,
    RebootKind,
)
from collector.admission import decide
from simulator.device import COLLECTOR_ANSWERS_MS
from simulator.endpoint_model import EndpointModel
from simulator.ground_truth import GroundTruth
from simulator.person import SimulatedPerson
from simulator.population import SimulatedDevice
from simulator.rollout import Rollout
from simulator.step_events import Scheduled

Steps = Generator[simpy.Event, Any, None]


class NotModelled(Exception):
    """The device takes a way that this model does not have."""


@dataclass(slots=True)
class Life:
    """What became of one device. Times are in milliseconds since power-on."""

    end_state: EndState | None = None
    ended_ms: int | None = None
    opened_ms: int | None = None
    reports: list[object] = field(default_factory=list)


class SimpyDevice:
    """One device as SimPy processes; with reports it also makes the reports about its items."""

    def __init__(self, rollout: Rollout, device: SimulatedDevice, *, with_reports: bool) -> None:
        self.env = simpy.Environment()
        self.life = Life()
        self._rollout = rollout
        self._device = device
        self._blueprints: Blueprints | None = rollout.blueprints if with_reports else None
        self._model = EndpointModel(
            device.facts,
            rollout.habitat(device),
            device.draws,
            GroundTruth(),
            limits=rollout.limits,
            new_id=_never_again,
            person=SimulatedPerson(device.person, device.draws, week_ms=device.week_ms),
        )
        self._runs = count(1)
        self._installer = simpy.PriorityResource(self.env)
        self._settled: dict[str, simpy.Event] = {}
        self._states: dict[str, ItemState] = {}
        self._items: dict[str, ItemRun] = {}
        self._spans: dict[str, int] = {}
        self._budget = 0
        """Counts the budgets, of which only the newest runs."""
        self._owes_restart = False
        self._restarted = self.env.event()
        self._gate = Gate.LOCKED

    @property
    def now_ms(self) -> int:
        """Time since power-on."""
        return int(self.env.now)

    def run(self) -> Life:
        """Enroll."""
        done = self.env.process(self._enroll())
        self.env.run(until=done)
        self.env.run()
        return self.life

    def _enroll(self) -> Steps:
        self._act(SetGate(Gate.LOCKED, GateCause.ENROLLMENT_BEGAN))
        facts = self._device.facts
        started = AttemptStarted(
            enrollment_type=facts.enrollment_type,
            variant=facts.variant,
            platform=facts.platform,
            os_version=facts.os_version,
            user=facts.user,
            model=facts.model,
            serial=facts.serial,
            number=1,
            agent_version=facts.agent_version,
        )
        decision = decide(
            started,
            self._rollout.standing(self._device),
            self._rollout.rules,
            self._rollout.offer(self._device),
        )
        yield self.env.timeout(COLLECTOR_ANSWERS_MS)
        if not isinstance(decision, Admitted):
            self._end(EndState.REFUSED)
            return
        plan = self._rollout.blueprints.plan(facts, decision)
        self._items = {item.id: ItemRun(item) for item in plan.items.values()}
        for item in plan.items.values():
            self._settled[item.id] = self.env.event()
            if item.skip is not None:
                self._settle(item, ItemState.SKIPPED)
        for phase in Phase:
            yield from self._phase(plan, phase)
        self._end(EndState.SUCCEEDED)
        for place, item in enumerate(plan.items.values()):
            if not item.tracked and item.skip is None:
                self.env.process(self._item(plan, item, place, waits=False))

    def _phase(self, plan: Plan, phase: Phase) -> Steps:
        items = [i for i in plan.items.values() if i.phase is phase and i.tracked]
        waits = any(i.step.opens_budget and not self._settled[i.id].triggered for i in items)
        if phase is not Phase.DEVICE_SETUP or not self._budget:
            self._budget += 1
            if not waits:
                self._open_budget(plan, phase.context)
        if phase is Phase.ACCOUNT_SETUP and plan.profile.account_setup.allow_skip:
            offer = OfferChoices((Choice.SKIP_ACCOUNT_SETUP,), (), error=False)
            if self._act(offer):
                raise NotModelled
        places = {name: place for place, name in enumerate(plan.items)}
        for item in items:
            if item.skip is None:
                self.env.process(self._item(plan, item, places[item.id], waits=True))
        yield self._all(i.id for i in items if not i.step.after_restart)
        if self._owes_restart:
            yield from self._restart(RebootKind.SOFT)
        yield self._all(i.id for i in items)
        self._review_gate(plan, phase)

    def _all(self, names: Iterable[str]) -> simpy.Event:
        return self.env.all_of([self._settled[name] for name in names])

    def _restart(self, kind: RebootKind) -> Steps:
        ((at_ms, event),) = self._act(Reboot(kind, ()))
        assert isinstance(event, Restarted)
        yield self.env.timeout(at_ms - self.now_ms)
        self._owes_restart = False
        self._act(SetGate(self._gate, GateCause.ENROLLMENT_BEGAN))
        restarted, self._restarted = self._restarted, self.env.event()
        restarted.succeed()

    # --- items ----------------------------------------------------------------------------------

    def _item(self, plan: Plan, item: ItemPlan, place: int, *, waits: bool) -> Steps:
        if waits:
            yield self._all(item.after)
            if item.step.after_restart and self._owes_restart:
                yield self._restarted
        if item.needs:
            yield self._all(item.needs)
            if any(self._states[name] not in SATISFIED_STATES for name in item.needs):
                raise NotModelled
        for span in plan.spans:
            if span.start == item.id and span.id not in self._spans:
                self._spans[span.id] = self.now_ms + SPAN_LIMIT_MS
                self.env.process(self._span_ends(span.id))
        if item.step.closes_budget:
            self._budget += 1
        if item.screen is not None:
            yield from self._screen(plan, item)
            return
        for number in range(1, item.tries + 1):
            if item.lane is None:
                pause_ms = yield from self._try(item, number)
            else:
                with self._installer.request(priority=place) as turn:
                    yield turn
                    pause_ms = yield from self._try(item, number)
            if pause_ms is None:
                self._after(plan, item)
                return
            self._change(item, ItemState.WAITING_TO_RETRY)
            yield self.env.timeout(pause_ms)
        raise NotModelled

    def _try(self, item: ItemPlan, number: int) -> Generator[simpy.Event, Any, int | None]:
        """One try; the answer is the pause before the next one, or None when the item is there."""
        is_app = item.kind is ItemKind.APP
        self._items[item.id].attempt = number
        if number > 1:
            self._change(item, ItemState.VERIFYING)
        else:
            self._change(item, ItemState.DOWNLOADING if is_app else ItemState.INSTALLING)
        step = RunStep(
            item=item.id,
            name=item.name,
            kind=item.kind,
            context=item.phase.context,
            run=next(self._runs),
            attempt=number,
            detect_first=number > 1 or is_app,
            size_bytes=item.size_bytes,
            replaces=tuple([old.id for old in item.rules.supersedes if old.uninstall]),
        )
        over_ms = None if item.limit_ms is None else self.now_ms + item.limit_ms
        finished = None
        for at_ms, event in self._act(step):
            if over_ms is not None and at_ms > over_ms:
                break
            yield self.env.timeout(at_ms - self.now_ms)
            match event:
                case StepMoved():
                    self._move(item, event)
                case StepFinished():
                    finished = event
                case _:
                    raise AssertionError("a step says nothing else")
        if finished is None:
            return (yield from self._hangs(item, step, over_ms))
        outcome = judge(item, finished)
        if outcome.verdict is Verdict.HARD_REBOOT:
            raise NotModelled
        if outcome.verdict is Verdict.TRY_AGAIN:
            return self._pause_ms(item, number, pause_before_retry_ms(item, number, outcome))
        self._owes_restart = self._owes_restart or outcome.reboot is not None
        self._settle(item, outcome.state)
        return None

    def _hangs(
        self, item: ItemPlan, step: RunStep, over_ms: int | None
    ) -> Generator[simpy.Event, Any, int]:
        if over_ms is None:
            raise NotModelled
        yield self.env.timeout(over_ms - self.now_ms)
        self._act(CancelStep(item.id, step.run))
        pause_ms = 30_000 * 2 ** (step.attempt - 1)
        return self._pause_ms(item, step.attempt, item.retry_pause_ms or pause_ms)

    def _pause_ms(self, item: ItemPlan, number: int, pause_ms: int) -> int:
        if number >= item.tries:
            raise NotModelled
        return pause_ms

    def _screen(self, plan: Plan, item: ItemPlan) -> Steps:
        screen = item.screen
        assert screen is not None, "only a person screen asks"
        self._change(item, ItemState.WAITING_FOR_PERSON)
        asked = AskPerson(item.id, screen.id, (PersonAction.PROCEED, *screen.halts))
        answers = self._act(asked)
        if not answers:
            raise NotModelled
        at_ms, event = answers[0]
        if not isinstance(event, PersonActed) or event.action is not PersonAction.PROCEED:
            raise NotModelled
        portal = screen.section is not None
        limit_ms = SPAN_LIMIT_MS if portal else self._rollout.limits.nobody_comes_back_ms
        if at_ms >= self.now_ms + limit_ms:
            raise NotModelled
        yield self.env.timeout(at_ms - self.now_ms)
        self._settle(item, ItemState.DONE)
        self._after(plan, item)

    def _after(self, plan: Plan, item: ItemPlan) -> None:
        for span in plan.spans:
            if span.end == item.id:
                self._spans.pop(span.id, None)
        if item.step.opens_budget:
            self._open_budget(plan, item.phase.context)

    # --- deadlines, gate, end -------------------------------------------------------------------

    def _open_budget(self, plan: Plan, context: Context) -> None:
        self.env.process(self._budget_ends(plan.budget_ms(context), self._budget))

    def _budget_ends(self, after_ms: int, number: int) -> Steps:
        yield self.env.timeout(after_ms)
        if self._budget == number and self.life.end_state is None:
            raise NotModelled

    def _span_ends(self, span: str) -> Steps:
        yield self.env.timeout(SPAN_LIMIT_MS)
        if self._spans.get(span) == self.now_ms and self.life.end_state is None:
            raise NotModelled

    def _review_gate(self, plan: Plan, phase: Phase) -> None:
        account = plan.profile.account_setup
        if self._gate is not Gate.LOCKED:
            return
        if phase is Phase.ACCOUNT_SETUP:
            self._release(GateCause.SETUP_COMPLETE)
        elif account.show_progress and account.block_until_complete:
            return
        elif phase is Phase.DEVICE_SETUP:
            self._release(GateCause.DEVICE_SETUP_COMPLETE)
        elif not plan.profile.device_setup.show_progress:
            self._release(GateCause.NOTHING_TO_SHOW)

    def _release(self, cause: GateCause) -> None:
        self._gate = Gate.RELEASED
        self._act(SetGate(Gate.RELEASED, cause))
        self.life.opened_ms = self.now_ms

    def _end(self, end_state: EndState) -> None:
        self.life.end_state, self.life.ended_ms = end_state, self.now_ms

    # --- small things ---------------------------------------------------------------------------

    def _act(self, effect: EndpointEffect) -> list[Scheduled]:
        return sorted(self._model.act(effect, self.now_ms), key=_at)

    def _move(self, item: ItemPlan, event: StepMoved) -> None:
        run = self._items[item.id]
        if event.state is not run.state:
            self._change(item, event.state)
        elif self._blueprints is not None and event.percent:
            self.life.reports.append(self._blueprints.advanced(run, event.percent))
        run.percent = event.percent

    def _change(self, item: ItemPlan, state: ItemState) -> None:
        self._states[item.id] = state
        run = self._items[item.id]
        run.state, run.since_ms = state, self.now_ms
        if self._blueprints is not None:
            changed: ItemChanged = self._blueprints.changed(run)
            self.life.reports.append(changed)

    def _settle(self, item: ItemPlan, state: ItemState) -> None:
        self._change(item, state)
        self._settled[item.id].succeed()


def _at(scheduled: Scheduled) -> int:
    return scheduled[0]


def _never_again() -> str:
    raise NotModelled
