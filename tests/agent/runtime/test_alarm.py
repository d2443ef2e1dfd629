"""An alarm wakes its one sleeper when somebody rings and when a time has come, and for nothing else."""

from __future__ import annotations

import asyncio
from math import isclose
from typing import Any

import pytest

from agent.runtime.alarm import Alarm


async def slept(alarm: Alarm, delay_s: float | None) -> float:
    """How long a sleep took."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    await alarm.sleep(delay_s)
    return loop.time() - began_s


class Timers:
    """Counts the timers that alarms set, and how often their times come."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.set = self.came = 0
        loop = asyncio.get_running_loop()
        call_at = loop.call_at

        def counted(when: float, callback: Any, *given: Any, **how: Any) -> asyncio.TimerHandle:
            if getattr(callback, "__func__", None) is not Alarm._timer_rings:
                return call_at(when, callback, *given, **how)
            self.set += 1
            return call_at(when, self._come, callback, *given)

        monkeypatch.setattr(loop, "call_at", counted)

    def _come(self, callback: Any, *given: Any) -> None:
        self.came += 1
        callback(*given)


async def test_a_sleep_ends_when_its_time_has_come() -> None:
    alarm = Alarm()
    assert isclose(await slept(alarm, 90), 90, abs_tol=0.001)
    assert isclose(await slept(alarm, 0.5), 0.5, abs_tol=0.001)


async def test_a_ring_ends_a_sleep_that_has_no_time_of_its_own() -> None:
    alarm = Alarm()
    asyncio.get_running_loop().call_later(5, alarm.ring)
    assert isclose(await slept(alarm, None), 5, abs_tol=0.001)


async def test_who_was_rung_for_does_not_go_to_sleep_until_it_is_quiet() -> None:
    alarm = Alarm()
    alarm.ring()
    assert await slept(alarm, 60) == await slept(alarm, None) == 0
    alarm.quiet()
    assert isclose(await slept(alarm, 60), 60, abs_tol=0.001)


async def test_a_timer_outlives_the_rings_that_come_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A device that waits for its next event is woken by acknowledgements; the event's timer is set once."""
    alarm, loop = Alarm(), asyncio.get_running_loop()
    timers = Timers(monkeypatch)
    due_s = loop.time() + 60
    for _ in range(5):
        loop.call_later(1, alarm.ring)
        assert isclose(await slept(alarm, due_s - loop.time()), 1, abs_tol=0.001)
        alarm.quiet()
    await slept(alarm, due_s - loop.time())
    assert isclose(loop.time(), due_s, abs_tol=0.001)
    assert (timers.set, timers.came) == (1, 1)


async def test_an_earlier_time_takes_the_place_of_a_later_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alarm, loop = Alarm(), asyncio.get_running_loop()
    timers = Timers(monkeypatch)
    loop.call_later(1, alarm.ring)
    await slept(alarm, 100)
    alarm.quiet()
    assert isclose(await slept(alarm, 2), 2, abs_tol=0.001)
    assert (timers.set, timers.came) == (2, 1)


async def test_a_timer_that_is_too_early_by_now_wakes_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alarm, loop = Alarm(), asyncio.get_running_loop()
    timers = Timers(monkeypatch)
    loop.call_later(1, alarm.ring)
    await slept(alarm, 3)
    alarm.quiet()
    assert isclose(await slept(alarm, 50), 50, abs_tol=0.001)
    assert (timers.set, timers.came) == (2, 2)


async def test_sleepers_with_a_step_are_told_together_and_never_too_early() -> None:
    told: list[tuple[float, float]] = []
    loop = asyncio.get_running_loop()

    async def sleeper(delay_s: float) -> None:
        due_s = loop.time() + delay_s
        await Alarm(0.1).sleep(delay_s)
        told.append((loop.time(), due_s))

    await asyncio.gather(*(sleeper(1 + n / 1000) for n in range(100)))
    assert all(0 <= at_s - due_s < 0.2 for at_s, due_s in told)
    assert len({round(at_s, 3) for at_s, _ in told}) <= 2


async def test_a_stopped_alarm_leaves_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    alarm, loop = Alarm(), asyncio.get_running_loop()
    timers = Timers(monkeypatch)
    loop.call_soon(alarm.ring)
    await slept(alarm, 5)
    alarm.stop()
    # The time of this loop leaps: it takes none, and a timer that was left would come.
    await asyncio.sleep(10)
    assert (timers.set, timers.came) == (1, 0)


async def test_a_sleep_can_be_given_up() -> None:
    alarm = Alarm()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3):
            await alarm.sleep(None)
    assert isclose(await slept(alarm, 7), 7, abs_tol=0.001)
