"""Reports to try the outbox and the journal with."""

from __future__ import annotations

from datetime import UTC, datetime

from agent.wire.events import (
    AgentRestarted,
    Body,
    ItemAdvanced,
    ItemChanged,
    Report,
)
from agent.wire.vocabulary import ItemKind, ItemState, Phase, Stage


def report(number: int, body: Body | None = None, attempt: str = "attempt-1") -> Report:
    """A report that tells itself apart by `number`."""
    return Report(
        attempt=attempt,
        attempt_ms=number,
        device_time=datetime(2026, 1, 1, tzinfo=UTC),
        stage=Stage.INSTALLING_APPS,
        percent=1,
        body=AgentRestarted(planned=False) if body is None else body,
    )


def tick(number: int, item: str = "app", attempt: str = "attempt-1") -> Report:
    """A progress tick."""
    return report(number, ItemAdvanced(item=item, item_percent=number % 101), attempt)


def change(number: int, item: str = "app") -> Report:
    """An item that moved to another state."""
    return report(
        number,
        ItemChanged(
            item=item,
            name=item,
            item_kind=ItemKind.APP,
            phase=Phase.DEVICE_SETUP,
            row="apps",
            blocking=True,
            state=ItemState.INSTALLING,
            attempt=1,
            attempts_max=3,
        ),
    )
