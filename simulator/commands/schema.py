"""The command `esp-sim schema`: the scenario language for editors and for readers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simulator.commands.command_line import fail
from simulator.scenario_page import PageRefused, read_examples, with_tables
from simulator.scenario_schema import schema_text
from simulator.starter.text import EVERY_KEY


def schema(
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write it to this file instead of printing it."),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the language key by key into this Markdown page instead, below its marker.",
        ),
    ] = None,
) -> None:
    """Print the scenario language as a JSON Schema.

    A scenario that begins with `#:schema FILE` is explained, completed and checked by editors that read it, as Even
    Better TOML and Taplo do.

    \b
    Examples:
      esp-sim schema --out docs/schemas/scenario.schema.json
      esp-sim schema --page docs/scenario.md
    """
    try:
        if page is not None:
            text = page.read_text(encoding="utf-8")
            page.write_text(with_tables(text, read_examples([EVERY_KEY])), encoding="utf-8")
        if out is not None:
            out.write_text(schema_text(), encoding="utf-8")
        elif page is None:
            typer.echo(schema_text(), nl=False)
    except PageRefused as refused:
        fail(f"{page}: {refused}")
    except OSError as error:
        fail(f"{error.filename}: can't be used: {error.strerror}; choose another file")
