"""Finds out what a device's gate waited for, by following every input back to the one that made it possible."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from agent.core.effects import Effect, OfferChoices, Report
from agent.core.events import (
    AssignmentArrived,
    Event,
    PersonActed,
    PersonChose,
    Restarted,
    StepFinished,
)
from agent.wire.events import (
    AttemptEnded,
    AttemptStarted,
    Body,
    ChoiceMade,
    ErrorScreenShown,
    GateChanged,
    ItemChanged,
    RebootPlanned,
)
from agent.wire.vocabulary import (
    SATISFIED_STATES,
    UNSATISFIED_STATES,
    Choice,
    Gate,
    ItemState,
)

ASSIGNMENT: Final = "wait:assignment"
RESTART: Final = "wait:restart"
ERROR_SCREEN: Final = "wait:error_screen"
BETWEEN: Final = "wait:between_attempts"
OFFER: Final = "wait:offer"
UNKNOWN: Final = "wait:unknown"
"""What no earlier input explains: power-on alone, unless this module and the machine disagree."""

WAIT_NAMES: Final = {
    ASSIGNMENT: "Waiting for the assignment",
    RESTART: "Restarts",
    ERROR_SCREEN: "Error screen",
    BETWEEN: "Between two attempts",
    OFFER: "Decision to go on early",
    UNKNOWN: "Unexplained",
}
"""What a gate waits for besides items. No item's id has a colon in it."""

_WAITS: Final = frozenset({ASSIGNMENT, RESTART, BETWEEN})
"""What ends with the first input that belongs to it."""
_IDLE: Final = (
    SATISFIED_STATES
    | UNSATISFIED_STATES
    | {
        ItemState.NOT_STARTED,
        ItemState.REBOOT_REQUIRED,
    }
)
"""States in which an item is not under way; one that wants a restart waits for others to let it happen."""

Link = tuple[int, str, "Link | None"]
"""A moment in milliseconds, what the input at that moment belonged to, and the moment at which that one had begun."""


class GateWait:
    """Follows one device until its gate opens for the first time.

    An input belongs to what it ends or carries on: an item, a restart, the error screen. Whatever begins while that
    input is handled begins because of it. So each thing that is under way knows the moment at which it began and what
    ended there, and the path from the opening of the gate back to power-on has no gap.
    """

    __slots__ = ("_offered", "_since_ms", "_under_way", "alone_ms", "opened_ms", "path")

    def __init__(self) -> None:
        self._under_way: dict[str, Link] = {}
        self._offered: Link | None = None
        self._since_ms = 0
        self.alone_ms: dict[str, int] = {}
        """The time for which each thing was all that was under way."""
        self.opened_ms: int | None = None
        """When the gate opened; None while it has not."""
        self.path: tuple[Link, ...] = ()
        """Once the gate is open, the inputs that led to it: the last one first."""

    @property
    def path_ms(self) -> dict[str, int]:
        """The time that each thing has on the path; together, the time from power-on until the gate opened."""
        found: dict[str, int] = {}
        for at_ms, key, began in self.path:
            began_ms = 0 if began is None else began[0]
            found[key] = found.get(key, 0) + at_ms - began_ms
        return found

    def watch(self, at_ms: int, event: Event, effects: Sequence[Effect]) -> None:
        """Take in one input with its effects, other than a `StepMoved`: nothing begins or ends by that.

        After the gate has opened nothing counts.
        """
        if self.opened_ms is not None:
            return
        link: Link | None = None
        for effect in effects:
            if type(effect) is Report:
                if link is None:
                    link = self._turn(at_ms, event, effects)
                if type(effect.body) is ItemChanged:
                    self._item_changed(effect.body, link)
                else:
                    self._reported(effect.body, link)
            elif type(effect) is OfferChoices and not effect.error:
                if link is None:
                    link = self._turn(at_ms, event, effects)
                self._offered = link

    def _turn(self, at_ms: int, event: Event, effects: Sequence[Effect]) -> Link:
        """What this input is; the time that has passed is charged to what was under way alone."""
        if at_ms > self._since_ms:
            if len(self._under_way) == 1:
                (key,) = self._under_way
                self.alone_ms[key] = self.alone_ms.get(key, 0) + at_ms - self._since_ms
            self._since_ms = at_ms
        owner = self._owner(event, effects)
        began = self._offered if owner == OFFER else self._under_way.get(owner)
        if owner in _WAITS:
            self._under_way.pop(owner, None)
        return (at_ms, UNKNOWN, None) if began is None else (at_ms, owner, began)

    def _owner(self, event: Event, effects: Sequence[Effect]) -> str:
        """What the input belongs to."""
        if isinstance(event, StepFinished):
            return event.item
        match event:
            case PersonActed(item=item):
                return item
            case AssignmentArrived():
                return ASSIGNMENT
            case Restarted():
                return RESTART
            case PersonChose():
                return ERROR_SCREEN if ERROR_SCREEN in self._under_way else OFFER
            case _:
                return self._interrupted(effects)

    def _interrupted(self, effects: Sequence[Effect]) -> str:
        """What a deadline or a new attempt put an end to: of several things the first in the plan."""
        for effect in effects:
            body = effect.body if isinstance(effect, Report) else None
            if type(body) is ItemChanged and body.item in self._under_way:
                return body.item
        waits = (key for key in WAIT_NAMES if key in self._under_way)
        return next(waits, UNKNOWN)

    def _item_changed(self, body: ItemChanged, link: Link) -> None:
        if body.state in _IDLE:
            self._under_way.pop(body.item, None)
        elif body.item not in self._under_way or link[1] != body.item:
            self._under_way[body.item] = link

    def _reported(self, body: Body, link: Link) -> None:
        # A pattern asks pydantic, which takes longer than all that follows.
        if type(body) is GateChanged:
            if body.gate is not Gate.LOCKED:
                self.opened_ms = link[0]
                self.path = tuple(_back_from(link))
        elif type(body) is ErrorScreenShown:
            self._under_way[ERROR_SCREEN] = link
        elif type(body) is ChoiceMade:
            if body.choice is not Choice.COLLECT_LOGS:
                self._under_way.pop(ERROR_SCREEN, None)
        elif type(body) is RebootPlanned:
            self._under_way[RESTART] = link
        elif type(body) is AttemptEnded:
            self._begin_only(BETWEEN, link)
        elif type(body) is AttemptStarted:
            self._begin_only(ASSIGNMENT, link)

    def _begin_only(self, key: str, link: Link) -> None:
        self._under_way = {key: link}
        self._offered = None


def _back_from(link: Link | None) -> Iterator[Link]:
    while link is not None:
        yield link
        link = link[2]
