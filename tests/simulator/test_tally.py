"""What is counted adds up to the same bytes in any order, and survives the way through JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from agent.wire.vocabulary import EndState, EnrollmentType, FailureKind, Phase, Variant
from simulator.population import cohorts
from simulator.scenario_file import SHIPPED, load_scenario
from simulator.tally import Tally, TypeTally
from simulator.whatif.run import run_cohort


@pytest.fixture(scope="module")
def parts() -> list[Tally]:
    demo = load_scenario(SHIPPED / "demo.toml")
    return [run_cohort(demo, 5, cohort) for cohort in cohorts(demo, 5, 250)]


def text_of(tally: Tally) -> str:
    return json.dumps(tally.to_json())


def sum_of(parts: list[Tally]) -> Tally:
    whole = Tally()
    for part in parts:
        whole.add(part)
    return whole


def test_the_demo_has_something_to_count_everywhere(parts: list[Tally]) -> None:
    """The other tests show nothing of what is empty."""
    whole = sum_of(parts)
    written = whole.to_json()
    for name in ("items", "people"):
        for counter, value in written[name].items():
            assert value, f"{name}.{counter}"
    assert all(whole.whole.to_json().values())


def test_parts_add_up_to_the_same_bytes_in_any_order(parts: list[Tally]) -> None:
    assert len(parts) > 2
    assert text_of(sum_of(parts)) == text_of(sum_of(parts[::-1]))


def test_a_tally_survives_the_way_through_json(parts: list[Tally]) -> None:
    read = [Tally.from_json(json.loads(text_of(part))) for part in parts]
    assert [text_of(tally) for tally in read] == [text_of(part) for part in parts]
    assert text_of(sum_of(read)) == text_of(sum_of(parts))
    assert read == parts


def test_adding_changes_the_one_side_only(parts: list[Tally]) -> None:
    before = text_of(parts[1])
    sum_of(parts)
    assert text_of(parts[1]) == before


def test_keys_are_read_as_what_they_were() -> None:
    tally = Tally()
    tally.of_variant(EnrollmentType.IOS, Variant.AUTOMATED).ended(
        EndState.TIMED_OUT, 90_000, FailureKind.SETUP_TIMED_OUT
    )
    tally.items.failed_tries["app", FailureKind.NOT_DETECTED, "0x1"] += 2
    tally.items.open_at_timeout[Phase.DEVICE_SETUP, "app"] += 1
    read = Tally.from_json(json.loads(text_of(tally)))
    assert read == tally
    (part,) = read.parts
    assert isinstance(part[0], EnrollmentType)
    assert isinstance(part[1], Variant)
    ((phase, _),) = read.items.open_at_timeout
    assert isinstance(phase, Phase)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.pop("items"),
        lambda data: data["items"].pop("on_path"),
        lambda data: data["parts"][0][2].update(attempts=[["won", 1]]),
        lambda data: data["parts"][0][2].update(times=[[1, 2, 3]]),
        lambda data: data["parts"][0].pop(),
        lambda data: data.update(trace="nothing"),
        lambda data: data.update(events=None),
    ],
)
def test_what_is_no_tally_is_said_to_be_none(
    parts: list[Tally], spoil: Callable[[dict[str, Any]], object]
) -> None:
    data = json.loads(text_of(parts[0]))
    spoil(data)
    with pytest.raises(ValueError):  # noqa: PT011 - Every reason has its own words.
        Tally.from_json(data)


def test_a_type_is_its_variants_together() -> None:
    tally = Tally()
    tally.of_variant(EnrollmentType.IOS, Variant.STANDARD).devices = 3
    tally.of_variant(EnrollmentType.IOS, Variant.AUTOMATED).devices = 4
    tally.of_variant(EnrollmentType.MACOS_ADE, Variant.STANDARD).devices = 5
    assert tally.of(EnrollmentType.IOS).devices == 7
    assert tally.whole.devices == 12
    assert tally.types == (EnrollmentType.MACOS_ADE, EnrollmentType.IOS)


def test_the_rate_leaves_out_what_has_no_verdict() -> None:
    assert TypeTally().success_rate is None
    part = TypeTally()
    for state in (EndState.SUCCEEDED, EndState.BYPASSED, EndState.FAILED, EndState.REFUSED):
        part.ended(state, 60_000, FailureKind.STEP_FAILED)
    for state in (EndState.RESET, EndState.SUPERSEDED):
        part.ended(state, 60_000, FailureKind.STEP_FAILED)
    assert part.success_rate == 0.5
    assert part.reasons == {FailureKind.STEP_FAILED: 2}
    assert part.time_ms == 120_000
    assert part.time_ms_squared == 2 * 60_000**2
