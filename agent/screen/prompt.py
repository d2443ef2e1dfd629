"""The notice for a person screen: setup waits until a person answers it."""

from __future__ import annotations

from agent.screen.lines import Line, Tone, joined
from agent.screen.notice import Act, Action, Notice, say
from agent.screen.words import until
from agent.wire.progress import Progress, Prompt
from agent.wire.vocabulary import PersonAction

_HINTS: dict[PersonAction, str] = {
    PersonAction.PROCEED: "setup goes on",
    PersonAction.CANCEL: "stops the enrollment",
    PersonAction.POSTPONE: "stops the enrollment; you can come back to it",
    PersonAction.IGNORE: "stops the enrollment",
    PersonAction.DECLINE_ALL: "stops the enrollment: no access",
    PersonAction.CLOSE: "stops the enrollment; you can come back to it",
}


def prompt_notice(progress: Progress, prompt: Prompt, *, answerable: bool) -> Notice:
    """The person screen, with its actions where the person at the device is the one who looks."""
    if not answerable:
        return Notice("?", Tone.WARN, prompt.title, _for_watcher(progress, prompt))
    actions = tuple(
        Action(offered.label, _HINTS[offered.action], Act(prompt.item, offered.action))
        for offered in prompt.actions
    )
    return Notice(
        "?", Tone.WARN, prompt.title, (say(prompt.text), *_limit(progress, prompt)), actions
    )


def _for_watcher(progress: Progress, prompt: Prompt) -> tuple[Line, ...]:
    offered = " / ".join(action.label for action in prompt.actions)
    who = say(f"The person at the device is asked: {offered}", Tone.MUTED)
    return (say(prompt.text), who, *_limit(progress, prompt))


def _limit(progress: Progress, prompt: Prompt) -> tuple[Line, ...]:
    if prompt.deadline_ms is None:
        return ()
    left = until(prompt.deadline_ms, progress.attempt_ms)
    section = f"{prompt.section.value}" if prompt.section else ""
    return (say(joined([f"{left} left to answer; then the enrollment ends", section]), Tone.MUTED),)
