"""`esp-agent replay`: what a device did, from its journal or a log archive."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.commands.command_line import AsJson, fail, told
from agent.commands.loop import on_a_loop
from agent.exit_codes import ExitCode
from agent.settings import VERSION

if TYPE_CHECKING:
    from agent.journal import JournalReader


def replay(
    journal: Annotated[Path, typer.Argument(help="A journal file, or a log archive.")],
    device: Annotated[
        str | None, typer.Option(help="One device of a journal that holds many.")
    ] = None,
    no_screen: Annotated[
        bool, typer.Option("--no-screen", help="Print one line for each input instead of playing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Play back, on the screen, what a device did: from its journal or a log archive, which is only read.

    Without a terminal it prints one line for each input. A journal that lost its end is played as far as it goes; what
    is missing is told, and the exit code is 1 then.

    \b
    Examples:
      esp-agent replay ~/.local/state/esp-agent/LAPTOP-7.journal.sqlite3
      esp-agent replay LAPTOP-7-20261121T082640Z.zip --json
    """
    from agent.journal import read_journal
    from agent.log_archive import journal_in

    with told(), journal_in(journal) as file, read_journal(file) as reader:
        names = reader.devices()
        if device is not None and device not in names:
            fail(f"{journal}: holds no device '{device}'", ExitCode.NOTHING_KNOWN)
        if not names:
            fail(f"{journal}: nothing has been recorded in it yet", ExitCode.NOTHING_KNOWN)
        names = names if device is None else [device]
        if not no_screen and not as_json and sys.stdout.isatty() and sys.stdin.isatty():
            _play(reader, names)
        else:
            _print_replay(reader, names, as_json=as_json)


def _play(reader: JournalReader, names: list[str]) -> None:
    from agent.replay import Recordings
    from agent.screen.recorder import RecorderApp

    recorder = RecorderApp(Recordings(reader, names, VERSION))
    on_a_loop(recorder.run_async())
    # On a small terminal the bar had room for a part of them only.
    if (tape := recorder.player.tape) is not None:
        for note in tape.notes:
            typer.echo(f"{tape.device}: {note}", err=True)


def _print_replay(reader: JournalReader, names: list[str], *, as_json: bool) -> None:
    from agent.core.retelling import Retelling, told_otherwise
    from agent.replay import moments

    whole = True
    for name in names:
        if not as_json:
            typer.echo(name)
        inputs = reader.inputs(name)
        retelling = Retelling(inputs.entries, inputs.checkpoints)
        for moment in moments(retelling):
            line = {"device": name, **moment.as_json()}
            typer.echo(json.dumps(line) if as_json else f"  {moment.as_line()}")
        if otherwise := told_otherwise(retelling, VERSION):
            whole = whole and not retelling.is_lost
            typer.echo(f"{name}: {otherwise}", err=True)
        if inputs.left_out:
            typer.echo(f"{name}: {inputs.left_out}", err=True)
        if inputs.missing:
            whole = False
            typer.echo(f"{name}: {inputs.missing}", err=True)
    if not whole:
        raise typer.Exit(ExitCode.FAILED_TO_RUN)
