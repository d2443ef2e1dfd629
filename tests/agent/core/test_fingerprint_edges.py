"""The fingerprint of a fold: what changes it, and what a new version may do without changing it."""

from __future__ import annotations

import re

from agent.core.enrollment import Enrollment
from agent.core.fingerprint import fingerprint_of, is_told_otherwise
from agent.wire.vocabulary import EnrollmentType, Gate
from tests.agent.core.script import Script, hangs


def at_work() -> Enrollment:
    story = Script(EnrollmentType.WINDOWS_MANUAL).behave("office", hangs)
    return story.begin().assign().play().machine


def test_a_fingerprint_is_sixteen_digits_and_the_same_for_the_same_facts() -> None:
    assert re.fullmatch("[0-9a-f]{16}", fingerprint_of(at_work().progress))
    assert fingerprint_of(at_work().progress) == fingerprint_of(at_work().progress)


def test_a_fact_that_is_told_otherwise_changes_it() -> None:
    told = at_work().progress
    for change in ({"percent": told.percent + 1}, {"gate": Gate.RELEASED}, {"attempt": "other"}):
        assert fingerprint_of(told.model_copy(update=change)) != fingerprint_of(told)


def test_words_estimates_and_defaults_that_are_written_out_do_not_change_it() -> None:
    told = at_work().progress
    other = told.model_copy(
        update={"remaining": None, "organization": "Contoso", "end_state": None, "choices": ()}
    )
    assert fingerprint_of(other) == fingerprint_of(told.model_copy(update={"choices": ()}))


def test_only_a_fingerprint_that_was_kept_can_be_contradicted() -> None:
    machine = at_work()
    assert not is_told_otherwise(None, machine)
    assert not is_told_otherwise(fingerprint_of(machine.progress), machine)
    assert is_told_otherwise("0123456789abcdef", machine)
