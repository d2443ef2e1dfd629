"""Runs the board against a collector's API, in this terminal or in a browser."""

from __future__ import annotations

import asyncio
import getpass
import os
from importlib.util import find_spec
from pathlib import Path

from collector.board.app import BoardApp
from collector.board.http_source import HttpBoardSource
from collector.client import TOKEN_VARIABLE, Access, connected
from collector.listening import CannotListen, check_host


class CannotShow(Exception):
    """The board can't be shown in a browser: one sentence with the remedy."""


async def run_board(access: Access) -> None:
    """Until the person leaves. Raises `CollectorUnreachable` when there is no collector to begin with."""
    async with connected(access) as collector:
        await collector.status()
        await BoardApp(HttpBoardSource(collector, getpass.getuser())).run_async()


def run_web(
    access: Access, token_file: Path | None, host: str, port: int, *, allow_plain_http: bool = False
) -> None:
    """Until SIGINT or SIGTERM; prints the URL once it serves.

    Raises:
        CollectorUnreachable: there is no collector to begin with.
        CannotShow: the extra is not installed, or the address can't be used.
    """
    if find_spec("textual_serve") is None:
        raise CannotShow(
            "--web needs the extra `web`; install it with: pip install 'enrollment-agent[collector,web]'"
        )
    from collector.board.web import WebBoard  # noqa: PLC0415

    asyncio.run(_look_once(access))
    try:
        check_host(host, None, allow_plain_http=allow_plain_http)
        board = WebBoard(access.url, token_file or Path(os.environ[TOKEN_VARIABLE]), host, port)
    except CannotListen as refused:
        raise CannotShow(str(refused)) from None
    board.run()


async def _look_once(access: Access) -> None:
    async with connected(access) as collector:
        await collector.status()
