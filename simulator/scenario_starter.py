"""A commented scenario to begin with, small but whole, and one that has every key of the language."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from agent.wire.base import IDENTIFIER_LENGTH_MAX, NAME_PATTERN

_HERE: Final = Path(__file__).parent
EVERY_KEY: Final = _HERE / "every_key.toml"
STARTER: Final = _HERE / "starter.toml"
SCHEMA_NAME: Final = "scenario.schema.json"
"""The file that the starter's first line names, beside it."""


class NameRefused(Exception):
    """A file name that no scenario can be named after; one sentence."""


def starter_text(file: Path | None = None) -> str:
    """The starter, named after this file.

    Raises:
        NameRefused: the file's name is none that a scenario can have.
    """
    text = STARTER.read_text(encoding="utf-8")
    if file is None:
        return text
    if not re.fullmatch(NAME_PATTERN, file.stem) or len(file.stem) > IDENTIFIER_LENGTH_MAX:
        raise NameRefused(
            f"{file}: a scenario is named after its file, and '{file.stem}' is no name; "
            "use letters, digits, points, dashes and underlines, a letter or digit at both ends"
        )
    return text.replace('name = "starter"', f'name = "{file.stem}"').replace(
        "starter.toml", file.name
    )
