from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from simulator.draws import Draws, even_position, pick_at

NAMES = st.text(max_size=20)


@given(st.integers(0, 2**63), NAMES, NAMES, NAMES, st.integers(0, 10**6))
def test_a_draw_depends_on_its_name_alone(
    seed: int, device: str, purpose: str, item: str, occurrence: int
) -> None:
    """Whatever is drawn in between, the same name gives the same number."""
    draws = Draws(seed, device)
    first = draws.uniform(purpose, item, occurrence)
    draws.uniform("something else", item)
    draws.hex("an id")
    assert 0 <= first < 1
    assert draws.uniform(purpose, item, occurrence) == first
    assert Draws(seed, device).uniform(purpose, item, occurrence) == first


def test_every_part_of_the_name_counts() -> None:
    drawn = {
        Draws(seed, device).uniform(purpose, item, occurrence)
        for seed in (1, 2)
        for device in (1, 11)
        for purpose in ("time", "fault")
        for item in ("", "vpn")
        for occurrence in (0, 1)
    }
    assert len(drawn) == 32


def test_a_known_draw_stays_what_it_is() -> None:
    """Scenarios are compared across versions, so the generator is part of the contract."""
    assert Draws(1, 0).uniform("time", "vpn", 0) == Draws(1, "0").uniform("time", "vpn", 0)
    assert round(Draws(1, 0).uniform("time", "vpn", 0), 12) == KNOWN


def test_spread_has_its_median_and_its_factor() -> None:
    drawn = sorted(Draws(7, i).spread(100, 2, "time") for i in range(4000))
    assert 95 < drawn[2000] < 105
    within = sum(50 <= value <= 200 for value in drawn) / 4000
    assert 0.66 < within < 0.71


def test_a_spread_of_one_is_exact() -> None:
    assert Draws(7, 1).spread(100, 1, "time") == 100


def test_pick_follows_the_weights_and_never_takes_a_zero() -> None:
    weights = {"a": 1.0, "b": 0.0, "c": 3.0}
    picked = [Draws(3, i).pick(weights, "kind") for i in range(4000)]
    assert set(picked) == {"a", "c"}
    assert 0.22 < picked.count("a") / 4000 < 0.28


def test_pick_at_covers_the_ends() -> None:
    assert pick_at(0.0, {"a": 0.0, "b": 1.0}) == "b"
    assert pick_at(1 - 2**-53, {"a": 1.0, "b": 1.0, "c": 0.0}) == "b"


def test_even_positions_give_a_small_fleet_its_shares() -> None:
    for seed in range(50):
        low = sum(even_position(seed, i, "population") < 0.1 for i in range(40))
        assert 2 <= low <= 6


def test_the_even_positions_of_two_purposes_are_independent() -> None:
    both = sum(
        even_position(5, i, "population") < 0.25 and even_position(5, i, "start") < 0.25
        for i in range(2000)
    )
    assert 100 < both < 150


KNOWN = 0.502145207558
