"""What holds for every plan, profile, person and order of events."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.core import effects as do
from agent.core.effects import Effect
from agent.core.enrollment import Enrollment
from agent.core.events import (
    EVENT_CODEC,
    AttemptBegan,
    CommandReceived,
    DeadlinePassed,
    Event,
    PersonActed,
    PersonChose,
    Restarted,
    StepFinished,
    StepMoved,
    StepResult,
)
from agent.wire import events as report
from agent.wire.assignment import AssignedItem, PersonScreens
from agent.wire.codec import decode, encode
from agent.wire.messages import ContinueAnyway, RetryPhase, SkipAccountSetup, Status
from agent.wire.profile import AccountSetupSettings, DeviceSetupSettings, ErrorHandling
from agent.wire.vocabulary import (
    SUCCESS_STATES,
    Choice,
    Context,
    EnrollmentType,
    Gate,
    ItemKind,
    ItemState,
    PersonAction,
)
from tests.agent.core.script import LONG_AGO, Script

KINDS = (ItemKind.APP, ItemKind.POLICY, ItemKind.CERTIFICATE, ItemKind.NETWORK)


@st.composite
def assigned_items(draw: st.DrawFn) -> tuple[AssignedItem, ...]:
    """Up to six items; each may depend on earlier ones."""
    items: list[AssignedItem] = []
    for n in range(draw(st.integers(0, 6))):
        context = draw(st.sampled_from(Context))
        possible = [
            i.id for i in items if context is Context.ACCOUNT or i.context is Context.DEVICE
        ]
        items.append(
            AssignedItem(
                id=f"item{n}",
                name=f"Item {n}",
                kind=draw(st.sampled_from(KINDS)),
                context=context,
                required=draw(st.booleans()),
                depends_on=tuple(draw(st.sets(st.sampled_from(possible), max_size=2)))
                if possible
                else (),
                tries=draw(st.integers(1, 3)),
                install_limit_minutes=draw(st.sampled_from([1, 60])),
            )
        )
    return tuple(items)


def scripts() -> st.SearchStrategy[Script]:
    """A device of any type with any profile."""
    flag = st.booleans()
    return st.builds(
        lambda kind, items, screens, blocking, minutes, device, account, errors: Script(
            kind,
            items=items,
            screens=screens,
            blocking_apps="all" if blocking is None else tuple(blocking),
            timeout_minutes=minutes,
            device_setup=device,
            account_setup=account,
            error_handling=errors,
        ),
        st.sampled_from(EnrollmentType),
        assigned_items(),
        st.builds(
            PersonScreens,
            terms_of_use=flag,
            device_category=flag,
            compliance=flag,
            activation=flag,
        ),
        st.none() | st.sets(st.sampled_from([f"item{n}" for n in range(6)])),
        st.sampled_from([1, 30, 60, 1440]),
        st.builds(DeviceSetupSettings, show_progress=flag, block_until_complete=flag),
        st.builds(
            AccountSetupSettings, show_progress=flag, block_until_complete=flag, allow_skip=flag
        ),
        st.builds(
            ErrorHandling,
            show_details=flag,
            allow_retry=flag,
            allow_reset=flag,
            allow_continue=flag,
            allow_log_collection=flag,
        ),
    )


class EnrollmentLife(RuleBasedStateMachine):
    """A device, a person and a help desk that do anything at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: list[tuple[Event, int]] = []
        self.effects: list[Effect] = []
        self.running: dict[int, do.RunStep] = {}
        self.present: set[str] = set()
        self.ended: dict[str, list[str]] = {}
        self.percent: dict[str, int] = {}
        self.excused = False
        self.attempts = 0

    @initialize(script=scripts())
    def power_on(self, script: Script) -> None:
        self.script = script
        self.machine: Enrollment = script.machine
        self._begin()

    def _begin(self) -> None:
        self.attempts += 1
        self.excused = False
        self.feed(AttemptBegan(attempt=f"attempt-{self.attempts}", facts=self.script.facts))

    def feed(self, event: Event) -> None:
        script = self.script
        new = self.machine.handle(event, script.now_ms)
        self.inputs.append((event, script.now_ms))
        for effect in new:
            self.effects.append(effect)
            self._watch(effect)

    def _watch(self, effect: Effect) -> None:
        match effect:
            case do.RunStep():
                self.running[effect.run] = effect
            case do.CancelStep():
                self.running.pop(effect.run, None)
            case do.Report(attempt=attempt, percent=percent, body=body):
                assert percent >= self.percent.get(attempt, 0), "progress fell"
                self.percent[attempt] = percent
                if isinstance(body, report.AttemptEnded):
                    self.ended.setdefault(attempt, []).append(body.end_state)
                if isinstance(body, report.ChoiceMade) and body.choice in (
                    Choice.CONTINUE_ANYWAY,
                    Choice.SKIP_ACCOUNT_SETUP,
                ):
                    self.excused = True
            case do.SetGate(gate=Gate.RELEASED) if not self.excused:
                self._gate_may_open()
            case _:
                pass

    def _gate_may_open(self) -> None:
        """Judged by what the script knows to be present, not by what the machine believes."""
        admitted = self.script.admitted
        profile = admitted.profile
        wanted = {
            i.id
            for i in admitted.items
            if i.required
            and (
                i.kind is not ItemKind.APP
                or profile.blocking_apps == "all"
                or i.id in profile.blocking_apps
            )
        }
        for item in admitted.items:
            settings_ = (
                profile.device_setup if item.context is Context.DEVICE else profile.account_setup
            )
            if item.id in wanted and settings_.show_progress and settings_.block_until_complete:
                assert item.id in self.present, f"the gate opened without {item.id}"

    @precondition(lambda self: self.machine.progress.phase is None)
    @rule()
    def assignment(self) -> None:
        self.feed(self.script.assignment())

    @precondition(lambda self: self.running)
    @rule(
        data=st.data(),
        result=st.sampled_from(StepResult),
        exit_code=st.sampled_from([0, 0, 0, 1603, 1618, 1641, 3010]),
        detected=st.sampled_from([True, True, False]),
    )
    def step_ends(
        self, data: st.DataObject, result: StepResult, exit_code: int, detected: bool
    ) -> None:
        run = data.draw(st.sampled_from(sorted(self.running)))
        step = self.running.pop(run)
        self.script.now_ms += 1000
        there = result in (StepResult.ALREADY_PRESENT, StepResult.NOT_APPLICABLE) or (
            result is StepResult.COMPLETED and detected and exit_code != 1641
        )
        if there:
            self.present.add(step.item)
        self.feed(
            StepFinished(
                item=step.item, run=run, result=result, exit_code=exit_code, detected=detected
            )
        )

    @precondition(lambda self: self.running)
    @rule(data=st.data(), percent=st.integers(0, 100))
    def step_moves(self, data: st.DataObject, percent: int) -> None:
        run = data.draw(st.sampled_from(sorted(self.running)))
        item = self.running[run].item
        self.feed(StepMoved(item=item, run=run, state=ItemState.DOWNLOADING, percent=percent))

    @rule(action=st.sampled_from([PersonAction.PROCEED] * 6 + list(PersonAction)))
    def person_acts(self, action: PersonAction) -> None:
        prompt = self.machine.progress.prompt
        if prompt is not None:
            self.feed(PersonActed(item=prompt.item, action=action))

    @rule(choice=st.sampled_from(Choice), data=st.data())
    def person_chooses(self, choice: Choice, data: st.DataObject) -> None:
        failed = self.machine.progress.retryable
        item = data.draw(st.sampled_from(failed)) if failed else None
        self.feed(PersonChose(choice=choice, item=item))

    @rule(action=st.sampled_from([RetryPhase(), ContinueAnyway(), SkipAccountSetup()]))
    def help_desk(self, action: Any) -> None:
        command = self.script.command(action)
        self.feed(CommandReceived(command=command))

    @rule()
    def deadline(self) -> None:
        due_ms = self.machine.next_deadline_ms()
        if due_ms is not None:
            self.script.now_ms = max(self.script.now_ms, due_ms)
            self.feed(DeadlinePassed())
            after = self.machine.next_deadline_ms()
            assert after is None or after > self.script.now_ms, "a deadline was left lying"

    @rule(planned=st.booleans())
    def restart(self, planned: bool) -> None:
        self.running.clear()
        self.feed(Restarted(planned=planned))

    @precondition(lambda self: self.machine.end_state is not None)
    @rule()
    def new_attempt(self) -> None:
        self.present.clear()
        self.running.clear()
        self._begin()

    @invariant()
    def exactly_one_end_state(self) -> None:
        assert all(len(ends) == 1 for ends in self.ended.values())
        if self.attempts:
            ended = self.machine.attempt in self.ended
            assert ended == (self.machine.end_state is not None)

    @invariant()
    def nothing_goes_on_after_an_end_without_success(self) -> None:
        if self.attempts and self.machine.end_state is not None:
            over = self.machine.end_state not in SUCCESS_STATES
            assert self.machine.is_settled or not over
            assert not (over and self.running), "a step was left running"

    @invariant()
    def every_waiting_state_has_a_deadline(self) -> None:
        if self.attempts and self.machine.end_state is None:
            assert self.machine.next_deadline_ms() is not None

    @invariant()
    def the_snapshot_can_always_be_sent(self) -> None:
        if self.attempts:
            progress = self.machine.progress
            status = Status(
                device=progress.device,
                stream="s",
                session=1,
                device_time=LONG_AGO,
                progress=progress,
            )
            assert decode(Status, encode(status)).progress == progress

    @invariant()
    def a_released_gate_has_its_reason(self) -> None:
        if self.attempts and self.machine.gate is Gate.LOCKED:
            assert self.machine.end_state not in ("succeeded", "succeeded_on_retry", "bypassed")

    def teardown(self) -> None:
        """The inputs alone, read back from the journal's form, give the same state."""
        if not self.attempts:
            return
        again = Enrollment()
        for event, now_ms in self.inputs:
            again.handle(EVENT_CODEC.loads(EVENT_CODEC.dumps(event)), now_ms)
        assert again.progress == self.machine.progress
        assert again.executed == self.machine.executed


EnrollmentLife.TestCase.settings = settings(
    max_examples=int(os.environ.get("ENROLLMENT_EXAMPLES", "120")),
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestEnrollmentLife = EnrollmentLife.TestCase
