"""`esp-sim`: run a fleet live, ask what a scenario would do, check a scenario."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from agent.help_page import CONTEXT_SETTINGS, PlainHelp
from simulator.commands.check import check
from simulator.commands.merge import merge
from simulator.commands.new import new
from simulator.commands.schema import schema
from simulator.commands.whatif import whatif
from simulator.live.chaos_command import chaos
from simulator.live.fit_command import fit
from simulator.live.run_command import run
from simulator.verify.command import verify

app = typer.Typer(
    name="esp-sim",
    help="Simulated fleets of devices: live against a broker, or in simulated time.",
    epilog="Exit codes: 0 good, 1 something was found, 2 a mistake that you can put right, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    cls=PlainHelp,
    context_settings=CONTEXT_SETTINGS,
)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"esp-sim {version('enrollment-agent')}")
        raise typer.Exit


app.command()(new)
app.command()(check)
app.command()(fit)
app.command()(schema)
app.command()(run)
app.command()(verify)
app.command()(chaos)
app.command()(whatif)
app.command()(merge)


@app.callback()
def _program(
    *,
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Simulated fleets of devices."""


def main() -> None:
    """The program."""
    app(prog_name="esp-sim")
