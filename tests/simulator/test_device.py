from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pytest

from agent.core.effects import CancelStep, Effect, Report, RunStep, SetGate
from agent.core.events import (
    MINUTE_MS,
    Event,
    Hardware,
    LogsCollected,
    PersonChose,
    StepFinished,
    StepResult,
)
from agent.core.flows import FLOWS, steps_of
from agent.core.person_screens import PERSON_SCREENS
from agent.wire.assignment import Admitted
from agent.wire.events import AttemptEnded, ItemChanged
from agent.wire.profile import WindowsSettings
from agent.wire.vocabulary import (
    Architecture,
    Choice,
    EndState,
    EnrollmentType,
    FailureKind,
    Gate,
    ItemState,
    Variant,
)
from simulator.device import VirtualDevice
from simulator.population import simulated_device
from simulator.rollout import Rollout
from simulator.scenario import HardwareClass, Scenario
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
        self.starts: list[tuple[int, RunStep]] = []
        self.device = VirtualDevice(Rollout(scenario), simulated_device(scenario, seed, 0))
        self.device.run(self._watch)

    def _watch(self, at_ms: int, event: Event, effects: Sequence[Effect]) -> None:
        self.inputs.append((at_ms, event))
        self.effects.extend(effects)
        self.starts.extend((at_ms, effect) for effect in effects if isinstance(effect, RunStep))

    def began_ms(self, item: str) -> list[int]:
        """When each try of an item began."""
        return [at_ms for at_ms, step in self.starts if step.item == item]

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
COLLECT = Choice.COLLECT_LOGS
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
    ("admission", "person", "expected"),
    [
        ("device_limit = 2", "other_devices = { 2 = 1 }", FailureKind.DEVICE_LIMIT_EXCEEDED),
        ("reused = 1\nnot_released = 1", "", FailureKind.DIFFERENT_USER),
        ("minimum_os = {{ {type} = '13' }}", "", FailureKind.OS_NOT_SUPPORTED),
    ],
)
def test_a_refused_device_installs_nothing(
    kind: EnrollmentType, admission: str, person: str, expected: FailureKind
) -> None:
    extra = "\n[admission]\n" + admission.format(type=kind.value)
    record = Record(scenario_of(kind, extra=extra, person=person))
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


def test_logs_are_collected_at_once_under_a_name_that_no_file_has() -> None:
    """The answer is the next input, at the time of the wish."""
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
    asked = [i for i, (_, e) in enumerate(record.inputs) if e == PersonChose(choice=COLLECT)]
    assert asked
    for place in asked:
        at_ms = record.inputs[place][0]
        path = f"simulated:{record.device.device.id}-{at_ms}.zip"
        assert record.inputs[place + 1] == (at_ms, LogsCollected(path=path))


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


# --- variants ------------------------------------------------------------------------------------


def as_variant(scenario: Scenario, variant: Variant, **more: object) -> Scenario:
    """The same scenario with devices that come in this way."""
    population = scenario.population[0].model_copy(update={"variant": variant, **more})
    return scenario.model_copy(update={"population": (population,)})


def with_hardware(scenario: Scenario, hardware: HardwareClass) -> Scenario:
    """The same scenario with devices that are made of this."""
    population = scenario.population[0].model_copy(update={"hardware": {"made": 1.0}})
    return scenario.model_copy(update={"hardware": {"made": hardware}, "population": (population,)})


def runs_of(record: Record, item: str) -> list[tuple[int, StepFinished]]:
    """How the tries of one item ended, and when."""
    return [
        (at_ms, event)
        for at_ms, event in record.inputs
        if isinstance(event, StepFinished) and event.item == item
    ]


def changes_of(record: Record, item: str) -> list[ItemChanged]:
    reports = [effect.body for effect in record.effects if isinstance(effect, Report)]
    return [body for body in reports if isinstance(body, ItemChanged) and body.item == item]


def tries_of(record: Record, item: str) -> int:
    return sum(isinstance(effect, RunStep) and effect.item == item for effect in record.effects)


@pytest.mark.parametrize(("kind", "variant"), FLOWS)
def test_a_good_day_ends_well_in_every_variant(kind: EnrollmentType, variant: Variant) -> None:
    record = Record(as_variant(scenario_of(kind), variant, manufacturer="Samsung"))
    assert record.states == [EndState.SUCCEEDED]
    assert record.gate is Gate.RELEASED
    blocks = [block for phase in FLOWS[kind, variant].values() for block in phase]
    steps = {step.id for block in blocks for step in steps_of(block) if step.when is None}
    truth = record.device.truth
    for item in {*steps - PERSON_SCREENS.keys(), "portal", "vpn", "baseline"}:
        assert truth.is_present(item, record.device.now_ms), item


SLOW = """returns = 0
[persons.typical.screens.install_profile]
answer = { median_s = 400, spread = 2 }
"""


def test_a_profile_that_expired_is_downloaded_anew_and_a_new_try_may_be_faster() -> None:
    ends = []
    for seed in range(1, 30):
        record = Record(scenario_of(EnrollmentType.IOS, person=SLOW), seed)
        downloads = runs_of(record, "download_profile")
        assert {event.result for _, event in downloads} == {StepResult.COMPLETED}
        first, *_ = record.device.truth.presences["download_profile"]
        if len(downloads) > 1:
            assert first.until_ms == first.from_ms + 8 * MINUTE_MS
            ends.append(record.states)
        else:
            assert first.until_ms is None
    assert [EndState.SUCCEEDED] in ends


def test_somebody_who_is_always_too_slow_for_the_profile_uses_up_the_30_minutes() -> None:
    always = SLOW.replace("400, spread = 2", "600, spread = 1.01")
    record = Record(scenario_of(EnrollmentType.IOS, person=always))
    assert record.states == [EndState.ABANDONED]
    assert record.ends[0].action_name == "iOSProfileLaunch"
    assert tries_of(record, "download_profile") == 3


OWNED = (Variant.FULLY_MANAGED, Variant.DEDICATED)
NO_POLICY = (
    "\n[steps.first_policy]\nfaults = [{{ kind = 'hangs', chance = 1, recovery = {recovery} }}]\n"
)


@pytest.mark.parametrize("variant", OWNED)
def test_a_device_without_a_policy_resets_itself_until_nobody_begins_anew(variant: Variant) -> None:
    lasting = scenario_of(EnrollmentType.ANDROID_ENTERPRISE, extra=NO_POLICY.format(recovery=0))
    record = Record(as_variant(lasting, variant))
    assert record.states == [EndState.RESET] * 4 + [EndState.ABANDONED]
    assert len(record.device.truth.resets) == 4
    assert record.gate is Gate.LOCKED
    assert record.ends[0].failure is not None
    assert record.ends[0].failure.kind is FailureKind.NO_POLICY


@pytest.mark.parametrize("variant", OWNED)
def test_a_device_that_reset_itself_may_get_its_policy_then(variant: Variant) -> None:
    passing = scenario_of(EnrollmentType.ANDROID_ENTERPRISE, extra=NO_POLICY.format(recovery=1))
    assert Record(as_variant(passing, variant)).states == [EndState.RESET, EndState.SUCCEEDED]


def test_a_person_does_not_reset_a_device_for_ever() -> None:
    person = "resets_max = 2\n" + NOW_AND_THEN + "retries = 0\nthen = { reset_device = 1 }"
    record = Record(
        scenario_of(
            EnrollmentType.WINDOWS_AUTOPILOT, faults=BROKEN, person=person, allowed=["reset"]
        )
    )
    assert record.states == [EndState.RESET, EndState.RESET, EndState.FAILED]


def hybrid_record(seconds: int) -> Record:
    """A device that the directory knows so many seconds after its join."""
    extra = f"\n[steps.hybrid_registration]\ntime = {{ median_s = {seconds}, spread = 1 }}\n"
    scenario = scenario_of(EnrollmentType.WINDOWS_AUTOPILOT, extra=extra)
    return Record(as_variant(scenario, Variant.HYBRID_JOIN))


def test_a_hybrid_registration_waits_for_the_directory_try_after_try() -> None:
    record = hybrid_record(1800)
    assert record.states == [EndState.SUCCEEDED]
    assert tries_of(record, "hybrid_registration") > 2
    ((at_ms, last),) = runs_of(record, "hybrid_registration")
    assert last.result is StepResult.ALREADY_PRESENT
    joined_ms = record.device.truth.presences["domain_join"][0].from_ms
    assert joined_ms + 1_800_000 <= at_ms <= joined_ms + 1_800_000 + 5 * MINUTE_MS


def test_a_directory_that_was_faster_than_the_person_costs_one_try() -> None:
    record = hybrid_record(1)
    assert tries_of(record, "hybrid_registration") == 1


def test_a_directory_that_never_learns_of_the_device_ends_after_ten_tries() -> None:
    record = hybrid_record(10**6)
    assert tries_of(record, "hybrid_registration") == 10
    states = [change.state for change in changes_of(record, "hybrid_registration")]
    assert states[-1] is ItemState.TIMED_OUT


NEWER = """
[[apps]]
id = "old"
name = "Old"
preinstalled = 1
[[apps]]
id = "new"
name = "New"
[apps.rules]
requirements = { architectures = ["x64"], memory_mb = 8000 }
supersedes = [{ id = "old", uninstall = true }]
"""


@pytest.mark.parametrize(
    ("hardware", "installed", "skipped", "state"),
    [
        (Hardware(architecture=Architecture.X64, memory_mb=16000), "new", "old", ItemState.DONE),
        (
            Hardware(architecture=Architecture.X64, memory_mb=4000),
            "old",
            "new",
            ItemState.ALREADY_PRESENT,
        ),
        (
            Hardware(architecture=Architecture.ARM64, memory_mb=16000),
            "old",
            "new",
            ItemState.ALREADY_PRESENT,
        ),
        (None, "new", "old", ItemState.DONE),
    ],
)
def test_a_newer_app_takes_the_older_ones_place_where_the_device_is_fit_for_it(
    hardware: Hardware | None, installed: str, skipped: str, state: ItemState
) -> None:
    scenario = scenario_of(EnrollmentType.WINDOWS_MANUAL, extra=NEWER)
    if hardware is not None:
        scenario = with_hardware(scenario, HardwareClass(**asdict(hardware)))
    record = Record(scenario)
    assert record.states == [EndState.SUCCEEDED]
    assert changes_of(record, installed)[-1].state is state
    assert changes_of(record, skipped)[-1].state is ItemState.SKIPPED
    assert tries_of(record, skipped) == 0
    truth, now_ms = record.device.truth, record.device.now_ms
    assert [truth.is_present(item, now_ms) for item in (installed, skipped)] == [True, False]


@pytest.mark.parametrize(("meaning", "pause_ms"), [("retry", 5 * MINUTE_MS), ("failed", 30_000)])
def test_an_exit_code_means_what_the_item_says(meaning: str, pause_ms: int) -> None:
    own = f"""
[[apps]]
id = "own"
name = "Own"
faults = [{{ kind = "installer_failed", chance = 1, recovery = 1, exit_code = 75 }}]
rules = {{ exit_codes = [{{ code = 75, meaning = "{meaning}" }}] }}
"""
    record = Record(scenario_of(EnrollmentType.WINDOWS_MANUAL, extra=own))
    (failed_ms, failed), (_, worked) = runs_of(record, "own")
    assert (failed.exit_code, worked.exit_code) == (75, 0)
    began_ms = record.began_ms("own")
    assert began_ms[1] - failed_ms == pause_ms


def test_quality_updates_come_before_the_person_gets_in() -> None:
    scenario = scenario_of(EnrollmentType.WINDOWS_AUTOPILOT)
    profile = scenario.profiles[0].profile
    updating = profile.model_copy(update={"windows": WindowsSettings(quality_updates=True)})
    entry = scenario.profiles[0].model_copy(update={"profile": updating})
    record = Record(scenario.model_copy(update={"profiles": (entry,)}))
    ((at_ms, _),) = runs_of(record, "quality_updates")
    assert at_ms - record.began_ms("quality_updates")[0] > 10 * MINUTE_MS
    opened = [g.at_ms for g in record.device.truth.gates if g.gate is Gate.RELEASED]
    assert opened == [at_ms]
    assert tries_of(Record(scenario), "quality_updates") == 0


def test_what_a_scenario_says_of_a_step_is_so_for_the_variants_that_it_names() -> None:
    """The join takes 50 minutes there and is capped at 15, so that it is tried again."""
    named = """
[steps.entra_join]
variants = ["self_deploying"]
time = { median_s = 3000, spread = 1 }
"""
    scenario = scenario_of(EnrollmentType.WINDOWS_AUTOPILOT, extra=named)
    for variant, is_slow in ((Variant.SELF_DEPLOYING, True), (Variant.PRE_PROVISIONED, False)):
        record = Record(as_variant(scenario, variant))
        assert (tries_of(record, "entra_join") > 1) is is_slow


def test_a_device_comes_only_with_apps_of_its_type() -> None:
    extra = NEWER.replace("preinstalled = 1", 'preinstalled = 1\ntypes = ["windows_manual"]')
    phone = Record(scenario_of(EnrollmentType.IOS, extra=extra))
    assert "old" not in phone.device.truth.presences
    assert "new" in phone.device.truth.presences
