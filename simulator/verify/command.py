"""The command `esp-sim verify`: what it is given and what it prints."""

from __future__ import annotations

import json
import os
import re
from typing import Annotated, Any, Final, NoReturn

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from simulator.verify.plan import WorldPlan, draw_world
from simulator.verify.report import verify as verify_seeds
from simulator.verify.run import run_world

EXIT_VIOLATED: Final = 1
EXIT_USAGE: Final = 2
SEEDS: Final = 200
SEEDS_MAX: Final = 10_000_000

_SHARD: Final = re.compile(r"^(\d{1,6})/(\d{1,6})$")


def verify(
    seeds: Annotated[int, typer.Option(min=1, max=SEEDS_MAX, help="How many worlds.")] = SEEDS,
    first: Annotated[int, typer.Option("--from", min=0, help="The first seed.")] = 1,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, max=1024, help="Processes. [default: one for each processor]"),
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Only the I-th of N parts of the seeds.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="One world instead of many.")] = None,
    without: Annotated[
        list[str] | None, typer.Option(metavar="FAULT", help="With --seed: turn a fault off.")
    ] = None,
    device: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="With --seed: only this device.")
    ] = None,
    *,
    trace: Annotated[
        bool, typer.Option("--trace", help="With --seed: one line for each change.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout.")
    ] = False,
) -> None:
    """Run the production machines in simulated worlds full of faults, and judge what comes of it.

    Each seed is one world, run twice: the same seed gives the same world, on any number of processes and in any
    division. Faults go on for some hours of the world; then they stop, and everyone has to get through. A seed that
    fails comes with the command that replays it. Exit codes: 0 nothing found, 1 a property does not hold.

    \b
    Examples:
      esp-sim verify --seeds 2000 --jobs 2 --json
      esp-sim verify --seeds 100000 --shard 3/16 --json
      esp-sim verify --seed 17 --trace
    """
    if seed is not None:
        _replay(seed, tuple(without or ()), tuple(device or ()), trace=trace, as_json=as_json)
        return
    if trace or without or device:
        _fail("--trace, --without and --device look at one world; add --seed")
    chosen = _sharded(list(range(first, first + seeds)), shard)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Verifying", total=len(chosen))
        figures = verify_seeds(
            chosen,
            jobs=jobs or os.cpu_count() or 1,
            advance=lambda done: progress.advance(task, done),
        )
    if as_json:
        typer.echo(json.dumps(figures))
    else:
        _print_figures(figures, Console(highlight=False))
    if figures["violations"]:
        raise typer.Exit(EXIT_VIOLATED)


def _sharded(seeds: list[int], shard: str | None) -> list[int]:
    if shard is None:
        return seeds
    match = _SHARD.match(shard)
    part, parts = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= part <= parts:
        _fail(f"--shard {shard}: write which part of how many, from 1/N to N/N, such as 3/16")
    return seeds[part - 1 :: parts]


def _replay(
    seed: int,
    without: tuple[str, ...],
    devices: tuple[str, ...],
    *,
    trace: bool,
    as_json: bool,
) -> None:
    try:
        plan = draw_world(seed).smaller(without=without, devices=devices)
    except ValueError as refused:
        _fail(str(refused))
    verdict = run_world(plan, keeps_lines=trace)
    for line in verdict.lines:
        typer.echo(line)
    if as_json:
        violation = verdict.violation
        result = {
            "seed": seed,
            "violation": violation
            and {"checker": violation.checker, "sentence": violation.sentence},
            "events": verdict.events,
            "faults": dict(sorted(verdict.happened.items())),
            "trace": f"{verdict.trace:032x}",
        }
        typer.echo(json.dumps(result))
    else:
        _print_world(plan)
        typer.echo(f"trace {verdict.trace:032x}, {verdict.events} changes")
        typer.echo(f"violated: {verdict.violation}" if verdict.violation else "every property held")
    if verdict.violation is not None:
        raise typer.Exit(EXIT_VIOLATED)


def _print_world(plan: WorldPlan) -> None:
    typer.echo(f"seed {plan.seed}: faults {', '.join(plan.faults.active) or 'none'}")
    for one in plan.devices:
        facts = one.facts
        typer.echo(
            f"  {one.device}: {facts.enrollment_type.value}, {facts.variant.value}, "
            f"{len(one.offer.items)} items, {one.offer.profile.timeout_minutes} min, {facts.user}"
        )


def _print_figures(figures: dict[str, Any], console: Console) -> None:
    table = Table(
        title=f"{figures['seeds']} worlds, {figures['device_hours']} device hours",
        title_justify="left",
    )
    table.add_column("Fault")
    table.add_column("Times", justify="right")
    for kind, times in figures["faults"].items():
        table.add_row(kind, str(times))
    console.print(table)
    for what, met in figures["met"].items():
        console.print(f"{what} met: {sum(map(bool, met.values()))} of {len(met)}")
    if figures["never_met"]:
        console.print(f"never met: {', '.join(figures['never_met'])}")
    for found in figures["violations"]:
        console.print(f"seed {found['seed']}: {found['checker']}: {found['sentence']}")
        console.print(f"  {found['replay']}")
        if found["smaller"] != found["replay"]:
            console.print(f"  smaller: {found['smaller']}")
    verdict = f"{len(figures['violations'])} violations" if figures["violations"] else "all held"
    console.print(
        f"{verdict}; {figures['events']} changes in {figures['seconds']} s, trace {figures['trace']}"
    )


def _fail(sentence: str) -> NoReturn:
    typer.echo(f"esp-sim verify: {sentence}", err=True)
    raise typer.Exit(EXIT_USAGE)
