"""Starts our programs as processes of their own, through their command lines, and stops, kills or halts them."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

READY_S: Final = 30.0
STOP_S: Final = 0.5
"""A process that does not end on SIGTERM by then is killed: what matters is on the disk already."""
TAIL_BYTES: Final = 2_000
PR_SET_PDEATHSIG: Final = 1
"""From <linux/prctl.h>."""

LINE_BYTES_MAX: Final = 4 * 1024 * 1024
"""A line of a process with thousands of devices names them all."""

Hear = Callable[[str], object]


class NotStarted(Exception):
    """A broker or collector did not come up; the message has what it said last."""


class Program:
    """One of our programs; it can be started again after it has ended. Its standard error goes to `log`.

    `hear` is told each line that it says after `ready`. `python` is the interpreter of another environment.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        log: Path,
        hear: Hear | None = None,
        *,
        python: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._python = sys.executable if python is None else str(python)
        self._environment = None if environment is None else {**os.environ, **environment}
        self._arguments = arguments
        self._log = log
        self._hear = hear
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[str] | None = None

    @property
    def pid(self) -> int | None:
        """Its process, which leads a group of its own; None while it does not run."""
        process = self._process
        return None if process is None or process.returncode is not None else process.pid

    async def launch(self) -> None:
        """Start the process, and leave it to come up."""
        assert self.pid is None, "one process at a time"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                self._python,
                "-m",
                *self._arguments,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                limit=LINE_BYTES_MAX,
                # Ctrl+C is for the simulator, which stops the others after its audit.
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        self._process = process
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._ready = ready
        self._reading = asyncio.create_task(
            self._read(process, ready), name=f"output of the {self.name}"
        )

    async def ready(self) -> str:
        """Wait until it is up: what its `ready` line says.

        Raises:
            NotStarted: it ended, or was not ready in time.
        """
        assert self._ready is not None, "it was launched"
        done, _ = await asyncio.wait({self._ready}, timeout=READY_S)
        if not done:
            raise NotStarted(
                f"the {self.name} was not ready within {READY_S:.0f} seconds; see {self._log}"
            )
        return self._ready.result()

    async def start(self) -> str:
        """Launch it and wait until it is up. Raises `NotStarted`."""
        await self.launch()
        return await self.ready()

    async def ended(self) -> int | None:
        """Wait until it has ended; its exit code, None when it was never launched."""
        return None if self._process is None else await self._process.wait()

    async def heard_all(self) -> None:
        """Wait until everything that it said before it ended is heard."""
        if self._reading is not None:
            await asyncio.wait({self._reading})

    async def kill(self) -> None:
        """SIGKILL to it and to what it started."""
        self._signal(signal.SIGKILL)
        await self._over()

    def halt(self) -> None:
        """SIGSTOP to it and to what it started: it keeps its connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    async def stop(self, within_s: float = STOP_S, by: signal.Signals = signal.SIGTERM) -> None:
        """SIGTERM, or another signal, and SIGKILL to what is still there after `within_s`."""
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(by)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), within_s)
            self._signal(signal.SIGKILL)
        await self._over()

    def _signal(self, number: signal.Signals) -> None:
        if (pid := self.pid) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, number)

    async def _over(self) -> None:
        if self._process is not None:
            await self._process.wait()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self, process: asyncio.subprocess.Process, ready: asyncio.Future[str]) -> None:
        assert process.stdout is not None, "it was started with a pipe"
        try:
            async for line in process.stdout:
                text = line.decode(errors="replace").strip()
                words = text.split()
                if ready.done():
                    if self._hear is not None:
                        self._hear(text)
                elif words[:1] == ["ready"] and len(words) == 2:
                    ready.set_result(words[1])
        finally:
            if not ready.done():
                ready.set_exception(
                    NotStarted(
                        f"the {self.name} ended before it was ready: {_tail(self._log)}; see {self._log}"
                    )
                )
                # Whoever restarts it without waiting has nothing to say about it.
                ready.exception()


@contextlib.asynccontextmanager
async def running(name: str, arguments: Sequence[str], log: Path) -> AsyncIterator[str]:
    """Run one of our programs while the block runs, and give the URL of its `ready` line.

    Raises:
        NotStarted: it ended, or was not ready in time.
    """
    program = Program(name, arguments, log)
    try:
        yield await program.start()
    finally:
        await program.stop()


def _tail(log: Path) -> str:
    lines = log.read_bytes()[-TAIL_BYTES:].decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _die_with_parent() -> None:
    """In the child, before its program starts: end with the simulator even when that is killed outright (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
