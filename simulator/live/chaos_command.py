"""The command `esp-sim chaos`: what it is given and what it prints."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import Annotated, Final

import typer
from rich.console import Console

from agent.given import BadInput
from simulator.commands.command_line import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    AsJson,
    DataFolder,
    ScenarioFile,
    fail,
    scenario_or_exit,
)
from simulator.live.chaos import ChaosOptions, ChaosProgress, ChaosRun
from simulator.live.chaos_outage import Outage
from simulator.live.chaos_recovery import Felt
from simulator.live.chaos_summary import ChaosSummary, print_chaos
from simulator.live.processes import NotStarted

DEVICES: Final = 100
DEVICES_MAX: Final = 5_000
FAULTS: Final = 200
WORKERS: Final = 10
SPEED: Final = 10.0
EVERY_S: Final = 1.2


def chaos(
    scenario: ScenarioFile,
    devices: Annotated[int, typer.Option(min=1, max=DEVICES_MAX, help="How many.")] = DEVICES,
    faults: Annotated[int, typer.Option(min=1, max=100_000, help="How many.")] = FAULTS,
    every: Annotated[
        float, typer.Option(min=0.05, help="Seconds from one fault to the next, on average.")
    ] = EVERY_S,
    workers: Annotated[
        int, typer.Option(min=1, max=500, help="Processes that share the agents.")
    ] = WORKERS,
    alone: Annotated[
        int,
        typer.Option(
            min=0,
            max=500,
            help="How many of the devices run `esp-agent run`, each a process of its own.",
        ),
    ] = 0,
    speed: Annotated[
        float, typer.Option(min=0.01, max=10_000, help="Times faster than life.")
    ] = SPEED,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Another seed is another fleet and another schedule. [default: the scenario's]",
        ),
    ] = None,
    outage: Annotated[
        str | None,
        typer.Option(
            metavar="collector:TIME",
            help="Instead of faults: take the collector away for so long in the devices' time, and watch the return.",
        ),
    ] = None,
    broker: Annotated[
        str | None,
        typer.Option(help="mqtt://HOST:PORT; it is not struck itself. [default: one is started]"),
    ] = None,
    data: DataFolder = None,
    settle: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="Seconds within which everyone has to finish after the last fault. "
            "[default: 180 and three hours of the devices' time]",
        ),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Strike a live fleet with real faults while it enrolls, then audit every report and every gate.

    The agents run in processes of their own, behind a network that can fail. Processes are killed and halted, lines
    cut and silenced, disks filled; docs/chaos.md says how real each fault is. Ctrl+C ends the run with the summary
    so far. Exit codes: 0 good, 1 something was found, 130 interrupted.

    \b
    Examples:
      esp-sim chaos simulator/scenarios/demo.toml
      esp-sim chaos simulator/scenarios/demo.toml --devices 12 --workers 4 --faults 14 --every 0.9 --speed 150
      esp-sim chaos simulator/scenarios/demo.toml --devices 1200 --workers 4 --speed 5 --outage collector:10m
    """
    known = scenario_or_exit(scenario)
    try:
        options = ChaosOptions(
            scenario=known,
            scenario_file=scenario,
            devices=devices,
            faults=faults,
            seed=known.seed if seed is None else seed,
            speed=speed,
            workers=workers,
            alone=min(alone, devices),
            every_s=every,
            settle_s=settle,
            broker=broker,
            data=data,
            outage=None if outage is None else Outage.parse(outage),
        )
        summary, interrupted = asyncio.run(_run(options))
    except (BadInput, NotStarted) as problem:
        fail(problem)
    except ValueError as problem:
        fail(f"--outage: {problem}")
    if as_json:
        typer.echo(json.dumps(summary.as_json()))
    else:
        print_chaos(summary, Console(highlight=False))
    if not summary.is_good:
        raise typer.Exit(EXIT_INTERRUPTED if interrupted else EXIT_FAILED)


async def _run(options: ChaosOptions) -> tuple[ChaosSummary, bool]:
    run = ChaosRun(options)
    interrupted = asyncio.Event()

    def interrupt() -> None:
        interrupted.set()
        run.stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, interrupt)
    return await run.run(_tell, _tell_fault), interrupted.is_set()


def _tell(progress: ChaosProgress) -> None:
    line = f"{progress.seconds:5.0f} s  {progress.phase}: "
    if progress.faults:
        line += f"{progress.struck} of {progress.faults} faults, {progress.waited_for} still felt; "
    line += f"{progress.through} of {progress.devices} devices are through"
    typer.echo(line, err=True)


def _tell_fault(felt: Felt) -> None:
    line = (
        f"{felt.began_s:5.0f} s  fault {felt.fault.number}: {felt.fault.kind.words}, {felt.whom}, "
    )
    line += f"{felt.agents} agents, {felt.ended_s - felt.began_s:.1f} s"
    typer.echo(f"{line}; {felt.note}" if felt.note else line, err=True)
