"""What machines may share because it never changes: the plans of devices that are alike, and what is done and said about their items."""

from __future__ import annotations

from dataclasses import fields, replace
from operator import attrgetter
from typing import Final

from agent.core.effects import RunStep
from agent.core.events import DeviceFacts
from agent.core.plan import ItemPlan, Plan, make_plan
from agent.core.state import ItemRun
from agent.wire.assignment import Admitted
from agent.wire.events import ItemAdvanced, ItemChanged
from agent.wire.vocabulary import ItemKind, ItemState

PLANS_MAX: Final = 1_000
"""More different plans than this are not kept: each device has one of its own then."""
BODIES_MAX: Final = 50_000

_OWN_FACTS: Final = frozenset({"device", "user", "serial"})
_alike = attrgetter(*(f.name for f in fields(DeviceFacts) if f.name not in _OWN_FACTS))
"""What decides about a device's plan."""
_parts = attrgetter(*(name for name in Admitted.model_fields if name != "user"))


class Blueprints:
    """Plans and report bodies, made whenever they are wanted: what a machine on a device has."""

    __slots__ = ()

    def plan(self, facts: DeviceFacts, admitted: Admitted) -> Plan:
        """The plan of one device.

        Raises:
            ValueError: as `make_plan`.
        """
        return make_plan(facts, admitted)

    def step(self, item: ItemRun) -> RunStep:
        """What the endpoint is asked to do for an item that begins a run."""
        return _step(item)

    def changed(self, item: ItemRun) -> ItemChanged:
        """That an item came into its state."""
        return _changed(item)

    def advanced(self, item: ItemRun, percent: int) -> ItemAdvanced:
        """That so much of a running item is done."""
        return ItemAdvanced(item=item.plan.id, item_percent=percent)


class SharedBlueprints(Blueprints):
    """The same, each made once: for the many machines of a simulation.

    They behave as with their own, because a plan follows from facts and assignment alone, and a body from the plan and
    the item's state.
    """

    __slots__ = ("_advanced", "_changed", "_plans", "_steps")

    def __init__(self) -> None:
        # What an entry's key knows by its identity is kept in the entry, so that no other object takes that identity.
        self._plans: dict[tuple[tuple[object, ...], tuple[int, ...]], tuple[Admitted, Plan]] = {}
        self._steps: dict[tuple[int, int, int, bool], tuple[ItemPlan, RunStep]] = {}
        self._changed: dict[tuple[int, ItemState, int], tuple[ItemPlan, ItemChanged]] = {}
        self._advanced: dict[tuple[int, int], tuple[ItemPlan, ItemAdvanced]] = {}

    def plan(self, facts: DeviceFacts, admitted: Admitted) -> Plan:
        """A plan that differs from a neighbour's in its user only."""
        key = (_alike(facts), tuple(map(id, _parts(admitted))))
        known = self._plans.get(key)
        if known is None:
            if len(self._plans) == PLANS_MAX:
                self._plans.clear()
            known = self._plans[key] = (admitted, make_plan(facts, admitted))
        return replace(known[1], user=admitted.user or facts.user)

    def step(self, item: ItemRun) -> RunStep:
        """The same step for all that are at the same run of the same try."""
        key = (id(item.plan), item.run, item.attempt, item.detect_first)
        known = self._steps.get(key)
        if known is None:
            if len(self._steps) == BODIES_MAX:
                self._steps.clear()
            known = self._steps[key] = (item.plan, _step(item))
        return known[1]

    def changed(self, item: ItemRun) -> ItemChanged:
        """A body of its own only for what has a failure or a note."""
        if item.failure is not None or item.note is not None:
            return _changed(item)
        key = (id(item.plan), item.state, item.attempt)
        known = self._changed.get(key)
        if known is None:
            if len(self._changed) == BODIES_MAX:
                self._changed.clear()
            known = self._changed[key] = (item.plan, _changed(item))
        return known[1]

    def advanced(self, item: ItemRun, percent: int) -> ItemAdvanced:
        """The same body for all that are so far."""
        key = (id(item.plan), percent)
        known = self._advanced.get(key)
        if known is None:
            if len(self._advanced) == BODIES_MAX:
                self._advanced.clear()
            known = self._advanced[key] = (item.plan, super().advanced(item, percent))
        return known[1]


def _step(item: ItemRun) -> RunStep:
    plan = item.plan
    return RunStep(
        item=plan.id,
        name=plan.name,
        kind=plan.kind,
        context=plan.phase.context,
        run=item.run,
        attempt=item.attempt,
        # An installer agent looks for every app before it installs it.
        detect_first=item.detect_first or plan.kind is ItemKind.APP,
        size_bytes=plan.size_bytes,
        replaces=tuple(old.id for old in plan.rules.supersedes if old.uninstall),
    )


def _changed(item: ItemRun) -> ItemChanged:
    plan = item.plan
    return ItemChanged(
        item=plan.id,
        name=plan.name,
        item_kind=plan.kind,
        phase=plan.phase,
        row=plan.row,
        blocking=plan.blocking,
        state=item.state,
        attempt=item.attempt,
        attempts_max=plan.tries,
        failure=item.failure,
        note=item.note,
    )
