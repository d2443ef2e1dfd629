"""Draws example pages as SVG: `python -m tests.agent.screen.pictures DIR [SCENE ...]`, or `--readme` for the one in docs."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from agent.wire.progress import Progress, Reporting
from tests.agent.screen.examples import CONNECTED, SCENES
from tests.agent.screen.moments import MOMENTS
from tests.agent.screen.scripted import page, settled

# A picture that asks somebody else's server for its font is no document of its own.
_REMOTE_FONT = re.compile(r',\s*url\("https?://[^)]*\)\s*format\("[^"]*"\)')

PICTURES: Final[Mapping[str, tuple[Callable[[], Progress], Reporting]]] = {
    **SCENES,
    **{name: (make, CONNECTED) for name, make in MOMENTS.items()},
}
"""All pages, made by hand and lived through."""
SIZES = ((80, 24), (120, 40))
README_PICTURE = Path(__file__).parents[3] / "docs" / "images" / "esp.svg"


async def draw(scene: str, size: tuple[int, int]) -> str:
    """One scene as SVG; the same scene gives the same bytes."""
    make, reporting = PICTURES[scene]
    app, _ = page(make(), reporting)
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        return _REMOTE_FONT.sub("", app.export_screenshot(title="Enrollment Status Page"))


async def draw_all(directory: Path, scenes: list[str]) -> None:
    """All scenes at both sizes."""
    directory.mkdir(parents=True, exist_ok=True)
    for scene in scenes or PICTURES:
        for size in SIZES:
            picture = await draw(scene, size)
            (directory / f"{scene}-{size[0]}x{size[1]}.svg").write_text(picture, encoding="utf-8")


async def draw_readme_picture() -> None:
    """The picture that the README shows."""
    README_PICTURE.parent.mkdir(parents=True, exist_ok=True)
    README_PICTURE.write_text(await draw("readme", (120, 40)), encoding="utf-8")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--readme"]:
            asyncio.run(draw_readme_picture())
        case [directory, *scenes] if set(scenes) <= set(PICTURES):
            asyncio.run(draw_all(Path(directory), scenes))
        case _:
            sys.exit(f"usage: pictures --readme | DIR [SCENE ...]; scenes: {', '.join(PICTURES)}")
