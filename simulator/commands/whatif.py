"""The command `esp-sim whatif`: what it is given and what it prints."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from simulator.commands.command_line import (
    EXIT_INTERRUPTED,
    AsJson,
    Out,
    ScenarioFile,
    Seed,
    fail,
    scenario_or_exit,
)
from simulator.commands.question import (
    CompareWith,
    FindKey,
    ReportFolder,
    Success,
    SweepOver,
    With,
    asked_or_exit,
    check_report_folder,
    show_or_exit,
)
from simulator.engine import Engine, EngineFailed, local
from simulator.engine import dask as on_dask
from simulator.interruption import Interruption
from simulator.scenario import DEVICES_MAX, Scenario
from simulator.whatif.counted import Alone, Counted, Run, count
from simulator.whatif.overrides import OverrideRefused
from simulator.whatif.search import CutShort, Find, search, search_figures
from simulator.whatif.shards import Shard, ShardRefused, read_shard, shard_of_job
from simulator.whatif.versions import Versions, run_versions

Jobs = Annotated[
    int | None,
    typer.Option(min=1, max=1024, help="Processes. [default: one for each processor]"),
]
Dask = Annotated[
    str | None,
    typer.Option(
        metavar="tcp://HOST:PORT",
        help="The scheduler of a Dask cluster that does the work instead.",
    ),
]


def whatif(
    scenario: ScenarioFile,
    devices: Annotated[
        int | None, typer.Option(min=1, max=DEVICES_MAX, help="[default: the scenario's]")
    ] = None,
    seed: Seed = None,
    jobs: Jobs = None,
    dask: Dask = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Only the I-th of N parts of the fleet. [default: all, or as an indexed Kubernetes Job says]",
        ),
    ] = None,
    out: Out = None,
    compare: CompareWith = None,
    changes: With = None,
    sweep: SweepOver = None,
    find: FindKey = None,
    success: Success = None,
    report: ReportFolder = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Enroll a fleet in simulated time and print what came of it, what it waited for and what to do.

    The same scenario, devices and seed give the same figures on any number of processes, on any cluster and in any
    division into shards. Ctrl+C ends it with the figures of the devices that were through, and exit code 130.

    \b
    Examples:
      esp-sim whatif simulator/scenarios/company.toml --devices 10000 --jobs 2
      esp-sim whatif simulator/scenarios/company.toml --devices 1000 --seed 7 --json
      esp-sim whatif simulator/scenarios/company.toml --devices 100000 --shard 1/4 --out 1.json
      esp-sim whatif simulator/scenarios/company.toml --with timeout=90 --report report
      esp-sim whatif simulator/scenarios/company.toml --with profiles.kiosk-esp.timeout_minutes=20 --with network.failure=0
      esp-sim whatif simulator/scenarios/office.toml --sweep timeout=30,45,60,90
      esp-sim whatif simulator/scenarios/office.toml --sweep timeout=30,45,60,90 --shard 1/4 --out 1.json
      esp-sim whatif simulator/scenarios/office.toml --find timeout --success 98.5
      esp-sim whatif simulator/scenarios/office.toml --find apps.m365-apps.size_mb=500..8000 --success 98
    """
    check_report_folder(report)
    known, question = asked_or_exit(
        scenario_or_exit(scenario),
        compare=compare,
        changes=changes or (),
        sweep=sweep,
        find=find,
        success=success,
    )
    part = _shard_or_exit(shard)
    if isinstance(question, Find) and (part.of > 1 or out is not None):
        fail(
            "--find tries values by what the whole fleet came to; leave out --shard and --out, or divide a --sweep"
        )
    if dask is not None and jobs is not None:
        fail(
            "--jobs counts processes on this machine, and --dask has workers of its own; leave one out"
        )
    run = Run(
        known,
        Alone() if isinstance(question, Find) else question,
        seed=known.seed if seed is None else seed,
        devices=known.devices if devices is None else devices,
    )
    began, interruption = time.perf_counter(), Interruption()
    try:
        with interruption.listening():
            local_engine = local(jobs or os.cpu_count() or 1, interruption)
            engine = local_engine if dask is None else on_dask(dask, interruption)
            if isinstance(question, Find):
                figures = _search_or_exit(run, question, engine, interruption)
            else:
                counted = _count(run, part, engine)
                keep(None if interruption.happened else out, counted)
                figures = counted.figures()
                if interruption.happened:
                    _say_interrupted(counted, out)
    except (EngineFailed, OverrideRefused) as refused:
        fail(refused)
    figures["seconds"] = round(time.perf_counter() - began, 3)
    same = {"--devices": devices, "--seed": seed}
    again = [f" {option} {value}" for option, value in same.items() if value is not None]
    show_or_exit(figures, report=report, as_json=as_json, named="".join([str(scenario), *again]))
    if interruption.happened:
        raise typer.Exit(EXIT_INTERRUPTED)


def _shard_or_exit(text: str | None) -> Shard:
    try:
        return shard_of_job() if text is None else read_shard(text)
    except ShardRefused as refused:
        fail(refused)


def _count(run: Run, shard: Shard, engine: AbstractContextManager[Engine]) -> Counted:
    with Progress(console=Console(stderr=True), transient=True) as progress, engine as running:
        every = run.devices_of(shard) * len(run.versions)
        task = progress.add_task("Enrolling", total=every)
        return count(running, run, shard=shard, advance=lambda done: progress.advance(task, done))


def _search_or_exit(
    run: Run, find: Find, engine: AbstractContextManager[Engine], interruption: Interruption
) -> dict[str, Any]:
    """The figures of a search, with what was found so far after an interruption."""
    with Progress(console=Console(stderr=True), transient=True) as progress, engine as running:
        task = progress.add_task("Enrolling", total=None)

        def enroll(scenarios: Sequence[Scenario]) -> Versions:
            progress.reset(task, total=run.devices * len(scenarios))
            versions = run_versions(
                running,
                scenarios,
                devices=run.devices,
                seed=run.seed,
                advance=lambda done: progress.advance(task, done),
            )
            if interruption.happened:
                raise CutShort
            return versions

        try:
            found = search(run.scenario, find, enroll)
        except CutShort:
            typer.echo("esp-sim: interrupted before there was an answer", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from None
    return {
        "title": run.scenario.title,
        "devices": run.devices,
        "seed": run.seed,
        "find": search_figures(found),
    }


def _say_interrupted(counted: Counted, out: Path | None) -> None:
    every = counted.run.devices_of(counted.shard)
    line = f"esp-sim: interrupted after {counted.devices} of {every} devices"
    typer.echo(line if out is None else f"{line}; nothing was written to {out}", err=True)


def keep(out: Path | None, counted: Counted) -> None:
    """Write what was counted where `--out` wants it."""
    if out is not None:
        try:
            counted.write(out)
        except OSError as error:
            fail(
                f"--out {out}: can't be written: {error.strerror}; name a file in a folder that exists"
            )
