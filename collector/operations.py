"""What a collector does beside taking reports in: it watches for stuck items, tells webhooks, feeds live updates, lets old reports go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog
from sqlalchemy import Connection

from collector.clock import Clock
from collector.live_updates import Feed
from collector.metrics import Metrics
from collector.store.database import Database, StoreFailed
from collector.store.following import Following
from collector.stuck.watch import StuckRow, StuckWatch
from collector.upkeep.retention import Retention
from collector.webhooks.delivery import Delivery
from collector.webhooks.webhooks import Webhooks

LOG = structlog.get_logger("collector.operations")

FOLLOW_S: Final = 1.0
LOOK_S: Final = 10.0
RETAIN_S: Final = 3_600.0


class Operations:
    """Built beside the store; `run` does the work, the rest answers from any thread."""

    def __init__(
        self, database: Database, clock: Clock, metrics: Metrics, *, keep_days: int | None = None
    ) -> None:
        self._clock = clock
        self._metrics = metrics
        self._keep_days = keep_days
        self.webhooks = Webhooks(database)
        self.watch = StuckWatch(database, clock, self._tell_stuck)
        self.feed = Feed(Following(database))
        self.retention = Retention(database)
        self.delivery = Delivery(self.webhooks, clock, metrics)
        metrics.observe(self._figures)

    async def run(self) -> None:
        """Until it is cancelled; a store that fails for a while stops none of it."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.feed.run(), name="live updates")
            group.create_task(_again(self._follow, FOLLOW_S), name="webhooks follow")
            group.create_task(_again(self.delivery.turn, FOLLOW_S), name="webhooks deliver")
            group.create_task(_again(self._look, LOOK_S), name="stuck items")
            if self._keep_days is not None:
                group.create_task(_again(self._retain, RETAIN_S), name="retention")

    async def _follow(self) -> None:
        await asyncio.to_thread(self.webhooks.follow, self._clock.wall_ms())

    async def _look(self) -> None:
        for row in await asyncio.to_thread(self.watch.look):
            LOG.warning(
                "an item is stuck",
                device=row.device,
                item=row.item,
                running_ms=row.running_ms,
                limit_ms=row.limit_ms,
                basis=row.basis,
            )

    async def _retain(self) -> None:
        assert self._keep_days is not None, "started only where days are given"
        removed = await asyncio.to_thread(self.retention.run, self._keep_days, self._clock.now_ms())
        self._metrics.removed_reports.inc(removed.reports)
        if removed.reports:
            LOG.info("old reports let go", attempts=removed.attempts, reports=removed.reports)

    def _tell_stuck(self, connection: Connection, rows: Sequence[StuckRow]) -> None:
        self.webhooks.tell_stuck(connection, rows, self._clock.wall_ms())

    def _figures(self) -> dict[str, float]:
        """What is asked for when Prometheus looks."""
        try:
            backlogs = [self.webhooks.backlog(hook.id) for hook in self.webhooks.all()]
            stuck, is_open = len(self.watch.stuck()), self.watch.count_open()
        except StoreFailed:
            return {}
        oldest = [one.oldest_ms for one in backlogs if one.oldest_ms is not None]
        age_ms = self._clock.wall_ms() - min(oldest) if oldest else 0
        return {
            "webhook_queue": sum(one.waiting for one in backlogs),
            "webhook_queue_age_seconds": max(0, age_ms) / 1000,
            "webhook_given_up": sum(one.given_up for one in backlogs),
            "stuck_items": stuck,
            "open_attempts": is_open,
            "live_readers": self.feed.readers,
        }


async def _again(work: Callable[[], Awaitable[None]], pause_s: float) -> None:
    while True:
        try:
            await work()
        except StoreFailed as failure:
            LOG.warning("the store can't be used now; tried again", problem=str(failure))
        await asyncio.sleep(pause_s)
