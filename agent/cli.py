"""The command line of the agent: enroll this endpoint, look at one, and read its journal."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.commands.command_line import EPILOG
from agent.commands.documents import print_flows, print_transitions, schema
from agent.commands.explain import explain
from agent.commands.replay import replay
from agent.commands.run import run
from agent.commands.status import status
from agent.commands.watch import watch
from agent.settings import VERSION

app = typer.Typer(
    name="esp-agent",
    help="Enrolls this endpoint and keeps it locked until its blocking apps are in.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"esp-agent {VERSION}")
        raise typer.Exit


@app.callback()
def _program(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Enrolls this endpoint and keeps it locked until its blocking apps are in."""


for enrolling in (run, status, watch, replay, explain):
    app.command(epilog=EPILOG)(enrolling)
app.command("transitions")(print_transitions)
app.command("flows")(print_flows)
app.command()(schema)


def main() -> None:
    """What the program `esp-agent` runs."""
    app()
