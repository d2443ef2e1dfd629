"""What of an assignment counts on this device, and why: the answer that the plan follows and `explain` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from agent.core.events import DeviceFacts, Hardware
from agent.core.flows import contexts_of, flow_of
from agent.wire.assignment import Admitted, AssignedItem, Requirements
from agent.wire.profile import EspProfile
from agent.wire.versions import is_older
from agent.wire.vocabulary import Context, EnrollmentType, ItemKind, Variant


class Role(StrEnum):
    """What an assigned item is to the setup of this device."""

    BLOCKING = "blocking"
    """The gate stays locked while it is not done."""
    AWAITED = "awaited"
    """Setup waits for it, and its failure holds nothing."""
    BACKGROUND = "background"
    """It is set up once setup has ended."""
    SKIPPED = "skipped"
    """It is not set up on this device."""


@dataclass(frozen=True, slots=True)
class Part:
    """One assigned item with its role and the sentence that says why."""

    item: AssignedItem
    role: Role
    reason: str
    needs: tuple[str, ...]
    """What has to be done before it, superseded apps replaced by what takes their place."""
    unmet: str | None = None
    """A dependency that nothing installs: the item is not attempted."""

    @property
    def is_tracked(self) -> bool:
        """Setup waits for it."""
        return self.role in (Role.BLOCKING, Role.AWAITED)


WINDOWS: Final = frozenset({EnrollmentType.WINDOWS_AUTOPILOT, EnrollmentType.WINDOWS_MANUAL})
NO_ACCOUNT_SETUP: Final = "this way of enrolling has no account setup"
_NO_PAGE: Final = "the profile shows the page only on devices that are set up out of the box"


def effective_profile(profile: EspProfile, facts: DeviceFacts) -> tuple[EspProfile, str | None]:
    """The profile as it acts on this device, and why when that differs from what it says."""
    if profile.windows.only_out_of_box and facts.enrollment_type is EnrollmentType.WINDOWS_MANUAL:
        hidden = {"show_progress": False, "block_until_complete": False}
        pages = {
            "device_setup": profile.device_setup.model_copy(update=hidden),
            "account_setup": profile.account_setup.model_copy(update=hidden),
        }
        return profile.model_copy(update=pages), _NO_PAGE
    return profile, None


def blocks(profile: EspProfile, context: Context) -> bool:
    """Whether items of this context may hold the gate: only where the page is shown and blocks."""
    setup = profile.device_setup if context is Context.DEVICE else profile.account_setup
    return setup.show_progress and setup.block_until_complete


def scope(facts: DeviceFacts, admitted: Admitted) -> tuple[Part, ...]:
    """Every assigned item in its role, in the assignment's order. The profile has to be the effective one.

    Raises:
        ValueError: the platform has no such variant.
    """
    return tuple(_Scope(facts, admitted).parts())


class _Scope:
    """The decisions of one device, in the order in which they depend on each other."""

    def __init__(self, facts: DeviceFacts, admitted: Admitted) -> None:
        self._facts = facts
        self._admitted = admitted
        self._by_id = {item.id: item for item in admitted.items}
        self._skipped = self._not_for_this_device()
        self._instead = {
            old.id: new.id
            for new in admitted.items
            if new.id not in self._skipped
            for old in new.install_rules.supersedes
            if old.id in self._by_id
        }
        self._wanted = self._wanted_by()

    def parts(self) -> Iterator[Part]:
        for item in self._admitted.items:
            role, reason = self._role(item)
            if item.rules is None and not self._instead:
                yield Part(item, role, reason, item.depends_on)
            else:
                needs = dict.fromkeys(self._newest(n) for n in self._dependencies(item))
                yield Part(item, role, reason, tuple(needs), self._unmet(item))

    def _not_for_this_device(self) -> dict[str, str]:
        """Items that have no place here, or whose requirements are not met, with the reason."""
        places = contexts_of(flow_of(self._facts.enrollment_type, self._facts.variant))
        found = {}
        for item in self._admitted.items:
            if item.context not in places:
                found[item.id] = NO_ACCOUNT_SETUP
            elif item.rules is not None:
                lacking = why_not_applicable(self._facts, item.rules.requirements)
                if lacking is not None:
                    found[item.id] = lacking
        return found

    def _newest(self, name: str) -> str:
        """What is installed in the place of a superseded item; chains are followed."""
        while name in self._instead:
            name = self._instead[name]
        return name

    def _dependencies(self, item: AssignedItem) -> Iterator[str]:
        yield from item.depends_on
        for name in item.install_rules.must_be_present:
            if self._newest(name) in self._wanted:
                yield name

    def _unmet(self, item: AssignedItem) -> str | None:
        missing = (
            n for n in item.install_rules.must_be_present if self._newest(n) not in self._wanted
        )
        name = next(missing, None)
        return None if name is None else self._by_id[name].name if name in self._by_id else name

    def _wanted_by(self) -> dict[str, _Wanted]:
        """What setup waits for: required items that the list lets through, and what these need.

        What has to be there counts first, so that nothing that it needs is taken for optional.
        """
        found: dict[str, _Wanted] = {}
        roots = sorted(self._required(), key=lambda root: not root[1].has_to_be)
        for root in roots:
            waiting = [root]
            while waiting:
                name, wanted = waiting.pop()
                if name in found:
                    continue
                found[name] = wanted
                needed_by = self._by_id[name]
                pulled = _Wanted(f"{needed_by.name} needs it", wanted.has_to_be)
                waiting += [(self._newest(n), pulled) for n in needed_by.depends_on]
        return found

    def _required(self) -> Iterator[tuple[str, _Wanted]]:
        listed = self._admitted.profile.blocking_apps
        for item in self._admitted.items:
            if not item.required or item.id in self._skipped or item.id in self._instead:
                continue
            if item.kind is not ItemKind.APP:
                yield item.id, _Wanted("required", True)
            elif listed == "all":
                yield (
                    item.id,
                    _Wanted("required, and the profile blocks on all required apps", True),
                )
            elif item.id in listed:
                yield item.id, _Wanted("required, and the profile's list names it", True)
            elif self._technician_tries_all():
                yield item.id, _Wanted("required; the technician's part tries all apps", False)

    def _technician_tries_all(self) -> bool:
        """Microsoft Learn: "Only fail selected blocking apps in technician phase"."""
        technician = self._facts.variant is Variant.PRE_PROVISIONED
        return technician and self._admitted.profile.windows.technician_installs_all

    def _role(self, item: AssignedItem) -> tuple[Role, str]:
        if item.id in self._skipped:
            return Role.SKIPPED, self._skipped[item.id]
        if item.id in self._instead:
            newer = self._by_id[self._newest(item.id)].name
            return Role.SKIPPED, f"{newer} takes its place"
        wanted = self._wanted.get(item.id)
        if wanted is None:
            missed = "required, but the profile's list does not name it"
            return Role.BACKGROUND, missed if item.required else "not required"
        if not blocks(self._admitted.profile, item.context):
            return Role.AWAITED, f"{wanted.reason}; {item.context.value} setup does not block"
        return (Role.BLOCKING if wanted.has_to_be else Role.AWAITED), wanted.reason


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Why setup waits for an item, and whether its failure is the setup's."""

    reason: str
    has_to_be: bool


def why_not_applicable(facts: DeviceFacts, needed: Requirements) -> str | None:
    """Why an app does not apply to this device, or None; what the device does not know of itself counts as met."""
    have = facts.hardware or Hardware()
    if needed.minimum_os is not None and is_older(facts.os_version, needed.minimum_os):
        return f"it needs version {needed.minimum_os}, this device runs {facts.os_version}"
    if needed.architectures and have.architecture not in (None, *needed.architectures):
        return f"it needs a processor of type {_either(needed.architectures)}, this one is {have.architecture}"
    for wanted, found, what in (
        (needed.disk_mb, have.disk_free_mb, "MB of free disk space"),
        (needed.memory_mb, have.memory_mb, "MB of memory"),
        (needed.processors, have.processors, "logical processors"),
        (needed.processor_mhz, have.processor_mhz, "MHz of processor speed"),
    ):
        if wanted is not None and found is not None and found < wanted:
            return f"it needs {wanted:,} {what}, this device has {found:,}"
    return None


def _either(values: Sequence[str]) -> str:
    return " or ".join(values)
