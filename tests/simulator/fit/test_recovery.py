from __future__ import annotations

import random

import pytest

from simulator.fit.recovery import Affected, Seen, recovery_of

FAILED = Seen(1.0, 0.0)
WORKED = Seen(0.0, 1.0)
UNKNOWN = Seen(1.0, 1.0)


def test_what_can_be_seen_is_counted() -> None:
    devices = [
        Affected(0.0, (WORKED,)),
        Affected(0.0, (FAILED, WORKED)),
        Affected(0.0, (FAILED, FAILED)),
        Affected(0.0, ()),
    ]
    found = recovery_of(devices, 100)
    assert (found.affected, found.tries, found.recovered) == pytest.approx((4, 5, 2))


def test_tries_that_show_nothing_do_not_make_recovery_look_better() -> None:
    """Half of the further tries are cut off; those that worked after one had two chances."""
    chance = random.Random(1)
    devices = []
    for _ in range(4000):
        seen = []
        while True:
            recovered = chance.random() < 0.4
            if chance.random() < 0.5:
                seen.append(UNKNOWN)
                if recovered:
                    seen.append(WORKED)
                    break
            else:
                seen.append(WORKED if recovered else FAILED)
                if recovered:
                    break
        devices.append(Affected(0.0, tuple(seen)))
    found = recovery_of(devices, 10_000)
    assert found.recovered / found.tries == pytest.approx(0.4, abs=0.02)


def test_first_tries_that_were_only_slow_are_not_taken_for_the_fault() -> None:
    """500 of 5,000 devices hang, and every tenth of the others is as slow as that."""
    chance = random.Random(2)
    slow = Seen(1.0, 0.1)
    devices = []
    for number in range(5000):
        hangs = number < 500
        if hangs or chance.random() < 0.1:
            still_hangs = hangs and chance.random() > 0.7
            again = slow if still_hangs or chance.random() < 0.1 else WORKED
            devices.append(Affected(0.1, (again,)))
    assert len(devices) > 900
    found = recovery_of(devices, 5000)
    assert found.affected == pytest.approx(500, rel=0.15)
    assert found.recovered / found.tries == pytest.approx(0.7, abs=0.08)


def test_nothing_is_nothing() -> None:
    found = recovery_of([], 0)
    assert (found.affected, found.tries, found.recovered) == (0, 0, 0)
