"""Enrolls a cohort in simulated time: devices that influence each other side by side, all others one after another."""

from __future__ import annotations

import gc
import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Final, Protocol

from agent.core.effects import Effect
from agent.core.events import Event
from simulator.device import COLLECTOR_ANSWERS_MS, Register, VirtualCollector, VirtualDevice
from simulator.population import Cohort, SimulatedDevice, devices_of
from simulator.rollout import Rollout
from simulator.site import DeviceLine, SharedLine
from simulator.step_events import PERCENTS

OBJECTS_BETWEEN_COLLECTIONS: Final = 200_000
"""More than the devices of any task leave behind: what they consist of refers to itself in no circle."""


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Let Python look for circles among objects rarely: devices by the thousand have none, and it looks at all of them."""
    before = gc.get_threshold()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


class Observer(Protocol):
    """Looks at one device of a cohort."""

    def watch(self, at_ms: int, event: Event, effects: Sequence[Effect]) -> None:
        """Sees each input, at the device's time, with the effects that it had."""
        ...

    def close(self) -> object:
        """The device is through."""
        ...


def enroll_cohort(
    rollout: Rollout,
    seed: int,
    cohort: Cohort,
    observe: Callable[[VirtualDevice], Observer],
    *,
    answer_ms: int = COLLECTOR_ANSWERS_MS,
    percents: Sequence[int] = PERCENTS,
) -> None:
    """Enroll the devices of one cohort.

    Args:
        observe: makes an observer for each device before it is switched on.
        answer_ms: how long the collector takes to answer.
        percents: what apps say of their progress within a state; nobody who only counts has to hear it.
    """
    with _rare_collections():
        for coupled in _coupled(devices_of(rollout.scenario, seed, cohort)):
            if _matter_to_each_other(coupled, rollout.scenario.admission.device_limit):
                _Together(rollout, coupled, answer_ms, percents).run(observe)
                continue
            for simulated in coupled:
                device = VirtualDevice(rollout, simulated, answer_ms=answer_ms, percents=percents)
                observer = observe(device)
                device.run(observer.watch)
                observer.close()


def _coupled(devices: Iterable[SimulatedDevice]) -> Iterator[Sequence[SimulatedDevice]]:
    """Those on one line, else those of one user: whoever has too many devices is refused the next one."""
    for _, group in groupby(devices, key=lambda d: d.shares_a_line or d.facts.user):
        yield tuple(group)


def _matter_to_each_other(devices: Sequence[SimulatedDevice], device_limit: int) -> bool:
    """False for the devices of a user who may have all of them whatever becomes of each."""
    return devices[0].shares_a_line or (
        len(devices) > 1 and devices[0].other_devices + len(devices) > device_limit
    )


class _Together:
    """Devices on one heap, by the site's time: each is on it once, with the time of its next input."""

    def __init__(
        self,
        rollout: Rollout,
        devices: Sequence[SimulatedDevice],
        answer_ms: int,
        percents: Sequence[int],
    ) -> None:
        site = devices[0].site
        shared = site is not None and devices[0].shares_a_line
        self._line = SharedLine.of(site) if shared and site is not None else None
        self._ends: list[DeviceLine] = []
        self._devices: list[VirtualDevice] = []
        self._due: list[int | None] = [None] * len(devices)
        self._heap: list[tuple[int, int]] = []
        register = Register()
        for place, device in enumerate(devices):
            end = None
            if self._line is not None:
                end = DeviceLine(self._line, place, device.starts_at_ms)
                self._ends.append(end)
            collector = VirtualCollector(rollout, device, register)
            self._devices.append(
                VirtualDevice(
                    rollout,
                    device,
                    collector=collector,
                    answer_ms=answer_ms,
                    line=end,
                    percents=percents,
                )
            )

    def run(self, observe: Callable[[VirtualDevice], Observer]) -> None:
        """Enroll all of them."""
        observers = [observe(device) for device in self._devices]
        for place, (device, observer) in enumerate(zip(self._devices, observers, strict=True)):
            device.switch_on(observer.watch)
            self._schedule(place)
        while self._next():
            pass
        for observer in observers:
            observer.close()

    def _next(self) -> bool:
        """Let the next thing happen, the line before a device at the same time; False when nothing will."""
        while self._heap and self._due[self._heap[0][1]] != self._heap[0][0]:
            heapq.heappop(self._heap)
        line, first_ms = self._line, self._heap[0][0] if self._heap else None
        line_ms = None if line is None else line.next_ms()
        if line is not None and line_ms is not None and (first_ms is None or line_ms <= first_ms):
            self._hear(line)
            return True
        if first_ms is None:
            return False
        _, place = heapq.heappop(self._heap)
        self._devices[place].step()
        self._schedule(place)
        return True

    def _hear(self, line: SharedLine) -> None:
        reached = line.take()
        place, item = reached.download.device, reached.download.item
        at_ms = self._ends[place].device_ms(reached)
        self._devices[place].downloaded(item, reached.percent, at_ms, broke=reached.broke)
        self._schedule(place)

    def _schedule(self, place: int) -> None:
        """Put a device on the heap for its next input; an entry for another time is worth nothing from now on."""
        device = self._devices[place]
        next_ms = device.next_ms()
        due_ms = None if next_ms is None else device.device.starts_at_ms + next_ms
        self._due[place] = due_ms
        if due_ms is not None:
            heapq.heappush(self._heap, (due_ms, place))
