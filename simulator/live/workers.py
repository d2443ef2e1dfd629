"""The processes that share the agents of a live fleet: how they are told what to do, heard, and asked for an account."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from simulator.live.processes import Program
from simulator.live.worker import GOODBYES_S, WorkerNews, WorkerPlan
from simulator.live.worker_account import DeviceAccount, WorkerFigures, read_account
from simulator.population import SimulatedDevice

STOP_S: Final = GOODBYES_S + 5.0
"""What a process may take for its goodbyes and its account."""
HURRIED_STOP_S: Final = 1.0
"""The same while somebody waits for the summary."""


class Heard:
    """What a worker has said of itself so far, over all of its lives."""

    def __init__(self) -> None:
        self.begun: set[str] = set()
        self.through: set[str] = set()
        self.crashed: dict[str, str] = {}
        self.last = WorkerNews()

    def hear(self, line: str) -> bool:
        """Take in one line; False for one that was cut in the middle when the process died."""
        try:
            news = WorkerNews.model_validate_json(line)
        except ValidationError:
            return False
        self.begun.update(news.begun)
        self.through.update(news.through)
        self.crashed.update(news.crashed)
        self.last = news
        return True


def worker_program(plan_file: Path, hear: Heard) -> Program:
    """The program of a worker whose plan is in this file; its log is beside it."""
    arguments = ["simulator.live.worker", str(plan_file)]
    return Program(plan_file.stem, arguments, plan_file.with_suffix(".log"), hear.hear)


class Worker:
    """One process of a fleet that nobody strikes."""

    def __init__(self, plan: WorkerPlan, plan_file: Path) -> None:
        self.plan = plan
        self.heard = Heard()
        self._plan_file = plan_file
        self._program = worker_program(plan_file, self.heard)

    @property
    def pid(self) -> int | None:
        """Its process while it runs."""
        return self._program.pid

    async def start(self) -> None:
        """Start it. Raises `NotStarted`."""
        self._plan_file.write_text(self.plan.model_dump_json())
        await self._program.start()

    async def ended(self) -> None:
        """Wait until it has ended, and everything that it said is heard."""
        await self._program.ended()
        await self._program.heard_all()

    async def stop(self) -> None:
        """End it, with a goodbye of each agent."""
        await self._program.stop(STOP_S)

    async def stop_at_once(self) -> None:
        """End it, with as many goodbyes as there is time for."""
        await self._program.stop(HURRIED_STOP_S, signal.SIGINT)

    async def problem(self) -> str:
        """How it ended that it should not; empty when it ended well."""
        code = await self._program.ended()
        if not code:
            return ""
        log = self._plan_file.with_suffix(".log")
        return f"{self._plan_file.stem} ended with exit code {code}; see {log}"

    def account(self) -> tuple[WorkerFigures, list[DeviceAccount]] | None:
        """What came of it; None when it did not come to write that."""
        assert self.plan.account is not None, "a worker of a run gives an account"
        try:
            figures, devices = read_account(self.plan.account)
            return figures, list(devices)
        except (OSError, ValueError):
            return None


def shares(devices: Iterable[SimulatedDevice], workers: int) -> list[list[SimulatedDevice]]:
    """The devices that each process takes, in their order: those that share a line together. At most so many processes."""
    groups: dict[tuple[bool, int], list[SimulatedDevice]] = {}
    for device in devices:
        key = (True, device.cohort) if device.shares_a_line else (False, device.index)
        groups.setdefault(key, []).append(device)
    taken: list[list[SimulatedDevice]] = [[] for _ in range(min(workers, len(groups)))]
    for group in sorted(groups.values(), key=lambda group: (-len(group), group[0].index)):
        least = min(range(len(taken)), key=lambda i: (len(taken[i]), i))
        taken[least] += group
    return [sorted(share, key=lambda device: device.index) for share in taken]


def total_stages(news: Iterable[WorkerNews]) -> Mapping[str, int]:
    """How many agents are at each stage, over all processes."""
    stages: Counter[str] = Counter()
    for one in news:
        stages.update(one.stages)
    return stages
