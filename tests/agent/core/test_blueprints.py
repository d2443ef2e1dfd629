from __future__ import annotations

from dataclasses import replace

import pytest

from agent.core import blueprints as module
from agent.core.blueprints import SharedBlueprints
from agent.core.deadlines import deadlines_of
from agent.core.enrollment import Enrollment
from agent.core.events import AssignmentArrived, DeviceFacts, Hardware
from agent.core.plan import make_plan
from agent.core.state import ItemRun
from agent.wire.assignment import Admitted, AssignedItem, InstallRules, Requirements
from agent.wire.progress import Failure
from agent.wire.vocabulary import EnrollmentType, FailureKind, ItemKind, ItemState
from benchmarks.recordings import LARGE, record, record_all
from tests.agent.core.script import facts, profile

APP = AssignedItem(id="office", name="Office", kind=ItemKind.APP, expected_seconds=60)
ADMITTED = Admitted(profile=profile(), items=(APP,))


@pytest.mark.parametrize("user", [None, "jane@company.com"])
def test_devices_that_are_alike_share_a_plan_but_for_their_user(user: str | None) -> None:
    shared = SharedBlueprints()
    first = facts()
    second = replace(first, device="PC-2", user="bob@company.com", serial="2")
    admitted = ADMITTED.model_copy(update={"user": user})
    plans = shared.plan(first, ADMITTED), shared.plan(second, admitted)
    assert plans[0].items is plans[1].items
    assert plans[0] == make_plan(first, ADMITTED)
    assert plans[1] == make_plan(second, admitted)


@pytest.mark.parametrize(
    "other",
    [
        {"manufacturer": "Dell Inc."},
        {"os_version": "10.0.19045"},
        {"hardware": Hardware(memory_mb=1_000)},
        {"enrollment_type": EnrollmentType.WINDOWS_MANUAL},
        {"enrollment_type": EnrollmentType.IOS},
    ],
)
def test_devices_that_differ_have_plans_of_their_own(other: dict[str, object]) -> None:
    rules = InstallRules(requirements=Requirements(minimum_os="10.0.22000", memory_mb=4_000))
    admitted = ADMITTED.model_copy(update={"items": (APP.model_copy(update={"rules": rules}),)})
    shared = SharedBlueprints()
    changed: DeviceFacts = replace(facts(), **other)  # type: ignore[arg-type]
    for device in (facts(), changed, facts(), changed):
        assert shared.plan(device, admitted) == make_plan(device, admitted)


def test_another_assignment_is_another_plan() -> None:
    shared = SharedBlueprints()
    without = ADMITTED.model_copy(update={"items": ()})
    hidden = ADMITTED.model_copy(update={"profile": profile(timeout_minutes=7)})
    for admitted in (ADMITTED, without, hidden, ADMITTED):
        assert shared.plan(facts(), admitted) == make_plan(facts(), admitted)


def test_what_makes_no_plan_is_refused_each_time() -> None:
    shared = SharedBlueprints()
    bad = ADMITTED.model_copy(update={"items": (APP.model_copy(update={"id": "tpm_attestation"}),)})
    for _ in range(2):
        with pytest.raises(ValueError, match="has the id of a built-in step"):
            shared.plan(facts(), bad)


def test_a_body_says_the_state_of_its_own_item() -> None:
    shared = SharedBlueprints()
    plan = shared.plan(facts(), ADMITTED)
    run, other = ItemRun(plan.items["office"]), ItemRun(plan.items["mdm_enrollment"])
    first = shared.changed(run)
    assert shared.changed(run) is first
    assert (first.item, first.state, first.attempt) == ("office", ItemState.NOT_STARTED, 0)
    assert shared.changed(other).item == "mdm_enrollment"
    run.state, run.attempt = ItemState.INSTALLING, 2
    assert (shared.changed(run).state, shared.changed(run).attempt) == (ItemState.INSTALLING, 2)
    run.attempt = 3
    assert shared.changed(run).attempt == 3
    assert shared.advanced(run, 30).item_percent == 30
    assert shared.advanced(run, 40).item_percent == 40
    assert shared.advanced(other, 30).item == "mdm_enrollment"


def test_a_failure_and_a_note_belong_to_one_report() -> None:
    shared = SharedBlueprints()
    run = ItemRun(make_plan(facts(), ADMITTED).items["office"])
    run.failure = Failure(kind=FailureKind.STEP_FAILED, code="1", person="No.", engineer="No.")
    assert shared.changed(run).failure == run.failure
    run.failure, run.note = None, "again"
    assert shared.changed(run).note == "again"
    run.note = None
    assert (shared.changed(run).failure, shared.changed(run).note) == (None, None)


def test_plans_that_are_gone_leave_no_words_behind() -> None:
    """A new plan may lie where an old one lay in memory; it must not get the old one's reports."""
    shared = SharedBlueprints()
    office = make_plan(facts(), ADMITTED).items["office"]
    for number in range(100):
        run = ItemRun(replace(office, id=f"app-{number}"))
        assert shared.changed(run).item == f"app-{number}"
        del run
    for number in range(100):
        run = ItemRun(replace(office, id=f"app-{number}"))
        assert shared.advanced(run, 50).item == f"app-{number}"
        del run


def test_there_is_a_limit_to_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PLANS_MAX", 3)
    monkeypatch.setattr(module, "BODIES_MAX", 3)
    shared = SharedBlueprints()
    for number in range(10):
        admitted = ADMITTED.model_copy(update={"profile": profile(timeout_minutes=number + 1)})
        plan = shared.plan(facts(), admitted)
        assert plan == make_plan(facts(), admitted)
        shared.changed(ItemRun(plan.items["office"]))
        shared.advanced(ItemRun(plan.items["office"]), 10)
    assert max(len(shared._plans), len(shared._changed), len(shared._advanced)) <= 3


@pytest.mark.parametrize(
    "recording",
    [*record_all(), record(EnrollmentType.IOS, "happy", LARGE)],
    ids=lambda recording: f"{recording.enrollment_type}-{recording.path}-{len(recording.inputs)}",
)
def test_machines_that_share_behave_as_one_alone(recording) -> None:  # type: ignore[no-untyped-def]
    shared = SharedBlueprints()
    machines = [Enrollment(shared), Enrollment(shared), Enrollment()]
    for event, now_ms in recording.inputs:
        found = [list(machine.handle(event, now_ms)) for machine in machines]
        assert found[0] == found[1] == found[2]
        assert len({machine.next_deadline_ms() for machine in machines}) == 1
    assert machines[0].progress == machines[2].progress
    assert any(isinstance(event, AssignmentArrived) for event, _ in recording.inputs)


def test_the_next_deadline_is_the_first_of_all_whatever_happened() -> None:
    """It is looked for only after what may have moved it."""
    for recording in record_all():
        machine = Enrollment()
        for event, now_ms in recording.inputs:
            machine.handle(event, now_ms)
            due = [at_ms for at_ms, _, _ in deadlines_of(machine._turn)]
            assert machine.next_deadline_ms() == min(due, default=None)
