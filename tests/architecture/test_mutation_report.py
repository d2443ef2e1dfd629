"""The report of the mutation run: what counts as a survivor, and what is left out."""

from __future__ import annotations

import pytest

from tests.mutation import Mutant, survivors, table

ORIGINAL = """\
def f__mutmut_orig(state):
    if state == "idle":
        return why("id", "nothing has failed"), 3
"""


def mutant(was: str = "3", now: str = "4", *, exit_code: int | None = 0) -> Mutant:
    mutated = ORIGINAL.replace("_orig", "_1").replace(was, now)
    return Mutant("outbox", "f__mutmut_1", exit_code, ORIGINAL, mutated)


@pytest.mark.parametrize(
    ("was", "now", "is_text"),
    [
        ("nothing has failed", "XXnothing has failedXX", True),
        ("nothing has failed", "NOTHING HAS FAILED", True),
        ('"nothing has failed"', "None", False),
        ('"id", ', "", False),
        (', "nothing has failed"', "", False),
        ('"id"', '"ID"', False),
        ("idle", "XXidleXX", False),
        ("==", "!=", False),
        ("3", "4", False),
    ],
)
def test_only_a_change_of_a_sentence_is_left_out(was: str, now: str, is_text: bool) -> None:
    assert mutant(was, now).is_text is is_text


@pytest.mark.parametrize(
    ("exit_code", "is_killed"),
    [(0, False), (1, True), (3, True), (36, True), (-24, True), (33, False), (None, False)],
)
def test_a_failed_test_and_a_run_without_end_are_noticed_mutants_and_nothing_else_is(
    exit_code: int | None, is_killed: bool
) -> None:
    assert mutant(exit_code=exit_code).is_killed is is_killed


def test_a_survivor_is_shown_with_its_change_and_counted_under_its_module() -> None:
    mutants = [mutant(), mutant(exit_code=1), mutant(exit_code=36), mutant(exit_code=1)]
    shown = "\n".join(survivors(mutants))
    assert shown.count("f__mutmut_1 ") == 1
    assert '-        return why("id", "nothing has failed"), 3' in shown
    assert '+        return why("id", "nothing has failed"), 4' in shown
    rows = list(table(mutants))
    assert rows[1].split() == ["outbox", "3", "1", "75.0%"]
    assert rows[2].split() == ["agent/core", "3", "1", "75.0%"]
    assert rows[3].startswith("1 of the killed")
