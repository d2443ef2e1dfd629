"""The verdict on two collectors that were struck: four zeros, everything stored, and as many strikes as were asked for."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.two_collectors import judged
from tests.collector.two_collectors import ZEROS

DONE = Counter(killed_and_followed=3, killed_while_taking_over=2, halted_past_the_lease=4)
CLEAN = {"events_created": 70, "events_stored": 70, **dict.fromkeys(ZEROS, 0)}


def test_four_zeros_and_everything_stored_are_good() -> None:
    found = judged(DONE, 9, CLEAN, 70)
    assert found["good"]
    assert (found["kills"], found["halts"]) == (7, 4), "one strike of them kills both"


@pytest.mark.parametrize("name", ZEROS)
def test_none_of_the_zeros_may_be_another_number(name: str) -> None:
    assert not judged(DONE, 9, CLEAN | {name: 1}, 70)["good"]


@pytest.mark.parametrize(
    ("strikes", "changes", "stored"),
    [
        (10, {}, 70),
        (9, {"events_stored": 69}, 69),
        (9, {}, 71),
        (9, {"events_created": 0, "events_stored": 0}, 0),
    ],
)
def test_fewer_strikes_or_other_numbers_are_not_good(
    strikes: int, changes: dict[str, int], stored: int
) -> None:
    assert not judged(DONE, strikes, CLEAN | changes, stored)["good"]
