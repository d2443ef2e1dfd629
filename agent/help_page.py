"""The help pages of all four programs: plain text, and whole sentences in the list of commands."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import click
from typer.core import TyperGroup

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"]}


class _PlainFormatter(click.HelpFormatter):
    """Writes brackets as brackets: Typer escapes them for Rich, also where Rich does not write the page."""

    def write_dl(
        self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        plain = [(name, told.replace("\\[", "[")) for name, told in rows]
        super().write_dl(plain, col_max, col_spacing)


class _PlainContext(click.Context):
    formatter_class = _PlainFormatter


class PlainHelp(TyperGroup):
    """A program, or a group of its commands, with such a page for each of its commands."""

    context_class = _PlainContext

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for command in self.commands.values():
            command.context_class = _PlainContext

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each command with the whole first sentence of its page; Click's own list cuts it off."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, _first_sentence(command)) for name, command in commands if command]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _first_sentence(command: click.Command) -> str:
    paragraph = inspect.cleandoc(command.help or "").partition("\n\n")[0]
    sentence, stop, _ = " ".join(paragraph.split()).partition(". ")
    return sentence + stop.rstrip()
