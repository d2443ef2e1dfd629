"""The choices that a person may make outside of a person screen, each with what follows from it."""

from __future__ import annotations

from agent.screen.lines import Line, Tone
from agent.screen.notice import Action, Choose, Notice, PickItem, say
from agent.wire.progress import Progress
from agent.wire.vocabulary import Choice

_HINTS: dict[Choice, str] = {
    Choice.TRY_AGAIN: "all that failed; what is installed stays",
    Choice.TRY_ITEM_AGAIN: "choose which one",
    Choice.CONTINUE_ANYWAY: "use it now; the rest is tried again later",
    Choice.RESET_DEVICE: "removes everything and starts over",
    Choice.SKIP_ACCOUNT_SETUP: "use it now; account setup is left out",
    Choice.COLLECT_LOGS: "writes an archive for your support",
}


def choice_actions(progress: Progress) -> tuple[Action, ...]:
    """One action for each choice that is offered now."""
    return tuple(_action(progress, choice) for choice in progress.choices)


def _action(progress: Progress, choice: Choice) -> Action:
    if choice is not Choice.TRY_ITEM_AGAIN:
        return Action(choice.label, _HINTS[choice], Choose(choice))
    names = {item.id: item.name for item in progress.items()}
    retryable = tuple((item, names.get(item, item)) for item in progress.retryable)
    if len(retryable) == 1:
        only, name = retryable[0]
        return Action("Try this one again", name, Choose(choice, only))
    return Action(f"{choice.label} …", _HINTS[choice], PickItem(retryable))


def offer_notice(progress: Progress, *, can_act: bool) -> Notice | None:
    """What is offered while setup goes on; None when nothing is."""
    if not progress.choices:
        return None
    actions = choice_actions(progress) if can_act else ()
    heading = "Setup goes on. You do not have to wait for it."
    return Notice("»", Tone.NOW, heading, () if can_act else offered(progress), actions)


def offered(progress: Progress) -> tuple[Line, ...]:
    """The choices as a sentence, for somebody who can't press them."""
    if not progress.choices:
        return ()
    choices = " / ".join(choice.label for choice in progress.choices)
    return (say(f"The person at the device is offered: {choices}", Tone.MUTED),)
