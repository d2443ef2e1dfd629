"""Judges every opening of a gate by what was really on the device, with rules of its own.

It reads the assignment as the collector signed it and the device's ground truth, and shares no code with the machine
that it judges: a mistake there must not hide itself here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from agent.wire.assignment import Admitted
from agent.wire.vocabulary import (
    Choice,
    Context,
    Gate,
    GateCause,
)
from simulator.blocking import Facts, account_blocks, blocking_items, for_device
from simulator.ground_truth import GateSet, GroundTruth

_ACCOUNT_HOLDS = "while the profile blocks until account setup is complete"


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
        admitted = for_device(facts, before[-1].admitted) if before else None
        chosen = {w.choice for w in wanted if begun_ms <= w.at_ms <= opening.at_ms}
        objection = _objection(opening, admitted, truth, chosen)
        if objection is not None:
            yield f"{facts.device}: the gate was {opening.gate.value} at {opening.at_ms} ms, {objection}"


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
            if account_blocks(admitted):
                return _ACCOUNT_HOLDS
            return _missing(opening, admitted, truth, (Context.DEVICE,))
        case GateCause.SETUP_COMPLETE:
            return _missing(opening, admitted, truth, tuple(Context))
        case GateCause.NOTHING_TO_SHOW:
            if admitted.profile.device_setup.show_progress:
                return "although the profile shows device setup"
            return _ACCOUNT_HOLDS if account_blocks(admitted) else None
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
