"""The clocks and the inbox."""

from __future__ import annotations

from agent.core.events import DeadlinePassed, LogsCollected, Restarted
from agent.core.inbox import Inbox
from agent.core.shell import REBOOT_MS_MAX
from agent.runtime.clock import DeviceClock, SteadyClock
from agent.runtime.identifiers import new_id, uuid7


class Hands:
    """Two clocks that a test moves."""

    def __init__(self) -> None:
        self.monotonic_s = 100.0
        self.wall_s = 1_700_000_000.0

    def clock(self, speed: float = 1.0) -> DeviceClock:
        return DeviceClock(speed, monotonic=lambda: self.monotonic_s, wall=lambda: self.wall_s)


def test_running_time_is_scaled_and_wall_time_is_not() -> None:
    hands = Hands()
    clock = hands.clock(speed=60)
    hands.monotonic_s += 2
    hands.wall_s += 2
    assert clock.now_ms() == 120_000
    assert clock.wall_ms() == 1_700_000_002_000
    assert clock.seconds_until(180_000) == 1.0
    assert clock.seconds_until(60_000) == 0.0


def test_a_wall_clock_jump_moves_nothing() -> None:
    hands = Hands()
    clock = hands.clock()
    hands.wall_s -= 1_000_000
    assert clock.now_ms() == 0


def test_a_restored_clock_goes_on_where_it_stood() -> None:
    hands = Hands()
    clock = hands.clock()
    hands.monotonic_s += 50
    clock.restore(9_000)
    hands.monotonic_s += 1
    assert clock.now_ms() == 10_000


def test_a_planned_reboot_counts_up_to_ten_minutes_and_never_backwards() -> None:
    clock = Hands().clock()
    clock.restore(1_000, off_ms=30_000)
    assert clock.now_ms() == 31_000
    clock.restore(1_000, off_ms=3_600_000)
    assert clock.now_ms() == 1_000 + REBOOT_MS_MAX
    clock.restore(1_000, off_ms=-5_000)
    assert clock.now_ms() == 1_000


def test_the_steady_clock_starts_at_the_wall_clock_and_does_not_follow_its_jumps() -> None:
    hands = Hands()
    clock = SteadyClock(monotonic=lambda: hands.monotonic_s, wall=lambda: hands.wall_s)
    assert clock.now_ms() == 1_700_000_000_000
    hands.wall_s -= 5_000
    hands.monotonic_s += 3
    assert clock.now_ms() == 1_700_000_003_000


def test_the_inbox_gives_events_by_stamp_and_then_by_arrival() -> None:
    inbox = Inbox()
    late, first, second = Restarted(planned=True), DeadlinePassed(), Restarted(planned=False)
    inbox.put(late, 300)
    inbox.put(first, 100)
    inbox.put(second, 100)
    assert inbox.next_ms == 100
    assert [inbox.take() for _ in range(3)] == [(first, 100), (second, 100), (late, 300)]
    assert inbox.next_ms is None


def test_the_inbox_forgets_what_is_unwanted_and_keeps_the_order() -> None:
    inbox = Inbox()
    for at_ms in (5, 3, 4, 1, 2):
        inbox.put(LogsCollected(path=str(at_ms)), at_ms)
    inbox.discard(lambda e: isinstance(e, LogsCollected) and e.path in ("1", "4"))
    assert [inbox.take()[1] for _ in range(len(inbox))] == [2, 3, 5]


def test_ids_are_uuids_of_version_7_that_sort_by_time() -> None:
    early, late = uuid7(1, (1 << 74) - 1), uuid7(2, 0)
    assert early == "00000000-0001-7fff-bfff-ffffffffffff"
    assert early < late
    assert len({new_id() for _ in range(1000)}) == 1000
