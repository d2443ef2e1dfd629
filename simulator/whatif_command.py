"""The command `esp-sim whatif`: what it is given and what it prints."""

from __future__ import annotations

import json
import os
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from simulator.command_line import (
    EXIT_INTERRUPTED,
    AsJson,
    Out,
    ScenarioFile,
    Seed,
    fail,
    scenario_or_exit,
)
from simulator.engine import Engine, EngineFailed, local
from simulator.engine import dask as on_dask
from simulator.interruption import Interruption
from simulator.question_command import (
    CompareWith,
    FindKey,
    ReportFolder,
    Success,
    SweepOver,
    With,
    answer_or_exit,
    asked_or_exit,
    check_report_folder,
    show_answer,
    write_report_or_exit,
)
from simulator.scenario import DEVICES_MAX, Scenario
from simulator.shards import Counted, Shard, ShardRefused, read_shard, shard_of_job
from simulator.whatif import as_json as figures_as_json
from simulator.whatif import count_fleet
from simulator.whatif_text import print_figures

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
      esp-sim whatif simulator/scenarios/office.toml --find timeout --success 98.5
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
    order = Order(
        known,
        seed=known.seed if seed is None else seed,
        devices=known.devices if devices is None else devices,
        shard=_shard(shard),
    )
    if dask is not None and jobs is not None:
        fail(
            "--jobs counts processes on this machine, and --dask has workers of its own; leave one out"
        )
    if question is not None and (order.shard.of > 1 or out is not None):
        fail("--shard and --out keep one version of a scenario; leave them out of a comparison")
    began, interruption = time.perf_counter(), Interruption()
    try:
        with interruption.listening():
            local_engine = local(jobs or os.cpu_count() or 1, interruption)
            engine = local_engine if dask is None else on_dask(dask, interruption)
            if question is not None:
                answered = answer_or_exit(
                    question,
                    known,
                    devices=order.devices,
                    seed=order.seed,
                    engine=engine,
                    interruption=interruption,
                )
                show_answer(answered, report=report, as_json=as_json)
                raise typer.Exit(EXIT_INTERRUPTED if interruption.happened else 0)
            counted = _count(order, engine)
    except EngineFailed as failed:
        fail(failed)
    keep(None if interruption.happened else out, counted)
    print_counted(
        counted,
        seconds=time.perf_counter() - began,
        as_json=as_json,
        named=str(scenario),
        report=report,
    )
    if interruption.happened:
        _say_interrupted(counted, out)
        raise typer.Exit(EXIT_INTERRUPTED)


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for."""

    scenario: Scenario
    seed: int
    devices: int
    shard: Shard

    @property
    def count(self) -> int:
        """Devices of this shard."""
        return sum(c.count for c in self.shard.cohorts(self.scenario, self.seed, self.devices))


def _shard(text: str | None) -> Shard:
    try:
        return shard_of_job() if text is None else read_shard(text)
    except ShardRefused as refused:
        fail(refused)


def _count(order: Order, engine: AbstractContextManager[Engine]) -> Counted:
    with Progress(console=Console(stderr=True), transient=True) as progress, engine as running:
        task = progress.add_task("Enrolling", total=order.count)
        tally = count_fleet(
            running,
            order.scenario,
            devices=order.devices,
            seed=order.seed,
            shard=order.shard,
            advance=lambda done: progress.advance(task, done),
        )
    return Counted(order.scenario, order.seed, order.devices, order.shard, tally)


def _say_interrupted(counted: Counted, out: Path | None) -> None:
    shard = counted.shard
    every = sum(c.count for c in shard.cohorts(counted.scenario, counted.seed, counted.devices))
    line = f"esp-sim: interrupted after {counted.tally.whole.devices} of {every} devices"
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


def print_counted(
    counted: Counted,
    *,
    seconds: float,
    as_json: bool,
    named: str = "SCENARIO",
    report: Path | None = None,
) -> None:
    """Print the figures, for a program or for people; `named` is the scenario's file in commands to try next."""
    figures = figures_as_json(counted.scenario, counted.seed, counted.tally, seconds=seconds)
    if report is not None:
        write_report_or_exit(report, figures)
    if as_json:
        typer.echo(json.dumps(figures))
    else:
        print_figures(figures, Console(highlight=False), named)
