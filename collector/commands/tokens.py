"""`esp-collector token`: who may ask the API what; works on the store itself, so it asks for no token."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from collector.access import Role, TokenExists, TokenRow, Tokens, TokenUnknown
from collector.answer import moment
from collector.clock import ScaledClock
from collector.commands.command_line import EXIT_USAGE, Data, DatabaseUrl, Json, fail, print_line
from collector.pages.text import table
from collector.service import database_url
from collector.store.database import Database, StoreFailed
from collector.store.migrating import migrate

NAME_LENGTH_MAX = 100

token_app = typer.Typer(help="Create, list and revoke the API's tokens.", no_args_is_help=True)


@token_app.command("create")
def token_create(
    name: Annotated[str, typer.Argument(help="Whose token it is, for logs and lists.")],
    data: Data,
    role: Annotated[
        Role,
        typer.Option(
            help="read: look. helpdesk: also send commands and register devices. admin: also change profiles."
        ),
    ] = Role.READ,
    days: Annotated[
        int | None, typer.Option(min=1, max=3650, help="How long it is good; for ever else.")
    ] = None,
    database: DatabaseUrl = None,
    *,
    as_json: Json = False,
) -> None:
    """Make a token and print it; it is shown this once and kept nowhere.

    \b
    Example:
      esp-collector token create "help desk" --data ./esp/collector --role helpdesk > helpdesk.token
    """
    if not name.strip() or len(name) > NAME_LENGTH_MAX or not name.isprintable():
        fail(
            f"'{name[:NAME_LENGTH_MAX]}' can't be a token's name; give up to {NAME_LENGTH_MAX} printable characters",
            EXIT_USAGE,
        )
    with _tokens(data, database) as tokens:
        try:
            row, token = tokens.create(name, role, _now_ms(), days)
        except TokenExists as exists:
            fail(exists, EXIT_USAGE)
    print_line(json.dumps({**_line(row), "token": token}) if as_json else token)


@token_app.command("list")
def token_list(data: Data, database: DatabaseUrl = None, *, as_json: Json = False) -> None:
    """Every token that there ever was, without its secret."""
    with _tokens(data, database) as tokens:
        lines = [_line(row) for row in tokens.all()]
    if as_json:
        print_line(json.dumps({"tokens": lines}))
        return
    heads = ("Id", "Name", "Role", "State", "Issued", "Expires")
    cells = [
        (
            line["id"],
            line["name"],
            line["role"],
            line["state"],
            line["issued_at"][:10],
            (line["expires_at"] or "-")[:10],
        )
        for line in lines
    ]
    print_line("\n".join(table(heads, cells)))


@token_app.command("revoke")
def token_revoke(
    token: Annotated[str, typer.Argument(help="Its id or its name.")],
    data: Data,
    database: DatabaseUrl = None,
) -> None:
    """Close a token for good, at once."""
    with _tokens(data, database) as tokens:
        try:
            row = tokens.revoke(token, _now_ms())
        except TokenUnknown as unknown:
            fail(unknown, EXIT_USAGE)
    print_line(f"revoked {row.id} ({row.name})")


@contextmanager
def _tokens(data: Path, database: str | None) -> Iterator[Tokens]:
    if database is None and not (data / "store.sqlite").exists():
        fail(f"{data / 'store.sqlite'}: there is no store; check --data", EXIT_USAGE)
    try:
        opened = Database(database or database_url(data))
        try:
            migrate(opened)
            yield Tokens(opened)
        finally:
            opened.close()
    except StoreFailed as failed:
        fail(failed, EXIT_USAGE)


def _now_ms() -> int:
    return ScaledClock().wall_ms()


def _line(row: TokenRow) -> dict[str, Any]:
    now_ms = _now_ms()
    state = (
        "good" if row.is_good(now_ms) else "revoked" if row.revoked_ms is not None else "expired"
    )
    return {
        "id": row.id,
        "name": row.name,
        "role": row.role.value,
        "state": state,
        "issued_at": moment(row.issued_ms).isoformat(),
        "expires_at": None if row.expires_ms is None else moment(row.expires_ms).isoformat(),
    }
