"""What holds for every plan, profile, person, help desk and order of events."""

from __future__ import annotations

from collections import Counter
from typing import Final

from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.core import effects as do
from agent.core.effects import Effect
from agent.core.enrollment import Enrollment
from agent.core.events import (
    EVENT_CODEC,
    HOUR_MS,
    AttemptBegan,
    CommandReceived,
    DeadlinePassed,
    EmergencyExitUsed,
    Event,
    Hardware,
    LogsCollected,
    MessageRefused,
    PersonActed,
    PersonChose,
    Restarted,
    StepFinished,
    StepMoved,
    StepResult,
)
from agent.core.flows import FLOWS, Slot
from agent.core.shell import REBOOT_MS_MAX
from agent.core.state import Mode
from agent.wire import events as report
from agent.wire.assignment import (
    AssignedItem,
    InstallRules,
    PersonScreens,
    Requirements,
    Superseded,
    check_dependencies,
)
from agent.wire.codec import decode, encode
from agent.wire.messages import (
    CollectLogs,
    Command,
    CommandAction,
    ContinueAnyway,
    ExtendTimeout,
    RefreshAssignment,
    ResetDevice,
    RetryItem,
    RetryPhase,
    SkipAccountSetup,
    Status,
)
from agent.wire.profile import (
    AccountSetupSettings,
    DeviceSetupSettings,
    ErrorHandling,
    EspProfile,
    WindowsSettings,
)
from agent.wire.progress import Progress
from agent.wire.vocabulary import (
    SUCCESS_STATES,
    WORKING_STATES,
    Choice,
    Context,
    EnrollmentType,
    Gate,
    GateCause,
    ItemKind,
    ItemState,
    MessageKind,
    PersonAction,
    Phase,
    RefusalReason,
)
from tests.agent.core.script import LONG_AGO, Script

KINDS: Final = (ItemKind.APP, ItemKind.POLICY, ItemKind.CERTIFICATE, ItemKind.NETWORK)
LIFE_MS_MAX: Final = 8 * 24 * HOUR_MS
"""Two budgets, two screens and an error screen of a day each, every retry and its pause: nothing lasts longer."""
INPUTS_MAX: Final = 3_000
ACTIONS: Final[tuple[CommandAction, ...]] = (
    RetryPhase(),
    ContinueAnyway(),
    SkipAccountSetup(),
    ResetDevice(),
    ExtendTimeout(context=Context.DEVICE, minutes=5),
    ExtendTimeout(context=Context.ACCOUNT, minutes=5),
    CollectLogs(),
    RefreshAssignment(),
    RetryItem(item="item0"),
)


@st.composite
def assigned_items(draw: st.DrawFn) -> tuple[AssignedItem, ...]:
    """Up to six items; each may depend on earlier ones, take one's place, or be too much for the device."""
    items: list[AssignedItem] = []
    for n in range(draw(st.integers(0, 6))):
        context = draw(st.sampled_from(Context))
        possible = [
            i.id for i in items if context is Context.ACCOUNT or i.context is Context.DEVICE
        ]
        rules = InstallRules(
            requirements=Requirements(processors=draw(st.sampled_from([None, None, 4, 5]))),
            supersedes=tuple(
                Superseded(id=old)
                for old in draw(st.sets(st.sampled_from([i.id for i in items]), max_size=1))
            )
            if items and draw(st.integers(0, 3)) == 0
            else (),
        )
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
                rules=rules,
            )
        )
        if not _is_sound(items):
            items[-1] = items[-1].model_copy(update={"rules": None})
    return tuple(items)


def _is_sound(items: list[AssignedItem]) -> bool:
    try:
        check_dependencies(tuple(items))
    except ValueError:
        return False
    return True


def scripts() -> st.SearchStrategy[Script]:
    """A device of any type and variant with any profile."""
    flag = st.booleans()
    return st.builds(
        lambda flow, maker, items, screens, blocking, minutes, device, account, errors, windows: (
            Script(
                flow[0],
                variant=flow[1],
                manufacturer=maker,
                hardware=Hardware(processors=4),
                items=items,
                screens=screens,
                blocking_apps="all" if blocking is None else tuple(blocking),
                timeout_minutes=minutes,
                device_setup=device,
                account_setup=account,
                error_handling=errors,
                windows=windows,
            )
        ),
        st.sampled_from(sorted(FLOWS)),
        st.sampled_from([None, "Samsung"]),
        assigned_items(),
        st.builds(
            PersonScreens,
            terms_of_use=flag,
            device_category=flag,
            compliance=flag,
            activation=flag,
            setup_action=flag,
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
        st.builds(WindowsSettings, quality_updates=flag, technician_installs_all=flag),
    )


class EnrollmentLife(RuleBasedStateMachine):
    """A device, a person and a help desk that do anything at any time; what they see is judged from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: list[tuple[Event, int]] = []
        self.running: dict[int, do.RunStep] = {}
        self.present: set[str] = set()
        self.ended: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.refused: set[tuple[str, MessageKind, RefusalReason]] = set()
        self.percent: dict[str, int] = {}
        self.gate = Gate.LOCKED
        self.excuse: Choice | None = None
        self.commands: list[Command] = []
        self.attempts = 0
        self.version = 1
        self.reboots = False
        self.seen_mode = Mode.IDLE

    @initialize(script=scripts(), everybody_helps=st.booleans())
    def power_on(self, script: Script, everybody_helps: bool) -> None:
        self.script = script
        self.machine: Enrollment = script.machine
        self.everybody_helps = everybody_helps
        self._begin()

    @property
    def profile(self) -> EspProfile:
        return self.script.admitted.profile

    @property
    def progress(self) -> Progress:
        return self.machine.progress

    def _begin(self) -> None:
        self._catch_up(self.script.now_ms)
        self.attempts += 1
        self.gate, self.excuse = Gate.LOCKED, None
        self.present.clear()
        self.running.clear()
        self.feed(AttemptBegan(attempt=f"attempt-{self.attempts}", facts=self.script.facts))

    # Driving, as both shells drive: deadlines in their order, each at its time, then the event.

    def feed(self, event: Event) -> list[Effect]:
        self._catch_up(self.script.now_ms)
        effects = self._take(event)
        # A pause before a next try may have ended while the error screen was up.
        self._catch_up(self.script.now_ms)
        return effects

    def _take(self, event: Event) -> list[Effect]:
        script = self.script
        new = list(self.machine.handle(event, script.now_ms))
        self.inputs.append((event, script.now_ms))
        for effect in new:
            self._watch(effect)
        return new

    def _catch_up(self, until_ms: int) -> None:
        """Let every deadline before this moment pass, none of them late."""
        for _ in range(INPUTS_MAX):
            due_ms = self.machine.next_deadline_ms()
            if due_ms is None or due_ms >= until_ms:
                self.script.now_ms = max(self.script.now_ms, until_ms)
                return
            self.script.now_ms = max(self.script.now_ms, due_ms)
            self._let_deadline_pass()
        raise AssertionError("deadlines without end")

    def _let_deadline_pass(self) -> None:
        self._take(DeadlinePassed())
        assert self.machine.refusal is None, "a deadline came for nothing"
        after_ms = self.machine.next_deadline_ms()
        assert after_ms is None or after_ms > self.script.now_ms, "a deadline was left lying"

    # Judging every effect.

    def _watch(self, effect: Effect) -> None:
        match effect:
            case do.RunStep():
                seen = effect.item not in self.present or effect.detect_first
                assert seen, f"{effect.item} is there and would be set up again"
                assert effect.run not in self.running, "a number of a run was used twice"
                doubled = [s for s in self.running.values() if s.item == effect.item]
                assert not doubled, f"{effect.item} runs twice at once"
                self.running[effect.run] = effect
            case do.CancelStep():
                self.running.pop(effect.run, None)
            case do.Reboot():
                self.reboots = True
            case do.SetGate(gate=gate, cause=cause):
                self._gate_is_set(gate, cause)
            case do.Report(attempt=attempt, percent=percent, body=body):
                assert percent >= self.percent.get(attempt, 0), "progress fell"
                self.percent[attempt] = percent
                self._read(attempt, body)
            case _:
                pass

    def _read(self, attempt: str, body: report.Body) -> None:
        match body:
            case report.AttemptEnded():
                self.ended[attempt] += 1
            case report.CommandAnswered(command=command):
                self.answered[command] += 1
            case report.MessageRefused(message=message, reason=reason):
                assert (attempt, message, reason) not in self.refused, "it was told twice"
                self.refused.add((attempt, message, reason))
            case report.ChoiceMade(choice=choice):
                self._choice_was_allowed(choice)
            case report.ItemChanged(item=item, state=ItemState.NOT_STARTED):
                # What had expired is gone from the device.
                self.present.discard(item)
            case _:
                pass

    def _choice_was_allowed(self, choice: Choice) -> None:
        handling, profile = self.profile.error_handling, self.profile
        allowed = {
            Choice.TRY_AGAIN: handling.allow_retry,
            Choice.TRY_ITEM_AGAIN: handling.allow_retry,
            Choice.RESET_DEVICE: handling.allow_reset,
            Choice.CONTINUE_ANYWAY: handling.allow_continue
            or not profile.device_setup.block_until_complete,
            Choice.SKIP_ACCOUNT_SETUP: profile.account_setup.allow_skip,
            # A help desk may always look at logs, so only the person's choice is bound.
            Choice.COLLECT_LOGS: True,
        }
        assert allowed[choice], f"{choice} is not allowed by the profile"
        if choice in (Choice.CONTINUE_ANYWAY, Choice.SKIP_ACCOUNT_SETUP):
            self.excuse = choice

    def _gate_is_set(self, gate: Gate, cause: GateCause) -> None:
        if gate is Gate.LOCKED:
            assert self.gate is Gate.LOCKED, "the gate closed again"
        elif self.gate is Gate.LOCKED:
            self._gate_may_open(gate, cause)
        self.gate = gate

    def _gate_may_open(self, gate: Gate, cause: GateCause) -> None:
        """Judged by what the script knows to be present, not by what the machine believes."""
        if cause is GateCause.EMERGENCY_EXIT:
            return
        if self.excuse is Choice.CONTINUE_ANYWAY:
            assert gate is Gate.BYPASSED
            return
        assert gate is Gate.RELEASED, "nobody chose to bypass"
        skipped = self.excuse is Choice.SKIP_ACCOUNT_SETUP
        for item in self.script.admitted.items:
            # Skipping leaves out what is the account's, and nothing of the device's.
            left_out = skipped and item.context is Context.ACCOUNT
            if self._holds_the_gate(item) and not left_out:
                assert item.id in self.present, f"the gate opened without {item.id}"

    def _holds_the_gate(self, item: AssignedItem) -> bool:
        items = self.script.admitted.items
        replaced = {old.id for i in items if _fits(i) for old in i.install_rules.supersedes}
        if not _fits(item) or item.id in replaced:
            return False
        listed = self.profile.blocking_apps
        wanted = item.kind is not ItemKind.APP or listed == "all" or item.id in listed
        facts, device, account = (
            self.script.facts,
            self.profile.device_setup,
            self.profile.account_setup,
        )
        if item.context is Context.DEVICE:
            blocks = device.show_progress and device.block_until_complete
        else:
            flow = FLOWS[facts.enrollment_type, facts.variant]
            has_items = any(isinstance(b, Slot) for b in flow[Phase.ACCOUNT_SETUP])
            blocks = has_items and account.show_progress and account.block_until_complete
        return item.required and wanted and blocks

    # The collector.

    @precondition(lambda self: self.progress.phase is None)
    @rule()
    def assignment(self) -> None:
        self.feed(self.script.assignment(version=self.version))

    @precondition(lambda self: self.progress.phase is not None and self.version < 4)
    @rule(gone=st.sets(st.integers(0, 5)), added=assigned_items())
    def refreshed_assignment(self, gone: set[int], added: tuple[AssignedItem, ...]) -> None:
        """Items that nobody asked for any more go, and new ones come."""
        self._catch_up(self.script.now_ms)
        script, is_over = self.script, self.machine.mode is Mode.ENDED
        stays = [i for n, i in enumerate(script.admitted.items) if n not in gone]
        ids = {i.id for i in stays}
        new = [_renamed(i, f"v{self.version}-") for i in added]
        items = (*(_needing_only(i, ids) for i in stays), *new)
        self.version += 1
        admitted = script.admitted.model_copy(update={"items": items})
        if not is_over:
            self.present -= {i.id for i in script.admitted.items} - ids
            script.admitted = admitted
        effects = self.feed(script.assignment(admitted, self.version))
        assert not (is_over and effects), "an attempt that has ended took an assignment"

    # The endpoint.

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
        self._catch_up(self.script.now_ms + 1000)
        if self.running:
            run = data.draw(st.sampled_from(sorted(self.running)))
            self._end_step(run, result, exit_code, detected)

    def _end_step(self, run: int, result: StepResult, exit_code: int, detected: bool) -> None:
        step = self.running.pop(run)
        if step.detect_first and step.item in self.present:
            result = StepResult.ALREADY_PRESENT
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
        assert self.machine.refusal is None, "the end of a running step did not count"

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def step_lands_unheard(self, data: st.DataObject) -> None:
        """The item is there, and nobody has been told yet."""
        run = data.draw(st.sampled_from(sorted(self.running)))
        self.present.add(self.running[run].item)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), percent=st.integers(0, 100))
    def step_moves(self, data: st.DataObject, percent: int) -> None:
        run = data.draw(st.sampled_from(sorted(self.running)))
        item = self.running[run].item
        self.feed(StepMoved(item=item, run=run, state=ItemState.DOWNLOADING, percent=percent))

    @rule(run=st.integers(-1, 3))
    def a_step_that_is_over_speaks(self, run: int) -> None:
        if run not in self.running:
            before = self.machine.mode
            stale = StepFinished(item="item0", run=run, result=StepResult.COMPLETED)
            assert not self.feed(stale)
            assert self.machine.refusal is not None
            assert self.machine.mode is before

    @rule(times=st.integers(1, 12))
    def all_goes_well(self, times: int) -> None:
        for _ in range(times):
            self._help()

    @rule()
    def logs_collected(self) -> None:
        self.feed(LogsCollected(path="/logs.zip"))

    @rule(minutes=st.sampled_from([0.5, 5, 31, 120]))
    def time_passes(self, minutes: float) -> None:
        self._catch_up(self.script.now_ms + int(minutes * 60_000))

    @rule()
    def deadline(self) -> None:
        due_ms = self.machine.next_deadline_ms()
        if due_ms is not None:
            self.script.now_ms = max(self.script.now_ms, due_ms)
            self._let_deadline_pass()

    @rule(planned=st.booleans(), off_ms=st.integers(0, REBOOT_MS_MAX))
    def restart(self, planned: bool, off_ms: int) -> None:
        """A planned one counts as running time, a power cut does not: hours without power change nothing."""
        planned = planned and self.machine.mode is Mode.RESTARTING
        if planned:
            self.script.now_ms += off_ms
        self.running.clear()
        self.reboots = False
        # The agent takes up what ran before any deadline that passed meanwhile.
        self._take(Restarted(planned=planned))
        self._catch_up(self.script.now_ms)

    # The person.

    @rule(action=st.sampled_from([PersonAction.PROCEED] * 24 + list(PersonAction)))
    def person_acts(self, action: PersonAction) -> None:
        prompt = self.progress.prompt
        if prompt is not None:
            offered = {a.action for a in prompt.actions}
            self.feed(PersonActed(item=prompt.item, action=action))
            assert (self.machine.refusal is None) == (action in offered)

    @rule(choice=st.sampled_from(Choice), data=st.data())
    def person_chooses(self, choice: Choice, data: st.DataObject) -> None:
        """What is offered is done; what is not is refused and changes nothing."""
        self._catch_up(self.script.now_ms)
        progress = self.progress
        item = data.draw(st.sampled_from(progress.retryable)) if progress.retryable else None
        effects = self.feed(PersonChose(choice=choice, item=item))
        allowed = choice in progress.choices
        assert (self.machine.refusal is None) == allowed, self.machine.refusal
        if not allowed:
            assert not effects
            assert _but_for_time(self.progress) == _but_for_time(progress)

    @rule(really=st.sampled_from([False] * 9 + [True]))
    def emergency_exit(self, really: bool) -> None:
        if really:
            self.feed(EmergencyExitUsed())
            assert self.machine.gate is not Gate.LOCKED

    @precondition(lambda self: self.machine.end_state is not None)
    @rule()
    def new_attempt(self) -> None:
        self._begin()

    @rule()
    def person_starts_over(self) -> None:
        """A new attempt while the old one may still be open."""
        if self.machine.mode in (Mode.STOPPED, Mode.WAITING_FOR_ASSIGNMENT):
            self._begin()

    # The help desk.

    @rule(
        action=st.sampled_from(ACTIONS),
        expired=st.sampled_from([False, False, True]),
        misdirected=st.sampled_from([False, False, True]),
    )
    def help_desk(self, action: CommandAction, expired: bool, misdirected: bool) -> None:
        changes = {"attempt": "attempt-0"} if misdirected else {}
        command = self.script.command(action, **changes)
        self.commands.append(command)
        self.feed(CommandReceived(command=command, expired=expired))
        assert self.answered[command.id] == 1
        assert not ((expired or misdirected) and self.machine.refusal is None)

    @precondition(lambda self: self.commands)
    @rule(data=st.data())
    def a_command_comes_again(self, data: st.DataObject) -> None:
        """It is not executed again; one of another attempt that has expired is somebody's replay."""
        command, expired = data.draw(st.sampled_from(self.commands)), data.draw(st.booleans())
        effects = self.feed(CommandReceived(command=command, expired=expired))
        assert self.machine.refusal is not None
        assert [type(e) for e in effects] in ([], [do.Report])
        assert not effects or (expired and command.attempt != self.machine.attempt)

    @rule(message=st.sampled_from(MessageKind), reason=st.sampled_from(RefusalReason))
    def a_forgery(self, message: MessageKind, reason: RefusalReason) -> None:
        """Reported once, and nothing else comes of it."""
        self._catch_up(self.script.now_ms)
        before = self.progress
        effects = self.feed(MessageRefused(message=message, reason=reason))
        assert [type(e) for e in effects] in ([], [do.Report])
        assert bool(effects) == (self.machine.refusal is None)
        assert _but_for_time(self.progress) == _but_for_time(before)

    # What holds at every moment.

    @invariant()
    def exactly_one_end_state(self) -> None:
        assert all(count == 1 for count in self.ended.values())
        if self.attempts:
            ended = self.machine.attempt in self.ended
            assert ended == (self.machine.end_state is not None)
            assert len(self.ended) == self.attempts - (not ended)

    @invariant()
    def nothing_goes_on_after_an_end_without_success(self) -> None:
        if self.attempts and self.machine.end_state is not None:
            over = self.machine.end_state not in SUCCESS_STATES
            assert self.machine.is_settled or not over
            assert not (over and self.running), "a step was left running"

    @invariant()
    def whatever_waits_has_a_deadline(self) -> None:
        if self.attempts and not self.machine.is_settled:
            due_ms = self.machine.next_deadline_ms()
            assert due_ms is not None
            assert due_ms >= self.script.now_ms, "a deadline was missed"

    @invariant()
    def what_is_shown_is_true(self) -> None:
        if not self.attempts:
            return
        progress = self.progress
        busy = {i.id for i in progress.items() if i.state in WORKING_STATES}
        assert busy <= {s.item for s in self.running.values()}
        assert progress.gate is self.gate
        if self.machine.mode is Mode.WORKING:
            passed_ms = progress.attempt_ms
            shown = [i.deadline_ms for i in progress.items()] + [progress.deadline_ms]
            assert all(at_ms is None or at_ms >= passed_ms for at_ms in shown)
        if self.machine.mode is not self.seen_mode:
            self.seen_mode = self.machine.mode
            _can_be_sent(progress)

    @invariant()
    def an_opened_gate_has_its_reason(self) -> None:
        if self.attempts and self.machine.gate is Gate.LOCKED:
            assert self.machine.end_state not in SUCCESS_STATES

    # After all of it.

    def teardown(self) -> None:
        """The inputs alone give the same state, and once nothing new happens everything ends."""
        if not self.attempts:
            return
        if self.machine.end_state is not None:
            event(f"ended {self.machine.end_state.value} while anything could happen")
        self._comes_to_an_end()
        _can_be_sent(self.progress)
        again = Enrollment()
        for fed, now_ms in self.inputs:
            again.handle(EVENT_CODEC.loads(EVENT_CODEC.dumps(fed)), now_ms)
        assert again.progress == self.progress
        assert again.executed == self.machine.executed

    def _comes_to_an_end(self) -> None:
        """Everybody helps, or nobody ever answers again: either way it ends in time."""
        until_ms = self.script.now_ms + LIFE_MS_MAX
        for _ in range(INPUTS_MAX):
            if self.machine.is_settled:
                break
            due_ms = self.machine.next_deadline_ms()
            assert due_ms is not None, "nothing would ever happen"
            if not (self.everybody_helps and self._help()):
                self._catch_up(due_ms + 1)
        assert self.machine.is_settled, "it does not end"
        assert self.script.now_ms <= until_ms, "it ends too late"
        self.exactly_one_end_state()

    def _help(self) -> bool:
        prompt = self.progress.prompt
        if self.machine.mode is Mode.WAITING_FOR_ASSIGNMENT:
            self.feed(self.script.assignment(version=self.version))
        elif self.reboots:
            self._restart_now()
        elif self.running:
            self._end_step(min(self.running), StepResult.COMPLETED, 0, detected=True)
        elif prompt is not None:
            self.feed(PersonActed(item=prompt.item, action=PersonAction.PROCEED))
        else:
            return False
        return True

    def _restart_now(self) -> None:
        self.reboots = False
        self.running.clear()
        self._take(Restarted(planned=True))


def _fits(item: AssignedItem) -> bool:
    return (item.install_rules.requirements.processors or 0) <= 4


def _but_for_time(progress: Progress) -> Progress:
    return progress.model_copy(update={"attempt_ms": 0, "remaining": None})


def _renamed(item: AssignedItem, prefix: str) -> AssignedItem:
    needs = tuple(prefix + needed for needed in item.depends_on)
    rules = item.install_rules
    older = tuple(Superseded(id=prefix + old.id) for old in rules.supersedes)
    return item.model_copy(
        update={
            "id": prefix + item.id,
            "depends_on": needs,
            "rules": rules.model_copy(update={"supersedes": older}),
        }
    )


def _needing_only(item: AssignedItem, ids: set[str]) -> AssignedItem:
    needs = tuple(needed for needed in item.depends_on if needed in ids)
    return item.model_copy(update={"depends_on": needs})


def _can_be_sent(progress: Progress) -> None:
    status = Status(
        device=progress.device, stream="s", session=1, device_time=LONG_AGO, progress=progress
    )
    assert decode(Status, encode(status)).progress == progress


EnrollmentLife.TestCase.settings = settings(
    stateful_step_count=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestEnrollmentLife = EnrollmentLife.TestCase


def test_a_late_try_again_is_not_taken_for_silence() -> None:
    """Found at random: the 30 minutes of a screen ran out while the error screen was up."""
    story = Script(EnrollmentType.IOS, timeout_minutes=1).begin().assign()
    story.wait(45).choose(Choice.TRY_AGAIN)
    due_ms = story.machine.next_deadline_ms()
    assert due_ms is not None
    assert due_ms > story.now_ms
    assert story.machine.mode is Mode.WORKING
