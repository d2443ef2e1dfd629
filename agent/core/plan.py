"""The plan of an attempt: what has to happen, in which order, and what may hold the gate; made once, by pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from agent.core.events import MINUTE_MS, DeviceFacts
from agent.core.flows import (
    BUILT_IN_STEPS,
    EXPIRIES,
    Block,
    BuiltIn,
    Expiry,
    Flow,
    Slot,
    flow_of,
    steps_of,
)
from agent.core.person_screens import ABANDONMENT_ROWS, PERSON_SCREENS, AbandonmentRow, PersonScreen
from agent.core.scope import Part, Role, blocks, effective_profile, scope
from agent.wire.assignment import USUAL_RULES, Admitted, InstallRules, PersonScreens
from agent.wire.profile import EspProfile
from agent.wire.vocabulary import Context, EnrollmentType, FailureKind, ItemKind, Phase

INSTALLER_LANE: Final = "installer"
_ONE_INSTALLER: Final = frozenset(
    {EnrollmentType.WINDOWS_AUTOPILOT, EnrollmentType.WINDOWS_MANUAL, EnrollmentType.MACOS_ADE}
)
"""Platforms whose installers exclude one another; phones install side by side."""

ASSIGNED: Final = BuiltIn("assigned", "Assigned item", "", "", 0)
"""Stands for the flow's word on what came with the assignment: nothing in particular."""

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
    failure: FailureKind
    size_bytes: int = 0
    screen: PersonScreen | None = None
    step: BuiltIn = ASSIGNED
    """What the platform's flow says of it."""
    rules: InstallRules = USUAL_RULES
    skip: str | None = None
    """Why it is not set up on this device."""
    unmet: str | None = None
    """The dependency that nothing installs: it is not attempted."""

    @property
    def is_assigned(self) -> bool:
        """Came with the assignment rather than with the platform's flow."""
        return self.step.id == ASSIGNED.id

    @property
    def retry_pause_ms(self) -> int | None:
        """The same pause before every further try; None for the usual growing one."""
        pause_s = self.step.retry_pause_s
        return None if pause_s is None else pause_s * 1000


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
    expiries: tuple[Expiry, ...]

    def budget_ms(self, context: Context) -> int:
        """The time budget of a context: the profile's, and what the platform grants for some of its steps."""
        extending = [i for i in self.items.values() if i.step.extends_budget_min]
        extra = sum(i.step.extends_budget_min for i in extending if i.phase.context is context)
        return (self.profile.timeout_minutes + extra) * MINUTE_MS


def make_plan(facts: DeviceFacts, admitted: Admitted) -> Plan:
    """The plan of one device: its platform's flow with the assigned items in their places.

    Raises:
        ValueError: an assigned item has the id of a built-in step, or the platform has no such variant.
    """
    for item in admitted.items:
        if item.id in BUILT_IN_STEPS:
            raise ValueError(f"item '{item.id}' has the id of a built-in step; give it another one")
    flow = flow_of(facts.enrollment_type, facts.variant)
    profile, _ = effective_profile(admitted.profile, facts)
    admitted = admitted.model_copy(update={"profile": profile})
    items = {i.id: i for i in _place(facts, admitted, flow)}
    return Plan(
        profile=profile,
        organization=admitted.organization,
        user=admitted.user or facts.user,
        phases=tuple(_phase(p, flow, items, profile) for p in Phase),
        items=items,
        spans=tuple(_spans(facts.enrollment_type, items)),
        expiries=tuple(e for e in EXPIRIES if {e.opens, e.closes, *e.again} <= items.keys()),
    )


def _place(facts: DeviceFacts, admitted: Admitted, flow: Flow) -> Iterator[ItemPlan]:
    """Lay out the phases one after another; each block of a phase starts when the one before it is settled."""
    parts = scope(facts, admitted)
    for phase in Phase:
        before: tuple[str, ...] = ()
        for block in flow[phase]:
            placed = [*_placed(facts, admitted, phase, block, parts, before)]
            yield from placed
            before = tuple(i.id for i in placed if i.tracked) or before


def _placed(
    facts: DeviceFacts,
    admitted: Admitted,
    phase: Phase,
    block: Block,
    parts: Iterable[Part],
    before: tuple[str, ...],
) -> Iterator[ItemPlan]:
    if isinstance(block, Slot):
        for part in parts:
            if part.item.context is block.context:
                yield _assigned(facts, phase, part, before)
    for step in steps_of(block):
        if _is_there(step, facts, admitted.profile, admitted.screens):
            yield _built_in(admitted.profile, phase, step, before)


def _is_there(
    step: BuiltIn, facts: DeviceFacts, profile: EspProfile, screens: PersonScreens
) -> bool:
    """Whether this device has the step: some are one maker's only, others an administrator has to ask for."""
    if step.only_on is not None and step.only_on != (facts.manufacturer or "").casefold():
        return False
    if step.when == "quality_updates":
        # Microsoft Learn: without blocking a person may be gone before they begin.
        return profile.windows.quality_updates and blocks(profile, Context.DEVICE)
    return step.when is None or bool(getattr(screens, step.when))


def _built_in(
    profile: EspProfile, phase: Phase, step: BuiltIn, before: tuple[str, ...]
) -> ItemPlan:
    # Without device preparation there is no enrollment at all, whatever the profile blocks.
    holds = phase is Phase.DEVICE_PREPARATION or blocks(profile, phase.context)
    return ItemPlan(
        id=step.id,
        name=step.name,
        kind=ItemKind.SCREEN if step.id in PERSON_SCREENS else ItemKind.STEP,
        phase=phase,
        row=step.row,
        tracked=True,
        blocking=holds and not step.is_best_effort,
        after=before,
        needs=(),
        lane=None,
        expected_ms=step.expected_s * 1000,
        limit_ms=None if step.limit_min is None else step.limit_min * MINUTE_MS,
        tries=step.tries,
        failure=step.failure,
        screen=PERSON_SCREENS.get(step.id),
        step=step,
    )


def _assigned(facts: DeviceFacts, phase: Phase, part: Part, before: tuple[str, ...]) -> ItemPlan:
    item = part.item
    row, _, _ = _ASSIGNED_ROWS[item.kind]
    is_app = item.kind is ItemKind.APP
    return ItemPlan(
        id=item.id,
        name=item.name,
        kind=item.kind,
        phase=phase,
        row=_row_prefix(phase) + row,
        tracked=part.is_tracked,
        blocking=part.role is Role.BLOCKING,
        after=before,
        needs=part.needs,
        lane=INSTALLER_LANE if is_app and facts.enrollment_type in _ONE_INSTALLER else None,
        expected_ms=item.expected_seconds * 1000,
        limit_ms=item.install_limit_minutes * MINUTE_MS,
        tries=item.tries,
        failure=FailureKind.INSTALLER_FAILED if is_app else FailureKind.STEP_FAILED,
        size_bytes=item.size_bytes,
        rules=item.install_rules,
        skip=part.reason if part.role is Role.SKIPPED else None,
        unmet=part.unmet,
    )


def _row_prefix(phase: Phase) -> str:
    return "account_" if phase is Phase.ACCOUNT_SETUP else ""


def _phase(phase: Phase, flow: Flow, items: dict[str, ItemPlan], profile: EspProfile) -> PhasePlan:
    members: dict[str, list[str]] = {}
    for item in items.values():
        if item.phase is phase and not item.step.is_silent:
            members.setdefault(item.row, []).append(item.id)
    rows: dict[str, RowPlan] = {}
    for block in flow[phase]:
        if isinstance(block, Slot):
            for name, title, verb in _ASSIGNED_ROWS.values():
                row = _row_prefix(phase) + name
                rows[row] = RowPlan(row, title, verb, tuple(members.get(row, ())))
        for step in steps_of(block):
            if step.row in members:
                names = tuple(members[step.row])
                rows[step.row] = RowPlan(step.row, step.row_title, "completed", names)
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
