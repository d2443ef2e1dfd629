from __future__ import annotations

from collections.abc import Sequence

import pytest

from agent.core.effects import (
    AskPerson,
    CancelStep,
    CollectLogs,
    OfferChoices,
    Reboot,
    ResetDevice,
    SetGate,
)
from agent.core.events import (
    AttemptBegan,
    LogsCollected,
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
)
from simulator.endpoint_model import Scheduled
from simulator.ground_truth import GROUND_TRUTH_CODEC
from simulator.scenario import CatalogueItem, Duration, Fault, Network, Person
from tests.simulator.small_world import make_model, make_step

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


def test_logs_are_collected_for_whoever_asked() -> None:
    ((_, event),) = make_model().act(CollectLogs("c-1"), 0)
    assert isinstance(event, LogsCollected)
    assert event.command == "c-1"


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
