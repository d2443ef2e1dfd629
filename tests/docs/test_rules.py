"""Every rule of the enrollment has a test, and the page that says so is current."""

from __future__ import annotations

from pathlib import Path

from tests.rules import RULES, marked, page

PAGE = Path(__file__).parents[2] / "docs" / "rules.md"


def test_every_rule_has_a_test_and_every_marker_names_a_rule() -> None:
    assert {rule for rule, _ in marked()} == set(RULES)


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m tests.rules > docs/rules.md"
