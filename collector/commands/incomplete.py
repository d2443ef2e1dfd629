"""`esp-collector incomplete`: the incomplete-enrollments report in the terminal, and its tables for spreadsheets."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from agent.wire.vocabulary import Section
from collector.client import Collector
from collector.commands.command_line import Json, TokenFile, Url, ask_collector, print_line
from collector.incomplete import BACK_DAYS
from collector.pages import text
from collector.pages.incomplete_page import CsvTable, OperatingSystem


def incomplete(
    first: Annotated[
        str | None,
        typer.Option("--from", help=f"The first day, at most {BACK_DAYS} days ago: 2025-06-01"),
    ] = None,
    last: Annotated[str | None, typer.Option("--to", help="The last day; today else.")] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=BACK_DAYS + 1, help="How many days, instead of --from.")
    ] = None,
    os: Annotated[OperatingSystem | None, typer.Option(help="Only this system.")] = None,
    section: Annotated[
        list[Section] | None, typer.Option(help="Only this section; may be given several times.")
    ] = None,
    time_zone: Annotated[str, typer.Option(help="Whose days are counted.")] = "UTC",
    csv: Annotated[
        CsvTable | None, typer.Option("--csv", help="One table for a spreadsheet.")
    ] = None,
    url: Url = None,
    token_file: TokenFile = None,
    *,
    as_json: Json = False,
) -> None:
    """The incomplete-enrollments report: who gave up, in which section, by which action.

    \b
    Example:
      esp-collector incomplete --days 30 --os ios --csv actions > actions.csv
    """
    asked: dict[str, Any] = {
        "from": first,
        "to": last,
        "days": days,
        "os": os and os.value,
        "section": [s.value for s in section or ()],
        "time_zone": time_zone,
    }
    wanted = {name: value for name, value in asked.items() if value not in (None, [])}

    async def ask(collector: Collector) -> None:
        if csv is not None:
            typer.echo(await collector.incomplete_csv(csv, wanted), nl=False)
            return
        report = await collector.incomplete(wanted)
        print_line(
            report.model_dump_json() if as_json else "\n".join(text.incomplete_lines(report))
        )

    ask_collector(url, token_file, ask)
