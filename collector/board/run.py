"""Runs the board against a collector's API."""

from __future__ import annotations

import getpass

from collector.board.app import BoardApp
from collector.board.http_source import HttpBoardSource
from collector.client import Access, connected


async def run_board(access: Access) -> None:
    """Until the person leaves. Raises `CollectorUnreachable` when there is no collector to begin with."""
    async with connected(access) as collector:
        await collector.status()
        await BoardApp(HttpBoardSource(collector, getpass.getuser())).run_async()
