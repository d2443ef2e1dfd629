"""Live updates: everything stored, in order, from any position on, and never more than a reader can take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from threading import Event
from typing import Any

import pytest

from collector import live_updates
from collector.live_updates import Feed, TooManyReaders, Wanted, event_text
from collector.store.following import Followed, Following
from tests.collector.fleet import Office, Reporter

EVERYTHING = Wanted()


@asynccontextmanager
async def feeding(office: Office, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Feed]:
    monkeypatch.setattr(live_updates, "POLL_S", 0.005)
    feed = Feed(Following(office.store.database))
    task = asyncio.create_task(feed.run())
    try:
        yield feed
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Reader:
    """Reads one after the other, and knows the position that it would come back with."""

    def __init__(self, feed: Feed, wanted: Wanted = EVERYTHING, after: int | None = None) -> None:
        self.news = feed.listen(wanted, after, heartbeat_s=30)
        self.position = -1

    async def begin(self) -> Reader:
        """Joined."""
        first = await anext(self.news)
        assert isinstance(first, int)
        self.position = first
        return self

    async def next(self) -> Followed:
        async with asyncio.timeout(10):
            one = await anext(self.news)
        assert isinstance(one, Followed)
        assert one.order > self.position, "in order, and nothing twice"
        self.position = one.order
        return one

    async def kinds(self, count: int) -> list[str]:
        return [(await self.next()).report.body.kind for _ in range(count)]


async def test_without_a_position_it_begins_with_what_is_new(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Reporter()
    office.take_in([device.begin()])
    async with feeding(office, monkeypatch) as feed:
        reader = await Reader(feed).begin()
        office.take_in([device.move(10), device.end()])
        assert await reader.kinds(2) == ["phase_changed", "attempt_ended"]


async def test_with_a_position_it_goes_on_there_and_then_live(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_updates, "PAGE", 2)
    device = Reporter()
    office.take_in([device.begin(), *[device.move(n) for n in range(1, 8)]])
    async with feeding(office, monkeypatch) as feed:
        reader = await Reader(feed, after=3).begin()
        office.take_in([device.end()])
        told = [await reader.next() for _ in range(6)]
        assert [one.seq for one in told] == [4, 5, 6, 7, 8, 9]


async def test_only_the_devices_and_kinds_that_were_asked_for(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = Reporter(device="A", stream="a"), Reporter(device="B", stream="b")
    office.take_in([a.begin(), b.begin(), a.move(1)])
    wanted = Wanted(frozenset({"A"}), frozenset({"attempt_started", "attempt_ended"}))
    async with feeding(office, monkeypatch) as feed:
        reader = await Reader(feed, wanted, after=0).begin()
        office.take_in([b.end(), a.move(2), a.end()])
        assert await reader.kinds(2) == ["attempt_started", "attempt_ended"]


async def test_a_slow_reader_is_cut_off_and_goes_on_where_it_was(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_updates, "QUEUE_MAX", 5)
    device = Reporter()
    office.take_in([device.begin()])
    async with feeding(office, monkeypatch) as feed:
        slow, quick = await Reader(feed).begin(), await Reader(feed).begin()
        for n in range(1, 13):
            office.take_in([device.move(n)])
            await quick.next()
        with pytest.raises(StopAsyncIteration):
            await slow.kinds(12)
        assert feed.readers == 1, "its place is free"
        back = await Reader(feed, after=slow.position).begin()
        seen = slow.position
        told = [(await back.next()).order for _ in range(quick.position - seen)]
        assert told == list(range(seen + 1, quick.position + 1)), "nothing is missing"


class Halting(Following):
    """Stands still with a page in hand until it may go on."""

    def __init__(self, office: Office) -> None:
        super().__init__(office.store.database)
        self.has_page, self.may_go_on = Event(), Event()

    def after(self, *given: Any, **named: Any) -> list[Followed]:
        page = super().after(*given, **named)
        self.has_page.set()
        assert self.may_go_on.wait(10)
        return page


async def test_a_page_that_was_read_for_others_is_not_given_to_who_came_after_it(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_updates, "POLL_S", 0.005)
    following = Halting(office)
    feed = Feed(following)
    task = asyncio.create_task(feed.run())
    device = Reporter()
    gone = await Reader(feed).begin()
    office.take_in([device.begin()])
    assert await asyncio.to_thread(following.has_page.wait, 10)
    await gone.news.aclose()  # type: ignore[attr-defined]
    reader = await Reader(feed).begin()
    assert reader.position == 1
    following.may_go_on.set()
    office.take_in([device.end()])
    assert await reader.kinds(1) == ["attempt_ended"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_quiet_connection_has_a_heartbeat_with_the_position(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is filtered out moves the position on as well, so that coming back looks through little."""
    a, b = Reporter(device="A", stream="a"), Reporter(device="B", stream="b")
    office.take_in([a.begin()])
    async with feeding(office, monkeypatch) as feed:
        news = feed.listen(Wanted(frozenset({"A"})), None, heartbeat_s=0.05)
        assert await anext(news) == 1
        office.take_in([b.begin(), b.end()])
        async with asyncio.timeout(10):
            while await anext(news) != 3:
                pass


async def test_there_is_an_end_to_readers(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_updates, "READERS_MAX", 2)
    async with feeding(office, monkeypatch) as feed:
        readers = [await Reader(feed).begin() for _ in range(2)]
        with pytest.raises(TooManyReaders):
            await Reader(feed).begin()
        await readers[0].news.aclose()  # type: ignore[attr-defined]
        await Reader(feed).begin()


async def test_a_position_of_another_store_is_taken_for_now(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restore a reader may come back with a position that this store has not reached."""
    device = Reporter()
    office.take_in([device.begin()])
    async with feeding(office, monkeypatch) as feed:
        reader = await Reader(feed, after=10**6).begin()
        assert reader.position == 1
        office.take_in([device.end()])
        assert await reader.kinds(1) == ["attempt_ended"]


def test_an_event_is_one_line_of_data_with_its_position(office: Office) -> None:
    office.take_in([Reporter(user="a\nid: 7\n\nevent: x").begin()])
    (one,) = Following(office.store.database).after(0, 1, limit=1)
    lines = event_text(one).decode().split("\n")
    assert [line.split(":")[0] for line in lines] == ["id", "event", "data", "", ""]
    assert event_text(5) == b": here\nid: 5\n\n"
