"""What the documents of the product are made from: transitions, flows and message schemas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from agent.commands.command_line import fail


def print_transitions() -> None:
    """Print what the enrollment engine does with each event in each mode, as a table in Markdown."""
    from agent.core.enrollment import transitions

    typer.echo("| mode | event | then |\n|---|---|---|")
    for mode, event, then in transitions():
        typer.echo(f"| {mode} | {event} | {then} |")


def print_flows() -> None:
    """Print the steps of every way of enrolling, with who waits for whom and how long, as tables in Markdown."""
    from agent.core.flows import EXPIRIES, FLOWS, described

    for (kind, variant), flow in FLOWS.items():
        typer.echo(f"\n## {kind.label}, {variant.label}\n")
        typer.echo("| phase | row | step | particulars |\n|---|---|---|---|")
        for cells in described(flow):
            typer.echo(f"| {' | '.join(cells)} |")
    typer.echo("\n## What expires\n")
    for expiry in EXPIRIES:
        typer.echo(
            f"- `{expiry.opens}` to `{expiry.closes}`, {expiry.limit_min} min: {expiry.note}"
        )


def schema(
    out: Annotated[Path | None, typer.Option(help="A folder; one file for each message.")] = None,
) -> None:
    """Print the JSON Schema of every message, or write one file for each.

    \b
    Example:
      esp-agent schema --out schemas
    """
    from agent.wire.codec import json_schemas

    schemas = json_schemas()
    if out is None:
        typer.echo(json.dumps(schemas, indent=2, sort_keys=True))
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in schemas.items():
            text = json.dumps(content, indent=2, sort_keys=True) + "\n"
            (out / f"{name}.schema.json").write_text(text)
    except OSError as error:
        fail(f"--out {out}: cannot be written ({error.strerror}); name another folder")
