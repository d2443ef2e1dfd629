"""A comparison finds what is there, and errs as seldom as it says when nothing is."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest

from agent.wire.vocabulary import EnrollmentType, FailureKind, Variant
from simulator.counting import Outcome
from simulator.engine import local
from simulator.interruption import Interruption
from simulator.scenario import Scenario
from simulator.scenario_file import read_scenario
from simulator.whatif.paired import (
    Difference,
    Differences,
    PairTally,
    mean_difference,
    rate_difference,
)
from simulator.whatif.versions import run_versions

FLEET = 20_000
WORLDS = 2000


# --- a cheap model of paired outcomes, at full size -----------------------------------------------


def hits(draw: random.Random, count: int, chance: float) -> int:
    """How many of so many cases: a jump from hit to hit instead of a draw for each."""
    found, place = 0, 0
    while chance > 0:
        place += int(math.log(1 - draw.random()) / math.log1p(-chance)) + 1
        if place > count:
            break
        found += 1
    return found


def world(seed: int, gained: float, lost: float, devices: int = FLEET) -> PairTally:
    """A fleet of which these shares change for better and for worse."""
    draw = random.Random(seed)
    worse = hits(draw, devices, lost)
    better = hits(draw, devices - worse, gained / (1 - lost))
    return tally_of(devices, better, worse)


def tally_of(devices: int, better: int, worse: int) -> PairTally:
    """Devices that depend on no other."""
    success = Differences(
        count=devices,
        moved=better + worse,
        total=better - worse,
        squares=better + worse,
        groups=devices,
        group_squares=better + worse,
        group_products=better - worse,
        size_squares=devices,
    )
    return PairTally(devices=devices, first_only=worse, second_only=better, success=success)


def found_share(gained: float, lost: float, worlds: int, devices: int = FLEET) -> float:
    results = [rate_difference(world(seed, gained, lost, devices)) for seed in range(worlds)]
    return sum(result is not None and result.is_found for result in results) / worlds


@pytest.mark.parametrize(
    ("gained", "lost"),
    # The same people and networks on both sides; then two sides that have nothing in common.
    [(0.011, 0.001), (0.02, 0.01), (0.0247, 0.0147)],
)
def test_one_point_is_found_with_20000_devices(gained: float, lost: float) -> None:
    assert found_share(gained, lost, 500) == 1
    assert found_share(lost, gained, 500) == 1


@pytest.mark.parametrize("changed", [0.0004, 0.002, 0.02, 0.04])
def test_where_there_is_no_difference_at_most_one_of_twenty_finds_one(changed: float) -> None:
    """Two standard errors of the test itself are allowed on top."""
    assert found_share(changed / 2, changed / 2, WORLDS) <= 0.05 + 2 * math.sqrt(0.05 / WORLDS)


def test_the_level_is_used_not_wasted() -> None:
    assert found_share(0.01, 0.01, WORLDS) >= 0.035


@pytest.mark.parametrize(("changed", "devices"), [(0.0, FLEET), (0.02, FLEET), (0.05, 1000)])
def test_a_difference_of_the_named_size_would_be_found(changed: float, devices: int) -> None:
    result = rate_difference(world(1, changed / 2, changed / 2, devices))
    assert result is not None
    share = max(changed, result.detectable)
    half = result.detectable / 2
    assert found_share(share / 2 + half, share / 2 - half, 1000, devices) >= 0.93
    if changed:
        assert found_share(changed / 2 + half / 4, changed / 2 - half / 4, 1000, devices) < 0.5


def time_world(seed: int, moved: int, shift_s: float) -> Differences:
    """A fleet of which some devices take another time, seconds to hours, either way."""
    draw = random.Random(seed)
    times = Differences()
    for _ in range(moved):
        later_s = draw.choice((-1, 1)) * math.exp(draw.gauss(4, 1)) + shift_s * FLEET / moved
        times.take([round(1000 * later_s)])
    for name in ("count", "groups", "size_squares"):
        setattr(times, name, FLEET)
    return times


@pytest.mark.parametrize("moved", [6, 20, 400])
def test_where_times_do_not_differ_at_most_one_of_twenty_finds_it(moved: int) -> None:
    results = [mean_difference(time_world(seed, moved, 0)) for seed in range(1000)]
    found = sum(result is not None and result.is_found for result in results)
    assert found / 1000 <= 0.05 + 2 * math.sqrt(0.05 / 1000)


@pytest.mark.parametrize("moved", [60, 400])
def test_a_difference_in_time_of_the_named_size_would_be_found(moved: int) -> None:
    named = [mean_difference(time_world(seed, moved, 0)) for seed in range(300)]
    found = 0
    for seed, result in enumerate(named):
        assert result is not None
        moved_on = mean_difference(time_world(1000 + seed, moved, result.detectable / 1000))
        found += moved_on is not None and moved_on.is_found
    assert found / 300 >= 0.9


def test_few_changes_are_decided_as_mcnemar_does() -> None:
    """Six that all went one way are the first that are not chance."""
    for count, is_found in ((5, False), (6, True), (7, True)):
        result = rate_difference(tally_of(FLEET, count, 0))
        assert result is not None
        assert result.is_found is is_found


def test_five_devices_that_moved_alike_are_not_enough() -> None:
    """Their mean is more than two standard errors from zero; all the same, five in one direction may be chance."""
    for moved, is_found in ((5, False), (6, True)):
        times = Differences()
        for place in range(1000):
            times.take([60_000 if place < moved else 0])
        result = mean_difference(times)
        assert result is not None
        assert result.interval[0] > 0
        assert result.is_found is is_found


def test_too_few_devices_say_nothing() -> None:
    assert rate_difference(PairTally()) is None
    assert rate_difference(tally_of(4, 1, 0)) is None
    five = Differences()
    for _ in range(5):
        five.take([10])
    assert mean_difference(five) is None


# --- devices that go together -------------------------------------------------------------------


def grouped(seed: int, groups: int, size: int, shared_s: float) -> Differences:
    """Groups whose devices have one part of their luck in common, and one of their own."""
    draw = random.Random(seed)
    times = Differences()
    for _ in range(groups):
        ours = draw.gauss(0, shared_s)
        times.take([round(1000 * (ours + draw.gauss(0, 60))) for _ in range(size)])
    return times


def found_among(results: list[Difference | None]) -> float:
    return sum(result is not None and result.is_found for result in results) / len(results)


@pytest.mark.parametrize(("groups", "size"), [(6, 30), (40, 30), (200, 3)])
def test_what_goes_together_counts_as_little_as_it_should(groups: int, size: int) -> None:
    """Were each device taken for independent, every second or third world would find something."""
    worlds = [grouped(seed, groups, size, 40) for seed in range(600)]
    assert found_among([mean_difference(w) for w in worlds]) <= 0.05 + 2 * math.sqrt(0.05 / 600)
    for world_ in worlds:
        world_.groups = world_.size_squares = world_.count
    alone = found_among([mean_difference(w) for w in worlds])
    assert alone > (0.2 if size > 10 else 0.08)


def test_groups_whose_devices_are_independent_cost_next_to_nothing() -> None:
    stretches = [grouped(seed, 200, 10, 0).stretch for seed in range(100)]
    assert sum(stretches) / 100 < 1.06
    assert min(stretches) >= 1


def test_a_device_for_itself_needs_no_stretch() -> None:
    assert grouped(1, 50, 1, 40).stretch == 1


def test_success_that_goes_together_has_a_wider_interval() -> None:
    """Twenty sites of ten: at one of them everybody is saved, or the same ten here and there."""
    apart, together = PairTally(), PairTally()
    failed = outcome(time_ms=None, reason=FailureKind.SETUP_TIMED_OUT)
    won = outcome(time_ms=100)
    for site in range(20):
        saved = 10 if site == 0 else 0
        together.count([(failed, won)] * saved + [(won, won)] * (10 - saved))
        half = 1 if site < 10 else 0
        apart.count([(failed, won)] * half + [(won, won)] * (10 - half))
    one, other = rate_difference(apart), rate_difference(together)
    assert one is not None
    assert one.is_found
    assert other is not None
    assert not other.is_found
    assert other.estimate == one.estimate == 0.05


def test_a_few_places_say_nothing() -> None:
    pairs = PairTally()
    for _ in range(4):
        pairs.count([(outcome(time_ms=100), outcome(time_ms=90))] * 50)
    assert rate_difference(pairs) is None
    assert mean_difference(pairs.time) is None


def test_one_large_place_beside_small_ones_is_not_many() -> None:
    differences = Differences()
    differences.take([1] * 100)
    for _ in range(20):
        differences.take([1])
    assert differences.groups == 21
    assert differences.effective_groups == pytest.approx(120**2 / (100**2 + 20))
    pairs = PairTally()
    pairs.count([(outcome(time_ms=100), outcome(time_ms=90))] * 100)
    for _ in range(20):
        pairs.count([(outcome(time_ms=100), outcome(time_ms=90))])
    assert rate_difference(pairs) is None
    assert mean_difference(pairs.time) is None


# --- one device ---------------------------------------------------------------------------------


def outcome(*, time_ms: int | None, reason: FailureKind | None = None, **more: Any) -> Outcome:
    values: dict[str, Any] = {
        "part": (EnrollmentType.IOS, Variant.STANDARD),
        "succeeded": time_ms is not None,
        "reason": reason,
        "attempt_ms": time_ms,
        "gate_ms": time_ms,
    }
    return Outcome(**(values | more))


def test_each_device_is_counted_by_what_changed() -> None:
    pairs = PairTally()
    failed = outcome(time_ms=None, reason=FailureKind.NETWORK_TIMEOUT)
    mac = outcome(time_ms=100, part=(EnrollmentType.MACOS_ADE, Variant.STANDARD))
    pairs.count([(outcome(time_ms=100), outcome(time_ms=140))])
    pairs.count([(outcome(time_ms=100), outcome(time_ms=100))])
    pairs.count([(outcome(time_ms=100), outcome(time_ms=70)), (failed, outcome(time_ms=100))])
    pairs.count([(outcome(time_ms=100), failed)])
    pairs.count([(failed, failed)])
    pairs.count([(outcome(time_ms=100), mac)])
    assert (pairs.devices, pairs.other_kind) == (7, 1)
    assert (pairs.first_only, pairs.second_only) == (1, 1)
    assert (pairs.success.count, pairs.success.total, pairs.success.moved) == (7, 0, 2)
    assert (pairs.success.groups, pairs.success.size_squares) == (6, 9)
    time = pairs.time
    assert (time.count, time.moved, time.total, time.squares) == (4, 2, 10, 40**2 + 30**2)
    assert (time.groups, time.group_squares, time.group_products) == (4, 40**2 + 30**2, 10)
    assert pairs.gained == pairs.lost == {FailureKind.NETWORK_TIMEOUT: 1}
    assert (pairs.gate.count, pairs.gate.total) == (4, 10)


def test_pairs_add_up_and_survive_the_way_through_json() -> None:
    one, two = PairTally(), PairTally()
    one.count([(outcome(time_ms=100), outcome(time_ms=140))] * 3)
    two.count([(outcome(time_ms=None, reason=FailureKind.NO_POLICY), outcome(time_ms=5))])
    whole = PairTally()
    whole.add(one)
    whole.add(two)
    assert (whole.devices, whole.time.groups, whole.success.size_squares) == (4, 1, 10)
    assert PairTally.from_json(json.loads(json.dumps(whole.to_json()))) == whole


def test_the_gate_has_a_difference_of_its_own() -> None:
    pairs = PairTally()
    for _ in range(10):
        pairs.count([(outcome(time_ms=100, gate_ms=90), outcome(time_ms=100, gate_ms=95))])
    gate, time = mean_difference(pairs.gate), mean_difference(pairs.time)
    assert gate is not None
    assert gate.is_found
    assert gate.estimate == 5
    assert time is not None
    assert not time.is_found


# --- the real engine, small -----------------------------------------------------------------------


def small(name: str = "vpn", failing: float = 0.3) -> Scenario:
    """An app that fails for good on some devices. Under another name it draws other luck, equally likely."""
    fault = {"kind": "installer_failed", "chance": failing, "recovery": 0}
    profile = {"id": "esp", "name": "ESP", "timeout_minutes": 60}
    app = {"id": name, "name": "VPN", "time": {"median_s": 60}, "tries": 1, "faults": [fault]}
    population = {
        "type": "windows_manual",
        "weight": 1,
        "device": "D-{n}",
        "os": [{"name": "Windows 11", "version": "10.0.22631"}],
    }
    data = {
        "name": "small",
        "population": [population],
        "profiles": [{"priority": 1, "profile": profile}],
        "apps": [app],
    }
    return read_scenario(data, "small")


def compared(first: Scenario, second: Scenario, seed: int, devices: int) -> PairTally:
    with local(1, Interruption()) as engine:
        return run_versions(engine, (first, second), devices=devices, seed=seed).pairs[0].whole


def test_the_engine_finds_a_planted_difference() -> None:
    for seed in range(5):
        pairs = compared(small(), small(failing=0.1), seed, 150)
        result = rate_difference(pairs)
        assert result is not None
        assert result.is_found
        assert pairs.first_only == 0, "on the same devices fewer faults fail nothing else"
        assert result.interval[0] <= 0.2 <= result.interval[1]


def test_the_engine_finds_nothing_where_only_luck_differs() -> None:
    """Forty fleets; more than five false finds would have a chance of 1.4 % at the stated level."""
    found = changed = 0
    for seed in range(40):
        pairs = compared(small("vpn"), small("mail"), seed, 60)
        changed += pairs.first_only + pairs.second_only
        result = rate_difference(pairs)
        found += result is not None and result.is_found
    assert changed > 400, "luck differs"
    assert found <= 5


def test_the_same_scenario_twice_differs_nowhere() -> None:
    pairs = compared(small(), small(), 3, 60)
    assert (pairs.first_only, pairs.second_only, pairs.time.moved, pairs.gate.moved) == (0, 0, 0, 0)
