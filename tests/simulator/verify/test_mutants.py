"""Every planted bug is noticed, and every property notices some bug; `make mutants` says in how many worlds."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout

import pytest

from simulator.verify.checkers import ALL
from simulator.verify.plan import draw_world
from simulator.verify.report import check_seed
from simulator.verify.run import run_world
from simulator.verify.shrink import shrink
from tests.simulator.verify import mutants
from tests.simulator.verify.mutants import MUTANTS, Mutant, Result, judge_all

WORLDS = 60


def planted(name: str) -> Mutant:
    return next(m for m in MUTANTS if name in m.name)


@pytest.fixture(scope="module")
def results() -> list[Result]:
    return list(judge_all(MUTANTS, 1, WORLDS, jobs=2, quick=True))


@pytest.mark.timeout(600)
def test_every_planted_bug_is_noticed(results: list[Result]) -> None:
    assert [r.name for r in results if r.caught == 0] == []


def test_every_property_notices_something(results: list[Result]) -> None:
    """A checker that no bug sets off might as well not be there."""
    noticed = {checker for result in results for checker, _ in result.checkers}
    assert {checker.name for checker in ALL} - noticed == set()


def test_there_are_bugs_for_every_room() -> None:
    assert len(MUTANTS) >= 25
    assert len({m.name for m in MUTANTS}) == len(MUTANTS)
    rooms = {"machine", "reading", "journal", "outbox", "link", "intake", "admission"}
    assert {m.room for m in MUTANTS} == rooms


def test_a_bug_is_gone_when_it_was_looked_at() -> None:
    before = run_world(draw_world(1))
    for mutant in MUTANTS:
        with mutant.apply():
            pass
    after = run_world(draw_world(1))
    assert (after.trace, after.violation) == (before.trace, None)


def test_a_failing_world_is_made_smaller_and_still_fails() -> None:
    with planted("an acknowledgement lower than the last is ignored").apply():
        seed = next(s for s in range(1, WORLDS) if run_world(draw_world(s)).violation)
        violation = check_seed(seed).violation
        assert violation is not None
        smaller = shrink(seed, violation)
        plan = draw_world(seed).smaller(without=smaller.without, devices=smaller.devices)
        replayed = run_world(plan).violation
    assert replayed is not None
    assert replayed.checker == violation.checker
    assert "collector_restores_per_hour" in plan.faults.active, "without it no number is lower"
    assert len(plan.faults.active) < len(draw_world(seed).faults.active)
    assert smaller.command.startswith(f"esp-sim verify --seed {seed} --trace --without ")


def test_the_table_fails_when_a_bug_goes_unnoticed() -> None:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        # One world is not enough to meet two devices of one user at the same time.
        missed = mutants.main(["--only", "not locked", "--seeds", "1"])
        caught = mutants.main(["--only", "before it is committed", "--seeds", "1"])
    assert (missed, caught) == (1, 0)
    assert "not caught: the user is not locked" in err.getvalue()
    assert "1 of 1 mutants caught" in out.getvalue()
