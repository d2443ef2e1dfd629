"""The command `esp-sim new`: a scenario to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simulator.command_line import fail
from simulator.scenario_schema import schema_text
from simulator.scenario_starter import SCHEMA_NAME, NameRefused, starter_text


def new(
    file: Annotated[
        Path | None, typer.Argument(help="The file to write; the scenario is printed without it.")
    ] = None,
    *,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
) -> None:
    """Write a commented scenario to begin with: one office, two kinds of devices, five apps, one profile.

    The language's schema goes beside it, so that an editor explains its keys.

    \b
    Example:
      esp-sim new company.toml
    """
    if file is None:
        typer.echo(starter_text(), nl=False)
        return
    schema = file.parent / SCHEMA_NAME
    try:
        text = starter_text(file)
        with file.open("w" if force else "x", encoding="utf-8") as opened:
            opened.write(text)
        schema.write_text(schema_text(), encoding="utf-8")
    except NameRefused as refused:
        fail(refused)
    except FileExistsError:
        fail(f"{file}: is there already; choose another name, or overwrite it with --force")
    except OSError as error:
        fail(f"{error.filename}: can't be written: {error.strerror}; choose another place")
    typer.echo(f"wrote {file} and {schema}")
    typer.echo(f"next: esp-sim check {file}")
