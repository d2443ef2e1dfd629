"""A checkpoint holds all that a machine remembers: what is restored from it goes on exactly as the machine would have."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from pydantic import BaseModel

from agent.core.checkpoint import FORMAT, CheckpointUnreadable
from agent.core.effects import Effect
from agent.core.enrollment import Enrollment
from agent.core.events import CommandReceived, DeadlinePassed, Event
from agent.core.flows import FLOWS
from agent.core.state import Attempt, ItemRun, Mode
from agent.core.turn import Turn
from agent.wire.assignment import AssignedItem, PersonScreens
from agent.wire.messages import CollectLogs, ExtendTimeout
from agent.wire.vocabulary import Choice, Context, EnrollmentType, Phase, Variant
from tests.agent.core.script import (
    APPS,
    BLOCKED_ACCOUNT,
    Script,
    done,
    fails_with,
    hangs,
)
from tests.agent.core.test_enrollment_properties import EnrollmentLife

Flow = tuple[EnrollmentType, Variant]

NOT_REMEMBERED = {
    (Turn, "effects"),
    (Turn, "blueprints"),
    (Enrollment, "_deadline_ms"),
    (Enrollment, "_knows_deadline"),
    (Enrollment, "_progress_text"),
}
"""The answer to the last event, and what a machine finds again when it needs it: nothing that follows depends on them."""


def memory_of(value: Any) -> Any:
    """All that an object holds, however deep, by attribute: whatever is added to a machine is in it too."""
    match value:
        case None | bool() | int() | float() | str() | Enum() | datetime() | BaseModel():
            return value
        case dict():
            return {memory_of(key): memory_of(kept) for key, kept in value.items()}
        case list() | tuple():
            return [memory_of(kept) for kept in value]
        case set() | frozenset():
            return {memory_of(kept) for kept in value}
        case _:
            return {
                name: memory_of(getattr(value, name))
                for name in attributes_of(value)
                if (type(value), name) not in NOT_REMEMBERED
            }


def attributes_of(value: Any) -> set[str]:
    """The names of what an object holds, with slots or without."""
    if is_dataclass(value):
        return {f.name for f in fields(value)}
    slots = {name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())}
    names = {name for name in slots if hasattr(value, name)} | set(getattr(value, "__dict__", ()))
    assert names, f"nothing is known of {type(value).__name__}"
    return names


def restored(machine: Enrollment) -> Enrollment:
    """Another machine, through a checkpoint, that has the same memory in the same shape."""
    content = machine.checkpoint()
    twin = Enrollment.restored(content)
    assert memory_of(twin) == memory_of(machine)
    assert twin.checkpoint() == content
    if machine.mode is not Mode.IDLE:
        attempt = twin._turn.attempt
        assert attempt.under_way == [i for i in attempt.items.values() if i.is_under_way]
        kept = [*attempt.under_way, *attempt.waited_for]
        assert all(any(i is j for j in attempt.items.values()) for i in kept)
        assert all(i.plan is attempt.running_plan.items[i.plan.id] for i in attempt.items.values())
    return twin


def seen(machine: Enrollment) -> tuple[Any, ...]:
    """All that the world may look at."""
    return (
        machine.attempt,
        machine.mode,
        machine.end_state,
        machine.gate,
        machine.is_settled,
        machine.executed,
        machine.refusal,
        machine.next_deadline_ms(),
        machine.progress if machine.attempt else None,
        machine.progress_after(90_000) if machine.attempt else None,
    )


# Lives: anything at any time, in every variant.


class RestoredLife(EnrollmentLife):
    """A life whose machine has two twins: one that is restored before each input, and one that lives on from its 12th."""

    twin: Enrollment | None = None

    def _take(self, event: Event) -> list[Effect]:
        now_ms = self.script.now_ms
        fresh = restored(self.machine)
        if len(self.inputs) == 12:
            self.twin = restored(self.machine)
        effects = super()._take(event)
        for other in filter(None, (fresh, self.twin)):
            assert list(other.handle(event, now_ms)) == effects
            assert seen(other) == seen(self.machine)
        return effects


RestoredLife.TestCase.settings = settings(
    stateful_step_count=40,
    max_examples=max(40, settings().max_examples // 4),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestRestoredLife = pytest.mark.hypothesis(RestoredLife.TestCase)


# Stories: the same for the rest of the life, from every input on.

SCREENS = PersonScreens(terms_of_use=True, device_category=True, compliance=True, activation=True)
ITEMS = (*APPS, AssignedItem(id="teams", name="Teams", context=Context.ACCOUNT))


def rough(flow: Flow) -> Script:
    """A soft and a hard restart, retries, logs, more time, an error screen, another attempt."""
    told = Script(
        flow[0],
        variant=flow[1],
        items=ITEMS,
        screens=SCREENS,
        manufacturer="Samsung",
        account_setup=BLOCKED_ACCOUNT,
    )
    told.behave("office", fails_with(3010, detected=True)).behave("portal", fails_with(1641), done)
    told.behave("vpn", *[fails_with(1603)] * 3, done).behave("teams", hangs)
    told.begin().assign().play()
    told.choose(Choice.COLLECT_LOGS).choose(Choice.TRY_ITEM_AGAIN, "vpn").play()
    told.choose(Choice.TRY_AGAIN).play()
    told.feed(_command(told, ExtendTimeout(context=Context.ACCOUNT, minutes=3)))
    told.feed(_command(told, CollectLogs()))
    told.wait(40).crash().play().choose(Choice.CONTINUE_ANYWAY).play()
    return told.begin("attempt-2").assign().play(inputs_max=len(told.inputs) + 8)


def _command(told: Script, action: Any) -> Event:
    return CommandReceived(command=told.command(action))


@pytest.mark.parametrize("flow", sorted(FLOWS), ids="-".join)
def test_whatever_input_it_is_restored_after_the_rest_of_the_life_is_the_same(flow: Flow) -> None:
    inputs = rough(flow).inputs
    machine = Enrollment()
    told = [(list(machine.handle(event, at_ms)), seen(machine)) for event, at_ms in inputs]
    machine = Enrollment()
    for place, (event, at_ms) in enumerate(inputs):
        machine.handle(event, at_ms)
        twin = restored(machine)
        for later in range(place + 1, len(inputs)):
            assert (list(twin.handle(*inputs[later])), seen(twin)) == told[later]
    assert len(inputs) > 20


def test_an_item_that_came_late_is_still_waited_for_by_the_phase_that_took_it() -> None:
    told = Script(account_setup=BLOCKED_ACCOUNT).begin().assign().play(stop_at="sign_in")
    late = AssignedItem(id="late", name="Late app", context=Context.DEVICE)
    admitted = told.admitted.model_copy(update={"items": (*told.admitted.items, late)})
    told.behave("late", hangs).assign(admitted, version=2)
    item = restored(told.machine)._turn.attempt.items["late"]
    assert (item.phase, item.plan.phase) == (Phase.ACCOUNT_SETUP, Phase.DEVICE_SETUP)


# A field that is added to the state and forgotten.


def test_what_a_machine_holds_is_what_a_checkpoint_knows() -> None:
    """Whoever gives a machine one more thing to remember says here that the checkpoint has it."""
    machine = Enrollment()
    assert memory_of(machine).keys() == {"_turn", "_number", "_executed", "_refusal"}
    machine.handle(rough(min(FLOWS)).inputs[0][0], 5)
    assert memory_of(machine._turn).keys() == {"attempt", "has_attempt", "now_ms"}


def test_every_field_of_an_attempt_and_of_an_item_is_kept_or_follows_from_the_rest() -> None:
    kept = json.loads(at_work().checkpoint())
    attempt, item = kept["attempt"], kept["attempt"]["items"]["office"]
    assert {f.name for f in fields(Attempt)} - attempt.keys() == {"under_way", "waited_for"}
    assert {f.name for f in fields(ItemRun)} - item.keys() == {"plan", "position"}


# What can't be read.


def at_work() -> Enrollment:
    return Script().behave("office", hangs).begin().assign().play().machine


def _add_field(kept: dict[str, Any]) -> None:
    kept["attempt"]["items"]["office"]["mood"] = "good"


def _add_plan_field(kept: dict[str, Any]) -> None:
    kept["attempt"]["plan"]["items"]["office"]["step"]["mood"] = "good"


def _add_memory(kept: dict[str, Any]) -> None:
    kept["mood"] = "good"


def _raise_format(kept: dict[str, Any]) -> None:
    kept["format"] = FORMAT + 1


def _add_mode(kept: dict[str, Any]) -> None:
    kept["attempt"]["mode"] = "dreaming"


def _lose_plan(kept: dict[str, Any]) -> None:
    kept["attempt"]["plan"] = None


def _lose_attempt(kept: dict[str, Any]) -> None:
    del kept["attempt"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_add_field, "would forget"),
        (_add_plan_field, "would forget"),
        (_add_memory, "would forget"),
        (_raise_format, f"has format {FORMAT + 1}, and this version knows {FORMAT}"),
        (_add_mode, "mode"),
        (_lose_plan, "NoneType"),
        (_lose_attempt, "attempt"),
    ],
)
def test_what_this_version_would_not_keep_whole_is_refused(
    change: Callable[[dict[str, Any]], None], reason: str
) -> None:
    kept = json.loads(at_work().checkpoint())
    change(kept)
    with pytest.raises(CheckpointUnreadable, match=reason):
        Enrollment.restored(json.dumps(kept).encode())


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"null", b"7", b"\xff\xfe", b'{"format":1}']
)
def test_what_is_no_checkpoint_is_refused(content: bytes) -> None:
    with pytest.raises(CheckpointUnreadable):
        Enrollment.restored(content)


def test_a_field_that_an_older_version_did_not_have_gets_its_default() -> None:
    kept = json.loads(at_work().checkpoint())
    del kept["attempt"]["items"]["office"]["is_left"]
    del kept["attempt"]["logs"]
    machine = Enrollment.restored(json.dumps(kept).encode())
    assert memory_of(machine) == memory_of(at_work())


def test_before_any_attempt_there_is_little_to_keep() -> None:
    twin = restored(Enrollment())
    assert twin.mode is Mode.IDLE
    assert twin.handle(DeadlinePassed(), 5) == []


def test_a_restored_machine_shares_nothing_with_the_other() -> None:
    machine = at_work()
    twin, before = restored(machine), memory_of(machine)
    twin.handle(DeadlinePassed(), 10**9)
    assert memory_of(twin) != before
    assert memory_of(machine) == before
