"""Judges every opening of a gate by what was really on the device, with rules of its own.

It reads the assignment as the collector signed it and the device's ground truth, and shares no code with the machine
that it judges: a mistake there must not hide itself here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from agent.wire.assignment import Admitted, AssignedItem, Requirements
from agent.wire.versions import is_older
from agent.wire.vocabulary import (
    Architecture,
    Choice,
    Context,
    EnrollmentType,
    Gate,
    GateCause,
    ItemKind,
    Variant,
)
from simulator.ground_truth import GateSet, GroundTruth

_NO_ACCOUNT = frozenset({Variant.SELF_DEPLOYING, Variant.DEDICATED})
"""Devices that nobody signs in to: account items have no place there."""
_ACCOUNT_HOLDS = "while the profile blocks until account setup is complete"


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


@dataclass(frozen=True, slots=True)
class Told:
    """The device took over an assignment at this time; None stands for a new attempt that has none yet."""

    at_ms: int
    admitted: Admitted | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Somebody chose to go on: the person at the device, or the help desk by a command."""

    at_ms: int
    choice: Choice


def violations(
    facts: Facts, truth: GroundTruth, told: Iterable[Told], commands: Iterable[Wanted] = ()
) -> Iterator[str]:
    """One sentence for each opening of the gate that nothing allowed."""
    history = sorted(told, key=lambda entry: entry.at_ms)
    wanted = [*commands, *(Wanted(chosen.at_ms, chosen.choice) for chosen in truth.choices)]
    for opening in truth.gates:
        if opening.gate is Gate.LOCKED:
            continue
        before = [entry for entry in history if entry.at_ms <= opening.at_ms]
        begun_ms = max((e.at_ms for e in before if e.admitted is None), default=0)
        admitted = _for_device(facts, before[-1].admitted) if before else None
        chosen = {w.choice for w in wanted if begun_ms <= w.at_ms <= opening.at_ms}
        objection = _objection(opening, admitted, truth, chosen)
        if objection is not None:
            yield f"{facts.device}: the gate was {opening.gate.value} at {opening.at_ms} ms, {objection}"


def _for_device(facts: Facts, admitted: Admitted | None) -> Admitted | None:
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


def _objection(
    opening: GateSet, admitted: Admitted | None, truth: GroundTruth, chosen: set[Choice]
) -> str | None:
    if admitted is None:
        return "without an assignment"
    match opening.cause:
        case GateCause.CONTINUED_ANYWAY:
            return _continued(opening, admitted, chosen)
        case GateCause.ACCOUNT_SETUP_SKIPPED:
            return _skipped(opening, admitted, truth, chosen)
        case GateCause.DEVICE_SETUP_COMPLETE:
            if _account_blocks(admitted):
                return _ACCOUNT_HOLDS
            return _missing(opening, admitted, truth, (Context.DEVICE,))
        case GateCause.SETUP_COMPLETE:
            return _missing(opening, admitted, truth, tuple(Context))
        case GateCause.NOTHING_TO_SHOW:
            if admitted.profile.device_setup.show_progress:
                return "although the profile shows device setup"
            return _ACCOUNT_HOLDS if _account_blocks(admitted) else None
        case GateCause.ENROLLMENT_BEGAN | GateCause.EMERGENCY_EXIT:
            return f"for '{opening.cause.value}', which opens no gate here"


def _continued(opening: GateSet, admitted: Admitted, chosen: set[Choice]) -> str | None:
    if opening.gate is not Gate.BYPASSED:
        return "although the person continued over a failure, which is a bypass"
    if Choice.CONTINUE_ANYWAY not in chosen:
        return "and nobody chose to continue"
    profile = admitted.profile
    if profile.error_handling.allow_continue or not profile.device_setup.block_until_complete:
        return None
    return "and the profile does not allow to continue"


def _skipped(
    opening: GateSet, admitted: Admitted, truth: GroundTruth, chosen: set[Choice]
) -> str | None:
    if not admitted.profile.account_setup.allow_skip:
        return "and the profile does not allow to skip account setup"
    if Choice.SKIP_ACCOUNT_SETUP not in chosen:
        return "and nobody chose to skip account setup"
    return _missing(opening, admitted, truth, (Context.DEVICE,))


def _missing(
    opening: GateSet, admitted: Admitted, truth: GroundTruth, contexts: tuple[Context, ...]
) -> str | None:
    for item in blocking_items(admitted, contexts):
        unwanted_ms = truth.not_applicable.get(item)
        not_needed = unwanted_ms is not None and unwanted_ms <= opening.at_ms
        if not not_needed and not truth.is_present(item, opening.at_ms):
            return f"while '{item}' was not there"
    return None


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
        return _account_blocks(admitted)
    device = admitted.profile.device_setup
    return device.show_progress and device.block_until_complete


def _account_blocks(admitted: Admitted) -> bool:
    account = admitted.profile.account_setup
    return account.show_progress and account.block_until_complete
