"""The command `esp-sim run`: what it is given and what it prints."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from agent.given import BadInput
from agent.runtime.ports import JournalUnreadable
from simulator.commands.command_line import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    AsJson,
    DataFolder,
    ScenarioFile,
    Seed,
    fail,
    scenario_or_exit,
)
from simulator.live.processes import NotStarted
from simulator.live.run import LiveProgress, LiveRun
from simulator.live.run_options import RAMP_PER_S, Address, LiveOptions
from simulator.live.storms import PlannedStorm, parse_rate
from simulator.live.summary import Summary, print_summary

LIVE_DEVICES_MAX: Final = 20_000


def run(
    scenario: ScenarioFile,
    devices: Annotated[
        int | None,
        typer.Option(min=1, max=LIVE_DEVICES_MAX, help="How many. [default: the scenario's]"),
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(
            min=0.01, max=10_000, help="Times faster than life. [default: the scenario's]"
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Processes that share the agents.")
    ] = 1,
    ramp: Annotated[
        str,
        typer.Option(metavar="RATE", help="Devices switched on at most: 50/s, or 600/m."),
    ] = f"{RAMP_PER_S:.0f}/s",
    storm: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND@TIME",
            help="reconnect@60s: everyone is cut off, and comes back. "
            "start@30s: whoever is still off is switched on at once. May be given several times.",
        ),
    ] = None,
    broker: Annotated[
        str | None, typer.Option(help="mqtt://HOST:PORT. [default: one is started]")
    ] = None,
    collector: Annotated[
        str | None,
        typer.Option(
            help="http://HOST:PORT of a collector on that broker. [default: one is started]"
        ),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="With --collector: its file DATA/token.")
    ] = None,
    trust: Annotated[
        Path | None, typer.Option(help="With --collector: its file DATA/keys/public.pem.")
    ] = None,
    tenant: Annotated[
        str | None,
        typer.Option(help="[default: a new one; with --collector 'default']"),
    ] = None,
    identities: Annotated[
        Path | None,
        typer.Option(help="Where the broker asks for accounts: its folder DIR/identities."),
    ] = None,
    data: DataFolder = None,
    seed: Seed = None,
    limit: Annotated[
        float | None,
        typer.Option(min=1, help="Stop after so many seconds; what is not through is unfinished."),
    ] = None,
    *,
    check_virtual: Annotated[
        bool,
        typer.Option(
            "--check-virtual",
            help="Compare each device with the same fleet in simulated time; starts are the scenario's, without a ramp.",
        ),
    ] = False,
    as_json: AsJson = False,
    no_board: Annotated[
        bool, typer.Option("--no-board", help="Plain progress, even on a terminal.")
    ] = False,
) -> None:
    """Enroll a whole fleet with the real agent, then audit every report and every gate.

    The summary says how long it took from each event until it was stored, and everything that failed, by reason.
    On a terminal the collector's board is shown; leaving it (q) shows the plain progress. Ctrl+C ends the run with
    the summary so far.

    \b
    Examples:
      esp-sim run simulator/scenarios/demo.toml
      esp-sim run simulator/scenarios/company.toml --devices 200 --speed 120 --broker mqtt://127.0.0.1:1883 --json
      esp-sim run simulator/scenarios/load.toml --devices 2000 --workers 2 --ramp 50/s --storm reconnect@90s
      esp-sim run simulator/scenarios/company.toml --devices 300 --speed 120 --check-virtual
    """
    known = scenario_or_exit(scenario)
    if collector is not None and (token_file is None or trust is None or broker is None):
        fail("--collector needs --broker, --token-file and --trust of the same collector")
    if data is not None and data.is_dir() and any(data.iterdir()):
        fail(f"--data {data}: is not empty; name a new folder")
    options = LiveOptions(
        scenario=known,
        scenario_file=scenario,
        devices=known.devices if devices is None else devices,
        seed=known.seed if seed is None else seed,
        speed=known.speed if speed is None else speed,
        workers=workers,
        ramp_per_s=_ramp(ramp),
        storms=_storms(storm or []),
        broker=broker,
        collector=collector,
        token_file=token_file,
        trust=trust,
        identities=identities,
        tenant=tenant,
        data=data,
        limit_s=limit,
        check_virtual=check_virtual,
    )
    if check_virtual and storm:
        fail("--check-virtual: simulated time has no storms; leave --storm out")
    if options.devices > LIVE_DEVICES_MAX:
        fail(f"{scenario}: devices: {options.devices} are too many to run live; give --devices")
    with_board = not (as_json or no_board) and sys.stdout.isatty() and sys.stdin.isatty()
    summary, interrupted = _run_live(options, with_board=with_board)
    conclude(summary, as_json=as_json, interrupted=interrupted)


def conclude(summary: Summary, *, as_json: bool, interrupted: bool) -> None:
    """Print the summary, and end with an exit code other than 0 unless it is good."""
    if as_json:
        typer.echo(json.dumps(summary.as_json()))
    else:
        print_summary(summary, Console(highlight=False))
    if not summary.is_good:
        raise typer.Exit(EXIT_INTERRUPTED if interrupted else EXIT_FAILED)


def _ramp(text: str) -> float:
    try:
        return parse_rate(text)
    except ValueError as problem:
        fail(f"--ramp: {problem}")


def _storms(texts: list[str]) -> tuple[PlannedStorm, ...]:
    try:
        return tuple(PlannedStorm.parse(text) for text in texts)
    except ValueError as problem:
        fail(f"--storm: {problem}")


def _run_live(options: LiveOptions, *, with_board: bool) -> tuple[Summary, bool]:
    try:
        return asyncio.run(_live(options, with_board=with_board))
    except (BadInput, NotStarted, JournalUnreadable) as problem:
        fail(problem)


async def _live(options: LiveOptions, *, with_board: bool) -> tuple[Summary, bool]:
    live = LiveRun(options)
    interrupted = asyncio.Event()

    def interrupt() -> None:
        interrupted.set()
        live.stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, interrupt)
    board = Board(interrupted) if with_board else None
    if board is not None:
        typer.echo(
            "Starting. On the board q shows plain progress; Ctrl+C here ends the run.", err=True
        )
    show = _nothing if board is None else board.show

    def tell(progress: LiveProgress) -> None:
        if board is None or not board.is_up:
            _tell(progress)

    return await live.run(show, tell), interrupted.is_set()


@contextlib.asynccontextmanager
async def _nothing(_: Address, __: asyncio.Event) -> AsyncIterator[None]:
    yield


class Board:
    """The collector's board in this terminal, as a process of its own, while the fleet goes on behind it."""

    def __init__(self, interrupted: asyncio.Event) -> None:
        self._interrupted = interrupted
        self.is_up = False

    @contextlib.asynccontextmanager
    async def show(self, collector: Address, _: asyncio.Event) -> AsyncIterator[None]:
        """Show it; at the end of the run it stays until the person leaves it."""
        arguments = ["-m", "collector", "board", "--url", collector.url]
        arguments += ["--token-file", str(collector.token_file)]
        process = await asyncio.create_subprocess_exec(sys.executable, *arguments)
        self.is_up = True
        watching = asyncio.create_task(self._watch(process), name="board")
        try:
            yield
            await watching
        finally:
            if process.returncode is None:
                process.terminate()
            await watching

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        ending = asyncio.create_task(self._interrupted.wait())
        ended = asyncio.create_task(process.wait())
        await asyncio.wait({ending, ended}, return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        if not ended.done():
            process.terminate()
            await ended
        self.is_up = False


def _tell(progress: LiveProgress) -> None:
    stages = ", ".join(f"{count} {stage}" for stage, count in sorted(progress.stages.items()))
    line = (
        f"{progress.seconds:5.0f} s  {progress.finished} of {progress.devices} devices are through"
    )
    line += f", {progress.connected} connected; {progress.events_per_s:.0f} reports/s"
    line += f", {progress.waiting} wait"
    if stages:
        line += f"; {stages}"
    typer.echo(line, err=True)
