"""Which of two words counts."""

from __future__ import annotations

import pytest

from collector.precedence import counts, may_commit


@pytest.mark.parametrize(
    ("term", "current_term", "may"), [(2, 2, True), (1, 2, False), (3, 2, False), (1, None, False)]
)
def test_only_the_current_lease_may_commit(term: int, current_term: int | None, may: bool) -> None:
    assert may_commit(term, current_term) is may


@pytest.mark.parametrize(
    ("session", "known_session", "does"),
    [(1, None, True), (2, 2, True), (3, 2, True), (1, 2, False)],
)
def test_a_word_of_an_older_session_comes_too_late(
    session: int, known_session: int | None, does: bool
) -> None:
    assert counts(session, known_session) is does
