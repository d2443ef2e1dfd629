"""What the commands of `esp-sim` share: arguments that mean the same everywhere, exit codes, and how a mistake is said."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from simulator.scenario import Scenario
from simulator.scenario_file import ScenarioRefused, load_scenario

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130

ScenarioFile = Annotated[
    Path, typer.Argument(metavar="SCENARIO", help="A TOML file; simulator/scenarios has some.")
]
Seed = Annotated[
    int | None, typer.Option(min=0, help="Another seed is another fleet. [default: the scenario's]")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Out = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Also keep what was counted, for `esp-sim merge`."),
]
DataFolder = Annotated[
    Path | None,
    typer.Option(help="An empty folder to keep journals, store and logs in. [default: not kept]"),
]


def scenario_or_exit(path: Path) -> Scenario:
    """The scenario in this file, or one sentence and the exit code for a mistake."""
    try:
        return load_scenario(path)
    except ScenarioRefused as refused:
        fail(refused)


def fail(sentence: object) -> NoReturn:
    """Say what is wrong and end with the exit code for a mistake."""
    typer.echo(f"esp-sim: {sentence}", err=True)
    raise typer.Exit(EXIT_USAGE)
