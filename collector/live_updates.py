"""What happens, as it happens: stored reports to whoever listens, from any position on, and at the reader's own pace."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from typing import Final

import structlog

from collector.answer import moment
from collector.store.database import StoreFailed
from collector.store.following import Followed, Following

LOG = structlog.get_logger("collector.live_updates")

POLL_S: Final = 0.25
HEARTBEAT_S: Final = 15.0
PAGE: Final = 500
QUEUE_MAX: Final = 1_000
"""What may wait for one reader; one that is slower is cut off and comes back with the position that it has."""
READERS_MAX: Final = 100


class TooManyReaders(Exception):
    """As many listen as may: one sentence."""


class StoreGone(Exception):
    """The store can't be read now; the reader comes back."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one reader listens for; empty means everything."""

    devices: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()

    def has(self, one: Followed) -> bool:
        """Whether this report is asked for."""
        return (not self.devices or one.device in self.devices) and (
            not self.kinds or one.report.body.kind in self.kinds
        )


@dataclass(slots=True, eq=False)
class _Reader:
    wanted: Wanted
    waiting: deque[Followed]
    woken: asyncio.Event
    position: int
    """Up to where it was fed."""
    cut_off: bool = False


class Feed:
    """Reads each stored report once for all readers; without a reader it reads nothing."""

    def __init__(self, following: Following) -> None:
        self._following = following
        self._readers: set[_Reader] = set()
        self._position = 0
        self._someone = asyncio.Event()

    @property
    def readers(self) -> int:
        """How many listen."""
        return len(self._readers)

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self._someone.wait()
            try:
                await self._feed()
            except StoreFailed as failure:
                LOG.warning("live updates wait for the store", problem=str(failure))
            await asyncio.sleep(POLL_S)

    async def _feed(self) -> None:
        newest = await asyncio.to_thread(self._following.newest)
        while self._position < newest and self._readers:
            page = await asyncio.to_thread(
                self._following.after, self._position, newest, limit=PAGE
            )
            self._position = page[-1].order if len(page) == PAGE else newest
            for reader in self._readers:
                _give(reader, page, self._position)

    async def listen(
        self, wanted: Wanted, after: int | None, heartbeat_s: float = HEARTBEAT_S
    ) -> AsyncIterator[Followed | int]:
        """The reports after a position, then each new one; a number is a heartbeat and says the position reached.

        Without a position it begins with what is new. It ends when the reader is too slow.

        Raises:
            TooManyReaders: as many listen as may.
            StoreGone: the store can't be read.
        """
        if len(self._readers) >= READERS_MAX:
            raise TooManyReaders(f"{READERS_MAX} readers listen already; try again later")
        try:
            now = await asyncio.to_thread(self._following.newest)
        except StoreFailed:
            raise StoreGone from None
        if not self._readers:
            self._position = max(self._position, now)
        joined = self._position
        reader = _Reader(wanted, deque(), asyncio.Event(), joined)
        self._readers.add(reader)
        self._someone.set()
        try:
            start = joined if after is None else min(after, joined)
            yield start
            async for one in self._stored(wanted, start, joined):
                yield one
            async for news in _live(reader, heartbeat_s):
                yield news
        finally:
            self._readers.discard(reader)
            if not self._readers:
                self._someone.clear()

    async def _stored(self, wanted: Wanted, position: int, until: int) -> AsyncIterator[Followed]:
        while position < until:
            try:
                page = await asyncio.to_thread(
                    self._following.after,
                    position,
                    until,
                    limit=PAGE,
                    kinds=wanted.kinds,
                    devices=wanted.devices,
                )
            except StoreFailed:
                raise StoreGone from None
            for one in page:
                yield one
            position = page[-1].order if len(page) == PAGE else until


def _give(reader: _Reader, page: Collection[Followed], position: int) -> None:
    if reader.cut_off:
        return
    fresh = [one for one in page if one.order > reader.position and reader.wanted.has(one)]
    reader.position = max(reader.position, position)
    if len(reader.waiting) + len(fresh) > QUEUE_MAX:
        reader.waiting.clear()
        reader.cut_off = True
    else:
        reader.waiting.extend(fresh)
    if fresh or reader.cut_off:
        reader.woken.set()


async def _live(reader: _Reader, heartbeat_s: float) -> AsyncIterator[Followed | int]:
    while not reader.cut_off:
        if reader.waiting:
            yield reader.waiting.popleft()
            continue
        reader.woken.clear()
        try:
            async with asyncio.timeout(heartbeat_s):
                await reader.woken.wait()
        except TimeoutError:
            yield reader.position


def event_text(news: Followed | int) -> bytes:
    """One server-sent event; its id is the position to come back with. A heartbeat is a comment that keeps its id."""
    if isinstance(news, int):
        # An id alone moves `Last-Event-ID` on without an event (HTML standard, 9.2.6).
        return f": here\nid: {news}\n\n".encode()
    report = news.report
    told = {
        "order": news.order,
        "device": news.device,
        "stream": news.stream,
        "seq": news.seq,
        "attempt": news.attempt,
        "received_at": moment(news.received_ms).isoformat(),
        "attempt_ms": report.attempt_ms,
        "stage": report.stage.value,
        "percent": report.percent,
        "platform": news.platform,
        "user": news.user,
        "body": report.body.model_dump(mode="json"),
    }
    data = json.dumps(told, separators=(",", ":"))
    return f"id: {news.order}\nevent: {report.body.kind}\ndata: {data}\n\n".encode()
