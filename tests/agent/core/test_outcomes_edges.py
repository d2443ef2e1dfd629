"""What a failure says: its kind and code, the item it names, and the sentences for the person and the engineer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from agent.core import outcomes
from agent.core.events import MINUTE_MS, StepFinished, StepResult
from agent.core.outcomes import Outcome, Verdict
from agent.core.plan import ItemPlan, make_plan
from agent.wire.assignment import Admitted
from agent.wire.progress import Failure
from agent.wire.vocabulary import FailureKind, ItemState
from tests.agent.core.script import APPS, facts, profile

OFFICE = make_plan(facts(), Admitted(profile=profile(), items=APPS)).items["office"]
STEP = make_plan(facts(), Admitted(profile=profile(), items=())).items["mdm_enrollment"]


def ended(
    item: ItemPlan = OFFICE,
    *,
    result: StepResult = StepResult.COMPLETED,
    exit_code: int | None = None,
    detected: bool | None = None,
    failure: FailureKind | None = None,
    code: str | None = None,
    detail: str = "",
) -> Outcome:
    """What a step's end means."""
    return outcomes.judge(
        item,
        StepFinished(
            item=item.id,
            run=1,
            result=result,
            exit_code=exit_code,
            detected=detected,
            failure=failure,
            code=code,
            detail=detail,
        ),
    )


def failure_of(outcome: Outcome) -> Failure:
    assert outcome.verdict is Verdict.TRY_AGAIN
    assert outcome.failure is not None
    return outcome.failure


@pytest.mark.parametrize(
    ("exit_code", "code"),
    [
        (1, "0x80070001"),
        (1603, "0x80070643"),
        (0xFFFF, "0x8007FFFF"),
        (0x10000, "65536"),
        (-2147023293, "-2147023293"),
    ],
)
def test_an_exit_code_is_written_as_windows_does_where_it_is_one_of_windows(
    exit_code: int, code: str
) -> None:
    failure = failure_of(ended(exit_code=exit_code, detected=False))
    assert (failure.kind, failure.code, failure.item) == (
        FailureKind.INSTALLER_FAILED, code, "office",
    )  # fmt: skip
    assert failure.person == "Microsoft 365 Apps could not be installed."
    assert failure.engineer == f"office: the installer ended with exit code {exit_code}"


def test_what_the_endpoint_says_of_a_failure_is_believed() -> None:
    outcome = ended(
        result=StepResult.FAILED,
        failure=FailureKind.DOWNLOAD_FAILED,
        code="0x80072EE2",
        detail="no route to the content server",
    )
    assert outcome.state is ItemState.FAILED
    assert failure_of(outcome) == Failure(
        kind=FailureKind.DOWNLOAD_FAILED,
        code="0x80072EE2",
        person="Microsoft 365 Apps could not be downloaded.",
        engineer="no route to the content server",
        item="office",
    )


@pytest.mark.parametrize(
    ("exit_code", "code"), [(None, "0x80004005"), (5, "0x80070005"), (0, "0"), (-1, "-1")]
)
def test_a_failure_that_the_endpoint_does_not_explain_is_still_told(
    exit_code: int | None, code: str
) -> None:
    failure = failure_of(ended(STEP, result=StepResult.FAILED, exit_code=exit_code))
    assert failure == Failure(
        kind=STEP.failure,
        code=code,
        person=f"{STEP.name} could not be set up.",
        engineer=f"{STEP.id}: {STEP.failure.label.lower()}",
        item=STEP.id,
    )


@pytest.mark.parametrize("detail", ["", "the log says why"])
def test_what_the_endpoint_adds_goes_to_the_engineer(detail: str) -> None:
    installer = failure_of(ended(exit_code=1603, detected=False, detail=detail))
    assert installer.engineer == (detail or "office: the installer ended with exit code 1603")
    undetected = failure_of(ended(exit_code=0, detected=False, detail=detail))
    assert undetected.kind is FailureKind.NOT_DETECTED
    assert undetected.code == "0x87D1041C"
    assert undetected.item == "office"
    assert undetected.engineer == (
        detail or "office: not detected after the installation completed successfully"
    )


@pytest.mark.parametrize(
    ("kind", "expected", "person"),
    [
        (
            FailureKind.INSTALLER_FAILED,
            FailureKind.ITEM_TIMED_OUT,
            "Microsoft 365 Apps took too long.",
        ),
        (
            FailureKind.ATTESTATION_FAILED,
            FailureKind.ATTESTATION_FAILED,
            "This device's hardware could not be verified.",
        ),
    ],
)
def test_a_try_without_an_end_is_named_with_its_limit(
    kind: FailureKind, expected: FailureKind, person: str
) -> None:
    item = replace(OFFICE, failure=kind, limit_ms=7 * MINUTE_MS + 59_999)
    failure = outcomes.item_timed_out(item)
    assert (failure.kind, failure.code, failure.item) == (expected, "0x800705B4", "office")
    assert failure.person == person
    assert failure.engineer == "office: no end within its limit of 7 minutes"


@pytest.mark.parametrize(
    ("running", "ending"),
    [
        ((), "allows."),
        (("Office",), "allows. Still running: Office."),
        (tuple("ABCDE"), "allows. Still running: A, B, C, D, E."),
        (tuple("ABCDEFG"), "allows. Still running: A, B, C, D, E and 2 more."),
    ],
)
def test_the_end_of_the_budget_names_what_was_running(
    running: tuple[str, ...], ending: str
) -> None:
    failure = outcomes.setup_timed_out(60, running)
    assert (failure.kind, failure.code, failure.item) == (
        FailureKind.SETUP_TIMED_OUT, "0x800705B4", None,
    )  # fmt: skip
    assert failure.person.endswith(ending)
    assert "60 minutes" in failure.person
    assert failure.engineer.endswith(f"items still running: {len(running)}")


NAMES_ITS_ITEM: dict[Callable[[], Failure], tuple[FailureKind, str]] = {
    lambda: outcomes.not_detected(OFFICE): (FailureKind.NOT_DETECTED, "0x87D1041C"),
    lambda: outcomes.stopped_by_budget(OFFICE, 60): (FailureKind.SETUP_TIMED_OUT, "0x800705B4"),
    lambda: outcomes.dependency_failed(OFFICE, "VPN"): (
        FailureKind.DEPENDENCY_FAILED, "0x87D00215",
    ),
    lambda: outcomes.dependency_not_applicable(OFFICE, "VPN"): (
        FailureKind.DEPENDENCY_FAILED, "0x87D00215",
    ),
    lambda: outcomes.dependency_not_installed(OFFICE, "VPN"): (
        FailureKind.DEPENDENCY_FAILED, "0x87D00215",
    ),
    lambda: outcomes.reboot_loop(OFFICE, 5): (FailureKind.REBOOT_LOOP, "0x80070BC2"),
}  # fmt: skip


@pytest.mark.parametrize("made", NAMES_ITS_ITEM)
def test_a_failure_of_an_item_names_it_to_the_person_and_to_the_engineer(
    made: Callable[[], Failure],
) -> None:
    failure = made()
    assert (failure.kind, failure.code) == NAMES_ITS_ITEM[made]
    assert failure.item == "office"
    assert failure.person.startswith("Microsoft 365 Apps ")
    assert failure.engineer.startswith("office: ")


def test_an_assignment_that_is_missing_or_of_no_use_ends_with_a_reason() -> None:
    missing = outcomes.no_assignment(60, ())
    assert (missing.kind, missing.code) == (FailureKind.NO_ASSIGNMENT, "0x800705B4")
    assert missing.engineer == "no assignment within 60 minutes"
    useless = outcomes.bad_assignment("x" * 5_000)
    assert (useless.kind, useless.code) == (FailureKind.BAD_ASSIGNMENT, "badRequest")
    assert useless.engineer == "x" * 2_000


def test_staying_away_and_stopping_are_told_apart() -> None:
    silent = outcomes.person_stopped("Terms of use", "Exceeded 30 minutes", silent=True)
    assert (silent.kind, silent.code) == (FailureKind.PERSON_SILENT, "userAbandonment")
    assert silent.person == "Setup stopped because nobody answered “Terms of use” in time."
    assert silent.engineer == "Terms of use: Exceeded 30 minutes"
    stopped = outcomes.person_stopped("Terms of use", "Decline", silent=False)
    assert (stopped.kind, stopped.code) == (FailureKind.USER_CANCELLED, "userAbandonment")
    assert stopped.person == "Setup was stopped at “Terms of use”."
    assert stopped.engineer == "Terms of use: User cancelled enrollment (Decline)"


def test_the_pause_before_a_retry_doubles_with_every_try() -> None:
    failed = ended(exit_code=1603, detected=False)
    pauses = [outcomes.pause_before_retry_ms(OFFICE, n, failed) for n in (1, 2, 3)]
    first_ms = outcomes.FIRST_RETRY_PAUSE_MS
    assert pauses == [first_ms, 2 * first_ms, 4 * first_ms]
    asked = ended(exit_code=1618, detected=False)
    assert outcomes.pause_before_retry_ms(OFFICE, 3, asked) == outcomes.RETRY_EXIT_PAUSE_MS


def test_an_installation_that_met_another_one_says_so_to_the_person() -> None:
    failure = failure_of(ended(exit_code=1618, detected=False))
    assert failure.person == (
        "Microsoft 365 Apps could not be installed: another installation was running."
    )
