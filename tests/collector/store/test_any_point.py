"""Either collector of two may be struck at any point of what it does with the store: every point is tried, none by luck."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from collector.keys import load_or_make
from collector.store import database, leases, sharing
from collector.store.following import Following
from collector.store.leases import LEASE_MS
from collector.store.store import Store
from tests.collector.fleet import NOON_MS
from tests.collector.store.striking import (
    PARTITIONS,
    Collector,
    Follower,
    Killed,
    Strike,
    World,
    begin_anew,
    judge,
    watched,
)

Live = Callable[[Strike, int | None], World]
ROUNDS_MAX = 6
"""After a strike everything is stored and acknowledged within so many rounds of leases and deliveries."""


@pytest.fixture
def worlds(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """Lives one world after the other in the same database; each has devices of its own."""
    # Where the struck one holds a lock, the other one gives up at once and tries again later.
    monkeypatch.setattr(database, "BUSY_MS", 1)
    if url.startswith("postgresql"):
        url += "&options=-c%20lock_timeout%3D1"
    # One partition for each of the two will do.
    for module in (leases, sharing):
        monkeypatch.setattr(module, "PARTITIONS", PARTITIONS)
    signer = load_or_make(tmp_path / "keys")
    stores = {owner: Store(url, now_ms=NOON_MS) for owner in "ab"}
    now_ms = stores["b"].database.now_ms
    lived: list[World] = []

    def live(strike: Strike, at: int | None) -> World:
        world = World(url, stores, signer, len(lived), strike, at)
        lived.append(world)
        with monkeypatch.context() as patch:
            for store in stores.values():
                patch.setattr(store.database, "now_ms", lambda c: now_ms(c) + world.offset_ms)
            _live(world, patch)
        return world

    yield live
    for store in stores.values():
        store.close()


def _live(world: World, patch: pytest.MonkeyPatch) -> None:
    first, second = (world.collector(owner, patch) for owner in "ab")
    world.others.append(second)
    begin_anew(second.store)
    following = Following(second.store.database)
    follower = Follower(following, following.newest())
    world.followers.append(follower)
    story = _story(world, first, second)
    with watched(world, first), suppress(Killed):
        for step in story:
            step()
            follower.look()
    alive = [first, second]
    if world.strike == "killed":
        # Its lease runs out.
        world.offset_ms += LEASE_MS + 1
        alive = [second]
    elif world.strike == "killed and started again":
        alive = [world.collector("a", patch), second]
    for step in story:
        # What its devices still have to say.
        if step.__name__ == "report":
            step()
    _settle(world, alive, follower)
    judge(world, second, follower)


def _story(world: World, first: Collector, second: Collector) -> Iterator[Callable[[], None]]:
    """A collector works alone, is joined by another one, hands half over, goes on and leaves."""

    def report() -> None:
        for device in world.devices:
            if not device.sent:
                device.begin()
            else:
                device.move(10 * len(device.sent))

    yield first.tend
    yield report
    yield lambda: first.take(births=True)
    yield second.tend
    yield report
    yield first.tend
    yield second.tend
    yield first.take
    yield second.take
    yield report
    yield first.leave


def _settle(world: World, alive: list[Collector], follower: Follower) -> None:
    for number in range(ROUNDS_MAX):
        for collector in alive:
            collector.tend()
            # A device that hears of another collector says that it is there.
            collector.take(births=number == 0)
            follower.look()
        if all(world.acked[d.device] == len(d.sent) for d in world.devices):
            return


STRIKES: tuple[Strike, ...] = ("killed", "killed and started again", "halted", "halted and cut off")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("strike", STRIKES)
def test_struck_at_any_point_nothing_is_lost_and_nothing_is_there_twice(
    strike: Strike, url: str, worlds: Live
) -> None:
    if strike == "halted and cut off" and url.startswith("sqlite"):
        pytest.skip("SQLite has no server that ends sessions")
    points = worlds(strike, None).points
    assert points > 15, "a story with something in it"
    for at in range(1, points + 1):
        assert worlds(strike, at).struck_at, "struck"
