from __future__ import annotations

from collections.abc import Iterable

from agent.wire.events import (
    AgentRestarted,
    AttemptEnded,
    AttemptStarted,
    Body,
    ChoiceMade,
    ErrorScreenShown,
    ItemChanged,
    PersonAnswered,
    RebootPlanned,
)
from agent.wire.progress import Failure
from agent.wire.vocabulary import (
    Choice,
    EndState,
    EnrollmentType,
    FailureKind,
    ItemKind,
    ItemState,
    Phase,
    RebootKind,
    Variant,
)
from simulator.fit.history import Fact, History, ItemRecord, Make, ScreenRecord, Try

MAKE = Make(EnrollmentType.WINDOWS_AUTOPILOT, Variant.STANDARD, "Latitude")


def started() -> AttemptStarted:
    return AttemptStarted(
        enrollment_type=MAKE.enrollment_type,
        platform="Windows 11",
        os_version="10.0.22631",
        model=MAKE.model,
        agent_version="1",
    )


def app(state: ItemState, kind: FailureKind | None = None, code: str = "0x80070643") -> ItemChanged:
    return change("vpn", ItemKind.APP, state, kind, code)


def screen(name: str, state: ItemState) -> ItemChanged:
    return change(name, ItemKind.SCREEN, state)


def change(
    name: str,
    item_kind: ItemKind,
    state: ItemState,
    kind: FailureKind | None = None,
    code: str = "0x1",
) -> ItemChanged:
    failure = None if kind is None else Failure(kind=kind, code=code, person="", engineer="")
    return ItemChanged(
        item=name,
        name=name,
        item_kind=item_kind,
        phase=Phase.DEVICE_SETUP,
        row="apps",
        blocking=True,
        state=state,
        attempt=1,
        attempts_max=3,
        failure=failure,
    )


def told(*bodies: tuple[int, Body], attempt: str = "a") -> list[Fact]:
    """What one device reports, with the seconds since its attempt began."""
    return [Fact("PC", attempt, second * 1000, body) for second, body in ((0, started()), *bodies)]


def read(facts: Iterable[Fact]) -> History:
    history = History()
    history.read(facts)
    return history


def vpn(*bodies: tuple[int, Body]) -> ItemRecord:
    return read(told(*bodies)).items[MAKE, "vpn"]


def answer(second: int, name: str, waited_s: int, action: str = "Continue") -> tuple[int, Body]:
    return second, PersonAnswered(screen=name, action=action, waited_ms=waited_s * 1000)


DOWNLOADING, INSTALLING = (10, app(ItemState.DOWNLOADING)), (30, app(ItemState.INSTALLING))


def test_a_time_is_that_from_the_end_of_the_download_to_the_end_of_the_installer() -> None:
    record = vpn(DOWNLOADING, INSTALLING, (80, app(ItemState.VERIFYING)), (90, app(ItemState.DONE)))
    assert record.finished_s == [60]
    assert record.download_s == [20]
    assert record.worked_at_once == 1
    assert record.troubled == []


def test_an_installer_that_wants_a_restart_has_ended() -> None:
    record = vpn(
        DOWNLOADING,
        INSTALLING,
        (90, app(ItemState.REBOOT_REQUIRED)),
        (91, RebootPlanned(reboot=RebootKind.HARD, items=("vpn",))),
        (150, AgentRestarted(planned=True)),
        (150, app(ItemState.VERIFYING)),
        (152, app(ItemState.ALREADY_PRESENT)),
    )
    assert record.finished_s == [60]
    assert record.worked_at_once == 1


def test_tries_of_all_attempts_are_one_story() -> None:
    busy = app(ItemState.WAITING_TO_RETRY, FailureKind.INSTALLER_FAILED, "0x80070652")
    first = told(DOWNLOADING, INSTALLING, (50, busy))
    second = told(DOWNLOADING, INSTALLING, (70, app(ItemState.DONE)), attempt="b")
    record = read([*first, *second]).items[MAKE, "vpn"]
    failed = Try("failed", 20, FailureKind.INSTALLER_FAILED, "0x80070652")
    assert record.troubled == [(failed, Try("worked", 40))]
    assert record.finished_s == [40]
    assert record.worked_at_once == 0


def test_what_a_limit_ends_is_cut_off_and_no_failure() -> None:
    for kind in (FailureKind.ITEM_TIMED_OUT, FailureKind.SETUP_TIMED_OUT):
        ended = app(ItemState.TIMED_OUT, kind, "0x800705B4")
        assert vpn(DOWNLOADING, INSTALLING, (100, ended)).troubled == [(Try("cut_off", 70),)]
    # Attestation that ran into its limit has a name of its own and the same code.
    ended = app(ItemState.FAILED, FailureKind.ATTESTATION_FAILED, "0x800705B4")
    assert vpn(DOWNLOADING, INSTALLING, (100, ended)).troubled == [(Try("cut_off", 70),)]


def test_what_ends_while_it_downloads_says_nothing_of_the_installer() -> None:
    ended = app(ItemState.TIMED_OUT, FailureKind.SETUP_TIMED_OUT, "0x800705B4")
    assert vpn(DOWNLOADING, (100, ended)).troubled == [(Try("cut_off", None),)]


def test_what_a_restart_interrupts_is_cut_off_at_the_last_that_was_heard() -> None:
    record = vpn(
        DOWNLOADING,
        INSTALLING,
        (45, change("other", ItemKind.POLICY, ItemState.INSTALLING)),
        (900, AgentRestarted(planned=False)),
        (900, app(ItemState.VERIFYING)),
        (910, app(ItemState.INSTALLING)),
        (970, app(ItemState.DONE)),
    )
    assert record.troubled == [(Try("cut_off", 15), Try("worked", 60))]


def test_what_is_under_way_at_the_last_report_is_cut_off_there() -> None:
    last = (60, change("other", ItemKind.POLICY, ItemState.INSTALLING))
    assert vpn(DOWNLOADING, INSTALLING, last).troubled == [(Try("cut_off", 30),)]


def test_a_dependency_that_failed_and_an_app_that_was_there_are_no_tries() -> None:
    failed = app(ItemState.FAILED, FailureKind.DEPENDENCY_FAILED)
    assert (MAKE, "vpn") not in read(told((5, failed))).items
    there = read(told(DOWNLOADING, (12, app(ItemState.ALREADY_PRESENT)))).items
    assert (MAKE, "vpn") not in there


def test_the_network_is_counted_by_device() -> None:
    failed = app(ItemState.WAITING_TO_RETRY, FailureKind.NETWORK_TIMEOUT)
    again = ((40, app(ItemState.DOWNLOADING)), (50, app(ItemState.INSTALLING)))
    history = read(told(DOWNLOADING, (15, failed), *again, (90, app(ItemState.DONE))))
    assert history.network == {(1, 2): 1}


def shown(second: int, name: str = "sign_in") -> tuple[int, Body]:
    return second, screen(name, ItemState.WAITING_FOR_PERSON)


def test_an_answer_is_as_long_as_the_report_says() -> None:
    history = read(
        told(shown(10), answer(40, "sign_in", 30), (40, screen("sign_in", ItemState.DONE)))
    )
    record = history.screens[MAKE, "sign_in"]
    assert record == ScreenRecord(answered_s=[30], actions=record.actions)
    assert record.actions == {"Continue": 1}


def test_whoever_answers_after_half_an_hour_was_silent() -> None:
    history = read(told(shown(0), answer(4000, "sign_in", 4000)))
    assert history.screens[MAKE, "sign_in"] == ScreenRecord(cut_off_s=[1800])


def test_one_silence_is_counted_once_however_many_screens_follow() -> None:
    """A profile that expires takes its screen away and puts up an earlier one, in front of the same nobody."""
    history = read(
        told(
            shown(0, "install_profile"),
            (480, screen("install_profile", ItemState.NOT_STARTED)),
            shown(480, "show_profile"),
            (1800, AttemptEnded(end_state=EndState.ABANDONED)),
        )
    )
    assert history.screens[MAKE, "install_profile"].cut_off_s == [480]
    assert (MAKE, "show_profile") not in history.screens


def test_the_error_screen_is_answered_or_left() -> None:
    failure = Failure(kind=FailureKind.INSTALLER_FAILED, code="1", person="", engineer="")
    error = ErrorScreenShown(
        phase=Phase.DEVICE_SETUP,
        failure=failure,
        failed_items=("vpn",),
        choices=(Choice.TRY_AGAIN, Choice.COLLECT_LOGS),
    )
    history = read(
        told(
            (100, error),
            (130, ChoiceMade(choice=Choice.COLLECT_LOGS)),
            (160, ChoiceMade(choice=Choice.TRY_AGAIN)),
            (300, error),
            (900, AttemptEnded(end_state=EndState.FAILED)),
        )
    )
    record = history.errors[MAKE]
    assert (record.answered_s, record.left_s) == ([60], [600])
    assert (record.offered_logs, record.collected_logs) == (2, 1)


def test_what_a_command_chooses_is_no_answer_of_a_person() -> None:
    failure = Failure(kind=FailureKind.INSTALLER_FAILED, code="1", person="", engineer="")
    error = ErrorScreenShown(
        phase=Phase.DEVICE_SETUP, failure=failure, failed_items=(), choices=(Choice.TRY_AGAIN,)
    )
    history = read(told((100, error), (130, ChoiceMade(choice=Choice.TRY_AGAIN, command="c-1"))))
    assert history.errors[MAKE].answered_s == []


def test_ends_and_times_of_successes_are_kept_by_type() -> None:
    history = read(told((600, AttemptEnded(end_state=EndState.SUCCEEDED))))
    assert history.ends[MAKE.enrollment_type] == {EndState.SUCCEEDED: 1}
    assert history.success_s[MAKE.enrollment_type] == [600]
    assert history.devices == {MAKE: 1}


def test_reports_before_the_beginning_of_an_attempt_is_known_are_left_out() -> None:
    """A stream whose first reports were lost."""
    history = read([Fact("PC", "a", 5_000, app(ItemState.INSTALLING))])
    assert history.items == {}
    assert history.reports == 1
