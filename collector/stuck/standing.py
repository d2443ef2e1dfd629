"""Why a device is where it is: what its latest attempt does or waits for now, told from its stored reports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from agent.wire.events import ErrorScreenShown
from agent.wire.progress import Failure
from agent.wire.vocabulary import (
    SUCCESS_STATES,
    UNSATISFIED_STATES,
    Choice,
    ItemKind,
    ItemState,
    Phase,
    Stage,
)
from collector.answer import Answer, age
from collector.attempts import AttemptView
from collector.reports import is_silent
from collector.stuck.item_work import ItemNow, ItemWork
from collector.stuck.limit import Stuck, duration

WaitsFor = Literal["nothing", "device", "person", "help desk", "collector"]


class StuckFacts(Answer):
    """Why an item counts as stuck."""

    sentence: str
    running_ms: int
    limit_ms: int
    basis: Literal["history", "expected"]
    """Where the limit comes from: the 99th percentile of the item's history, or its assignment."""
    observations: int


class ItemStanding(Answer):
    """One item of the latest attempt. Times are attempt time."""

    item: str
    name: str
    kind: ItemKind
    phase: Phase
    row: str
    blocking: bool
    state: ItemState
    try_number: int
    tries_max: int
    in_state_ms: int
    item_percent: int | None
    failure: Failure | None
    note: str | None
    stuck: StuckFacts | None


class Standing(Answer):
    """Where a device is and why."""

    device: str
    attempt: str | None
    stage: Stage | None
    waits_for: WaitsFor
    """Who has to do something now."""
    sentences: tuple[str, ...]
    """The answer for people, the most important first."""
    choices: tuple[Choice, ...]
    """What the error screen offers; empty without one."""
    items: tuple[ItemStanding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that says where one device is."""

    device: str
    view: AttemptView | None
    """Its latest attempt."""
    registered: bool
    presence: str | None
    presence_ms: int | None
    work: ItemWork
    attempt_now_ms: int
    error: ErrorScreenShown | None
    """The newest error screen of the attempt."""
    stuck: Sequence[Stuck]
    now_ms: int


def standing(facts: Facts) -> Standing:
    """The answer."""
    view = facts.view
    stuck = {one.item.changed.item: one for one in facts.stuck}
    waits_on_error = view is not None and view.end_state is None and view.waits_on_error
    return Standing(
        device=facts.device,
        attempt=None if view is None else view.attempt,
        stage=None if view is None else view.stage,
        waits_for=_waits_for(facts),
        sentences=tuple(_sentences(facts)),
        choices=facts.error.choices if waits_on_error and facts.error else (),
        items=tuple(_item(now, stuck.get(name), facts) for name, now in facts.work.items.items()),
    )


def _item(now: ItemNow, stuck: Stuck | None, facts: Facts) -> ItemStanding:
    told = now.changed
    return ItemStanding(
        item=told.item,
        name=told.name,
        kind=told.item_kind,
        phase=told.phase,
        row=told.row,
        blocking=told.blocking,
        state=told.state,
        try_number=told.attempt,
        tries_max=told.attempts_max,
        in_state_ms=max(0, facts.attempt_now_ms - now.since_ms),
        item_percent=now.percent,
        failure=told.failure,
        note=told.note,
        stuck=None if stuck is None else stuck_facts(stuck),
    )


def stuck_facts(stuck: Stuck) -> StuckFacts:
    """Why an item counts as stuck."""
    return StuckFacts(
        sentence=stuck.sentence,
        running_ms=stuck.running_ms,
        limit_ms=stuck.limit.limit_ms,
        basis=stuck.limit.basis,
        observations=stuck.limit.observations,
    )


def _waits_for(facts: Facts) -> WaitsFor:
    view = facts.view
    if view is None or view.end_state is not None:
        failed = view is not None and view.has_failed
        return "help desk" if failed else "nothing"
    if view.waits_on_error or facts.stuck:
        return "help desk"
    if any(one.changed.state is ItemState.WAITING_FOR_PERSON for one in facts.work.items.values()):
        return "person"
    if view.stage is Stage.WAITING_FOR_ASSIGNMENT:
        return "collector"
    return "device"


def _sentences(facts: Facts) -> Iterator[str]:
    view = facts.view
    if view is None:
        yield (
            "It is registered and has not begun to enroll."
            if facts.registered
            else "Nothing but its presence is known of it."
        )
        return
    if view.end_state is not None:
        yield from _ended(view, facts.now_ms)
        return
    yield from (one.sentence for one in facts.stuck)
    if view.waits_on_error:
        yield from _error(view, facts.error)
    yield from _items(facts)
    if view.stage is Stage.WAITING_FOR_ASSIGNMENT:
        yield "It waits for the collector's decision and its assignment."
    elif view.stage is Stage.RESTARTING:
        yield "It is restarting as planned."
    yield from _heard(view, facts)


def _ended(view: AttemptView, now_ms: int) -> Iterator[str]:
    assert view.end_state is not None, "only what has ended"
    when = age(max(0, now_ms - (view.ended_ms or view.updated_ms)))
    took = duration(view.attempt_ms)
    if view.end_state in SUCCESS_STATES:
        yield f"Enrolled: attempt {view.number} ended “{_words(view.end_state)}” {when}, after {took}."
        return
    yield f"Attempt {view.number} ended “{_words(view.end_state)}” {when}, after {took}."
    if view.action_name or view.user_action:
        where = " · ".join(filter(None, (view.section, view.action_name, view.user_action)))
        yield f"The person's part: {where}."
    if view.failure is not None:
        yield f"{view.failure.kind.label} ({view.failure.code}): {view.failure.engineer}"


def _error(view: AttemptView, error: ErrorScreenShown | None) -> Iterator[str]:
    failure = error.failure if error is not None else view.failure
    told = f": {failure.kind.label} ({failure.code}). {failure.engineer}" if failure else "."
    yield f"It waits on its error screen{told}"
    if error is not None:
        offered = ", ".join(choice.label for choice in error.choices) or "nothing"
        yield f"The person is offered: {offered}."


def _items(facts: Facts) -> Iterator[str]:
    told = {one.item.changed.item for one in facts.stuck}
    for now in facts.work.items.values():
        item = now.changed
        lasted = duration(max(0, facts.attempt_now_ms - now.since_ms))
        if item.item in told:
            continue
        if item.state is ItemState.WAITING_FOR_PERSON:
            yield f"“{item.name}” has waited for a person for {lasted}."
        elif item.state is ItemState.WAITING_TO_RETRY:
            yield f"{item.name} failed and is tried again, try {item.attempt} of {item.attempts_max}."
        elif item.state is ItemState.REBOOT_REQUIRED:
            yield f"{item.name} needs a restart of the device."
        elif now.begun_ms is not None:
            share = "" if now.percent is None else f", {now.percent}%"
            yield f"{item.name}: {_words(item.state)} for {lasted}{share}."
        elif item.state in UNSATISFIED_STATES and item.blocking:
            yield f"{item.name} is blocking and {_words(item.state)}."


def _heard(view: AttemptView, facts: Facts) -> Iterator[str]:
    heard = age(max(0, facts.now_ms - view.updated_ms))
    if is_silent(view, facts.now_ms):
        yield f"It is silent: its newest report came {heard}."
    if facts.presence is not None and facts.presence != "online":
        gone = age(max(0, facts.now_ms - (facts.presence_ms or facts.now_ms)))
        how = "switched off or restarted" if facts.presence == "goodbye" else "lost its connection"
        yield f"It {how} {gone} and has not come back."


def _words(value: str) -> str:
    return value.replace("_", " ")
