from __future__ import annotations

from collections.abc import Sequence

import pytest

from agent.core.effects import (
    AskPerson,
    CancelStep,
    OfferChoices,
    Reboot,
    ResetDevice,
    RunStep,
    SetGate,
)
from agent.core.events import (
    AttemptBegan,
    Limits,
    PersonActed,
    PersonChose,
    Restarted,
    StepFinished,
    StepMoved,
    StepResult,
)
from agent.wire.vocabulary import (
    Choice,
    EnrollmentType,
    FailureKind,
    Gate,
    GateCause,
    ItemKind,
    ItemState,
    PersonAction,
    RebootKind,
    Variant,
)
from simulator.draws import Draws
from simulator.endpoint_model import EndpointModel
from simulator.ground_truth import GROUND_TRUTH_CODEC, GroundTruth
from simulator.habitat import Habitat
from simulator.person import SimulatedPerson
from simulator.scenario import (
    CatalogueItem,
    Duration,
    Fault,
    Network,
    Person,
    ScreenHabits,
    Step,
)
from simulator.step_events import Scheduled
from tests.simulator.small_world import facts_of, make_model, make_step

VPN = CatalogueItem(id="vpn", name="VPN", size_mb=100, time=Duration(median_s=60, spread=1))


def finish(schedule: Sequence[Scheduled]) -> tuple[int, StepFinished]:
    at_ms, event = schedule[-1]
    assert isinstance(event, StepFinished)
    return at_ms, event


def broken(kind: str, recovery: float = 0.0, **more: object) -> CatalogueItem:
    fault = Fault.model_validate({"kind": kind, "chance": 1, "recovery": recovery, **more})
    return VPN.model_copy(update={"faults": (fault,)})


def test_an_app_downloads_installs_verifies_and_is_there_from_then_on() -> None:
    model = make_model(VPN)
    schedule = model.act(make_step("vpn", size_bytes=VPN.size_bytes), 1000)
    states = [e.state for _, e in schedule if isinstance(e, StepMoved)]
    assert list(dict.fromkeys(states)) == [
        ItemState.DOWNLOADING,
        ItemState.INSTALLING,
        ItemState.VERIFYING,
    ]
    assert [at for at, _ in schedule] == sorted(at for at, _ in schedule)
    done_ms, finished = finish(schedule)
    assert (finished.result, finished.exit_code, finished.detected) == (
        StepResult.COMPLETED,
        0,
        True,
    )
    assert done_ms > 1000 + 60_000 + 5_000
    assert not model.truth.is_present("vpn", done_ms - 1)
    assert model.truth.is_present("vpn", done_ms)


def test_an_unknown_item_takes_the_time_of_its_kind() -> None:
    done_ms, finished = finish(make_model().act(make_step("what", kind=ItemKind.POLICY), 0))
    assert 3_000 < done_ms < 90_000
    assert finished.result is StepResult.COMPLETED


def test_what_is_there_already_is_detected_and_not_installed_twice() -> None:
    model = make_model(VPN)
    done_ms, _ = finish(model.act(make_step("vpn"), 0))
    at_ms, again = finish(model.act(make_step("vpn", run=2, detect_first=True), done_ms + 5))
    assert again.result is StepResult.ALREADY_PRESENT
    assert at_ms - done_ms < 5_000
    assert model.truth.tries["vpn"] == 1


def test_a_stopped_installer_leaves_nothing_behind() -> None:
    model = make_model(VPN)
    done_ms, _ = finish(model.act(make_step("vpn"), 0))
    assert model.act(CancelStep("vpn", 1), done_ms - 1) == ()
    assert not model.truth.is_present("vpn", done_ms)


def test_a_late_cancel_of_an_earlier_run_stops_nothing() -> None:
    model = make_model(VPN)
    model.act(make_step("vpn", run=1), 0)
    done_ms, _ = finish(model.act(make_step("vpn", run=2), 10))
    model.act(CancelStep("vpn", 1), 20)
    assert model.truth.is_present("vpn", done_ms)


def test_a_killed_agent_finds_done_what_was_done_and_runs_the_rest_again() -> None:
    """The record outlives the process; an installer that died with it did not finish."""
    first = make_model(VPN)
    done_ms, _ = finish(first.act(make_step("vpn"), 0))
    kept = GROUND_TRUTH_CODEC.loads(GROUND_TRUTH_CODEC.dumps(first.truth))
    half_way = make_model(VPN, truth=kept)
    again_ms, event = finish(half_way.act(make_step("vpn", run=2, detect_first=True), done_ms // 2))
    assert event.result is StepResult.COMPLETED
    assert not half_way.truth.is_present("vpn", done_ms)
    assert half_way.truth.is_present("vpn", again_ms)


@pytest.mark.parametrize(
    ("kind", "enrollment_type", "expected"),
    [
        (
            "installer_failed",
            EnrollmentType.WINDOWS_MANUAL,
            (StepResult.COMPLETED, 1603, None, None),
        ),
        (
            "installer_failed",
            EnrollmentType.IOS,
            (StepResult.FAILED, None, FailureKind.INSTALLER_FAILED, "0x87D13B64"),
        ),
        ("not_detected", EnrollmentType.MACOS_ADE, (StepResult.COMPLETED, 0, None, None)),
        (
            "download_failed",
            EnrollmentType.ANDROID_ENTERPRISE,
            (StepResult.FAILED, None, FailureKind.DOWNLOAD_FAILED, "0xC7D14FB2"),
        ),
        (
            "network_timeout",
            EnrollmentType.WINDOWS_AUTOPILOT,
            (StepResult.FAILED, None, FailureKind.NETWORK_TIMEOUT, "0x80072EE2"),
        ),
    ],
)
def test_each_fault_looks_as_it_does_on_its_platform(
    kind: str, enrollment_type: EnrollmentType, expected: tuple[object, ...]
) -> None:
    model = make_model(broken(kind), enrollment_type=enrollment_type)
    at_ms, event = finish(model.act(make_step("vpn", size_bytes=10), 0))
    assert (event.result, event.exit_code, event.failure, event.code) == expected
    assert not event.detected
    assert not model.truth.is_present("vpn", at_ms + 10**9)


def test_a_step_that_hangs_never_answers() -> None:
    schedule = make_model(broken("hangs")).act(make_step("vpn"), 0)
    assert schedule
    assert all(isinstance(event, StepMoved) for _, event in schedule)


def test_an_affected_device_fails_until_a_try_recovers() -> None:
    model = make_model(broken("installer_failed", recovery=1.0))
    codes = [finish(model.act(make_step("vpn", run=n), n * 10**6))[1].exit_code for n in (1, 2, 3)]
    assert codes == [1603, 0, 0]


def test_an_item_without_use_for_the_device_is_said_to_be_not_applicable() -> None:
    model = make_model(VPN.model_copy(update={"not_applicable": 1.0}))
    at_ms, event = finish(model.act(make_step("vpn"), 0))
    assert event.result is StepResult.NOT_APPLICABLE
    assert model.truth.not_applicable == {"vpn": at_ms}


def test_only_windows_installers_ask_for_restarts() -> None:
    app = VPN.model_copy(update={"soft_reboot": 1.0})
    for enrollment_type, code in (
        (EnrollmentType.WINDOWS_MANUAL, 3010),
        (EnrollmentType.MACOS_ADE, 0),
    ):
        model = make_model(app, enrollment_type=enrollment_type)
        assert finish(model.act(make_step("vpn"), 0))[1].exit_code == code


def test_a_bad_network_fails_a_try() -> None:
    model = make_model(VPN, network=Network(failure=1.0))
    at_ms, event = finish(model.act(make_step("vpn", size_bytes=VPN.size_bytes), 0))
    assert event.failure is FailureKind.NETWORK_TIMEOUT
    assert at_ms < 70_000


def test_the_gates_history_has_each_change_once() -> None:
    model = make_model()
    model.act(SetGate(Gate.LOCKED, GateCause.ENROLLMENT_BEGAN), 0)
    model.act(SetGate(Gate.RELEASED, GateCause.SETUP_COMPLETE), 9)
    model.act(SetGate(Gate.RELEASED, GateCause.ENROLLMENT_BEGAN), 12)
    assert [(g.at_ms, g.gate) for g in model.truth.gates] == [(0, Gate.LOCKED), (9, Gate.RELEASED)]


def test_a_reset_takes_everything_away_and_says_nothing() -> None:
    model = make_model(VPN)
    done_ms, _ = finish(model.act(make_step("vpn"), 0))
    assert model.act(ResetDevice(), done_ms + 10) == ()
    assert model.truth.is_present("vpn", done_ms + 9)
    assert not model.truth.is_present("vpn", done_ms + 10)
    assert model.truth.resets == [done_ms + 10]


def test_a_restart_comes_back_within_ten_minutes() -> None:
    ((at_ms, event),) = make_model().act(Reboot(RebootKind.SOFT, ("vpn",)), 100)
    assert event == Restarted(planned=True)
    assert 100 < at_ms <= 100 + 600_000


def test_a_real_person_is_left_to_answer() -> None:
    model = make_model()
    assert model.act(AskPerson("sign_in", "sign_in", (PersonAction.PROCEED,)), 0) == ()
    assert model.act(OfferChoices((Choice.TRY_AGAIN,), (), error=True), 0) == ()


def test_a_simulated_person_who_gives_up_comes_back_with_a_new_attempt() -> None:
    habits = Person(halt={PersonAction.CANCEL: 1.0}, returns=1.0, returns_max=1)
    model = make_model(person=habits)
    ask = AskPerson(
        "remote_management", "remote_management", (PersonAction.PROCEED, PersonAction.CANCEL)
    )
    (_, acted), (back_ms, began) = model.act(ask, 0)
    assert acted == PersonActed(item="remote_management", action=PersonAction.CANCEL)
    assert isinstance(began, AttemptBegan)
    assert began.attempt == "again-1"
    assert len(model.act(ask, back_ms)) == 1


def test_what_a_person_chose_is_on_record() -> None:
    model = make_model(person=Person())
    ((at_ms, event),) = model.act(OfferChoices((Choice.TRY_AGAIN,), (), error=True), 0)
    assert event == PersonChose(choice=Choice.TRY_AGAIN)
    assert [(c.at_ms, c.choice) for c in model.truth.choices] == [(at_ms, Choice.TRY_AGAIN)]


MINUTE = 60_000
PREPARATION = {"kind": ItemKind.STEP}


@pytest.mark.parametrize(
    ("variant", "works"),
    [
        (Variant.STANDARD, False),
        (Variant.HYBRID_JOIN, False),
        (Variant.SELF_DEPLOYING, True),
        (Variant.PRE_PROVISIONED, True),
    ],
)
def test_hardware_is_attested_only_where_it_vouches_for_the_device(
    variant: Variant, works: bool
) -> None:
    step = make_step("tpm_attestation", **PREPARATION)
    never_reached = Network(failure=1.0)
    done_ms, event = finish(make_model(variant=variant).act(step, 500))
    assert (done_ms > 500) is works
    assert event.result is StepResult.COMPLETED
    _, event = finish(make_model(variant=variant, network=never_reached).act(step, 500))
    assert (event.result is StepResult.FAILED) is works


def test_a_scenario_may_say_that_attestation_takes_its_time_anywhere() -> None:
    said = {"tpm_attestation": Step(time=Duration(median_s=22, spread=1))}
    step = make_step("tpm_attestation", **PREPARATION)
    done_ms, _ = finish(make_model(steps=said).act(step, 0))
    assert done_ms == 22_000


def hybrid(directory_s: float) -> tuple[EndpointModel, int]:
    """A device that has joined the domain, and when."""
    said = {"hybrid_registration": Step(time=Duration(median_s=directory_s, spread=1))}
    model = make_model(variant=Variant.HYBRID_JOIN, steps=said)
    joined_ms, _ = finish(model.act(make_step("domain_join", **PREPARATION), 0))
    return model, joined_ms


def registration(run: int) -> RunStep:
    return make_step("hybrid_registration", run=run, detect_first=run > 1, **PREPARATION)


def test_a_hybrid_registration_is_not_told_when_the_directory_learns_of_the_device() -> None:
    """Only a try that begins afterwards finds it; the time runs from the join, whatever came between."""
    model, joined_ms = hybrid(600)
    known_ms = joined_ms + 600_000
    for run, at_ms in ((1, known_ms - 2 * MINUTE), (2, known_ms - 1)):
        schedule = model.act(registration(run), at_ms)
        assert all(isinstance(event, StepMoved) for _, event in schedule)
        assert not model.truth.is_present("hybrid_registration", known_ms)
        model.act(CancelStep("hybrid_registration", run), at_ms + 4 * MINUTE)
    _, event = finish(model.act(registration(3), known_ms))
    assert event.result is StepResult.ALREADY_PRESENT
    assert model.truth.is_present("hybrid_registration", known_ms)
    assert not model.truth.is_present("hybrid_registration", known_ms - 1)


def test_a_first_try_after_the_directory_registers_in_moments() -> None:
    model, joined_ms = hybrid(600)
    at_ms = joined_ms + 700_000
    done_ms, event = finish(model.act(registration(1), at_ms))
    assert event.result is StepResult.COMPLETED
    assert at_ms < done_ms < at_ms + MINUTE


def test_a_device_that_joins_anew_is_learnt_of_anew() -> None:
    model = make_model(variant=Variant.HYBRID_JOIN)
    join = make_step("domain_join", **PREPARATION)
    known = []
    for begin_ms in (0, 10**8):
        model.act(ResetDevice(), begin_ms)
        joined_ms, _ = finish(model.act(join, begin_ms))
        at_ms = joined_ms
        while not model.truth.is_present("hybrid_registration", at_ms):
            at_ms += MINUTE
            model.act(registration(2), at_ms)
        known.append(model.truth.presences["hybrid_registration"][-1].from_ms - joined_ms)
    assert all(5 * MINUTE < wait_ms < 120 * MINUTE for wait_ms in known)
    assert known[0] != known[1]


def test_an_older_app_is_removed_before_the_newer_one_is_installed() -> None:
    truth = GroundTruth()
    truth.appears("old", 0)
    alone_ms, _ = finish(make_model(VPN).act(make_step("vpn", size_bytes=VPN.size_bytes), 1000))
    model = make_model(VPN, truth=truth)
    newer = make_step("vpn", size_bytes=VPN.size_bytes, replaces=("old", "never-there"))
    done_ms, _ = finish(model.act(newer, 1000))
    gone_ms = truth.presences["old"][0].until_ms
    assert gone_ms is not None
    # The download (8 seconds) comes first, then the old one goes, then the new one is installed.
    assert 1000 + 6_000 < gone_ms < done_ms - 50_000
    assert done_ms - alone_ms == gone_ms - (alone_ms - 60_000)
    assert "never-there" not in truth.presences


def test_an_older_app_that_was_never_there_costs_no_time() -> None:
    alone, _ = finish(make_model(VPN).act(make_step("vpn"), 0))
    replacing, _ = finish(make_model(VPN).act(make_step("vpn", replaces=("old",)), 0))
    assert replacing == alone


def test_a_stopped_replacement_leaves_the_older_app_when_it_was_still_there() -> None:
    for moment, remains in (("before", True), ("after", False)):
        truth = GroundTruth()
        truth.appears("old", 0)
        model = make_model(VPN, truth=truth)
        model.act(make_step("vpn", replaces=("old",)), 1000)
        gone_ms = truth.presences["old"][0].until_ms
        assert gone_ms is not None
        model.act(CancelStep("vpn", 1), gone_ms + (-1 if moment == "before" else 0))
        assert truth.is_present("old", 10**9) is remains


def test_a_killed_agent_leaves_the_older_app_until_it_is_removed_again() -> None:
    truth = GroundTruth()
    truth.appears("old", 0)
    make_model(VPN, truth=truth).act(make_step("vpn", replaces=("old",)), 1000)
    gone_ms = truth.presences["old"][0].until_ms
    assert gone_ms is not None
    restarted = make_model(VPN, truth=GROUND_TRUTH_CODEC.loads(GROUND_TRUTH_CODEC.dumps(truth)))
    again = make_step("vpn", run=2, detect_first=True, replaces=("old",))
    restarted.act(again, gone_ms - 1)
    assert restarted.truth.is_present("old", gone_ms)


def test_a_failed_download_removes_nothing() -> None:
    truth = GroundTruth()
    truth.appears("old", 0)
    model = make_model(broken("download_failed"), truth=truth)
    model.act(make_step("vpn", size_bytes=10, replaces=("old",)), 0)
    assert truth.is_present("old", 10**9)


def test_a_wipe_ends_what_was_about_to_be_removed_too() -> None:
    truth = GroundTruth()
    truth.appears("old", 0)
    truth.disappears("old", 900)
    truth.wipe(500)
    assert not truth.is_present("old", 600)


def test_a_new_device_comes_with_what_its_maker_installed_and_a_wiped_one_without() -> None:
    old = VPN.model_copy(update={"preinstalled": 1.0})
    model = make_model(old)
    assert model.truth.is_present("vpn", 0)
    model.act(SetGate(Gate.LOCKED, GateCause.ENROLLMENT_BEGAN), 0)
    model.act(ResetDevice(), 10)
    assert not make_model(old, truth=model.truth).truth.is_present("vpn", 20)


# --- the profile that iOS takes away again -------------------------------------------------------

DOWNLOAD = {"kind": ItemKind.STEP}


def downloaded(model: EndpointModel) -> int:
    return finish(model.act(make_step("download_profile", **DOWNLOAD), 0))[0]


def test_a_profile_that_nobody_installs_is_gone_after_8_minutes() -> None:
    model = make_model(enrollment_type=EnrollmentType.IOS)
    over_ms = downloaded(model) + 8 * MINUTE
    again = make_step("download_profile", run=2, detect_first=True, **DOWNLOAD)
    _, early = finish(model.act(again, over_ms - 1))
    assert early.result is StepResult.ALREADY_PRESENT
    _, late = finish(model.act(again, over_ms))
    assert late.result is StepResult.COMPLETED
    assert model.truth.is_present("download_profile", over_ms - 1)
    assert not model.truth.is_present("download_profile", over_ms)


def test_a_profile_that_was_installed_in_time_stays() -> None:
    model = make_model(enrollment_type=EnrollmentType.IOS)
    over_ms = downloaded(model) + 8 * MINUTE
    done_ms, _ = finish(
        model.act(make_step("profile_installation", **DOWNLOAD), over_ms - 5 * MINUTE)
    )
    assert done_ms < over_ms
    model.act(SetGate(Gate.LOCKED, GateCause.ENROLLMENT_BEGAN), over_ms + 1)
    assert model.truth.is_present("download_profile", over_ms + 1)


# --- one person, one screen at a time ------------------------------------------------------------

INSTALL = AskPerson("install_profile", "install_profile", (PersonAction.PROCEED,))
SHOW = AskPerson("show_profile", "show_profile", (PersonAction.PROCEED,))
SLOW = Person(
    silent=0,
    answer=Duration(median_s=10, spread=1.5),
    screens={"install_profile": ScreenHabits(answer=Duration(median_s=720, spread=1.01))},
)


def test_somebody_who_is_at_one_screen_sees_the_next_one_afterwards() -> None:
    model = make_model(person=SLOW)
    ((back_ms, _),) = model.act(INSTALL, 0)
    ((at_ms, event),) = model.act(SHOW, 8 * MINUTE)
    assert event == PersonActed(item="show_profile", action=PersonAction.PROCEED)
    assert back_ms < at_ms < back_ms + MINUTE


def test_a_screen_asked_again_after_its_answer_is_a_new_occasion() -> None:
    model = make_model(person=SLOW)
    first_ms = model.act(SHOW, 0)[0][0]
    waits = {first_ms}
    for number in range(1, 20):
        at_ms = number * MINUTE * 10
        waits.add(model.act(SHOW, at_ms)[0][0] - at_ms)
    assert len(waits) == 20


def test_a_screen_shown_anew_before_its_answer_is_answered_when_it_would_have_been() -> None:
    """After a restart the machine asks again; the person, and the next process, know the first asking."""
    model = make_model(person=SLOW)
    first = model.act(INSTALL, 0)
    assert model.act(INSTALL, 5 * MINUTE) == first
    kept = GROUND_TRUTH_CODEC.loads(GROUND_TRUTH_CODEC.dumps(model.truth))
    assert make_model(person=SLOW, truth=kept).act(INSTALL, 6 * MINUTE) == first


def test_whoever_has_gone_away_answers_no_other_screen() -> None:
    gone = Person(silent=0, returns=0, screens={"install_profile": ScreenHabits(silent=1)})
    model = make_model(person=gone)
    assert model.act(INSTALL, 0) == ()
    assert model.act(SHOW, 8 * MINUTE) == ()


def test_nobody_is_kept_from_a_wiped_device_by_what_it_asked_before() -> None:
    model = make_model(person=SLOW)
    ((back_ms, _),) = model.act(INSTALL, 0)
    model.act(ResetDevice(), MINUTE)
    ((at_ms, _),) = model.act(SHOW, 2 * MINUTE)
    assert at_ms < back_ms


def test_a_visit_begins_with_first_askings() -> None:
    """Who comes back answers by the draws of the visit, however often they were asked in the one before."""
    leaves = Person(silent=0, halt={PersonAction.CLOSE: 1.0}, returns=1.0, returns_max=1)
    close = AskPerson("show_profile", "show_profile", (PersonAction.PROCEED, PersonAction.CLOSE))
    model = make_model(person=leaves)
    (_, (back_ms, began)) = model.act(close, 0)
    assert isinstance(began, AttemptBegan)
    (answered_ms, _), *_ = model.act(close, back_ms)
    second = SimulatedPerson(leaves, Draws(1, 0), visit=1)
    assert answered_ms == second.asked(close, back_ms)[0].at_ms


def test_a_device_that_was_reset_too_often_is_left_alone() -> None:
    model = make_model(person=Person(silent=0, resets_max=2))
    ask = AskPerson("enrollment_token", "enrollment_token", (PersonAction.PROCEED,))
    answered = []
    for number in range(5):
        answered.append(len(model.act(ask, number * 10**7)))
        model.act(ResetDevice(), number * 10**7 + 10**6)
    assert answered == [1, 1, 1, 0, 0]


def on(
    hardware: str, pace: float, item: CatalogueItem, network: Network | None = None
) -> EndpointModel:
    """A device of this hardware class with one item."""
    habitat = Habitat(
        {item.id: item}, {}, network or Network(), 100, pace=pace, hardware_class=hardware
    )
    return EndpointModel(
        facts_of(EnrollmentType.WINDOWS_AUTOPILOT),
        habitat,
        Draws(1, 0),
        GroundTruth(),
        limits=Limits(),
        new_id=lambda: "again",
    )


def test_a_fault_may_be_of_some_hardware_only() -> None:
    flaky = broken("not_detected", hardware=("old",))
    assert finish(on("old", 1, flaky).act(make_step("vpn"), 0))[1].detected is False
    assert finish(on("new", 1, flaky).act(make_step("vpn"), 0))[1].detected is True


def test_slow_hardware_takes_longer_to_detect_and_to_install_but_not_to_download() -> None:
    for pace in (1, 0.5):
        model = on("some", pace, VPN.model_copy(update={"size_mb": 100}))
        schedule = model.act(make_step("vpn", size_bytes=12_500_000), 0)
        states = [e.state for _, e in schedule if isinstance(e, StepMoved)]
        installing_ms = schedule[states.index(ItemState.INSTALLING)][0]
        done_ms, _ = finish(schedule)
        assert done_ms - installing_ms == 60_000 / pace
        assert installing_ms == pytest.approx(1_000, rel=0.6)
        found = model.act(make_step("vpn", run=2, detect_first=True), done_ms)
        assert finish(found)[0] - done_ms == 2_000 / pace


def test_a_weak_line_fails_again_and_again() -> None:
    weak = Network(weak=1, weak_failure=1)
    model = on("some", 1, VPN, weak)
    for run in range(1, 5):
        failed = finish(model.act(make_step("vpn", run=run), run * 10**6))[1]
        assert failed.failure is FailureKind.NETWORK_TIMEOUT
    good = on("some", 1, VPN, Network(weak=0, weak_failure=1))
    assert finish(good.act(make_step("vpn"), 0))[1].result is StepResult.COMPLETED


class NotedLine:
    """Notes what a model wants of the line that it shares."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int, float, int, int | None]] = []
        self.cancelled: list[tuple[str, int]] = []

    def begin(
        self,
        item: str,
        size_bytes: int,
        megabits_per_second: float,
        at_ms: int,
        *,
        breaks_after_ms: int | None = None,
    ) -> None:
        self.begun.append((item, size_bytes, megabits_per_second, at_ms, breaks_after_ms))

    def cancel(self, item: str, at_ms: int) -> None:
        self.cancelled.append((item, at_ms))


def sharing(line: NotedLine, item: CatalogueItem = VPN) -> EndpointModel:
    habitat = Habitat({item.id: item}, {}, Network(failure_after=Duration(median_s=5)), 100)
    return EndpointModel(
        facts_of(EnrollmentType.WINDOWS_AUTOPILOT),
        habitat,
        Draws(1, 0),
        GroundTruth(),
        limits=Limits(),
        new_id=lambda: "again",
        line=line,
    )


SHARED = make_step("vpn", size_bytes=1_000)


def test_on_a_shared_line_the_installer_begins_when_the_line_says_that_all_is_there() -> None:
    line = NotedLine()
    model = sharing(line)
    ((began_ms, began),) = model.act(SHARED, 1_000)
    assert isinstance(began, StepMoved)
    assert (began_ms, began.state, began.percent) == (1_000, ItemState.DOWNLOADING, 0)
    assert line.begun[0][:2] == ("vpn", 1_000)
    assert line.begun[0][3:] == (1_000, None)
    ((half_ms, half),) = model.downloaded("vpn", 50, 77_000, broke=False)
    assert isinstance(half, StepMoved)
    assert (half_ms, half.state, half.percent) == (77_000, ItemState.DOWNLOADING, 50)
    assert not model.truth.is_present("vpn", 10**9)
    done_ms, done = finish(model.downloaded("vpn", 100, 90_000, broke=False))
    assert (done_ms, done.detected) == (150_000, True)
    assert model.truth.is_present("vpn", 150_000)


def test_a_stopped_step_leaves_the_shared_line_once() -> None:
    line = NotedLine()
    model = sharing(line)
    model.act(SHARED, 0)
    model.act(CancelStep(item="vpn", run=1), 3_000)
    model.act(make_step("vpn", run=2, size_bytes=1_000), 5_000)
    assert line.cancelled == [("vpn", 3_000)]
    model.act(ResetDevice(), 8_000)
    assert line.cancelled == [("vpn", 3_000), ("vpn", 8_000)]


def test_a_download_that_the_network_fails_is_broken_off_by_the_line() -> None:
    line = NotedLine()
    model = sharing(line, broken("network_timeout"))
    model.act(SHARED, 0)
    breaks_after_ms = line.begun[0][4]
    assert breaks_after_ms is not None
    ((at_ms, failed),) = model.downloaded("vpn", 25, breaks_after_ms, broke=True)
    assert isinstance(failed, StepFinished)
    assert (at_ms, failed.failure) == (breaks_after_ms, FailureKind.NETWORK_TIMEOUT)


def test_a_try_that_the_network_fails_after_its_download_fails_when_it_would_have() -> None:
    line = NotedLine()
    model = sharing(line, broken("network_timeout"))
    model.act(SHARED, 0)
    breaks_after_ms = line.begun[0][4]
    assert breaks_after_ms is not None
    assert model.downloaded("vpn", 75, 50, broke=False)
    ((at_ms, failed),) = model.downloaded("vpn", 100, 100, broke=False)
    assert isinstance(failed, StepFinished)
    assert (at_ms, failed.failure) == (breaks_after_ms, FailureKind.NETWORK_TIMEOUT)
