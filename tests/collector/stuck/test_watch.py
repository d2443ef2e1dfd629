"""The watch learns from what is stored, marks what is stuck once, and takes the mark away when it moves on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from agent.wire.events import Event
from agent.wire.topics import partition_of
from agent.wire.vocabulary import ItemState
from collector.store.following import Following
from collector.store.records import Committed
from collector.stuck.limit import OBSERVATIONS_MIN
from collector.stuck.watch import StuckWatch
from tests.collector.fleet import Office, Reporter, arrival
from tests.collector.stuck.items import MINUTE_MS, begun, installed, item_event, later, teach

# The 99th percentile of these is 10 minutes.
USUAL = [10.0] * OBSERVATIONS_MIN


@pytest.fixture
def watch(office: Office) -> StuckWatch:
    return StuckWatch(office.store.database, office.clock)


def marks(watch: StuckWatch) -> list[tuple[str, str, int]]:
    return [(row.device, row.item, row.try_number) for row in watch.stuck()]


def test_a_mark_comes_after_the_limit_and_goes_when_the_item_moves_on(
    office: Office, watch: StuckWatch
) -> None:
    teach(office, USUAL)
    device = begun(office)
    later(office, 11)
    assert watch.look() == []
    later(office, 0.5)
    (row,) = watch.look()
    assert marks(watch) == [("DESKTOP-NEW001", "m365", 1)]
    assert (row.limit_ms, row.basis, row.observations) == (10 * MINUTE_MS, "history", 100)
    assert row.running_ms == 11.5 * MINUTE_MS
    assert (row.platform, row.user) == ("Windows 11", "john.doe@company.com")
    assert watch.look() == [], "told once"
    office.take_in([item_event(device, ItemState.DONE, 20)])
    assert watch.look() == []
    assert marks(watch) == []


def test_a_further_try_is_a_mark_of_its_own(office: Office, watch: StuckWatch) -> None:
    teach(office, USUAL)
    device = begun(office)
    later(office, 20)
    assert len(watch.look()) == 1
    office.take_in(
        [
            item_event(device, ItemState.WAITING_TO_RETRY, 25, attempt=2),
            item_event(device, ItemState.DOWNLOADING, 26, attempt=2),
        ]
    )
    assert watch.look() == []
    later(office, 20)
    assert [row.try_number for row in watch.look()] == [2]
    assert marks(watch) == [("DESKTOP-NEW001", "m365", 2)]


def test_a_device_that_is_switched_off_is_not_stuck(office: Office, watch: StuckWatch) -> None:
    """Time switched off is no attempt time; once it is back and works on, it counts."""
    teach(office, USUAL)
    device = begun(office)
    later(office, 2)
    gone = device.birth().model_copy(update={"state": "lost"})
    office.store.record_presences([gone], office.clock.now_ms())
    later(office, 600)
    assert watch.look() == []
    back = device.birth().model_copy(update={"session": 2})
    office.store.record_presences([back], office.clock.now_ms())
    office.take_in([device.move(50, attempt_ms=8 * MINUTE_MS)])
    assert watch.look() == []
    later(office, 10)
    assert len(watch.look()) == 1


def test_an_attempt_that_ends_takes_its_marks_with_it(office: Office, watch: StuckWatch) -> None:
    teach(office, USUAL)
    device = begun(office)
    later(office, 20)
    watch.look()
    office.take_in([device.end()])
    watch.look()
    assert marks(watch) == []


def test_a_newer_attempt_of_the_device_takes_the_marks_of_the_old_one(
    office: Office, watch: StuckWatch
) -> None:
    teach(office, USUAL)
    device = begun(office)
    later(office, 20)
    watch.look()
    office.take_in([device.begin()])
    watch.look()
    assert marks(watch) == []


def test_a_restart_learns_again_and_tells_nobody_twice(office: Office) -> None:
    teach(office, USUAL)
    begun(office)
    later(office, 20)
    told: list[str] = []
    for _ in range(2):
        watch = StuckWatch(
            office.store.database,
            office.clock,
            lambda _connection, rows: told.extend(row.device for row in rows),
        )
        watch.look()
        assert marks(watch) == [("DESKTOP-NEW001", "m365", 1)]
    assert told == ["DESKTOP-NEW001"]


def test_an_attempt_from_before_what_is_looked_through_is_watched_as_well(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = begun(office)
    teach(office, USUAL)
    learned = 5 * len(USUAL)
    monkeypatch.setattr("collector.stuck.watch.LEARNED_REPORTS", learned)
    later(office, 20)
    watch = StuckWatch(office.store.database, office.clock)
    assert [row.device for row in watch.look()] == [device.device]


def test_what_is_marked_is_forgotten_with_the_transaction_that_can_not_tell(
    office: Office,
) -> None:
    """Marking and telling are one: a mark without a message would never be told."""

    def fail(*_: object) -> None:
        raise RuntimeError("the disk is full")

    teach(office, USUAL)
    begun(office)
    later(office, 20)
    watch = StuckWatch(office.store.database, office.clock, fail)
    with pytest.raises(RuntimeError):
        watch.look()
    assert marks(watch) == []


def test_the_standing_says_what_is_stuck_once_the_watch_has_learned(office: Office) -> None:
    """Asked before, it goes by what the assignment expects: nothing here."""
    teach(office, USUAL)
    begun(office)
    later(office, 20)
    watch = StuckWatch(office.store.database, office.clock)
    assert watch.standing("DESKTOP-NEW001", registered=False).waits_for == "device"
    watch.look()
    told = watch.standing("DESKTOP-NEW001", registered=False)
    assert told.waits_for == "help desk"
    assert told.sentences[0].startswith("M365 has been at work for 20 min; of 100 that came in")
    (item,) = told.items
    assert item.stuck is not None


def test_open_attempts_are_counted(office: Office, watch: StuckWatch) -> None:
    assert watch.count_open() == 0
    begun(office, "A")
    device = begun(office, "B")
    assert watch.count_open() == 2
    office.take_in([device.end()])
    assert watch.count_open() == 1


# What this collector stores itself is not read again.


def stored(office: Office, *events: Event) -> Committed:
    """One commit, and what it says of itself."""
    arrivals = [arrival(one, office.terms[partition_of(one.device)]) for one in events]
    return office.store.commit(arrivals, office.clock.now_ms())


@contextmanager
def reading(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many reports are read while the block runs, read by read."""
    read: list[int] = []
    after = Following.after

    def counted(self: Following, *args: object, **more: object) -> object:
        page = after(self, *args, **more)  # type: ignore[arg-type]
        read.append(len(page))
        return page

    with monkeypatch.context() as patch:
        patch.setattr(Following, "after", counted)
        yield read


def at_work(device: Reporter, at_minutes: float = 5) -> Event:
    return item_event(device, ItemState.DOWNLOADING, at_minutes)


def test_what_it_hears_of_is_learned_and_not_read(
    office: Office, watch: StuckWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    teach(office, USUAL)
    watch.look()
    device = Reporter()
    with reading(monkeypatch) as read:
        watch.hear(stored(office, device.begin(), at_work(device)))
        later(office, 10.5)
        assert watch.look() == []
        later(office, 1)
        (row,) = watch.look()
        watch.hear(stored(office, item_event(device, ItemState.DONE, 20)))
        assert watch.look() == []
    assert (row.device, row.basis, row.platform) == (device.device, "history", "Windows 11")
    assert marks(watch) == []
    assert read == []


def test_how_long_an_item_took_is_learned_from_what_it_hears(
    office: Office, watch: StuckWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.look()
    with reading(monkeypatch) as read:
        for number, minutes in enumerate(USUAL):
            watch.hear(stored(office, *installed(number, minutes)))
    begun(office)
    later(office, 12)
    (row,) = watch.look()
    assert (row.limit_ms, row.observations) == (10 * MINUTE_MS, OBSERVATIONS_MIN)
    assert read == []


def test_what_another_collector_stored_in_between_is_read_and_so_is_what_came_after(
    office: Office, watch: StuckWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    teach(office, USUAL)
    watch.look()
    mine, other, mine_too = (Reporter(device=name, stream=name) for name in "ABC")
    watch.hear(stored(office, mine.begin(), at_work(mine)))
    stored(office, other.begin(), at_work(other))
    watch.hear(stored(office, mine_too.begin(), at_work(mine_too)))
    later(office, 20)
    with reading(monkeypatch) as read:
        assert [row.device for row in watch.look()] == ["A", "B", "C"]
    assert read == [2], "of each of the two the item, and of the first one nothing"
    with reading(monkeypatch) as read:
        watch.hear(stored(office, item_event(mine, ItemState.DONE, 20)))
        watch.look()
    assert [device for device, _, _ in marks(watch)] == ["B", "C"]
    assert read == [], "and then it is up to date again"


def test_it_never_waits_for_a_look_and_misses_nothing_meanwhile(
    office: Office, watch: StuckWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    teach(office, USUAL)
    watch.look()
    device = Reporter()
    with watch._lock:
        watch.hear(stored(office, device.begin(), at_work(device)))
    watch.hear(stored(office, item_event(device, ItemState.INSTALLING, 6)))
    later(office, 20)
    with reading(monkeypatch) as read:
        assert [row.device for row in watch.look()] == [device.device]
    assert read == []


def test_what_waits_for_a_look_does_not_grow_without_end(
    office: Office, watch: StuckWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.stuck.watch._HEARD_MAX", 3)
    teach(office, USUAL)
    watch.look()
    device = Reporter()
    with watch._lock:
        watch.hear(stored(office, device.begin(), at_work(device)))
        for percent in range(9):
            watch.hear(stored(office, device.move(percent)))
            assert len(watch._heard) <= 3
    later(office, 20)
    with reading(monkeypatch) as read:
        assert [row.device for row in watch.look()] == [device.device]
    assert sum(read) == 1


def test_an_attempt_that_begins_while_it_looks_is_not_forgotten(
    office: Office, watch: StuckWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not among the open attempts that the look found, and yet it is open."""
    teach(office, USUAL)
    watch.look()
    device = Reporter()
    views = watch._views

    def and_then_it_began() -> Iterator[object]:
        yield from list(views())
        if not device.sent:
            watch.hear(stored(office, device.begin(), at_work(device)))

    monkeypatch.setattr(watch, "_views", and_then_it_began)
    watch.look()
    later(office, 20)
    assert [row.device for row in watch.look()] == [device.device]
