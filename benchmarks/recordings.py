"""Whole attempts recorded once on a scripted endpoint, so that a benchmark times the machine and no model of a device."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Final

from agent.core import effects as do
from agent.core.effects import Effect
from agent.core.enrollment import Enrollment
from agent.core.events import (
    AssignmentArrived,
    AttemptBegan,
    DeadlinePassed,
    DeviceFacts,
    Event,
    PersonActed,
    PersonChose,
    Restarted,
    StepFinished,
    StepMoved,
    StepResult,
)
from agent.wire.assignment import Admitted, AssignedItem, Assignment
from agent.wire.events import AttemptStarted
from agent.wire.profile import AccountSetupSettings, ErrorHandling, EspProfile
from agent.wire.vocabulary import (
    Choice,
    Context,
    EndState,
    EnrollmentType,
    ItemKind,
    ItemState,
    PersonAction,
)

DEVICES: Final = {
    EnrollmentType.WINDOWS_AUTOPILOT: ("Windows 11", "10.0.22631"),
    EnrollmentType.WINDOWS_MANUAL: ("Windows 11", "10.0.22631"),
    EnrollmentType.MACOS_ADE: ("macOS 14", "14.5"),
    EnrollmentType.IOS: ("iOS 17", "17.5"),
    EnrollmentType.ANDROID_ENTERPRISE: ("Android 14", "14"),
}
"""The platform and its full version, for each enrollment type."""

PROFILE: Final = EspProfile(
    id="default",
    name="Default ESP",
    timeout_minutes=240,
    account_setup=AccountSetupSettings(block_until_complete=True),
    error_handling=ErrorHandling(allow_retry=True, allow_log_collection=True),
)

ITEMS: Final = (
    AssignedItem(id="encryption", name="Disk encryption", kind=ItemKind.POLICY),
    AssignedItem(id="firewall", name="Firewall", kind=ItemKind.POLICY),
    AssignedItem(id="root_ca", name="Company root", kind=ItemKind.CERTIFICATE),
    AssignedItem(
        id="wifi", name="Office Wi-Fi", kind=ItemKind.NETWORK, install_limit_minutes=15,
        depends_on=("root_ca",),
    ),
    AssignedItem(id="portal", name="Company Portal", expected_seconds=60),
    AssignedItem(id="office", name="Microsoft 365 Apps", expected_seconds=600),
    AssignedItem(id="antivirus", name="Antivirus", expected_seconds=180),
    AssignedItem(id="vpn", name="VPN Client", expected_seconds=120, depends_on=("portal",)),
    AssignedItem(id="chat", name="Chat", expected_seconds=90),
    AssignedItem(id="design", name="Design Suite", expected_seconds=900, required=False),
    AssignedItem(id="mail", name="Mail profile", kind=ItemKind.POLICY, context=Context.ACCOUNT),
    AssignedItem(id="crm", name="CRM", expected_seconds=150, context=Context.ACCOUNT),
)  # fmt: skip
"""What a device of a middling company gets: policies, a certificate, a network and apps, one of them optional."""

LARGE: Final = ITEMS + tuple(AssignedItem(id=f"app_{n}", name=f"App {n}") for n in range(100))
"""The same with a hundred more apps, which shows what grows with the size of a plan."""

HANGS: Final = "hangs"
ROUGH: Final[Mapping[str, tuple[int | str, ...]]] = {
    "wifi": (HANGS,),
    "office": (1618,),
    "antivirus": (1641,),
    "vpn": (3010,),
    "crm": (1603, 1603, 1603),
}
"""The exit codes of an item's first runs, or that it never answers; the runs after those succeed."""

PATHS: Final[Mapping[str, Mapping[str, tuple[int | str, ...]]]] = {"happy": {}, "rough": ROUGH}

_MOVES: Final = (
    (ItemState.DOWNLOADING, 10),
    (ItemState.DOWNLOADING, 25),
    (ItemState.DOWNLOADING, 40),
    (ItemState.INSTALLING, 55),
    (ItemState.INSTALLING, 70),
    (ItemState.INSTALLING, 85),
    (ItemState.VERIFYING, 95),
)
"""What an app says while it is installed: the state and how many percent are done."""

_BEGAN_MS: Final = 1_000_000
_MOVE_MS: Final = 5_000
_PERSON_MS: Final = 15_000
_REBOOT_MS: Final = 45_000
_INPUTS_MAX: Final = 5_000


@dataclass(frozen=True, slots=True)
class Recording:
    """Every input of one attempt with the device running time in milliseconds at which the machine took it."""

    enrollment_type: EnrollmentType
    path: str
    inputs: tuple[tuple[Event, int], ...]
    end_state: EndState


def record_all() -> tuple[Recording, ...]:
    """One attempt of each enrollment type along each path."""
    return tuple(record(kind, path) for kind in EnrollmentType for path in PATHS)


def record(
    enrollment_type: EnrollmentType, path: str, items: tuple[AssignedItem, ...] = ITEMS
) -> Recording:
    """Play one attempt to its end, background work included, and keep what the machine was fed."""
    endpoint = _ScriptedEndpoint(enrollment_type, PATHS[path], items)
    machine = Enrollment()
    inputs: list[tuple[Event, int]] = []
    while (due := endpoint.next_input(machine.next_deadline_ms())) is not None:
        assert len(inputs) < _INPUTS_MAX, "a scripted attempt ends"
        inputs.append(due)
        for effect in machine.handle(*due):
            endpoint.act(effect, due[1])
    assert machine.is_settled, "a scripted attempt leaves nothing running"
    assert machine.end_state is not None, "an attempt that is settled has ended"
    return Recording(enrollment_type, path, tuple(inputs), machine.end_state)


class _ScriptedEndpoint:
    """A device and a collector that answer every effect after a fixed time."""

    def __init__(
        self,
        enrollment_type: EnrollmentType,
        trouble: Mapping[str, tuple[int | str, ...]],
        items: tuple[AssignedItem, ...],
    ) -> None:
        self._items = items
        platform, os_version = DEVICES[enrollment_type]
        self._facts = DeviceFacts(
            device=f"device-{enrollment_type.value}",
            enrollment_type=enrollment_type,
            platform=platform,
            os_version=os_version,
            agent_version="1",
            user="person@example.com",
        )
        self._trouble = {item: iter(ends) for item, ends in trouble.items()}
        self._inbox: list[tuple[int, int, Event]] = []
        self._order = count()
        self._cancelled: set[int] = set()
        self._post(_BEGAN_MS, AttemptBegan(attempt="attempt-1", facts=self._facts))

    def next_input(self, deadline_ms: int | None) -> tuple[Event, int] | None:
        """The next event or deadline; a deadline comes after every event of the same moment."""
        while self._inbox and self._is_silenced(self._inbox[0][2]):
            heapq.heappop(self._inbox)
        if self._inbox and (deadline_ms is None or self._inbox[0][0] <= deadline_ms):
            at_ms, _, event = heapq.heappop(self._inbox)
            return event, at_ms
        return None if deadline_ms is None else (DeadlinePassed(), deadline_ms)

    def act(self, effect: Effect, now_ms: int) -> None:
        """Answer an effect; nobody answers what needs no answer."""
        match effect:
            case do.RunStep():
                self._run(effect, now_ms)
            case do.CancelStep(run=run):
                self._cancelled.add(run)
            case do.AskPerson(item=item):
                answer = PersonActed(item=item, action=PersonAction.PROCEED)
                self._post(now_ms + _PERSON_MS, answer)
            case do.OfferChoices(error=True):
                self._post(now_ms + _PERSON_MS, PersonChose(choice=Choice.TRY_AGAIN))
            case do.Reboot():
                self._post(now_ms + _REBOOT_MS, Restarted(planned=True))
            case do.Report(body=AttemptStarted(), attempt=attempt):
                self._post(now_ms + _MOVE_MS, self._assignment(attempt))
            case _:
                pass

    def _run(self, step: do.RunStep, now_ms: int) -> None:
        end = next(self._trouble.get(step.item, iter(())), 0)
        if end == HANGS:
            return
        at_ms = now_ms
        for state, percent in _MOVES if step.kind is ItemKind.APP else ():
            at_ms += _MOVE_MS
            moved = StepMoved(item=step.item, run=step.run, state=state, percent=percent)
            self._post(at_ms, moved)
        finished = StepFinished(
            item=step.item,
            run=step.run,
            result=StepResult.COMPLETED,
            exit_code=int(end),
            detected=end in (0, 3010),
        )
        self._post(at_ms + _MOVE_MS, finished)

    def _assignment(self, attempt: str) -> AssignmentArrived:
        return AssignmentArrived(
            assignment=Assignment(
                device=self._facts.device,
                attempt=attempt,
                store="store-1",
                term=1,
                version=1,
                issued_at=datetime(2026, 1, 1, tzinfo=UTC),
                decision=Admitted(profile=PROFILE, items=self._items),
            )
        )

    def _is_silenced(self, event: Event) -> bool:
        return isinstance(event, StepMoved | StepFinished) and event.run in self._cancelled

    def _post(self, at_ms: int, event: Event) -> None:
        heapq.heappush(self._inbox, (at_ms, next(self._order), event))


def events_of(recordings: tuple[Recording, ...]) -> Iterator[Event]:
    """Every event of all recordings, in order."""
    return (event for recording in recordings for event, _ in recording.inputs)
