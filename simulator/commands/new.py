"""The command `esp-sim new`: a scenario to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.wire.vocabulary import EnrollmentType
from simulator.commands.command_line import fail
from simulator.scenario_file import ScenarioRefused
from simulator.scenario_schema import schema_text
from simulator.starter.source import SourceRefused, text_from
from simulator.starter.text import SCHEMA_NAME, TYPES, NameRefused, starter_text


def new(
    file: Annotated[
        Path | None, typer.Argument(help="The file to write; the scenario is printed without it.")
    ] = None,
    types: Annotated[
        list[EnrollmentType] | None,
        typer.Option(
            "--type",
            help="The devices that it has; may be given several times. "
            f"[default: {' and '.join(TYPES)}; with a scenario all of its own]",
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="SOURCE",
            help="Begin with an ESP profile as Microsoft Graph has it (.json), or with another scenario (.toml).",
        ),
    ] = None,
    *,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
) -> None:
    """Write a commented scenario to begin with: one office, some kinds of devices and apps, one profile.

    The language's schema goes beside it, so that an editor explains its keys.

    \b
    Examples:
      esp-sim new company.toml
      esp-sim new company.toml --type windows_autopilot --type macos_ade
      esp-sim new company.toml --from esp-profile.json
      esp-sim new smaller.toml --from company.toml --type windows_autopilot
    """
    chosen = frozenset(types or ())
    try:
        text = (
            starter_text(file, chosen or TYPES)
            if source is None
            else text_from(source, file, chosen)
        )
        if file is None:
            typer.echo(text, nl=False)
            return
        schema = file.parent / SCHEMA_NAME
        with file.open("w" if force else "x", encoding="utf-8") as opened:
            opened.write(text)
        schema.write_text(schema_text(), encoding="utf-8")
    except (NameRefused, ScenarioRefused, SourceRefused) as refused:
        fail(refused)
    except FileExistsError:
        fail(f"{file}: is there already; choose another name, or overwrite it with --force")
    except OSError as error:
        fail(f"{error.filename}: can't be written: {error.strerror}; choose another place")
    typer.echo(f"wrote {file} and {schema}")
    typer.echo(f"next: esp-sim check {file}")
