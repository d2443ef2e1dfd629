"""What the commands of `esp-collector` share: their common options, how they speak, and how they ask a collector."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer
from pydantic import TypeAdapter, ValidationError

from agent.wire.base import NAME_PATTERN, DeviceId
from collector.client import (
    DEFAULT_URL,
    URL_VARIABLE,
    Access,
    Collector,
    CollectorRefused,
    CollectorUnreachable,
    connected,
)
from collector.files import FileRefused

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2

Data = Annotated[Path, typer.Option(help="The data directory: store, token and signing key.")]
DatabaseUrl = Annotated[
    str | None, typer.Option(help="A database URL; the SQLite file in the data directory else.")
]
Url = Annotated[
    str | None,
    typer.Option(
        help=f"The collector's address, as `serve` printed it; or ${URL_VARIABLE}. [default: {DEFAULT_URL}]"
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(help="A file with a token, such as DATA/token; or $ESP_COLLECTOR_TOKEN_FILE."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def print_line(line: str) -> None:
    """One line, or several, on stdout."""
    typer.echo(line)


def counted(number: int, thing: str) -> str:
    """`1 report`, `2,000 reports`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def fail(sentence: object, code: int) -> NoReturn:
    """End the program with one sentence on stderr."""
    typer.echo(f"esp-collector: {sentence}", err=True)
    raise typer.Exit(code)


def ask_collector(
    url: str | None, token_file: Path | None, ask: Callable[[Collector], Awaitable[None]]
) -> None:
    """Ask a running collector; what goes wrong ends the program with one sentence."""

    async def main() -> None:
        async with connected(Access.of(url, token_file)) as collector:
            await ask(collector)

    try:
        asyncio.run(main())
    except (CollectorUnreachable, FileRefused) as problem:
        fail(problem, EXIT_USAGE)
    except CollectorRefused as refused:
        fail(refused, EXIT_FAILED)


def check_device(device: str) -> None:
    """End the program where this can be no device's name."""
    try:
        TypeAdapter[str](DeviceId).validate_python(device)
    except ValidationError:
        fail(f"'{device}' is no device id (it has to match {NAME_PATTERN})", EXIT_USAGE)
