"""What is put together from the parts, where no other test looks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest

from agent.assembly import WatchPlan, build_watcher
from agent.given import parse_broker
from agent.runtime.driver import Driver
from agent.screen.ports import IntentRefused
from agent.screen_sources import DriverSource, WatcherSource
from agent.wire.progress import Progress, Reporting
from agent.wire.vocabulary import Choice, EnrollmentType, Gate, PersonAction
from tests.agent.core.script import Script


async def test_a_watcher_can_look_and_nothing_else() -> None:
    """What a key on the watched screen meant is named in the refusal as the screen names it."""
    plan = WatchPlan(device="PC-1", tenant="t", broker=parse_broker("mqtt://127.0.0.1"))
    source = WatcherSource(build_watcher(plan))
    assert (source.can_act, source.emergency_exit_allowed) == (False, False)
    with pytest.raises(IntentRefused, match=rf"\({PersonAction.PROCEED.label}\)"):
        await source.person_acted("terms", PersonAction.PROCEED)
    with pytest.raises(
        IntentRefused, match=f"'{Choice.TRY_AGAIN.label}' can't be chosen from here"
    ):
        await source.person_chose(Choice.TRY_AGAIN, None)
    with pytest.raises(IntentRefused, match="at the device only"):
        await source.emergency_exit()


class EndedDriver:
    """A driver that shows one snapshot, or none, and has ended, as far as its source can see."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._stop = asyncio.Event()
        self.stop = self._stop.set
        self.stop_wanted = self._stop.wait

    async def snapshots(self) -> AsyncIterator[tuple[Progress, Reporting]]:
        if self._progress is not None:
            yield self._progress, Reporting()


def watch(driver: EndedDriver, *, stays_open: bool) -> asyncio.Task[int]:
    """Follow the source to its end; how many snapshots there were."""
    source = DriverSource(
        cast(Driver, driver),
        emergency_exit_allowed=False,
        stays_open=stays_open,
        locked_stay_s=0.05,
    )

    async def count() -> int:
        return len([pair async for pair in source.snapshots()])

    return asyncio.create_task(count())


@pytest.mark.parametrize("stays_open", [True, False])
async def test_the_page_of_a_locked_device_ends_by_itself(stays_open: bool) -> None:
    driver = EndedDriver(Script().begin().machine.progress)
    assert await watch(driver, stays_open=stays_open) == 1


async def test_a_page_that_never_showed_anything_ends_at_once() -> None:
    """The journal could not be used: why is told once the page is closed."""
    driver = EndedDriver(None)
    source = DriverSource(
        cast(Driver, driver), emergency_exit_allowed=False, stays_open=True, locked_stay_s=60
    )
    async with asyncio.timeout(5):
        assert [pair async for pair in source.snapshots()] == []


async def test_the_page_of_an_open_device_waits_for_the_person_or_a_stop() -> None:
    open_device = Script(EnrollmentType.WINDOWS_MANUAL).begin().assign().play().machine.progress
    assert open_device.gate is Gate.RELEASED
    assert await watch(EndedDriver(open_device), stays_open=False) == 1
    driver = EndedDriver(open_device)
    watching = watch(driver, stays_open=True)
    done, _ = await asyncio.wait([watching], timeout=0.05)
    assert not done, "the person has not read it yet"
    driver.stop()
    assert await watching == 1
