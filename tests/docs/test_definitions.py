"""The page of definitions names what the code counts."""

from __future__ import annotations

import re
from pathlib import Path

from agent.core.person_screens import ABANDONMENT_ROWS
from agent.wire.vocabulary import EXCEEDED_30_MINUTES, EnrollmentType, FailureKind, Section

DEFINITIONS = (Path(__file__).parents[2] / "docs" / "definitions.md").read_text()
PLATFORMS = {
    frozenset({EnrollmentType.IOS}): "iOS/iPadOS",
    frozenset({EnrollmentType.ANDROID_ENTERPRISE}): "Android",
    frozenset({EnrollmentType.IOS, EnrollmentType.ANDROID_ENTERPRISE}): "iOS/Android",
}
SECTION = re.compile(r"^#### (.+)\n\n((?:\|.*\n)+)", re.MULTILINE)


def cells(line: str) -> list[str]:
    return [cell.strip().strip("`") for cell in line.strip("|\n").split("|")]


def test_the_four_tables_are_the_rows_of_the_engine() -> None:
    """Each row with its section, id, action name, platforms, screens and user action, in the same order."""
    expected = [
        [
            row.section.value.lower(),
            row.id,
            row.action_name,
            PLATFORMS[row.platforms],
            row.start,
            row.end,
            EXCEEDED_30_MINUTES if row.action is None else row.action.label,
        ]
        for row in ABANDONMENT_ROWS
    ]
    written = [
        [heading.lower(), *cells(line)]
        for heading, table in SECTION.findall(DEFINITIONS)
        for line in table.splitlines()[2:]
    ]
    assert written == expected
    assert len(written) == 19


def test_every_section_has_its_table() -> None:
    """The four sections, under the report's own headings."""
    headings = {heading.lower() for heading, _ in SECTION.findall(DEFINITIONS)}
    assert headings == {section.value.lower() for section in Section}


def test_named_failure_kinds_exist_under_their_texts() -> None:
    """A kind that the page names has the text that the page prints."""
    for text, kind in re.findall(r"^\| ([A-Z][^|]+?) \| `(\w+)`", DEFINITIONS, re.MULTILINE):
        if kind in {member.value for member in FailureKind}:
            assert FailureKind(kind).label == text
    assert "user_cancelled" in DEFINITIONS
