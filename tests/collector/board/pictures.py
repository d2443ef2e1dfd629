"""Draws the board's views as SVG: `python -m tests.collector.board.pictures DIR [VIEW ...]`."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Mapping
from datetime import UTC
from pathlib import Path
from typing import Final

from agent.screen.theme import LIGHT
from collector.board.app import BoardApp
from tests.collector.board.page_of_the_seed import ShownBoard, empty_page, seed_page
from tests.collector.board.stories import empty_report, failed_story

# A picture that asks somebody else's server for its font is no document of its own.
_REMOTE_FONT = re.compile(r',\s*url\("https?://[^)]*\)\s*format\("[^"]*"\)')
SIZES: Final = ((80, 24), (120, 40))
STUCK: Final = {"DESKTOP-NEW001": "Microsoft 365 Apps"}

VIEWS: Final[Mapping[str, tuple[str, ...]]] = {
    "active": ("1",),
    "failures": ("2",),
    "platforms": ("3",),
    "profiles": ("4",),
    "report": ("5",),
    "filtered": ("slash", "m", "a", "c", "enter"),
    "filtering": ("slash", "m", "a", "c"),
    "sorted": ("s", "s", "s", "s", "s", "S"),
    "items": ("h",),
    "reports": ("h", "2"),
    "attempts": ("h", "3"),
    "commands": ("h", "4"),
    "command-menu": ("h", "c"),
    "command-confirm": ("h", "c", "enter"),
    "command-item": ("h", "c", "down", "enter"),
    "command-reset": ("h", "c", "end", "enter"),
    "screen": ("enter",),
    "empty": (),
    "empty-report": ("5",),
    "failed": ("h",),
}


def source_for(view: str) -> ShownBoard:
    """What the board is fed in this view."""
    source = ShownBoard([seed_page(40 if view in {"sorted", "filtered"} else 3, stuck=STUCK)])
    if view == "empty":
        source.news = [empty_page()]
    if view == "empty-report":
        source.made = empty_report()
    if view == "failed":
        source.told = [failed_story()]
    return source


async def draw(view: str, size: tuple[int, int], theme: str | None = None) -> str:
    """One view as SVG."""
    app = BoardApp(source_for(view), zone=UTC)
    async with app.run_test(size=size) as pilot:
        if theme is not None:
            app.theme = theme
        await pilot.pause()
        await pilot.pause()
        for key in VIEWS[view]:
            await pilot.press(key)
            await pilot.pause()
        await pilot.wait_for_scheduled_animations()
        await pilot.pause()
        return _REMOTE_FONT.sub("", app.export_screenshot(title="esp-collector board"))


async def draw_all(directory: Path, views: list[str]) -> None:
    """These views, or all, at both sizes, dark and light."""
    directory.mkdir(parents=True, exist_ok=True)
    for view in views or VIEWS:
        for width, height in SIZES:
            for theme in (None, LIGHT.name):
                picture = await draw(view, (width, height), theme)
                name = f"{view}-{width}x{height}{'-light' if theme else ''}.svg"
                (directory / name).write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    match sys.argv[1:]:
        case [directory, *views] if set(views) <= set(VIEWS):
            asyncio.run(draw_all(Path(directory), views))
        case _:
            sys.exit(__doc__)
