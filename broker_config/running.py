"""Running a broker in the foreground: ready is said when it answers, and nothing is left behind at the end."""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import shutil
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

from broker_config.deployment import Deployment
from broker_config.guard import of_interest
from broker_config.mosquitto import Listener
from broker_config.problems import BrokerProblem
from broker_config.readiness import check_port, until_ready
from broker_config.settings import LOOPBACK, broker_url
from broker_config.watchman import Watchman

READY_S = 10.0
GOODBYE_S = 10.0
ASK_AGAIN_S = 0.5
RELOAD_CHECK_S = 0.1
"""Short, because whoever revokes a stolen device wants it to hold now."""
LINES_KEPT = 20
CHUNK_BYTES = 256 * 1024
_RUNS = re.compile(r"mosquitto version \S+ running$")
PR_SET_PDEATHSIG = 1
"""From <linux/prctl.h>."""

Announce = Callable[[str], None]


def find_mosquitto() -> str | None:
    """Mosquitto's program; Debian keeps it where an ordinary user's PATH does not look."""
    places = [os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"]
    return shutil.which("mosquitto", path=os.pathsep.join(places))


async def run_embedded(host: str, port: int, announce: Announce) -> None:
    """Run the embedded broker until SIGTERM or SIGINT. Raises `BrokerProblem`."""
    # amqtt is an extra: a machine that runs Mosquitto goes without it.
    try:
        from broker_config.embedded import embedded_broker  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise BrokerProblem(
            f"the embedded broker needs the library {error.name}; "
            "install enrollment-agent[broker], or install Mosquitto"
        ) from error
    async with _stop_signals() as stopped, embedded_broker(host, port) as bound:
        try:
            await asyncio.wait_for(until_ready(_reachable(host), bound), READY_S)
        except TimeoutError:
            raise BrokerProblem(_no_answer("the embedded broker")) from None
        announce(broker_url(_reachable(host), bound))
        await stopped.wait()


async def run_mosquitto(
    program: str,
    configuration: Path,
    listeners: tuple[Listener, ...],
    place: Deployment,
    announce: Announce,
) -> None:
    """Run Mosquitto until SIGTERM or SIGINT, and let it read its files anew when one of them changes.

    Where devices have certificates, whoever does far more than a device is cut off.

    Raises:
        BrokerProblem: a port is taken, or Mosquitto ended by itself; with what it said.
    """
    for listener in listeners:
        check_port(listener.host, listener.port)
    async with _stop_signals() as stopped:
        process = await asyncio.create_subprocess_exec(
            program,
            "-c",
            str(configuration),
            *(["-v"] if listeners[0].is_tls else []),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            preexec_fn=_die_with_parent,
        )
        said: deque[str] = deque(maxlen=LINES_KEPT)
        watchman = Watchman(
            place,
            _reachable(listeners[0].host),
            listeners[0].port,
            reload=partial(_reload, process),
            say=partial(_say, said),
        )
        hear = watchman.hear if listeners[0].is_tls else None
        runs = asyncio.Event()
        relay = asyncio.create_task(_relay(process, said, hear, runs), name="mosquitto log")
        try:
            if await _came_up(process, listeners[0], stopped, runs):
                first = listeners[0]
                announce(broker_url(_reachable(first.host), first.port, is_tls=first.is_tls))
            await _until_stopped(process, place.watched, stopped, watchman)
        finally:
            await _end(process)
            await relay
    if not stopped.is_set():
        raise BrokerProblem(_why_it_ended(process.returncode, said))


async def _came_up(
    process: asyncio.subprocess.Process,
    listener: Listener,
    stopped: asyncio.Event,
    runs: asyncio.Event,
) -> bool:
    """True when the broker serves; False when it ended, or was stopped, before that.

    Behind TLS nobody answers a stranger, so there its own word counts.
    """
    served = (
        runs.wait() if listener.is_tls else until_ready(_reachable(listener.host), listener.port)
    )
    ready = asyncio.ensure_future(served)
    others = [
        asyncio.create_task(process.wait(), name="mosquitto"),
        asyncio.create_task(stopped.wait(), name="stop"),
    ]
    done, _ = await asyncio.wait(
        [ready, *others], timeout=READY_S, return_when=asyncio.FIRST_COMPLETED
    )
    await _cancel(ready, *others)
    if not done:
        raise BrokerProblem(_no_answer("Mosquitto"))
    return done == {ready} and process.returncode is None


async def _until_stopped(
    process: asyncio.subprocess.Process,
    watched: tuple[Path, ...],
    stopped: asyncio.Event,
    watchman: Watchman,
) -> None:
    tasks = [
        asyncio.create_task(process.wait(), name="mosquitto"),
        asyncio.create_task(stopped.wait(), name="stop"),
        asyncio.create_task(_reload_on_change(process, watched), name="reload"),
        asyncio.create_task(watchman.stand(), name="guard"),
    ]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    await _cancel(*tasks)


async def _reload_on_change(process: asyncio.subprocess.Process, watched: tuple[Path, ...]) -> None:
    """What was just revoked or renewed holds without a restart."""
    last = [_stamp(path) for path in watched]
    while True:
        await asyncio.sleep(RELOAD_CHECK_S)
        if (now := [_stamp(path) for path in watched]) != last:
            last = now
            _reload(process)


def _reload(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGHUP)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino


async def _relay(
    process: asyncio.subprocess.Process,
    said: deque[str],
    hear: Callable[[str], None] | None,
    runs: asyncio.Event,
) -> None:
    """Pass on what a person reads. By the chunk: under a flood a line at a time would hold the broker up."""
    assert process.stderr is not None
    rest = ""
    while chunk := await process.stderr.read(CHUNK_BYTES):
        text = chunk.decode(errors="replace")
        if hear is not None:
            hear(text)
        whole, newline, rest = (rest + text).rpartition("\n")
        for line in of_interest(whole) if newline else ():
            _say(said, line)
            if _RUNS.search(line):
                runs.set()
    if rest:
        _say(said, rest)


def _say(said: deque[str], line: str) -> None:
    said.append(line)
    print(line, file=sys.stderr, flush=True)  # noqa: T201


async def _end(process: asyncio.subprocess.Process) -> None:
    """Let it save what it keeps, and end it if it does not.

    It is asked again and again: Mosquitto forgets a signal that comes right after it said that it runs.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(GOODBYE_S):
            while process.returncode is None:
                with suppress(ProcessLookupError):
                    process.terminate()
                with suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), ASK_AGAIN_S)
            return
    process.kill()
    await process.wait()


async def _cancel(*tasks: asyncio.Task[object]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _no_answer(who: str) -> str:
    return f"{who} did not answer within {READY_S:.0f} seconds; look at its log above"


def _why_it_ended(code: int | None, said: deque[str]) -> str:
    errors = [line.partition(": ")[2] for line in said if "Error" in line]
    sentences = "; ".join(errors or list(said)[-1:]) or "it said nothing"
    return f"Mosquitto ended with code {code}: {sentences}"


def _reachable(host: str) -> str:
    """Where to knock at a listener that is bound to every address."""
    return LOOPBACK if host in {"", "0.0.0.0"} else host  # noqa: S104


@asynccontextmanager
async def _stop_signals() -> AsyncIterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set, instead of ending this process with its child still running."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    try:
        yield stopped
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _die_with_parent() -> None:
    """In the child, before Mosquitto starts: end with this program even when it is killed outright (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
