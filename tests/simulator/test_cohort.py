from __future__ import annotations

import gc
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from agent.core.effects import Effect, Report, RunStep
from agent.core.events import MINUTE_MS, Event, StepFinished
from agent.wire.events import AttemptEnded
from agent.wire.vocabulary import EndState, FailureKind
from simulator.cohort import enroll_cohort
from simulator.counting import DeviceTally
from simulator.device import VirtualDevice
from simulator.population import Cohort, cohorts, simulated_device
from simulator.rollout import Rollout
from simulator.scenario import Scenario
from simulator.scenario_file import SHIPPED, load_scenario, read_scenario
from simulator.tally import Tally

BASE = """
name = "small"
[[population]]
type = "windows_manual"
weight = 1
device = "DESKTOP-{n:06}"
os = [{ name = "Windows 11", version = "10.0.22631" }]
[start]
pattern = "at_once"
[network]
megabits_per_second = 100
spread = 1
[[profiles]]
priority = 1
[profiles.profile]
id = "default-esp"
name = "Default ESP"
[[apps]]
id = "big"
name = "Big"
size_mb = 1000
[limits]
nobody_comes_back_minutes = 10
[persons.typical]
silent = 0
[persons.typical.error_screen]
retries = 0
then = { walk_away = 1 }
"""
SITE = """
[[sites]]
name = "Office"
devices = 10
megabits_per_second = 100
"""


@dataclass
class Life:
    """All that one device did."""

    device: VirtualDevice
    inputs: list[tuple[int, Event]] = field(default_factory=list)
    starts: dict[str, int] = field(default_factory=dict)
    runs: dict[tuple[str, int], int] = field(default_factory=dict)
    ends: list[AttemptEnded] = field(default_factory=list)

    def watch(self, at_ms: int, event: Event, effects: Sequence[Effect]) -> None:
        self.inputs.append((at_ms, event))
        for effect in effects:
            if isinstance(effect, RunStep):
                self.starts[effect.item] = at_ms
                self.runs[effect.item, effect.run] = at_ms
            if isinstance(effect, Report) and isinstance(effect.body, AttemptEnded):
                self.ends.append(effect.body)

    def close(self) -> None:
        assert self.device.end_state is not None

    @property
    def state(self) -> EndState:
        return self.ends[-1].end_state

    def took_ms(self, item: str) -> int:
        done = next(at for at, e in self.inputs if isinstance(e, StepFinished) and e.item == item)
        return done - self.starts[item]

    def tries(self) -> dict[str, list[tuple[int, bool | None]]]:
        """How long each try of each item took, and what was detected after it."""
        found: dict[str, list[tuple[int, bool | None]]] = {}
        for at_ms, event in self.inputs:
            if isinstance(event, StepFinished):
                took_ms = at_ms - self.runs[event.item, event.run]
                found.setdefault(event.item, []).append((took_ms, event.detected))
        return found


def scenario_of(extra: str = "", base: str = BASE) -> Scenario:
    return read_scenario(tomllib.loads(base + extra), "small.toml")


def lives_of(scenario: Scenario, devices: int, seed: int = 1) -> list[Life]:
    lives: list[Life] = []

    def observe(device: VirtualDevice) -> Life:
        lives.append(Life(device))
        return lives[-1]

    for cohort in cohorts(scenario, seed, devices):
        enroll_cohort(Rollout(scenario), seed, cohort, observe)
    return lives


def download_ms(scenario: Scenario, devices: int) -> int:
    """How long the last of the downloads took that all begin at about the same time."""
    lives = lives_of(scenario, devices)
    assert {life.state for life in lives} == {EndState.SUCCEEDED}
    return max(
        at
        for life in lives
        for at, e in life.inputs
        if getattr(e, "state", "") == "installing" and getattr(e, "item", "") == "big"
    )


def test_devices_of_a_site_wait_for_each_other_and_those_of_another_do_not() -> None:
    """A gigabyte at a hundred megabits takes 84 seconds: ten on one line take fourteen minutes."""
    alone, ten = (download_ms(scenario_of(SITE), devices) for devices in (1, 10))
    assert ten - alone == pytest.approx(9 * 84_000, rel=0.05)
    assert download_ms(scenario_of(SITE), 20) == pytest.approx(ten, rel=0.05)


def test_a_device_alone_at_a_site_with_a_wide_line_lives_as_with_none() -> None:
    wide = scenario_of(SITE.replace("devices = 10", "devices = 1").replace("= 100", "= 100000"))
    for shared, private in zip(lives_of(wide, 6), lives_of(scenario_of(), 6), strict=True):
        assert shared.starts.keys() == private.starts.keys()
        assert shared.took_ms("big") == pytest.approx(private.took_ms("big"), abs=2)
        assert shared.ends == private.ends


def test_a_cache_takes_the_load_off_the_line() -> None:
    cached = scenario_of(SITE + "cache = { megabits_per_second = 1000 }")
    late = 'start = { pattern = "truckload", seconds_apart = 600 }\n'
    assert download_ms(scenario_of(SITE + late), 10) == pytest.approx(
        download_ms(scenario_of(SITE + late + "cache = {}"), 10), abs=90_000
    )
    assert download_ms(cached, 10) == pytest.approx(download_ms(scenario_of(SITE), 10), rel=0.05)
    first, *others = lives_of(scenario_of(SITE + late + "cache = {}"), 10)
    assert all(other.took_ms("big") < first.took_ms("big") - 50_000 for other in others)


def test_a_longer_wait_at_the_line_runs_into_the_timeout() -> None:
    tight = BASE.replace('name = "Default ESP"', 'name = "Default ESP"\ntimeout_minutes = 12')
    states = [life.state for life in lives_of(scenario_of(SITE, tight), 10)]
    assert set(states) == {EndState.TIMED_OUT}
    states = [life.state for life in lives_of(scenario_of(base=tight), 10)]
    assert set(states) == {EndState.SUCCEEDED}


def test_whoever_gives_up_leaves_the_line_to_the_others() -> None:
    """Half of them wait nine minutes and stop for good; the others are through sooner than with all ten."""
    profile = """
[[groups]]
name = "Hasty"
share = 0.5
[[profiles]]
priority = 2
groups = ["Hasty"]
[profiles.profile]
id = "hasty-esp"
name = "Hasty ESP"
timeout_minutes = 9
"""
    hasty = BASE.replace("priority = 1", "priority = 3") + profile
    lives = lives_of(scenario_of(SITE, hasty), 10)
    stopped = [life for life in lives if life.state is EndState.TIMED_OUT]
    through = [life for life in lives if life.state is EndState.SUCCEEDED]
    assert len(stopped) + len(through) == 10
    assert stopped
    assert through
    patient = max(life.took_ms("big") for life in lives_of(scenario_of(SITE), 10))
    assert max(life.took_ms("big") for life in through) < patient - MINUTE_MS


FAILS = 'faults = [{ kind = "network_timeout", chance = 1, recovery = 1 }]'


def test_a_download_that_breaks_off_is_tried_again_on_the_shared_line() -> None:
    text = BASE.replace("size_mb = 1000", f"size_mb = 1000\n{FAILS}")
    (life,) = lives_of(scenario_of(SITE, text), 1)
    results = [e for _, e in life.inputs if isinstance(e, StepFinished) and e.item == "big"]
    assert [e.failure for e in results] == [FailureKind.NETWORK_TIMEOUT, None]
    assert life.state is EndState.SUCCEEDED


OWNERS = "[users]\ndevices = { 4 = 1 }\n[admission]\ndevice_limit = 15\n"


@pytest.mark.parametrize(("before", "refused"), [(11, 0), (12, 1), (14, 3), (15, 4), (40, 4)])
def test_the_sixteenth_device_of_a_user_is_refused(before: int, refused: int) -> None:
    """By the collector's own rule: four devices of one person enroll, who had so many before."""
    text = BASE.replace("silent = 0", f"silent = 0\nother_devices = {{ {before} = 1 }}")
    lives = lives_of(scenario_of(OWNERS, text), 4)
    ends = [life.ends[-1] for life in lives]
    assert [end.end_state for end in ends].count(EndState.REFUSED) == refused
    kinds = {end.failure.kind for end in ends if end.failure is not None}
    assert kinds <= {FailureKind.DEVICE_LIMIT_EXCEEDED}


def test_the_device_that_comes_last_is_refused_whatever_its_number() -> None:
    text = BASE.replace("silent = 0", "silent = 0\nother_devices = { 13 = 1 }")
    text = text.replace('pattern = "at_once"', 'pattern = "morning"\nover_minutes = 300')
    lives = lives_of(scenario_of(OWNERS, text), 4)
    by_start = sorted(lives, key=lambda life: life.device.device.starts_at_ms)
    assert by_start != lives
    states = [life.state for life in by_start]
    assert states == [EndState.SUCCEEDED] * 2 + [EndState.REFUSED] * 2


def test_a_device_that_failed_leaves_its_place_to_the_next() -> None:
    fails = 'faults = [{ kind = "installer_failed", chance = 1, recovery = 0 }]'
    text = BASE.replace("silent = 0", "silent = 0\nother_devices = { 14 = 1 }")
    text = text.replace('pattern = "at_once"', 'pattern = "truckload"\nseconds_apart = 90000')
    good, failing = text, text.replace("size_mb = 1000", f"size_mb = 1\n{fails}")
    assert [life.state for life in lives_of(scenario_of(OWNERS, good), 4)].count(
        EndState.REFUSED
    ) == 3
    states = [life.state for life in lives_of(scenario_of(OWNERS, failing), 4)]
    assert EndState.REFUSED not in states


def test_people_who_may_have_all_their_devices_live_alone_as_they_do_side_by_side() -> None:
    """The way that saves the heap gives the same lives as the one with it."""
    alone = scenario_of("[users]\ndevices = { 3 = 1 }\n[admission]\ndevice_limit = 1000")
    together = scenario_of("[users]\ndevices = { 3 = 1 }\n[admission]\ndevice_limit = 3")
    text = BASE.replace("silent = 0", "silent = 0\nother_devices = { 997 = 1 }")
    heaped = scenario_of("[users]\ndevices = { 3 = 1 }\n[admission]\ndevice_limit = 999", text)
    # The third is refused in the last one; the others have the same inputs everywhere.
    for one, two, three in zip(
        lives_of(alone, 9), lives_of(together, 9), lives_of(heaped, 9), strict=True
    ):
        assert one.inputs == two.inputs
        assert three.state is EndState.REFUSED or one.inputs == three.inputs


def test_a_cohort_may_be_run_by_itself() -> None:
    scenario = load_scenario(SHIPPED / "office.toml")
    whole = {life.device.device.index: life.inputs for life in lives_of(scenario, 330)}
    last = cohorts(scenario, 1, 330)[-1]
    lives: list[Life] = []

    def observe(device: VirtualDevice) -> Life:
        lives.append(Life(device))
        return lives[-1]

    enroll_cohort(Rollout(scenario), 1, last, observe)
    assert [life.device.device.index for life in lives] == list(
        range(last.first, last.first + last.count)
    )
    assert all(whole[life.device.device.index] == life.inputs for life in lives)


def test_one_more_app_changes_no_other_draw() -> None:
    """Each try of everything else takes exactly as long as before, and ends as it ended."""
    more = '\n[[apps]]\nid = "more"\nname = "More"\nsize_mb = 10\n'
    flaky = '\n[[apps]]\nid = "flaky"\nname = "Flaky"\nfaults = [{ kind = "not_detected", chance = 0.3 }]\n'
    without = lives_of(scenario_of(flaky), 40)
    with_it = lives_of(scenario_of(more + flaky), 40)
    for before, after in zip(without, with_it, strict=True):
        assert before.tries().keys() == after.tries().keys() - {"more"}
        for item, tries in before.tries().items():
            assert after.tries()[item] == tries
    assert any(len(life.tries()["flaky"]) > 1 for life in without)


def test_one_more_device_changes_no_other_where_nothing_is_shared() -> None:
    few, many = lives_of(scenario_of(), 3), lives_of(scenario_of(), 9)
    for one, other in zip(few, many[:3], strict=True):
        assert one.inputs == other.inputs
    assert simulated_device(scenario_of(), 1, 2).facts == many[2].device.device.facts


def test_a_large_cohort_is_no_other_than_its_devices_one_by_one() -> None:
    scenario = scenario_of()
    lives: list[Life] = []

    def observe(device: VirtualDevice) -> Life:
        lives.append(Life(device))
        return lives[-1]

    enroll_cohort(Rollout(scenario), 1, Cohort(0, 0, 5), observe)
    for index, life in enumerate(lives):
        alone = Life(VirtualDevice(Rollout(scenario), simulated_device(scenario, 1, index)))
        alone.device.run(alone.watch)
        assert alone.inputs == life.inputs


@pytest.mark.parametrize("name", ["company", "office"])
def test_devices_leave_no_circle_of_objects_behind(name: str) -> None:
    """Which is why Python may look for circles rarely meanwhile, and memory stays flat."""
    rollout = Rollout(load_scenario(SHIPPED / f"{name}.toml"))
    seen: list[tuple[int, int, int]] = []
    tally = Tally()

    def observe(device: VirtualDevice) -> DeviceTally:
        seen.append(gc.get_threshold())
        return DeviceTally(tally, device)

    def enroll(seed: int) -> None:
        enroll_cohort(rollout, seed, Cohort(0, 0, 15, 0 if name == "office" else None), observe)

    enroll(1)
    before = gc.get_threshold()
    gc.collect()
    gc.disable()
    try:
        enroll(2)
        assert gc.collect() == 0
    finally:
        gc.enable()
    assert min(seen)[0] > before[0]
    assert gc.get_threshold() == before
