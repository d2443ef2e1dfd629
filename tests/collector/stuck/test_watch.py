"""The watch learns from what is stored, marks what is stuck once, and takes the mark away when it moves on."""

from __future__ import annotations

import pytest

from agent.wire.vocabulary import ItemState
from collector.stuck.limit import OBSERVATIONS_MIN
from collector.stuck.watch import StuckWatch
from tests.collector.fleet import Office
from tests.collector.stuck.items import MINUTE_MS, begun, item_event, later, teach

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
