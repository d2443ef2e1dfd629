"""The command line of the agent: enroll this endpoint, look at one, and read its journal."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.commands.documents import print_flows, print_transitions, schema
from agent.commands.explain import explain
from agent.commands.replay import replay
from agent.commands.run import run
from agent.commands.status import status
from agent.commands.watch import watch
from agent.exit_codes import ExitCode, exit_codes
from agent.help_page import CONTEXT_SETTINGS, PlainHelp
from agent.settings import VERSION

app = typer.Typer(
    name="esp-agent",
    help="Enrolls this endpoint and keeps it locked until its blocking apps are in.",
    epilog="Settings may come from the environment too: ESP_AGENT_PLATFORM, ESP_AGENT_BROKER, and so on.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    cls=PlainHelp,
    context_settings=CONTEXT_SETTINGS,
)


_ASKED = (ExitCode.OPEN, ExitCode.FAILED_TO_RUN, ExitCode.BAD_INPUT)


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


app.command(epilog=exit_codes(*(code for code in ExitCode if code is not ExitCode.NOTHING_KNOWN)))(
    run
)
app.command(epilog=exit_codes(*_ASKED, ExitCode.LOCKED, ExitCode.NOTHING_KNOWN))(status)
app.command(epilog=exit_codes(*_ASKED, ExitCode.NOTHING_KNOWN, OPEN="it was shown"))(watch)
app.command(
    epilog=exit_codes(
        *_ASKED,
        ExitCode.NOTHING_KNOWN,
        OPEN="the journal was told to its end",
        FAILED_TO_RUN="the journal can't be read, or lost a part",
        NOTHING_KNOWN="the journal holds nothing, or not that device",
    )
)(replay)
app.command()(explain)
app.command("transitions")(print_transitions)
app.command("flows")(print_flows)
app.command()(schema)


def main() -> None:
    """What the program `esp-agent` runs."""
    app()
