"""Starts broker and collector as processes of their own, through their command lines, and stops them."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

READY_S: Final = 30.0
STOP_S: Final = 0.5
"""A process that does not end on SIGTERM by then is killed: what matters is on the disk already."""
TAIL_BYTES: Final = 2_000
PR_SET_PDEATHSIG: Final = 1
"""From <linux/prctl.h>."""


class NotStarted(Exception):
    """A broker or collector did not come up; the message has what it said last."""


@contextlib.asynccontextmanager
async def running(name: str, arguments: Sequence[str], log: Path) -> AsyncIterator[str]:
    """Run one of our programs while the block runs, and give the URL of its `ready` line.

    Its standard error goes to `log`.

    Raises:
        NotStarted: it ended, or was not ready in time.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            # Ctrl+C is for the simulator, which stops the others after its audit.
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        drain: asyncio.Task[None] | None = None
        try:
            url = await _ready(name, process, log)
            drain = asyncio.create_task(_drain(process), name=f"output of the {name}")
            yield url
        finally:
            await _stop(process)
            if drain is not None:
                drain.cancel()


async def _ready(name: str, process: asyncio.subprocess.Process, log: Path) -> str:
    assert process.stdout is not None, "it was started with a pipe"
    try:
        async with asyncio.timeout(READY_S):
            async for line in process.stdout:
                words = line.decode(errors="replace").split()
                if words[:1] == ["ready"] and len(words) == 2:
                    return words[1]
    except TimeoutError:
        raise NotStarted(
            f"the {name} was not ready within {READY_S:.0f} seconds; see {log}"
        ) from None
    raise NotStarted(f"the {name} ended before it was ready: {_tail(log)}; see {log}")


async def _drain(process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None, "it was started with a pipe"
    while await process.stdout.read(65_536):
        pass


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_S)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _tail(log: Path) -> str:
    lines = log.read_bytes()[-TAIL_BYTES:].decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _die_with_parent() -> None:
    """In the child, before its program starts: end with the simulator even when that is killed outright (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
