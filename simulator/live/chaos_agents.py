"""The processes in which agents run, as something that can be killed, starved of disk and started again."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from agent.assembly import journal_file
from agent.wire.identity import Identity
from simulator.live.chaos_network import Line
from simulator.live.processes import Program
from simulator.live.worker import WorkerPlan
from simulator.live.workers import Heard, worker_program
from simulator.population import SimulatedDevice

FULL_BYTES: Final = 64 * 1024
"""While the disk is full no file of a process may grow beyond this: its journal can't, a device's record can."""
FULL_WAIT_S: Final = 10.0
STOP_S: Final = 5.0
ENDED: Final = frozenset({0, 4, 5, 6, 7, 8})
"""The exit codes with which `esp-agent run` ends by itself: docs/exit-codes.md."""

Pause = Callable[[float], Awaitable[bool]]
"""Waits so many seconds, or less when the run is stopped; True when it is."""

if sys.platform == "linux":
    import resource

    CAN_FILL_DISK = True

    def _limit_files(pid: int, limit_bytes: int | None) -> None:
        """Let no file that a process writes grow beyond this; None lifts the limit again."""
        _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        soft = most if limit_bytes is None else limit_bytes
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, most))

else:
    CAN_FILL_DISK = False

    def _limit_files(pid: int, limit_bytes: int | None) -> None:
        """Only Linux changes the limits of another process."""
        raise NotImplementedError


class Agents(ABC):
    """One process with agents, its journal and its line."""

    def __init__(
        self,
        line: Line,
        devices: Sequence[SimulatedDevice],
        journal: Path,
        program: Program,
        pause: Pause,
    ) -> None:
        self.line = line
        self.devices = devices
        self.journal = journal
        self.lock = asyncio.Lock()
        self.line_lock = asyncio.Lock()
        self.begun: set[str] = set()
        self.through: set[str] = set()
        self.crashed: dict[str, str] = {}
        self._program = program
        self._pause = pause

    @property
    def name(self) -> str:
        """As it is named in the log."""
        return self._program.name

    @property
    def enrolling(self) -> set[str]:
        """Its agents that have begun and are not through."""
        return self.begun - self.through - self.crashed.keys()

    @property
    def is_over(self) -> bool:
        """Whether its process has ended and nobody starts it again."""
        return self._program.pid is None

    @abstractmethod
    def record_of(self, device: str) -> Path:
        """Where is written what is really on a device."""

    @abstractmethod
    async def begin(self) -> None:
        """Let its agents begin, each at its time."""

    @abstractmethod
    async def problem(self) -> str:
        """How it ended that it should not; empty when it ended well."""

    async def launch(self) -> None:
        """Start its process; the agents take up their journals."""
        await self._program.launch()

    async def kill(self, away_s: float) -> None:
        """Kill it, and start it again after a while; one that has just ended is let be."""
        if self._program.pid is not None:
            await self._program.kill()
            await self._pause(away_s)
            await self.launch()

    async def stop(self) -> None:
        """End it, with a goodbye of each agent."""
        await self._program.stop(STOP_S)


class Worker(Agents):
    """A part of the fleet in one process."""

    def __init__(
        self,
        line: Line,
        devices: Sequence[SimulatedDevice],
        plan: WorkerPlan,
        plan_file: Path,
        pause: Pause,
    ) -> None:
        self._plan = plan
        self._plan_file = plan_file
        self._paused = 0
        self._pausing = asyncio.Event()
        self._log = plan_file.with_suffix(".log")
        self._heard = _HeardWhenPaused(self._note_paused)
        program = worker_program(plan_file, self._heard)
        super().__init__(line, devices, plan.journal, program, pause)
        self.begun, self.through = self._heard.begun, self._heard.through
        self.crashed = self._heard.crashed

    def record_of(self, device: str) -> Path:
        """See `Agents.record_of`."""
        assert self._plan.records is not None, "a worker that may be killed keeps records"
        return self._plan.records / f"{device}.json"

    async def begin(self) -> None:
        """See `Agents.begin`."""
        await self.launch()

    async def launch(self) -> None:
        """See `Agents.launch`."""
        self._note_paused(0)
        self._plan_file.write_text(self._plan.model_dump_json())
        await super().launch()

    async def problem(self) -> str:
        """See `Agents.problem`."""
        code = await self._program.ended()
        return f"{self.name} ended with exit code {code}; see {self._log}" if code else ""

    async def kill_and_set_clock(self, jump_s: float) -> None:
        """Kill it, and start it again with another time of day."""
        self._plan = self._plan.model_copy(update={"clock_jump_s": jump_s})
        await self.kill(0)

    async def fill_disk(self, for_s: float) -> int:
        """Let no file of it grow for a while; how many agents could not write their journal."""
        pid = self._program.pid
        if pid is None:
            return 0
        _limit_files(pid, FULL_BYTES)
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._pausing.wait(), FULL_WAIT_S)
                await self._pause(for_s)
            return self._paused
        finally:
            with contextlib.suppress(ProcessLookupError):
                _limit_files(pid, None)

    def _note_paused(self, paused: int) -> None:
        self._paused = paused
        if paused:
            self._pausing.set()
        else:
            self._pausing.clear()


class _HeardWhenPaused(Heard):
    """Tells at once how many agents can't write."""

    def __init__(self, note: Callable[[int], None]) -> None:
        super().__init__()
        self._note = note

    def hear(self, line: str) -> bool:
        """See `Heard.hear`."""
        is_whole = super().hear(line)
        if is_whole:
            self._note(self.last.paused)
        return is_whole


class Loner(Agents):
    """One device that runs `esp-agent run`, as a real one does; somebody answers its screens at once."""

    def __init__(
        self,
        *,
        line: Line,
        device: SimulatedDevice,
        folder: Path,
        starts_s: float,
        identity: Identity,
        seed: int,
        speed: float,
        pause: Pause,
    ) -> None:
        # The endpoint of `esp-agent run` does not know what its hardware is made of.
        facts = replace(device.facts, hardware=None)
        identity_file = folder / "identity.json"
        folder.mkdir(parents=True)
        identity_file.write_text(identity.model_dump_json(by_alias=True, exclude_none=True))
        arguments = ["agent", "run", "--no-screen", "--yes", "--state-dir", str(folder)]
        arguments += ["--platform", facts.enrollment_type.value, "--variant", facts.variant.value]
        arguments += ["--device", device.id, "--os-version", facts.os_version]
        arguments += ["--identity", str(identity_file), "--broker", line.url]
        arguments += ["--seed", str(seed), "--speed", str(speed)]
        if facts.user is not None:
            arguments += ["--user", facts.user]
        self._folder = folder
        self._starts_s = starts_s
        self._beginning: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        program = Program(f"agent {device.id}", arguments, folder / "agent.err")
        journal = journal_file(folder, device.id)
        super().__init__(line, [replace(device, facts=facts)], journal, program, pause)

    @property
    def is_over(self) -> bool:
        """See `Agents.is_over`."""
        return super().is_over and self._beginning is not None and self._beginning.done()

    def record_of(self, device: str) -> Path:
        """See `Agents.record_of`."""
        return self._folder / f"{device}.simulated.json"

    async def begin(self) -> None:
        """See `Agents.begin`."""
        self._beginning = asyncio.create_task(self._begin(), name=f"start of {self.name}")

    async def launch(self) -> None:
        """See `Agents.launch`."""
        await super().launch()
        self.begun.update(device.id for device in self.devices)
        self._ending = asyncio.create_task(self._see_end(), name=f"end of {self.name}")

    async def problem(self) -> str:
        """See `Agents.problem`."""
        code = await self._program.ended()
        if code is None or code in ENDED:
            return ""
        return f"{self.name} ended with exit code {code}; see {self._folder / 'agent.err'}"

    async def stop(self) -> None:
        """See `Agents.stop`."""
        if self._beginning is not None:
            self._beginning.cancel()
            await asyncio.gather(self._beginning, return_exceptions=True)
        await super().stop()
        if self._ending is not None:
            await self._ending

    async def _begin(self) -> None:
        if not await self._pause(self._starts_s):
            await self.launch()

    async def _see_end(self) -> None:
        if await self._program.ended() in ENDED:
            self.through.update(self.begun)
