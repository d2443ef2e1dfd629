"""The notice of the error screen: what happened, what was done about it, what the person can do."""

from __future__ import annotations

from agent.screen.choices import choice_actions, offered
from agent.screen.lines import Line, Tone
from agent.screen.notice import Notice, say
from agent.screen.words import ITEM_WORDS, listing, until
from agent.wire.progress import ErrorScreen, Failure, Progress
from agent.wire.vocabulary import UNSATISFIED_STATES, EndState, ItemState

_FAILURES_SHOWN = 3


def error_notice(progress: Progress, error: ErrorScreen, *, can_act: bool) -> Notice:
    """The error screen with the choices that the profile allows; the head has the organization's message already."""
    paragraphs = (
        *([] if error.message == progress.custom_message else [say(error.message)]),
        *what_failed(progress, error),
        *what_was_done(progress),
        *_until_the_end(progress, error),
        *([] if can_act else offered(progress)),
    )
    actions = choice_actions(progress) if can_act else ()
    return Notice("✗", Tone.BAD, error.title, paragraphs, actions)


def what_failed(progress: Progress, error: ErrorScreen) -> tuple[Line, ...]:
    """The failures with their codes; only the items' names and states where the profile hides the details."""
    if error.failures:
        shown = error.failures[:_FAILURES_SHOWN]
        more = len(error.failures) - len(shown)
        rest = (say(f"and {more} more in the list below", Tone.MUTED),) if more else ()
        return (*[say(sentence(progress, failure), Tone.BAD) for failure in shown], *rest)
    by_state: dict[ItemState, list[str]] = {}
    for item in progress.items():
        if item.blocking and item.state in UNSATISFIED_STATES:
            by_state.setdefault(item.state, []).append(item.name)
    return tuple(
        say(f"{ITEM_WORDS[state]}: {listing(names)}", Tone.BAD) for state, names in by_state.items()
    )


def sentence(progress: Progress, failure: Failure) -> str:
    """One failure for the person: the item's name, the code to tell the support, and the sentence.

    A sentence that names the item already is not led by the name once more.
    """
    names = {item.id: item.name for item in progress.items()}
    name = names.get(failure.item, "") if failure.item is not None else ""
    # The code comes first, so that it is never what a narrow page cuts off.
    lead = (
        f"{name} ({failure.code})"
        if name and name not in failure.person
        else f"Error {failure.code}"
    )
    return f"{lead}: {failure.person}"


def told(progress: Progress, failure: Failure) -> str:
    """The failure that ended an attempt: without its code where the profile hides details."""
    # A refusal is nothing that setup did, and its code is what the support asks for first.
    if progress.show_details or progress.end_state is EndState.REFUSED:
        return sentence(progress, failure)
    return failure.person


def what_was_done(progress: Progress) -> tuple[Line, ...]:
    """How often the failed items were tried already."""
    tried = [
        i.attempt
        for i in progress.items()
        if i.state in UNSATISFIED_STATES and i.failure is not None
    ]
    match max(tried, default=None):
        case None | 1:
            return ()
        case 0:
            done = "It was not attempted."
        case tries:
            done = f"It was tried {tries} times."
    return (say(f"{done} What is installed already stays.", Tone.MUTED),)


def _until_the_end(progress: Progress, error: ErrorScreen) -> tuple[Line, ...]:
    if error.deadline_ms is None:
        return ()
    left = until(error.deadline_ms, progress.attempt_ms)
    return (say(f"This page waits for a choice for another {left}.", Tone.MUTED),)
