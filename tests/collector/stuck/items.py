"""Items at work on devices that report as real ones do."""

from __future__ import annotations

from collections.abc import Sequence

from agent.wire.events import Event
from agent.wire.vocabulary import ItemKind, ItemState
from tests.collector.board.stories import changed
from tests.collector.fleet import Office, Reporter

MINUTE_MS = 60_000
ITEM = "m365"


def item_event(
    device: Reporter, state: ItemState, at_minutes: float, *, item: str = ITEM, attempt: int = 1
) -> Event:
    """An item came into this state at this attempt time."""
    body = changed(item, item.upper(), state, attempt=attempt, kind=ItemKind.APP)
    return device.event(body, attempt_ms=round(at_minutes * MINUTE_MS))


def installed(number: int, minutes: float, *, item: str = ITEM) -> list[Event]:
    """Another device whose item took so long, and that is through."""
    device = Reporter(device=f"OLD-{number:04}", stream=f"old-{number}")
    return [
        device.begin(),
        item_event(device, ItemState.DOWNLOADING, 1, item=item),
        item_event(device, ItemState.INSTALLING, 1 + minutes / 2, item=item),
        item_event(device, ItemState.DONE, 1 + minutes, item=item),
        device.end(minutes=2 + minutes),
    ]


def teach(office: Office, minutes: Sequence[float]) -> None:
    """So many devices came through before."""
    office.take_in([e for n, took in enumerate(minutes) for e in installed(n, took)])


def begun(office: Office, name: str = "DESKTOP-NEW001", at_minutes: float = 5) -> Reporter:
    """A device whose item is at work since that attempt time, which is now."""
    device = Reporter(device=name, stream=f"stream-of-{name}")
    office.take_in([device.begin(), item_event(device, ItemState.DOWNLOADING, at_minutes)])
    office.store.record_presences([device.birth()], office.clock.now_ms())
    return device


def later(office: Office, minutes: float) -> None:
    """Time goes by."""
    office.clock.at_ms += round(minutes * MINUTE_MS)
