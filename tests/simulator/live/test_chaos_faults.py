"""The schedule of faults: seeded, complete, and of the length that was asked for."""

from __future__ import annotations

from itertools import pairwise

import pytest

from simulator.live.chaos_faults import FaultKind, schedule


def test_the_same_seed_gives_the_same_faults_and_another_one_others() -> None:
    assert list(schedule(7, 50, 1.0)) == list(schedule(7, 50, 1.0))
    assert list(schedule(7, 50, 1.0)) != list(schedule(8, 50, 1.0))


@pytest.mark.parametrize("seed", range(20))
def test_every_kind_strikes_once_at_least(seed: int) -> None:
    kinds = [fault.kind for fault in schedule(seed, len(FaultKind), 1.0)]
    assert sorted(kinds) == sorted(FaultKind)


def test_fewer_faults_than_kinds_are_of_different_kinds() -> None:
    kinds = {fault.kind for fault in schedule(1, 5, 1.0)}
    assert len(kinds) == 5


def test_what_can_t_be_done_here_is_left_out() -> None:
    kinds = [kind for kind in FaultKind if kind is not FaultKind.DISK_FULL]
    drawn = {fault.kind for fault in schedule(1, 500, 1.0, kinds)}
    assert drawn == set(kinds)


def test_faults_follow_each_other_at_the_pace_that_was_asked_for() -> None:
    faults = list(schedule(3, 400, 1.5))
    gaps = [b.at_s - a.at_s for a, b in pairwise(faults)]
    assert min(gaps) > 0
    assert faults[-1].at_s == pytest.approx(400 * 1.5, rel=0.1)


def test_the_clock_jumps_to_either_side_and_only_where_it_is_the_fault() -> None:
    jumps = [(f.kind, f.clock_jump_s) for f in schedule(3, 400, 1.0) if f.clock_jump_s]
    assert {kind for kind, _ in jumps} == {FaultKind.CLOCK_JUMPED}
    assert min(jump for _, jump in jumps) < -3_600 < 3_600 < max(jump for _, jump in jumps)
