"""The notice of each end: what happened, what was done about it, and what the person can do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from agent.screen.choices import choice_actions
from agent.screen.error import told
from agent.screen.lines import Line, Tone
from agent.screen.notice import Action, Leave, Notice, say
from agent.screen.words import gate_is_open, listing
from agent.wire.progress import Progress
from agent.wire.vocabulary import (
    UNSATISFIED_STATES,
    EndState,
    FailureKind,
    ItemState,
    Phase,
    RowState,
    Variant,
)

_SUPPORT = "If you need help, contact your organization's support."


def ended_notice(progress: Progress, end: EndState, *, can_act: bool, at_device: bool) -> Notice:
    """The last word on an attempt, with what is still offered."""
    symbol, tone, heading, told = _STORIES[end]
    # What would be collected on a device that is being reset goes with the rest.
    actions = choice_actions(progress) if can_act and end is not EndState.RESET else ()
    if at_device and gate_is_open(progress):
        actions = (Action("Start using this device", "closes this page", Leave()), *actions)
    return Notice(symbol, tone, heading, tuple(told(progress)), actions)


def open_notice(progress: Progress, *, can_act: bool, at_device: bool) -> Notice:
    """The gate is open while setup goes on."""
    actions = choice_actions(progress) if can_act else ()
    if at_device:
        actions = (Action("Start using this device", "closes this page", Leave()), *actions)
    text = say("The rest of the setup goes on in the background and is reported as before.")
    return Notice("✓", Tone.GOOD, "This device may be used now", (text,), actions)


def _succeeded(progress: Progress) -> list[Line]:
    return [say("Everything that your organization requires is in place."), *_left_out(progress)]


def _succeeded_on_retry(progress: Progress) -> list[Line]:
    return [
        say(
            "Something failed on the way and was tried again. Now everything required is in place."
        ),
        *_left_out(progress),
    ]


def _left_out(progress: Progress) -> list[Line]:
    account = next((p for p in progress.phases if p.phase is Phase.ACCOUNT_SETUP), None)
    skipped = account is not None and account.state is RowState.SKIPPED
    missing = [i.name for i in progress.items() if i.state in UNSATISFIED_STATES]
    lines = [say("Account setup was left out.", Tone.MUTED)] if skipped else []
    if missing:
        lines.append(say(f"Not required and not installed: {listing(missing)}.", Tone.MUTED))
    return lines


def _bypassed(progress: Progress) -> list[Line]:
    missing = [i.name for i in progress.items() if i.blocking and i.state in UNSATISFIED_STATES]
    lines = [say(f"Still missing: {listing(missing)}.")] if missing else []
    return [
        *lines,
        say(
            "What is missing is tried again in the background. That setup was left early is on record."
        ),
        say(_SUPPORT, Tone.MUTED),
    ]


def _failed(progress: Progress) -> list[Line]:
    return [*_reason(progress), *_locked(progress), _next(progress)]


def _next(progress: Progress) -> Line:
    """What can be done: by a technician, who starts over, or by the person, who asks."""
    technician = progress.variant is Variant.PRE_PROVISIONED
    if technician and progress.phase is not Phase.ACCOUNT_SETUP:
        return say("Correct the cause, then start pre-provisioning anew.")
    return say(_SUPPORT, Tone.MUTED)


def _timed_out(progress: Progress) -> list[Line]:
    late = [i.name for i in progress.items() if i.state is ItemState.TIMED_OUT]
    lines = [say(f"Not finished in time: {listing(late)}.")] if late else _reason(progress)
    stopped = say("What was running has been stopped. What is installed already stays.")
    return [*lines, stopped, *_locked(progress), _next(progress)]


def _abandoned(progress: Progress) -> list[Line]:
    silent = progress.failure is not None and progress.failure.kind is FailureKind.PERSON_SILENT
    why = "Nobody answered in time." if silent else "It was stopped on the device."
    details = (
        [say(progress.failure.person)]
        if progress.failure is not None and progress.failure.person
        else []
    )
    again = "You can begin again whenever you like; it starts at the same screen."
    return [*(details or [say(why)]), *_locked(progress), say(again)]


def _refused(progress: Progress) -> list[Line]:
    return [
        *_reason(progress),
        say("Nothing was installed, and your organization has the reason on record."),
        say("Give the code above to your organization's support.", Tone.MUTED),
    ]


def _reset(progress: Progress) -> list[Line]:
    return [
        *_reason(progress),
        say(
            "What the enrollment installed is removed. The reports of this attempt are kept and sent."
        ),
        say("Setup then begins anew by itself: follow its first screen.", Tone.MUTED),
    ]


def _superseded(_: Progress) -> list[Line]:
    return [
        say("This device has begun another attempt. What this one still reports is history only."),
        say("There is nothing to do here.", Tone.MUTED),
    ]


def _reason(progress: Progress) -> list[Line]:
    if progress.failure is None:
        return []
    return [say(told(progress, progress.failure), Tone.BAD)]


def _locked(progress: Progress) -> list[Line]:
    return [] if gate_is_open(progress) else [say("The device stays locked.")]


_STORIES: Final[dict[EndState, tuple[str, Tone, str, Callable[[Progress], list[Line]]]]] = {
    EndState.SUCCEEDED: ("✓", Tone.GOOD, "Setup is complete", _succeeded),
    EndState.SUCCEEDED_ON_RETRY: ("✓", Tone.GOOD, "Setup is complete", _succeeded_on_retry),
    EndState.BYPASSED: (
        "!",
        Tone.WARN,
        "This device may be used, but setup is not complete",
        _bypassed,
    ),
    EndState.FAILED: ("✗", Tone.BAD, "Setup could not be completed", _failed),
    EndState.TIMED_OUT: ("✗", Tone.BAD, "Setup took longer than it is allowed to", _timed_out),
    EndState.ABANDONED: ("–", Tone.WARN, "The enrollment was stopped", _abandoned),
    EndState.REFUSED: ("✗", Tone.BAD, "This device can't be enrolled", _refused),
    EndState.RESET: ("↻", Tone.WARN, "This device is being reset", _reset),
    EndState.SUPERSEDED: ("–", Tone.MUTED, "A newer attempt has taken over", _superseded),
}
"""One story for each end; the order of the paragraphs is what happened, what was done, what can be done."""
