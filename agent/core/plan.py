"""The plan of an attempt: what has to happen, in which order, and what may hold the gate; made once, by pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from agent.core.events import MINUTE_MS, DeviceFacts
from agent.core.flows import BUILT_IN_STEPS, BuiltIn, Flow, Slot, flow_of
from agent.core.person_screens import ABANDONMENT_ROWS, PERSON_SCREENS, AbandonmentRow, PersonScreen
from agent.wire.assignment import Admitted, AssignedItem
from agent.wire.profile import EspProfile
from agent.wire.vocabulary import Context, EnrollmentType, FailureKind, ItemKind, Phase

INSTALLER_LANE: Final = "installer"
_ONE_INSTALLER: Final = frozenset(
    {EnrollmentType.WINDOWS_AUTOPILOT, EnrollmentType.WINDOWS_MANUAL, EnrollmentType.MACOS_ADE}
)
"""Platforms whose installers exclude one another; phones install side by side."""

_ASSIGNED_ROWS: Final = {
    ItemKind.POLICY: ("security_policies", "Security policies", "applied"),
    ItemKind.CERTIFICATE: ("certificates", "Certificates", "applied"),
    ItemKind.NETWORK: ("network_connections", "Network connections", "added"),
    ItemKind.APP: ("apps", "Apps", "installed"),
}
"""Row id, title and verb of each tracked kind, as the Windows page names them."""


@dataclass(frozen=True, slots=True)
class ItemPlan:
    """One item: when it may start, what it may take, and whether it holds phase and gate."""

    id: str
    name: str
    kind: ItemKind
    phase: Phase
    row: str
    tracked: bool
    """Its phase waits for it. An untracked item runs in the background once the attempt has ended."""
    blocking: bool
    """Its failure stops setup, and the gate stays locked while it is not done."""
    after: tuple[str, ...]
    """Items that have to be settled before it starts, whichever way."""
    needs: tuple[str, ...]
    """Items that have to be done before it starts; one that fails takes this one with it."""
    lane: str | None
    """Items of one lane run one at a time."""
    expected_ms: int
    limit_ms: int | None
    """The time cap of one try."""
    tries: int
    opens_budget: bool = False
    """The context's budget starts once this is done."""
    size_bytes: int = 0
    screen: PersonScreen | None = None
    failure: FailureKind = FailureKind.STEP_FAILED

    @property
    def is_assigned(self) -> bool:
        """Came with the assignment rather than with the platform's flow."""
        return self.kind in _ASSIGNED_ROWS


@dataclass(frozen=True, slots=True)
class RowPlan:
    """A row of the screen."""

    id: str
    title: str
    verb: str
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PhasePlan:
    """A phase: its rows, and whether the person sees it."""

    phase: Phase
    shown: bool
    rows: tuple[RowPlan, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole plan. `items` keep the order in which things start when nothing else decides."""

    profile: EspProfile
    organization: str
    user: str | None
    phases: tuple[PhasePlan, ...]
    items: dict[str, ItemPlan]
    spans: tuple[AbandonmentRow, ...]

    @property
    def budget_ms(self) -> int:
        """The time budget of each context."""
        return self.profile.timeout_minutes * MINUTE_MS


def make_plan(facts: DeviceFacts, admitted: Admitted) -> Plan:
    """The plan of one device: its platform's flow with the assigned items in their places.

    Raises:
        ValueError: an assigned item has the id of a built-in step, or the platform has no such variant.
    """
    for item in admitted.items:
        if item.id in BUILT_IN_STEPS:
            raise ValueError(f"item '{item.id}' has the id of a built-in step; give it another one")
    flow = flow_of(facts.enrollment_type, facts.variant)
    items = {i.id: i for i in _place(facts, admitted, flow)}
    return Plan(
        profile=admitted.profile,
        organization=admitted.organization,
        user=admitted.user or facts.user,
        phases=tuple(_phase(p, flow, items, admitted.profile) for p in Phase),
        items=items,
        spans=tuple(_spans(facts.enrollment_type, items)),
    )


def _place(facts: DeviceFacts, admitted: Admitted, flow: Flow) -> Iterator[ItemPlan]:
    """Lay out the phases one after another; each block of a phase starts when the one before it is settled."""
    tracked = _tracked(admitted)
    for phase in Phase:
        before: tuple[str, ...] = ()
        for block in flow[phase]:
            if isinstance(block, Slot):
                placed = [
                    _assigned(facts, admitted.profile, phase, item, before, item.id in tracked)
                    for item in admitted.items
                    if item.context is block.context
                ]
            elif block.when is not None and not getattr(admitted.screens, block.when):
                continue
            else:
                placed = [_built_in(admitted.profile, phase, block, before)]
            yield from placed
            before = tuple(i.id for i in placed if i.tracked) or before


def _tracked(admitted: Admitted) -> frozenset[str]:
    """What setup waits for: required items that the blocking list lets through, and all that these depend on."""
    listed = admitted.profile.blocking_apps
    by_id = {item.id: item for item in admitted.items}
    waiting = [
        item.id
        for item in admitted.items
        if item.required and (item.kind is not ItemKind.APP or listed == "all" or item.id in listed)
    ]
    found: set[str] = set()
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting.extend(by_id[current].depends_on)
    return frozenset(found)


def _built_in(
    profile: EspProfile, phase: Phase, step: BuiltIn, before: tuple[str, ...]
) -> ItemPlan:
    return ItemPlan(
        id=step.id,
        name=step.name,
        kind=ItemKind.SCREEN if step.id in PERSON_SCREENS else ItemKind.STEP,
        phase=phase,
        row=step.row,
        tracked=True,
        # Without device preparation there is no enrollment at all, whatever the profile blocks.
        blocking=phase is Phase.DEVICE_PREPARATION or _blocks(profile, phase),
        after=before,
        needs=(),
        lane=None,
        expected_ms=step.expected_s * 1000,
        limit_ms=None if step.limit_min is None else step.limit_min * MINUTE_MS,
        tries=step.tries,
        opens_budget=step.opens_budget,
        screen=PERSON_SCREENS.get(step.id),
        failure=step.failure,
    )


def _assigned(
    facts: DeviceFacts,
    profile: EspProfile,
    phase: Phase,
    item: AssignedItem,
    before: tuple[str, ...],
    tracked: bool,
) -> ItemPlan:
    row, _, _ = _ASSIGNED_ROWS[item.kind]
    is_app = item.kind is ItemKind.APP
    return ItemPlan(
        id=item.id,
        name=item.name,
        kind=item.kind,
        phase=phase,
        row=_row_prefix(phase) + row,
        tracked=tracked,
        blocking=tracked and _blocks(profile, phase),
        after=before,
        needs=item.depends_on,
        lane=INSTALLER_LANE if is_app and facts.enrollment_type in _ONE_INSTALLER else None,
        expected_ms=item.expected_seconds * 1000,
        limit_ms=item.install_limit_minutes * MINUTE_MS,
        tries=item.tries,
        size_bytes=item.size_bytes,
        failure=FailureKind.INSTALLER_FAILED if is_app else FailureKind.STEP_FAILED,
    )


def _blocks(profile: EspProfile, phase: Phase) -> bool:
    if phase.context is Context.DEVICE:
        return profile.device_setup.show_progress and profile.device_setup.block_until_complete
    return profile.account_setup.show_progress and profile.account_setup.block_until_complete


def _row_prefix(phase: Phase) -> str:
    return "account_" if phase is Phase.ACCOUNT_SETUP else ""


def _phase(phase: Phase, flow: Flow, items: dict[str, ItemPlan], profile: EspProfile) -> PhasePlan:
    members: dict[str, list[str]] = {}
    for item in items.values():
        if item.phase is phase:
            members.setdefault(item.row, []).append(item.id)
    rows: dict[str, RowPlan] = {}
    for block in flow[phase]:
        if isinstance(block, Slot):
            for name, title, verb in _ASSIGNED_ROWS.values():
                row = _row_prefix(phase) + name
                rows[row] = RowPlan(row, title, verb, tuple(members.get(row, ())))
        elif block.row in members:
            rows[block.row] = RowPlan(
                block.row, block.row_title, "completed", tuple(members[block.row])
            )
    shown = (
        profile.device_setup.show_progress
        if phase.context is Context.DEVICE
        else profile.account_setup.show_progress
    )
    return PhasePlan(phase, shown, tuple(rows.values()))


def _spans(enrollment_type: EnrollmentType, items: Iterable[str]) -> Iterator[AbandonmentRow]:
    present = set(items)
    for row in ABANDONMENT_ROWS:
        if (
            row.action is None
            and enrollment_type in row.platforms
            and {row.start, row.end} <= present
        ):
            yield row
