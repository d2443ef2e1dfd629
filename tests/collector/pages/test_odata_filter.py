"""Filters as callers of Graph write them: what they mean, and that nothing else than a refusal comes of nonsense."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.files import ContentRefused
from collector.pages.odata_filter import ColumnType, mentions, parsed, sorted_by

COLUMNS = {
    "Name": ColumnType.STRING,
    "Count": ColumnType.INTEGER,
    "Date": ColumnType.MOMENT,
    "Rate": ColumnType.DOUBLE,
}
ROW: dict[str, Any] = {
    "Name": "It's Android",
    "Count": 3,
    "Date": datetime(2025, 6, 15, tzinfo=UTC),
    "Rate": None,
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("Count eq 3", True),
        ("Count ne 3", False),
        ("Count gt 2 and Count lt 4", True),
        ("Count ge 3 and Count le 3", True),
        ("Count eq 1 or Count eq 2 or Count eq 3", True),
        ("Count eq 3 or Count eq 1 and Count eq 2", True),
        ("(Count eq 3 or Count eq 1) and Count eq 2", False),
        ("not Count eq 3", False),
        ("not (Count eq 3 and Rate ne null)", True),
        ("Name eq 'It''s Android'", True),
        ("Name eq 'it''s android'", False),
        ("contains(Name, 'And')", True),
        ("startswith(Name,'It') and endswith(Name,'roid')", True),
        ("Name in ('x', 'It''s Android')", True),
        ("Count in (1, 2)", False),
        ("Date ge 2025-06-15", True),
        ("Date gt 2025-06-15", False),
        ("Date lt 2025-06-15T02:00:00+01:00", True),
        ("Date eq 2025-06-15T00:00:00Z", True),
        ("Rate eq null", True),
        ("Rate gt 1", False),
        ("Rate le 1", False),
        ("Name eq 'a'' or 1 eq 1 --'", False),
    ],
)
def test_what_a_filter_means(text: str, holds: bool) -> None:
    assert parsed(text, COLUMNS)(ROW) is holds


_WORDS = st.sampled_from(
    ["Name", "Count", "Date", "Rate", "eq", "ne", "gt", "in", "and", "or", "not", "(", ")", ",",
     "null", "'x'", "3", "-1.5", "2025-06-15", "2025-99-99", "contains", "startswith", "é", ";"]
)  # fmt: skip


@given(st.one_of(st.text(max_size=100), st.lists(_WORDS, max_size=30).map(" ".join)))
@settings(max_examples=200)
def test_any_text_is_a_filter_or_is_refused(text: str) -> None:
    assert outcome(text) in (True, False, "filter")


def outcome(text: str) -> object:
    """What the filter says of the row, or the key that it was refused with."""
    try:
        return parsed(text, COLUMNS)(ROW)
    except ContentRefused as refused:
        return refused.key


def test_a_column_inside_a_text_is_not_mentioned() -> None:
    assert mentions("Date ge 2025-06-15", "Date")
    assert not mentions("Name eq 'Date'", "Date")


def test_rows_are_sorted_by_several_columns_those_without_a_value_first() -> None:
    rows = [{"Name": n, "Count": c} for n, c in (("b", 1), ("a", 2), (None, 3), ("a", 1))]
    found = sorted_by(rows, ["Name", "Count desc"], COLUMNS)
    assert [(r["Name"], r["Count"]) for r in found] == [(None, 3), ("a", 2), ("a", 1), ("b", 1)]
    found = sorted_by(rows, ["Name desc"], COLUMNS)
    assert [r["Name"] for r in found] == ["b", "a", "a", None]
