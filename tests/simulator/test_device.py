from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any

import pytest

from agent.core.effects import CancelStep, CollectLogs, Effect, Report, SetGate
from agent.core.events import Event, LogsCollected, StepFinished
from agent.wire.assignment import Admitted
from agent.wire.events import AttemptEnded
from agent.wire.vocabulary import EndState, EnrollmentType, FailureKind, Gate
from simulator.device import VirtualDevice
from simulator.population import simulated_device
from simulator.rollout import Rollout
from simulator.scenario import Scenario
from simulator.scenario_file import read_scenario

BASE = """
name = "one"
[[population]]
type = "{type}"
weight = 1
device = "DEVICE-{{n:06}}"
os = [{{ name = "System", version = "12" }}]
[screens.ios]
terms_of_use = true
device_category = true
activation = true
[screens.android_enterprise]
terms_of_use = true
[[profiles]]
priority = 1
[profiles.profile]
id = "default-esp"
name = "Default ESP"
timeout_minutes = 60
[profiles.profile.error_handling]
allow_retry = {retry}
allow_continue = {continue_}
allow_reset = {reset}
allow_log_collection = {logs}
[[policies]]
id = "baseline"
name = "Baseline"
[[apps]]
id = "portal"
name = "Portal"
[[apps]]
id = "vpn"
name = "VPN"
depends_on = ["portal"]
faults = [{faults}]
[persons.typical]
silent = 0
leaves_early = 0
{person}
"""


def scenario_of(
    kind: EnrollmentType,
    *,
    faults: str = "",
    person: str = "",
    allowed: Sequence[str] = (),
    extra: str = "",
) -> Scenario:
    text = BASE.format(
        type=kind.value,
        faults=faults,
        person=person,
        retry=str("retry" in allowed).lower(),
        continue_=str("continue" in allowed).lower(),
        reset=str("reset" in allowed).lower(),
        logs=str("logs" in allowed).lower(),
    )
    return read_scenario(tomllib.loads(text + extra), "one.toml")


class Record:
    """Everything that happened to one device."""

    def __init__(self, scenario: Scenario, seed: int = 1) -> None:
        self.inputs: list[tuple[int, Event]] = []
        self.effects: list[Effect] = []
        self.device = VirtualDevice(Rollout(scenario), simulated_device(scenario, seed, 0))
        self.device.run(self._watch)

    def _watch(self, at_ms: int, event: Event, effects: Sequence[Effect]) -> None:
        self.inputs.append((at_ms, event))
        self.effects.extend(effects)

    @property
    def ends(self) -> list[AttemptEnded]:
        reports = [effect.body for effect in self.effects if isinstance(effect, Report)]
        return [body for body in reports if isinstance(body, AttemptEnded)]

    @property
    def states(self) -> list[EndState]:
        return [end.end_state for end in self.ends]

    @property
    def gate(self) -> Gate:
        return [effect.gate for effect in self.effects if isinstance(effect, SetGate)][-1]


@pytest.mark.parametrize("kind", EnrollmentType)
def test_a_good_day_ends_well(kind: EnrollmentType) -> None:
    record = Record(scenario_of(kind))
    assert record.states == [EndState.SUCCEEDED]
    assert record.gate is Gate.RELEASED
    assert record.device.truth.is_present("vpn", record.device.now_ms)


BROKEN = '{ kind = "installer_failed", chance = 1, recovery = 0 }'
MENDED = '{ kind = "installer_failed", chance = 1, recovery = 1 }'
NOW_AND_THEN = "[persons.typical.error_screen]\ncollects_logs = 0\nretries_one_item = 0\n"


@pytest.mark.parametrize("kind", EnrollmentType)
def test_a_broken_blocking_app_ends_as_failed_when_nothing_is_allowed(kind: EnrollmentType) -> None:
    record = Record(scenario_of(kind, faults=BROKEN))
    assert record.states == [EndState.FAILED]
    assert record.gate is Gate.LOCKED
    assert record.ends[0].failure is not None
    assert record.ends[0].failure.kind is FailureKind.INSTALLER_FAILED


@pytest.mark.parametrize("kind", EnrollmentType)
def test_continuing_over_a_failure_is_a_bypass(kind: EnrollmentType) -> None:
    person = NOW_AND_THEN + "retries = 0\nthen = { continue_anyway = 1 }"
    record = Record(scenario_of(kind, faults=BROKEN, person=person, allowed=["continue"]))
    assert record.states == [EndState.BYPASSED]
    assert record.gate is Gate.BYPASSED


@pytest.mark.parametrize("kind", EnrollmentType)
def test_a_fault_that_retries_mend_succeeds(kind: EnrollmentType) -> None:
    assert Record(scenario_of(kind, faults=MENDED)).states == [EndState.SUCCEEDED]


@pytest.mark.parametrize("kind", EnrollmentType)
def test_a_person_who_tries_again_succeeds_on_retry(kind: EnrollmentType) -> None:
    """Three tries of the machine fail, one of the person works."""
    person = NOW_AND_THEN + "retries = 20"
    flaky = '{ kind = "installer_failed", chance = 1, recovery = 0.2 }'
    for seed in range(1, 100):
        scenario = scenario_of(kind, faults=flaky, person=person, allowed=["retry"])
        record = Record(scenario, seed)
        if record.states == [EndState.SUCCEEDED_ON_RETRY]:
            assert record.gate is Gate.RELEASED
            return
    pytest.fail("no seed brought a success on retry")


def test_a_reset_begins_again_from_nothing() -> None:
    person = NOW_AND_THEN + "retries = 0\nthen = { reset_device = 1 }"
    eventually = '{ kind = "installer_failed", chance = 1, recovery = 0.2 }'
    record = Record(
        scenario_of(
            EnrollmentType.WINDOWS_AUTOPILOT, faults=eventually, person=person, allowed=["reset"]
        ),
        seed=4,
    )
    assert record.states[0] is EndState.RESET
    assert record.states[-1] is EndState.SUCCEEDED
    assert len(record.device.truth.resets) == record.states.count(EndState.RESET)


@pytest.mark.parametrize("kind", EnrollmentType)
def test_a_step_that_hangs_times_setup_out(kind: EnrollmentType) -> None:
    hangs = '{ kind = "hangs", chance = 1, recovery = 0 }'
    record = Record(scenario_of(kind, faults=hangs))
    assert record.states[-1] in (EndState.TIMED_OUT, EndState.ABANDONED)
    assert record.gate is Gate.LOCKED


@pytest.mark.parametrize("kind", EnrollmentType)
@pytest.mark.parametrize(
    ("admission", "expected"),
    [
        ("device_limit_share = 1", FailureKind.DEVICE_LIMIT_EXCEEDED),
        ("different_user_share = 1", FailureKind.DIFFERENT_USER),
        ("minimum_os = {{ {type} = '13' }}", FailureKind.OS_NOT_SUPPORTED),
    ],
)
def test_a_refused_device_installs_nothing(
    kind: EnrollmentType, admission: str, expected: FailureKind
) -> None:
    extra = "\n[admission]\n" + admission.format(type=kind.value)
    record = Record(scenario_of(kind, extra=extra))
    assert record.states == [EndState.REFUSED]
    assert record.ends[0].failure is not None
    assert record.ends[0].failure.kind is expected
    assert record.device.truth.presences == {}


PORTAL = (EnrollmentType.IOS, EnrollmentType.ANDROID_ENTERPRISE)


@pytest.mark.parametrize("kind", PORTAL)
def test_a_person_who_closes_the_portal_abandons_and_may_come_back(kind: EnrollmentType) -> None:
    person = "halt = { close = 0.2 }\nreturns = 1\nreturns_max = 20"
    states = Record(scenario_of(kind, person=person)).states
    assert states[0] is EndState.ABANDONED
    assert states[-1] is EndState.SUCCEEDED


@pytest.mark.parametrize("kind", PORTAL)
def test_silence_ends_the_attempt_as_exceeded_30_minutes(kind: EnrollmentType) -> None:
    person = "returns = 0\n[persons.typical.screens.set_up_access]\nsilent = 1"
    record = Record(scenario_of(kind, person=person))
    assert record.states == [EndState.ABANDONED]
    assert record.ends[0].user_action == "Exceeded 30 minutes"
    assert record.device.now_ms >= 30 * 60_000


@pytest.mark.parametrize(
    ("answer_s", "expected"), [(1800, EndState.SUCCEEDED), (1801, EndState.ABANDONED)]
)
def test_a_deadline_fires_only_after_what_happened_at_the_same_time(
    answer_s: int, expected: EndState
) -> None:
    person = "returns = 0\n[persons.typical.screens.device_category]\n"
    person += f"answer = {{ median_s = {answer_s}, spread = 1 }}"
    assert Record(scenario_of(EnrollmentType.IOS, person=person)).states == [expected]


def test_what_a_stopped_step_would_have_said_is_never_heard() -> None:
    """Run numbers begin anew with each attempt, so a late word could be taken for another run's."""
    slow = '\n[[certificates]]\nid = "slow"\nname = "Slow"\ntime = { median_s = 9000 }\n'
    record = Record(scenario_of(EnrollmentType.WINDOWS_MANUAL, extra=slow))
    stopped = [effect for effect in record.effects if isinstance(effect, CancelStep)]
    assert [effect.item for effect in stopped] == ["slow"]
    finished = [event.item for _, event in record.inputs if isinstance(event, StepFinished)]
    assert "vpn" in finished
    assert "slow" not in finished


def test_nothing_of_the_wiped_attempt_reaches_the_next_one() -> None:
    """The logs that the person asked for are still being written when the reset begins."""
    person = """
[persons.typical.error_screen]
answer = { median_s = 4, spread = 1 }
retries = 0
collects_logs = 1
then = { reset_device = 1 }
"""
    scenario = scenario_of(
        EnrollmentType.WINDOWS_AUTOPILOT,
        faults='{ kind = "installer_failed", chance = 1, recovery = 0.2 }',
        person=person,
        allowed=["reset", "logs"],
    )
    record = Record(scenario, seed=4)
    assert record.device.truth.resets
    assert any(isinstance(effect, CollectLogs) for effect in record.effects)
    assert not any(isinstance(event, LogsCollected) for _, event in record.inputs)


@pytest.mark.parametrize("kind", EnrollmentType)
def test_the_same_seed_gives_the_same_life(kind: EnrollmentType) -> None:
    scenario = scenario_of(kind, faults=MENDED)
    first, second = Record(scenario, 5), Record(scenario, 5)
    assert first.inputs == second.inputs
    assert first.effects == second.effects
    assert first.inputs != Record(scenario, 6).inputs


def test_a_new_app_changes_nothing_for_the_others() -> None:
    """What makes two profiles comparable on the same devices."""
    kind = EnrollmentType.IOS
    extra = '\n[[apps]]\nid = "news"\nname = "News"\nrequired = false\n'
    without, with_news = Record(scenario_of(kind)), Record(scenario_of(kind, extra=extra))

    def times(record: Record) -> dict[str, Any]:
        return {key: value for key, value in record.device.truth.presences.items() if key != "news"}

    assert times(without) == times(with_news)


def test_the_offer_follows_the_groups_and_their_priority() -> None:
    extra = """
[[groups]]
name = "Kiosk"
share = 1
[[profiles]]
priority = 9
groups = ["Kiosk"]
profile = { id = "late", name = "Late" }
"""
    scenario = scenario_of(EnrollmentType.IOS, extra=extra)
    rollout = Rollout(scenario)
    offer = rollout.offer(simulated_device(scenario, 1, 0))
    assert isinstance(offer, Admitted)
    assert offer.profile.id == "default-esp"
    assert offer.user == simulated_device(scenario, 1, 0).facts.user
