"""What each item of an attempt did and for how long, folded from the attempt's reports; attempt time throughout."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from agent.wire.events import Body, ItemAdvanced, ItemChanged
from agent.wire.vocabulary import SATISFIED_STATES, WORKING_STATES, ItemState


@dataclass(frozen=True, slots=True)
class Span:
    """One try of one item that is over: how long it was at work, download and verification included."""

    item: str
    took_ms: int
    state: ItemState
    """What the try came to."""

    @property
    def came_in(self) -> bool:
        """The item was there at the end; only such a try says how long one takes."""
        return self.state in SATISFIED_STATES


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemNow:
    """One item as its reports tell it."""

    changed: ItemChanged
    """The newest report of its state."""
    since_ms: int
    """When it came into that state."""
    begun_ms: int | None = None
    """When the present try began to work; None while it does not."""
    percent: int | None = None
    moved_ms: int = 0
    """When it was heard of last."""


@dataclass(slots=True)
class ItemWork:
    """The items of one attempt, one report after the other."""

    items: dict[str, ItemNow] = field(default_factory=dict)

    def apply(self, attempt_ms: int, body: Body) -> Span | None:
        """Fold one report in; the try that it ended, if it ended one."""
        match body:
            case ItemChanged():
                return self._changed(attempt_ms, body)
            case ItemAdvanced() if (known := self.items.get(body.item)) is not None:
                self.items[body.item] = ItemNow(
                    changed=known.changed,
                    since_ms=known.since_ms,
                    begun_ms=known.begun_ms,
                    percent=body.item_percent,
                    moved_ms=attempt_ms,
                )
        return None

    def _changed(self, attempt_ms: int, body: ItemChanged) -> Span | None:
        before = self.items.get(body.item)
        begun = None if before is None else before.begun_ms
        ended = None
        if begun is not None and before is not None:
            another_try = body.attempt != before.changed.attempt
            if body.state not in WORKING_STATES or another_try:
                ended = Span(body.item, max(0, attempt_ms - begun), body.state)
                begun = None
        if body.state in WORKING_STATES and begun is None:
            begun = attempt_ms
        self.items[body.item] = ItemNow(
            changed=body, since_ms=attempt_ms, begun_ms=begun, moved_ms=attempt_ms
        )
        return ended

    @property
    def working(self) -> list[ItemNow]:
        """The items that are at work now, the one that began first at the front."""
        found = [(item.begun_ms, item) for item in self.items.values() if item.begun_ms is not None]
        return [item for _, item in sorted(found, key=lambda pair: pair[0])]


def work_of(reports: Iterable[tuple[int, Body]]) -> ItemWork:
    """The items of one attempt from all its reports, each with its attempt time."""
    work = ItemWork()
    for attempt_ms, body in reports:
        work.apply(attempt_ms, body)
    return work
