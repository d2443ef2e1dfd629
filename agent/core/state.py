"""What the enrollment machine remembers of an attempt; only the machine writes it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from operator import attrgetter
from typing import Final

from agent.core.events import DeviceFacts, Limits
from agent.core.plan import ItemPlan, Plan
from agent.wire.progress import CollectedLogs, Failure
from agent.wire.vocabulary import (
    SATISFIED_STATES,
    UNSATISFIED_STATES,
    WORKING_STATES,
    EndState,
    Gate,
    GateCause,
    ItemState,
    MessageKind,
    Phase,
    RebootKind,
    RefusalReason,
    RowState,
)

SETTLED_STATES: Final = SATISFIED_STATES | UNSATISFIED_STATES
_UNDER_WAY_STATES: Final = frozenset(ItemState) - SETTLED_STATES - {ItemState.NOT_STARTED}


class Mode(StrEnum):
    """The machine's states: the rows of the transition table."""

    IDLE = "idle"
    WAITING_FOR_ASSIGNMENT = "waiting_for_assignment"
    WORKING = "working"
    RESTARTING = "restarting"
    STOPPED = "stopped"
    """The error screen is up."""
    ENDED = "ended"


@dataclass(slots=True)
class ItemRun:
    """One item and how far it is. Times are device running time, in milliseconds."""

    plan: ItemPlan
    state: ItemState = ItemState.NOT_STARTED
    attempt: int = 0
    run: int = 0
    percent: int | None = None
    moved_ms: int = 0
    began_ms: int = 0
    """When the running try began."""
    since_ms: int = 0
    """When it came into its state."""
    deadline_ms: int | None = None
    """Running: the end of this try. Waiting to retry: the next try. Waiting for a person: the screen's limit."""
    failure: Failure | None = None
    note: str | None = None
    """Why it is as it is, where nothing failed."""
    credited_ms: int = 0
    """The share of the expected work that counts as done; never taken back."""
    reboots: int = 0
    reboot: RebootKind | None = None
    detect_first: bool = False
    is_left: bool = False
    """It failed and is not tried again yet: another item is tried alone."""
    phase: Phase = field(init=False)
    """The phase that waits for it: its plan's, or a later one when it was assigned after that."""
    position: int = 0
    """Where the item stands in its plan's order."""

    def __post_init__(self) -> None:
        self.phase = self.plan.phase

    @property
    def is_working(self) -> bool:
        """The endpoint is busy with it."""
        return self.state in WORKING_STATES

    @property
    def is_under_way(self) -> bool:
        """It has begun and not ended: busy, waiting for a person, for its next try or for a restart."""
        return self.state in _UNDER_WAY_STATES

    @property
    def is_satisfied(self) -> bool:
        """It is there, or does not apply here."""
        return self.state in SATISFIED_STATES

    @property
    def is_unsatisfied(self) -> bool:
        """It ended without being there."""
        return self.state in UNSATISFIED_STATES

    @property
    def is_settled(self) -> bool:
        """It ended, whichever way."""
        return self.state in SETTLED_STATES


@dataclass(slots=True)
class TimesTaken:
    """How long finished tries took: of each the logarithm of the time taken to the time expected."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0


_position = attrgetter("position")


@dataclass(slots=True)
class Attempt:
    """One attempt. Times are device running time, in milliseconds."""

    id: str
    number: int
    facts: DeviceFacts
    limits: Limits
    began_ms: int
    mode: Mode = Mode.WAITING_FOR_ASSIGNMENT
    plan: Plan | None = None
    store: str = ""
    version: int = 0
    items: dict[str, ItemRun] = field(default_factory=dict)
    under_way: list[ItemRun] = field(default_factory=list)
    """The few items that are under way, in the plan's order: what most questions about an attempt are about.

    Replaced, never changed, so that whoever goes through it may let its items end.
    """
    phase: Phase | None = None
    waited_for: list[ItemRun] = field(default_factory=list)
    """The items that the running phase waits for, in the plan's order. Replaced, never changed, as `under_way`."""
    phase_states: dict[Phase, RowState] = field(
        default_factory=lambda: dict.fromkeys(Phase, RowState.NOT_STARTED)
    )
    gate: Gate = Gate.LOCKED
    gate_cause: GateCause = GateCause.ENROLLMENT_BEGAN
    wait_deadline_ms: int | None = None
    """The end of waiting for an assignment, for a restart, or at the error screen."""
    budget_deadline_ms: int | None = None
    spans: dict[str, int] = field(default_factory=dict)
    """Deadlines of the report's rows that are running, by row id."""
    expiries: dict[str, int] = field(default_factory=dict)
    """When what an item brought is taken away again, by that item's id."""
    failure: Failure | None = None
    retried: bool = False
    end_state: EndState | None = None
    runs: int = 0
    work_ms: int = 0
    credited_ms: int = 0
    percent: int = 0
    own_times: TimesTaken = field(default_factory=TimesTaken)
    """Of the platform's own steps."""
    assigned_times: TimesTaken = field(default_factory=TimesTaken)
    """Of the assigned items, whose expectations come from somewhere else."""
    logs_wanted: list[str | None] = field(default_factory=list)
    """Log archives asked for and not yet written; an entry is the command that asked, if one did."""
    logs: CollectedLogs | None = None
    """What became of the newest one."""
    refused: list[tuple[MessageKind, RefusalReason]] = field(default_factory=list)
    """What was reported of refused messages, each once."""

    @property
    def running_plan(self) -> Plan:
        """The plan, once an assignment has made one."""
        assert self.plan is not None, "whatever runs has a plan"
        return self.plan

    @property
    def running_phase(self) -> Phase:
        """The phase, once the first has begun."""
        assert self.phase is not None, "whatever runs is in a phase"
        return self.phase

    def set_items(self, items: dict[str, ItemRun]) -> None:
        """Take the items of a plan, in its order."""
        self.items = items
        for position, item in enumerate(items.values()):
            item.position = position
        self.under_way = [i for i in items.values() if i.is_under_way]
        self._find_waited_for()

    def set_state(self, item: ItemRun, state: ItemState) -> None:
        """Move an item to another state: the one place that does, which keeps `under_way` true."""
        was_under_way, is_under_way = item.state in _UNDER_WAY_STATES, state in _UNDER_WAY_STATES
        item.state = state
        if was_under_way and not is_under_way:
            self.under_way = [i for i in self.under_way if i is not item]
        elif is_under_way and not was_under_way:
            others = self.under_way
            self.under_way = sorted([*others, item], key=_position) if others else [item]

    def enter(self, phase: Phase) -> None:
        """Go on to a phase."""
        self.phase = phase
        self._find_waited_for()

    def wait_for(self, item: ItemRun) -> None:
        """Let the running phase wait for an item, of an earlier phase perhaps."""
        item.phase = self.running_phase
        self._find_waited_for()

    def _find_waited_for(self) -> None:
        phase = self.phase
        self.waited_for = [i for i in self.items.values() if i.phase is phase and i.plan.tracked]

    def are_settled(self, names: Iterable[str]) -> bool:
        """Whether all of these items ended, whichever way."""
        items = self.items
        for name in names:  # noqa: SIM110 - Asked for every item that waits, at every step's end; `all` takes twice as long.
            if items[name].state not in SETTLED_STATES:
                return False
        return True

    def waiting_screen(self) -> ItemRun | None:
        """The person screen that is up."""
        for item in self.under_way:
            if item.state is ItemState.WAITING_FOR_PERSON:
                return item
        return None

    def first_due(self, *, working_only: bool) -> ItemRun | None:
        """The item whose deadline comes first, of all or of those that the endpoint is busy with."""
        first, first_ms = None, 0
        for item in self.under_way:
            due_ms = item.deadline_ms
            if (
                due_ms is not None
                and (first is None or due_ms < first_ms)
                and (not working_only or item.is_working)
            ):
                first, first_ms = item, due_ms
        return first

    def busy_lanes(self) -> set[str | None]:
        """The lanes in which an item works; None among them says nothing."""
        return {i.plan.lane for i in self.under_way if i.state in WORKING_STATES}
