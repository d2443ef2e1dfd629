"""How an assignment acts on one device and why, setting by setting and item by item, by the rules that the plan follows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Final

from agent.core.events import MINUTE_MS, DeviceFacts
from agent.core.flows import Flow, contexts_of, flow_of, steps_of
from agent.core.permissions import NO_WAY_PAST
from agent.core.plan import make_plan
from agent.core.scope import NO_ACCOUNT_SETUP, WINDOWS, Part, Role, blocks, effective_profile, scope
from agent.wire.assignment import Admitted, AssignedItem, Requirements
from agent.wire.codec import JsonCodec
from agent.wire.graph import FIELDS, KEPT
from agent.wire.profile import EspProfile, WindowsSettings
from agent.wire.vocabulary import Context, EnrollmentType, ItemKind, Variant

SettingValue = bool | int | str | tuple[str, ...] | None

LINE_WIDTH: Final = 80
_NOT_SHOWN: Final = "the page is not shown there, so nothing of it holds the gate"
_NOT_BLOCKING: Final = (
    "a person may continue as soon as device preparation is done, before anything fails"
)
_ONLY_WINDOWS: Final = "only the Windows page has it"
_UNKNOWN_TO_US: Final = "not known here; kept for the export"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting of the profile."""

    key: str
    """Where it stands in the profile."""
    title: str
    value: SettingValue
    """As the profile says it."""
    acts: SettingValue
    """As it is on this device; null where there is nothing that it could act on."""
    reason: str | None = None
    """Why the two differ, or what the value comes to here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedItem:
    """One assigned item in its role."""

    id: str
    name: str
    kind: ItemKind
    context: Context
    required: bool
    role: Role
    reason: str
    needs: tuple[str, ...]
    """Ids of what has to be done before it."""
    unmet: str | None
    """A dependency that nothing installs: the item is not attempted."""

    @property
    def is_tracked(self) -> bool:
        """Setup waits for it."""
        return self.role in (Role.BLOCKING, Role.AWAITED)


@dataclass(frozen=True, slots=True, kw_only=True)
class WithoutEffect:
    """A property of an imported Graph object that sets nothing here."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """An assignment as it acts on one device."""

    profile: str
    profile_name: str
    enrollment_type: EnrollmentType
    variant: Variant
    settings: tuple[Setting, ...]
    items: tuple[ExplainedItem, ...]
    """In the assignment's order."""
    without_effect: tuple[WithoutEffect, ...]
    notes: tuple[str, ...]
    """What can't be told before the device is there."""


EXPLANATION_CODEC: Final[JsonCodec[Explanation]] = JsonCodec(Explanation)
"""How a program prints it for other programs."""


def explain(facts: DeviceFacts, admitted: Admitted) -> Explanation:
    """How this assignment acts on this device.

    Raises:
        ValueError: the platform has no such variant, or an item has the id of a built-in step.
    """
    profile, _ = effective_profile(admitted.profile, facts)
    parts = scope(facts, admitted.model_copy(update={"profile": profile}))
    return Explanation(
        profile=profile.id,
        profile_name=profile.name,
        enrollment_type=facts.enrollment_type,
        variant=facts.variant,
        settings=tuple(_Settings(facts, admitted, parts).all()),
        items=tuple(_item(part) for part in parts),
        without_effect=tuple(_without_effect(profile)),
        notes=tuple(_notes(facts, parts)),
    )


def asks_for_version(items: Iterable[AssignedItem]) -> str | None:
    """The name of an item whose place depends on the device's version, if there is one."""
    asking = (i.name for i in items if i.install_rules.requirements.minimum_os is not None)
    return next(asking, None)


class _Settings:
    """The settings of one profile on one device."""

    def __init__(self, facts: DeviceFacts, admitted: Admitted, parts: Sequence[Part]) -> None:
        self._facts = facts
        self._said = admitted.profile
        self._profile, self._why = effective_profile(admitted.profile, facts)
        self._plan = make_plan(facts, admitted)
        self._flow: Flow = flow_of(facts.enrollment_type, facts.variant)
        self._has_account = Context.ACCOUNT in contexts_of(self._flow)
        self._parts = {part.item.id: part for part in parts}

    def all(self) -> Iterator[Setting]:
        for context in Context:
            yield from self._context(context)
        yield self._account(
            "allow_skip", "Account setup may be skipped", self._said.account_setup.allow_skip
        )
        yield self._blocking_apps()
        yield from self._error_handling()
        message = self._said.custom_message
        yield Setting(key="custom_message", title="Custom message", value=message, acts=message)
        if self._facts.enrollment_type in WINDOWS or self._said.windows != WindowsSettings():
            yield from self._windows()

    def _context(self, context: Context) -> Iterator[Setting]:
        name = f"{context.value}_setup"
        title = f"{context.value.capitalize()} setup"
        said = getattr(self._said, name)
        limit = self._said.timeout_minutes
        if context is Context.ACCOUNT and not self._has_account:
            yield self._account("show_progress", f"{title} is shown", said.show_progress)
            yield self._account(
                "block_until_complete", f"{title} blocks", said.block_until_complete
            )
            return
        budget = self._plan.budget_ms(context) // MINUTE_MS
        yield Setting(
            key="timeout_minutes",
            title=f"Time limit, {context.value} setup",
            value=limit,
            acts=budget,
            reason=None
            if budget == limit
            else f"the platform grants {budget - limit} minutes more here",
        )
        shown = getattr(self._profile, name).show_progress
        yield Setting(
            key=f"{name}.show_progress",
            title=f"{title} is shown",
            value=said.show_progress,
            acts=shown,
            reason=self._why if shown != said.show_progress else None,
        )
        holds = blocks(self._profile, context)
        yield Setting(
            key=f"{name}.block_until_complete",
            title=f"{title} blocks",
            value=said.block_until_complete,
            acts=holds,
            reason=self._why_not_holding(context, said.block_until_complete, shown, holds),
        )

    def _why_not_holding(
        self, context: Context, said: bool, shown: bool, holds: bool
    ) -> str | None:
        if holds:
            return None
        if said:
            return self._why or _NOT_SHOWN
        return _NOT_BLOCKING if shown and context is Context.DEVICE else None

    def _account(self, name: str, title: str, value: bool) -> Setting:
        """A setting that acts wherever there is an account setup."""
        return Setting(
            key=f"account_setup.{name}",
            title=title,
            value=value,
            acts=value if self._has_account else None,
            reason=None if self._has_account else NO_ACCOUNT_SETUP,
        )

    def _blocking_apps(self) -> Setting:
        listed = self._said.blocking_apps
        if listed == "all":
            return Setting(key="blocking_apps", title="Blocking apps", value="all", acts="all")
        objections = {name: self._why_not_counting(name) for name in listed}
        told = "; ".join(f"{name}: {why}" for name, why in objections.items() if why is not None)
        return Setting(
            key="blocking_apps",
            title="Blocking apps",
            value=listed,
            acts=tuple(name for name, why in objections.items() if why is None),
            reason=told or None,
        )

    def _why_not_counting(self, name: str) -> str | None:
        part = self._parts.get(name)
        if part is None:
            return "not assigned, and the list assigns nothing"
        if part.item.kind is not ItemKind.APP:
            return f"a {part.item.kind.value}, and the list is about apps"
        if part.role is Role.SKIPPED or not part.item.required:
            return part.reason
        return None

    def _error_handling(self) -> Iterator[Setting]:
        handling = self._said.error_handling
        for name, title, past_the_technician in (
            ("show_details", "Error details are shown", False),
            ("allow_retry", "Try again", True),
            ("allow_reset", "Reset device", True),
            ("allow_continue", "Continue anyway", True),
            ("allow_log_collection", "Collect logs", False),
        ):
            value = getattr(handling, name)
            technician = self._facts.variant is Variant.PRE_PROVISIONED and past_the_technician
            yield Setting(
                key=f"error_handling.{name}",
                title=title,
                value=value,
                acts=value,
                reason=f"in account setup only; {NO_WAY_PAST}" if value and technician else None,
            )

    def _windows(self) -> Iterator[Setting]:
        said = self._said.windows
        yield self._on_windows("only_out_of_box", "Page only out of the box", said.only_out_of_box)
        runs = "quality_updates" in self._plan.items
        yield self._on_windows(
            "quality_updates",
            "Quality updates",
            said.quality_updates,
            None if runs else self._why_no_updates(),
        )
        technician = self._facts.variant is Variant.PRE_PROVISIONED
        yield self._on_windows(
            "technician_installs_all",
            "Technician tries all apps",
            said.technician_installs_all,
            None if technician else "only pre-provisioning has a technician's part",
        )

    def _why_no_updates(self) -> str:
        places = (
            step.when for blocks in self._flow.values() for b in blocks for step in steps_of(b)
        )
        if "quality_updates" not in places:
            return "only setup out of the box has a place for them"
        return "device setup does not block, so the person may be gone before they begin"

    def _on_windows(
        self, name: str, title: str, value: bool, objection: str | None = None
    ) -> Setting:
        if self._facts.enrollment_type not in WINDOWS:
            objection = _ONLY_WINDOWS
        acts = value and objection is None
        return Setting(
            key=f"windows.{name}",
            title=title,
            value=value,
            acts=acts,
            reason=None if acts == value else objection,
        )


def _item(part: Part) -> ExplainedItem:
    return ExplainedItem(
        id=part.item.id,
        name=part.item.name,
        kind=part.item.kind,
        context=part.item.context,
        required=part.item.required,
        role=part.role,
        reason=part.reason,
        needs=part.needs,
        unmet=part.unmet,
    )


def _without_effect(profile: EspProfile) -> Iterator[WithoutEffect]:
    settings = {field.key for field in FIELDS}
    for key in profile.graph:
        if key not in settings:
            yield WithoutEffect(key=key, reason=KEPT.get(key, _UNKNOWN_TO_US))


def _notes(facts: DeviceFacts, parts: Iterable[Part]) -> Iterator[str]:
    if facts.hardware is not None:
        return
    for part in parts:
        needed = part.item.install_rules.requirements
        if needed.model_copy(update={"minimum_os": None}) != Requirements():
            yield (
                f"{part.item.name} asks for hardware that only the device itself can measure; "
                "here it counts as met"
            )


# As text.


HEADINGS: Final = {
    Role.BLOCKING: "Blocking: the gate stays locked while one of them is not done",
    Role.AWAITED: "Awaited: setup waits for them, and their failure holds nothing",
    Role.BACKGROUND: "In the background: set up once setup has ended",
    Role.SKIPPED: "Skipped: not set up on this device",
}


def explanation_lines(explanation: Explanation) -> Iterator[str]:
    """The explanation for people, in lines of 80 columns."""
    yield "Settings"
    for setting in explanation.settings:
        yield from columns(setting.title, *_of_setting(setting))
    for role, heading in HEADINGS.items():
        items = [item for item in explanation.items if item.role is role]
        if items:
            yield from ("", f"{heading} ({len(items)})")
        for item in items:
            yield from columns(item.name, *_of_item(item))
    if explanation.without_effect:
        yield from ("", "Properties of the Graph object without effect here")
    for one in explanation.without_effect:
        yield from columns(one.key, one.reason)
    if explanation.notes:
        yield from ("", "Notes")
    for note in explanation.notes:
        yield from wrapped(note, 2)


def _of_setting(setting: Setting) -> Iterator[str]:
    said = as_words(setting.key, setting.value)
    if setting.acts == setting.value:
        yield said
    elif setting.acts is None:
        yield f"without effect (the profile says {said})"
    else:
        yield f"{as_words(setting.key, setting.acts)} (the profile says {said})"
    if setting.reason is not None:
        yield setting.reason


def _of_item(item: ExplainedItem) -> Iterator[str]:
    yield f"{item.kind.value} of {item.context.value} setup: {item.reason}"
    if item.needs:
        yield f"after {', '.join(item.needs)}"
    if item.unmet is not None:
        yield f"not attempted: it needs {item.unmet}, which nothing installs"


def as_words(key: str, value: SettingValue) -> str:
    """A setting's value as a person says it."""
    match value:
        case True:
            return "yes"
        case False:
            return "no"
        case None:
            return "none"
        case "all" if key == "blocking_apps":
            return "all required apps"
        case int():
            return f"{value} minutes"
        case str():
            return value
        case tuple():
            return ", ".join(value) or "none"


_INDENT: Final = 2
_SECOND_COLUMN: Final = 32


def columns(title: str, *texts: str) -> Iterator[str]:
    """A title, and beside it some texts, each beginning a line of its own."""
    lines = [line for text in texts for line in wrapped(text, _SECOND_COLUMN)]
    [*above, last] = wrapped(title, _INDENT) or [""]
    yield from above
    if len(last) < _SECOND_COLUMN and lines:
        lines[0] = last.ljust(_SECOND_COLUMN) + lines[0].lstrip()
    else:
        yield last
    yield from lines


def wrapped(text: str, indent: int) -> list[str]:
    """A text in indented lines; what is no printable character is shown as a question mark."""
    clean = "".join(c if c.isprintable() or c.isspace() else "?" for c in text)
    pad = " " * indent
    return wrap(
        clean, LINE_WIDTH, initial_indent=pad, subsequent_indent=pad, break_on_hyphens=False
    )
