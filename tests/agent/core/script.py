"""A device on paper: feeds the machine and answers its effects, so that a test reads like a story."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from agent.core import effects as do
from agent.core.effects import Effect
from agent.core.enrollment import Enrollment
from agent.core.events import (
    EVENT_CODEC,
    AssignmentArrived,
    AttemptBegan,
    DeadlinePassed,
    DeviceFacts,
    Event,
    Hardware,
    Limits,
    PersonActed,
    PersonChose,
    Restarted,
    StepFinished,
    StepResult,
)
from agent.core.state import Mode
from agent.wire.assignment import Admitted, AssignedItem, Assignment, PersonScreens, Refused
from agent.wire.events import AttemptEnded, Body, ItemChanged
from agent.wire.messages import Command, CommandAction
from agent.wire.profile import AccountSetupSettings, ErrorHandling, EspProfile
from agent.wire.progress import Failure, ItemProgress
from agent.wire.vocabulary import (
    Choice,
    EnrollmentType,
    Gate,
    ItemKind,
    ItemState,
    PersonAction,
    Variant,
)

MINUTE_MS = 60_000
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)

PLATFORMS = {
    EnrollmentType.WINDOWS_AUTOPILOT: ("DESKTOP-NEW001", "Windows 11", "10.0.22631"),
    EnrollmentType.WINDOWS_MANUAL: ("DESKTOP-NEW002", "Windows 11", "10.0.22631"),
    EnrollmentType.MACOS_ADE: ("MacBook-NEW002", "macOS 14", "14.5"),
    EnrollmentType.IOS: ("iPhone-NEW003", "iOS 17", "17.5"),
    EnrollmentType.ANDROID_ENTERPRISE: ("Pixel-NEW004", "Android 14", "14"),
}

APPS = (
    AssignedItem(
        id="office", name="Microsoft 365 Apps", expected_seconds=600, size_bytes=3_000_000
    ),
    AssignedItem(id="portal", name="Company Portal", expected_seconds=60),
    AssignedItem(id="vpn", name="VPN Client", expected_seconds=120, depends_on=("portal",)),
)

LENIENT = ErrorHandling(
    allow_retry=True, allow_reset=True, allow_continue=True, allow_log_collection=True
)

Answer = Callable[["Script", do.RunStep], Event | None]


def facts(
    enrollment_type: EnrollmentType = EnrollmentType.WINDOWS_AUTOPILOT,
    variant: Variant = Variant.STANDARD,
    manufacturer: str | None = None,
    hardware: Hardware | None = None,
) -> DeviceFacts:
    """A device of one type."""
    device, platform, version = PLATFORMS[enrollment_type]
    return DeviceFacts(
        device=device,
        enrollment_type=enrollment_type,
        variant=variant,
        platform=platform,
        os_version=version,
        agent_version="0.1.0",
        user="john.doe@company.com",
        manufacturer=manufacturer,
        hardware=hardware,
    )


def profile(**settings: Any) -> EspProfile:
    """A profile that lets everything be tried, unless told otherwise."""
    base: dict[str, Any] = {"id": "default", "name": "Default ESP", "error_handling": LENIENT}
    return EspProfile(**(base | settings))


BLOCKED_ACCOUNT = AccountSetupSettings(block_until_complete=True, allow_skip=True)


def done(_: Script, step: do.RunStep) -> Event:
    """The step works at once."""
    return StepFinished(item=step.item, run=step.run, result=StepResult.COMPLETED, detected=True)


def fails_with(exit_code: int, *, detected: bool = False) -> Answer:
    """The installer ends with this exit code."""

    def answer(_: Script, step: do.RunStep) -> Event:
        return StepFinished(
            item=step.item,
            run=step.run,
            result=StepResult.COMPLETED,
            exit_code=exit_code,
            detected=detected,
        )

    return answer


def hangs(_: Script, __: do.RunStep) -> None:
    """The step never says anything again."""


class Script:
    """One device: its machine, everything that came out of it, and how each item behaves."""

    def __init__(
        self,
        enrollment_type: EnrollmentType = EnrollmentType.WINDOWS_AUTOPILOT,
        *,
        items: Sequence[AssignedItem] = APPS,
        screens: PersonScreens | None = None,
        limits: Limits | None = None,
        variant: Variant = Variant.STANDARD,
        manufacturer: str | None = None,
        hardware: Hardware | None = None,
        **settings: Any,
    ) -> None:
        self.facts = facts(enrollment_type, variant, manufacturer, hardware)
        self.machine = Enrollment()
        self.now_ms = 1_000_000
        self.effects: list[Effect] = []
        self.answers: dict[str, list[Answer]] = {}
        self.step_ms = 10_000
        self.limits = limits or Limits()
        self.admitted = Admitted(
            profile=profile(**settings),
            items=tuple(items),
            screens=screens or PersonScreens(),
            user="john.doe@company.com",
        )
        self.inputs: list[tuple[Event, int]] = []
        self.present: set[str] = set()
        self.installed: list[str] = []
        self._commands = 0
        self._position = 0

    def feed(self, event: Event) -> list[Effect]:
        """One event now."""
        self.inputs.append((event, self.now_ms))
        new = list(self.machine.handle(event, self.now_ms))
        self.effects += new
        return new

    def begin(self, attempt: str = "attempt-1") -> Script:
        """Power on."""
        self.feed(AttemptBegan(attempt=attempt, facts=self.facts, limits=self.limits))
        return self

    def assign(self, decision: Admitted | Refused | None = None, version: int = 1) -> Script:
        """The assignment arrives."""
        self.feed(self.assignment(decision, version))
        return self

    def assignment(
        self, decision: Admitted | Refused | None = None, version: int = 1
    ) -> AssignmentArrived:
        """An assignment for the running attempt."""
        attempt = self.machine.attempt
        assert attempt is not None
        return AssignmentArrived(
            assignment=Assignment(
                device=self.facts.device,
                attempt=attempt,
                store="store-1",
                term=1,
                version=version,
                issued_at=LONG_AGO,
                decision=decision or self.admitted,
            )
        )

    def behave(self, item: str, *answers: Answer) -> Script:
        """What the item does on each run; the last answer stays."""
        self.answers[item] = list(answers)
        return self

    def wait(self, minutes: float) -> Script:
        """Let time pass, deadlines included."""
        end_ms = self.now_ms + int(minutes * MINUTE_MS)
        while (due_ms := self.machine.next_deadline_ms()) is not None and due_ms <= end_ms:
            self.now_ms = max(self.now_ms, due_ms)
            self.feed(DeadlinePassed())
        self.now_ms = end_ms
        return self

    def crash(self) -> Script:
        """Lose all but the journal: fold its inputs, and let the agent start again."""
        self.machine = Enrollment()
        for event, now_ms in self.inputs:
            self.machine.handle(EVENT_CODEC.loads(EVENT_CODEC.dumps(event)), now_ms)
        self._position = len(self.effects)
        self.feed(Restarted(planned=False))
        return self

    def play(
        self, *, stop_at: str | None = None, inputs_max: int | None = None, steps_max: int = 500
    ) -> Script:
        """Answer steps and screens until nothing more happens.

        It ends earlier when `stop_at` is asked or run, or when there have been `inputs_max` inputs.
        """
        position = self._position
        for _ in range(steps_max):
            while position < len(self.effects):
                if inputs_max is not None and len(self.inputs) >= inputs_max:
                    return self
                effect = self.effects[position]
                position += 1
                self._position = position
                if isinstance(effect, do.AskPerson | do.RunStep) and effect.item == stop_at:
                    return self
                self._answer(effect)
            due_ms = self.machine.next_deadline_ms()
            if due_ms is None or not self._retrying():
                return self
            if inputs_max is not None and len(self.inputs) >= inputs_max:
                return self
            self.now_ms = max(self.now_ms, due_ms)
            self.feed(DeadlinePassed())
        raise AssertionError("the machine does not come to rest")

    def _retrying(self) -> bool:
        latest = {b.item: b.state for b in self.of(ItemChanged)}
        return self.machine.mode is not Mode.STOPPED and (
            ItemState.WAITING_TO_RETRY in latest.values()
        )

    def _answer(self, effect: Effect) -> None:
        match effect:
            case do.RunStep(item=item) if effect.detect_first and item in self.present:
                self.now_ms += self.step_ms
                self.feed(
                    StepFinished(item=item, run=effect.run, result=StepResult.ALREADY_PRESENT)
                )
            case do.RunStep():
                answers = self.answers.get(effect.item, [done])
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                event = answer(self, effect)
                if event is not None:
                    self._note(event)
                    self.now_ms += self.step_ms
                    self.feed(event)
            case do.AskPerson():
                self.now_ms += self.step_ms
                self.feed(PersonActed(item=effect.item, action=PersonAction.PROCEED))
            case do.Reboot():
                self.now_ms += 30_000
                self.feed(Restarted(planned=True))
            case _:
                pass

    def _note(self, event: Event) -> None:
        """What an installer leaves on the device is there whether the agent hears of it or not."""
        if isinstance(event, StepFinished) and event.detected:
            self.present.add(event.item)
            self.installed.append(event.item)

    def act(self, item: str, action: PersonAction) -> Script:
        """The person answers a screen."""
        self.feed(PersonActed(item=item, action=action))
        return self

    def choose(self, choice: Choice, item: str | None = None) -> Script:
        """The person chooses."""
        self.feed(PersonChose(choice=choice, item=item))
        return self

    def command(self, action: CommandAction, **changes: Any) -> Command:
        """A command for this attempt."""
        self._commands += 1
        base: dict[str, Any] = {
            "id": f"command-{self._commands}",
            "device": self.facts.device,
            "attempt": self.machine.attempt,
            "action": action,
            "issued_by": "help desk",
            "issued_at": LONG_AGO,
            "expires_at": LONG_AGO,
            "attempt_ms_max": 10**9,
        }
        return Command(**(base | changes))

    # What a test asks.

    def bodies(self) -> list[Body]:
        """The bodies of all reports so far."""
        return [e.body for e in self.effects if isinstance(e, do.Report)]

    def of(self, kind: type[Any]) -> list[Any]:
        """All reports or effects of one type."""
        found: list[Any] = [b for b in self.bodies() if isinstance(b, kind)]
        return found or [e for e in self.effects if isinstance(e, kind)]

    def apps_run(self) -> list[str]:
        """The apps that were run, in order."""
        return [s.item for s in self.of(do.RunStep) if s.kind is ItemKind.APP]

    def gates(self) -> list[Gate]:
        """What the gate was set to, in order."""
        return [e.gate for e in self.effects if isinstance(e, do.SetGate)]

    def end(self) -> AttemptEnded:
        """The one end of the attempt."""
        (ended,) = self.of(AttemptEnded)
        assert isinstance(ended, AttemptEnded)
        return ended

    def item(self, name: str) -> ItemProgress:
        """An item as the screen sees it."""
        return next(i for i in self.machine.progress.items() if i.id == name)

    def end_failure(self) -> Failure:
        """Why the attempt ended."""
        failure = self.end().failure
        assert failure is not None
        return failure

    def failure(self) -> Failure:
        """What the error screen, or the end, is about."""
        failure = self.machine.progress.failure
        assert failure is not None
        return failure
