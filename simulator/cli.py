"""`esp-sim`: run a fleet live, ask what a scenario would do, check a scenario."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from agent.assembly import BadInput
from agent.runtime.ports import JournalUnreadable
from agent.wire.vocabulary import EnrollmentType
from simulator.live.chaos_command import chaos
from simulator.live.fleet import FleetProgress
from simulator.live.processes import NotStarted
from simulator.live.run import Address, LiveOptions, LiveRun
from simulator.live.summary import Summary, print_summary
from simulator.population import fleet
from simulator.rollout import Rollout
from simulator.scenario import DEVICES_MAX, Scenario
from simulator.scenario_file import ScenarioRefused, load_scenario
from simulator.verify.command import verify
from simulator.whatif import what_if

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
LIVE_DEVICES_MAX: Final = 20_000

app = typer.Typer(
    name="esp-sim",
    help="Simulated fleets of devices: live against a broker, or in simulated time.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ScenarioFile = Annotated[
    Path, typer.Argument(metavar="SCENARIO", help="A TOML file; simulator/scenarios has some.")
]
Seed = Annotated[
    int | None, typer.Option(min=0, help="Another seed is another fleet. [default: the scenario's]")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"esp-sim {version('enrollment-agent')}")
        raise typer.Exit


app.command()(verify)
app.command()(chaos)


@app.callback()
def _program(
    *,
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Exit codes: 0 good, 1 the audit found something, 2 a mistake that you can put right, 130 interrupted."""


@app.command()
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
    data: Annotated[
        Path | None,
        typer.Option(
            help="An empty folder to keep journal, store and logs in. [default: not kept]"
        ),
    ] = None,
    seed: Seed = None,
    limit: Annotated[
        float | None,
        typer.Option(min=1, help="Stop after so many seconds; what is not through is unfinished."),
    ] = None,
    *,
    as_json: AsJson = False,
    no_board: Annotated[
        bool, typer.Option("--no-board", help="Plain progress, even on a terminal.")
    ] = False,
) -> None:
    """Enroll a whole fleet with the real agent, then audit every report and every gate.

    On a terminal the collector's board is shown; leaving it (q) shows the plain progress. Ctrl+C ends the run with
    the summary so far.

    \b
    Examples:
      esp-sim run simulator/scenarios/demo.toml
      esp-sim run simulator/scenarios/company.toml --devices 200 --speed 120 --broker mqtt://127.0.0.1:1883 --json
    """
    known = _load(scenario)
    if collector is not None and (token_file is None or trust is None or broker is None):
        _fail("--collector needs --broker, --token-file and --trust of the same collector")
    if data is not None and data.is_dir() and any(data.iterdir()):
        _fail(f"--data {data}: is not empty; name a new folder")
    options = LiveOptions(
        scenario=known,
        devices=known.devices if devices is None else devices,
        seed=known.seed if seed is None else seed,
        speed=known.speed if speed is None else speed,
        broker=broker,
        collector=collector,
        token_file=token_file,
        trust=trust,
        identities=identities,
        tenant=tenant,
        data=data,
        limit_s=limit,
    )
    if options.devices > LIVE_DEVICES_MAX:
        _fail(f"{scenario}: devices: {options.devices} are too many to run live; give --devices")
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


def _run_live(options: LiveOptions, *, with_board: bool) -> tuple[Summary, bool]:
    # What the agents log is of a whole fleet; the summary says what matters.
    logging.getLogger("agent").addHandler(logging.NullHandler())
    logging.getLogger("agent").propagate = False
    try:
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            return runner.run(_live(options, with_board=with_board))
    except (BadInput, NotStarted, JournalUnreadable) as problem:
        _fail(problem)


def _new_loop() -> asyncio.AbstractEventLoop:
    """On uvloop where it is installed: a thousand devices are then half the work."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


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
    show = _nothing if board is None else board.show

    def tell(seconds: float, progress: FleetProgress) -> None:
        if board is None or not board.is_up:
            _tell(seconds, progress)

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


def _tell(seconds: float, progress: FleetProgress) -> None:
    stages = ", ".join(f"{count} {stage}" for stage, count in sorted(progress.stages.items()))
    line = f"{seconds:5.0f} s  {progress.finished} of {progress.devices} devices are through"
    if stages:
        line += f"; {stages}"
    typer.echo(line, err=True)


@app.command()
def whatif(
    scenario: ScenarioFile,
    devices: Annotated[
        int | None, typer.Option(min=1, max=DEVICES_MAX, help="[default: the scenario's]")
    ] = None,
    seed: Seed = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, max=1024, help="Processes. [default: one for each processor]"),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Enroll a fleet in simulated time and print what came of it.

    The same scenario, devices and seed give the same figures on any number of processes.

    \b
    Examples:
      esp-sim whatif simulator/scenarios/company.toml --devices 10000 --jobs 2
      esp-sim whatif simulator/scenarios/company.toml --devices 1000 --seed 7 --json
    """
    known = _load(scenario)
    count = known.devices if devices is None else devices
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Enrolling", total=count)
        figures = what_if(
            known,
            devices=count,
            seed=known.seed if seed is None else seed,
            jobs=jobs or os.cpu_count() or 1,
            advance=lambda done: progress.advance(task, done),
        )
    if as_json:
        typer.echo(json.dumps(figures))
    else:
        _print_figures(figures, Console(highlight=False))


def _print_figures(figures: dict[str, Any], console: Console) -> None:
    table = Table(
        title=f"{figures['devices']} devices, seed {figures['seed']}", title_justify="left"
    )
    table.add_column("Enrollment type")
    for heading in ("Devices", "Success rate", "Mean min", "p50", "p90", "p99"):
        table.add_column(heading, justify="right")
    for name, figure in figures["by_type"].items():
        table.add_row(EnrollmentType(name).label, *_cells(figure))
        variants = figures["by_variant"][name]
        for variant, part in variants.items() if len(variants) > 1 else ():
            words = variant.replace("_", " ").capitalize()
            table.add_row(f"  {words}", *_cells(part), style="dim")
    console.print(table)
    if figures["critical_path"]:
        first = figures["critical_path"][0]
        console.print(
            f"The gate waited last for {first['name']} on {first['share']:.0%} of devices."
        )
    console.print(f"{figures['events']} reports in {figures['seconds']:.1f} s")


def _cells(figure: dict[str, Any]) -> Iterator[str]:
    rate = figure["success_rate"]
    yield str(figure["devices"])
    yield "-" if rate is None else f"{rate:.1%}"
    for value in figure["minutes"].values():
        yield "-" if value is None else f"{value:.1f}"


@app.command()
def check(scenario: ScenarioFile, *, as_json: AsJson = False) -> None:
    """Check a scenario and print what it would run.

    \b
    Example:
      esp-sim check simulator/scenarios/company.toml
    """
    known = _load(scenario)
    plan = _plan(known)
    if as_json:
        typer.echo(json.dumps(plan))
        return
    console = Console(highlight=False)
    console.print(
        f"{scenario}: good. {known.title}; {plan['devices']} devices, seed {plan['seed']}"
    )
    for name, entry in plan["by_type"].items():
        console.print(
            f"  {EnrollmentType(name).label}: {entry['devices']} devices, {entry['items']} items"
        )
    for profile, count in plan["by_profile"].items():
        console.print(f"  {profile}: {count} devices")


def _plan(scenario: Scenario) -> dict[str, Any]:
    rollout = Rollout(scenario)
    by_type: dict[str, dict[str, int]] = {}
    by_profile: dict[str, int] = {}
    for device in fleet(scenario, scenario.seed, min(scenario.devices, LIVE_DEVICES_MAX)):
        kind = device.facts.enrollment_type
        entry = by_type.setdefault(kind.value, {"devices": 0, "items": len(rollout.items(kind))})
        entry["devices"] += 1
        profile = rollout.offer(device).profile.name
        by_profile[profile] = by_profile.get(profile, 0) + 1
    return {
        "name": scenario.name,
        "devices": scenario.devices,
        "seed": scenario.seed,
        "by_type": by_type,
        "by_profile": by_profile,
    }


def _load(path: Path) -> Scenario:
    try:
        return load_scenario(path)
    except ScenarioRefused as refused:
        _fail(refused)


def _fail(sentence: object) -> NoReturn:
    typer.echo(f"esp-sim: {sentence}", err=True)
    raise typer.Exit(EXIT_USAGE)


def main() -> None:
    """The program."""
    app(prog_name="esp-sim")
