"""What holds the gate of one device, read from its assignment by rules of their own.

Whoever judges the machine asks here. No code is shared with the machine: a mistake there must not hide itself here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from agent.wire.assignment import Admitted, AssignedItem, Requirements
from agent.wire.versions import is_older
from agent.wire.vocabulary import Architecture, Context, EnrollmentType, ItemKind, Variant

_NO_ACCOUNT = frozenset({Variant.SELF_DEPLOYING, Variant.DEDICATED})
"""Devices that nobody signs in to: account items have no place there."""


class Hardware(Protocol):
    """What a device is made of; None for what is not known."""

    @property
    def architecture(self) -> Architecture | None: ...
    @property
    def disk_free_mb(self) -> int | None: ...
    @property
    def memory_mb(self) -> int | None: ...
    @property
    def processors(self) -> int | None: ...
    @property
    def processor_mhz(self) -> int | None: ...


class Facts(Protocol):
    """What a device knows of itself."""

    @property
    def device(self) -> str: ...
    @property
    def enrollment_type(self) -> EnrollmentType: ...
    @property
    def variant(self) -> Variant: ...
    @property
    def os_version(self) -> str: ...
    @property
    def hardware(self) -> Hardware | None: ...


def for_device(facts: Facts, admitted: Admitted | None) -> Admitted | None:
    """The assignment without what it does not ask of this device, and with newer apps for what they supersede."""
    if admitted is None:
        return None
    items = [item for item in admitted.items if _applies(facts, item)]
    newer = {old.id: item.id for item in items for old in item.install_rules.supersedes}
    kept = tuple(
        item.model_copy(update={"depends_on": tuple(_newest(n, newer) for n in item.depends_on)})
        for item in items
        if item.id not in newer
    )
    profile = admitted.profile
    if profile.windows.only_out_of_box and facts.enrollment_type is EnrollmentType.WINDOWS_MANUAL:
        unseen = {"show_progress": False}
        profile = profile.model_copy(
            update={
                "device_setup": profile.device_setup.model_copy(update=unseen),
                "account_setup": profile.account_setup.model_copy(update=unseen),
            }
        )
    return admitted.model_copy(update={"items": kept, "profile": profile})


def _newest(name: str, newer: dict[str, str]) -> str:
    while name in newer:
        name = newer[name]
    return name


def _applies(facts: Facts, item: AssignedItem) -> bool:
    if item.context is Context.ACCOUNT and facts.variant in _NO_ACCOUNT:
        return False
    return _fulfils(facts, item.install_rules.requirements)


def _fulfils(facts: Facts, needed: Requirements) -> bool:
    """Whether the device has what an app needs; what nobody measured counts as there."""
    if needed.minimum_os is not None and is_older(facts.os_version, needed.minimum_os):
        return False
    have = facts.hardware
    if have is None:
        return True
    if needed.architectures and have.architecture not in (None, *needed.architectures):
        return False
    amounts = (
        (needed.disk_mb, have.disk_free_mb),
        (needed.memory_mb, have.memory_mb),
        (needed.processors, have.processors),
        (needed.processor_mhz, have.processor_mhz),
    )
    return all(want is None or has is None or has >= want for want, has in amounts)


def blocking_items(admitted: Admitted, contexts: Iterable[Context]) -> tuple[str, ...]:
    """The items without which these contexts' gate has to stay locked, with what they depend on."""
    by_id = {item.id: item for item in admitted.items}
    needed = [i.id for i in admitted.items if i.context in contexts and _holds(admitted, i)]
    found: dict[str, None] = {}
    while needed:
        item = needed.pop()
        if item not in found:
            found[item] = None
            needed.extend(name for name in by_id[item].depends_on if name in by_id)
    return tuple(found)


def _holds(admitted: Admitted, item: AssignedItem) -> bool:
    if not item.required or not _context_blocks(admitted, item.context):
        return False
    listed = admitted.profile.blocking_apps
    return item.kind is not ItemKind.APP or listed == "all" or item.id in listed


def _context_blocks(admitted: Admitted, context: Context) -> bool:
    if context is Context.ACCOUNT:
        return account_blocks(admitted)
    device = admitted.profile.device_setup
    return device.show_progress and device.block_until_complete


def account_blocks(admitted: Admitted) -> bool:
    """Whether the gate waits for account setup too."""
    account = admitted.profile.account_setup
    return account.show_progress and account.block_until_complete
