"""The lists of items under way and waited for, on which the machine's questions rest, agree with the items at every moment."""

from datetime import UTC, datetime

import pytest

from agent.core.enrollment import Enrollment
from agent.core.events import AssignmentArrived
from agent.core.state import ItemRun
from agent.wire.assignment import Admitted, Assignment
from benchmarks.recordings import ITEMS, PROFILE, Recording, record_all


def name_of(recording: Recording) -> str:
    return f"{recording.enrollment_type}-{recording.path}"


@pytest.mark.parametrize("recording", record_all(), ids=name_of)
def test_a_phase_waits_for_its_own_tracked_items_and_late_ones(recording: Recording) -> None:
    machine = Enrollment()
    phases = set()
    for event, now_ms in recording.inputs:
        machine.handle(event, now_ms)
        attempt = machine._turn.attempt
        expected = [
            i for i in attempt.items.values() if i.phase is attempt.phase and i.plan.tracked
        ]
        assert [i.plan.id for i in attempt.waited_for] == [i.plan.id for i in expected]
        phases |= {attempt.phase} if expected else set()
    assert len(phases) > 1


@pytest.mark.parametrize("recording", record_all(), ids=name_of)
def test_the_list_is_every_item_under_way_in_the_plans_order(recording: Recording) -> None:
    machine = Enrollment()
    busiest = 0
    for event, now_ms in recording.inputs:
        machine.handle(event, now_ms)
        attempt = machine._turn.attempt
        expected: list[ItemRun] = [i for i in attempt.items.values() if i.is_under_way]
        assert [i.plan.id for i in attempt.under_way] == [i.plan.id for i in expected]
        busiest = max(busiest, len(expected))
    assert busiest > 1


def busy() -> tuple[Enrollment, int]:
    """A machine with several items under way, and the time."""
    recording = next(r for r in record_all() if r.path == "happy")
    machine = Enrollment()
    for event, now_ms in recording.inputs:
        machine.handle(event, now_ms)
        if len(machine._turn.attempt.under_way) > 2:
            return machine, now_ms
    raise AssertionError("no moment with three items under way")


def test_a_new_assignment_brings_its_own_order_and_lets_go_of_what_it_lacks() -> None:
    machine, now_ms = busy()
    before = [i.plan.id for i in machine._turn.attempt.under_way]
    assignment = Assignment(
        device=machine._turn.attempt.facts.device,
        attempt="attempt-1",
        store="store-1",
        term=1,
        version=2,
        issued_at=datetime(2026, 1, 2, tzinfo=UTC),
        decision=Admitted(
            profile=PROFILE, items=tuple(i for i in reversed(ITEMS) if i.id != before[0])
        ),
    )
    machine.handle(AssignmentArrived(assignment=assignment), now_ms)
    assert machine.refusal is None
    attempt = machine._turn.attempt
    assert attempt.under_way == [i for i in attempt.items.values() if i.is_under_way]
    after = [i.plan.id for i in attempt.under_way]
    assert [name for name in after if name in before] == list(reversed(before[1:]))


def test_the_first_due_of_equal_deadlines_is_the_first_in_the_plan() -> None:
    machine, _ = busy()
    attempt = machine._turn.attempt
    for item in attempt.under_way:
        item.deadline_ms = 5
    assert attempt.first_due(working_only=False) is attempt.under_way[0]
    attempt.under_way[1].deadline_ms = 4
    assert attempt.first_due(working_only=True) is attempt.under_way[1]
