"""The notice for a person screen: setup waits until a person answers it."""

from __future__ import annotations

from agent.screen.lines import Line, Tone, joined
from agent.screen.notice import Act, Action, Notice, say
from agent.screen.words import answer_by_ms, until
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
        Action(offered.label, _hint(prompt, offered.action), Act(prompt.item, offered.action))
        for offered in prompt.actions
    )
    paragraphs = (*_why_again(prompt), say(prompt.text), *_limit(progress, prompt))
    return Notice("?", Tone.WARN, prompt.title, paragraphs, actions)


def _hint(prompt: Prompt, action: PersonAction) -> str:
    if prompt.screen == "reseal" and action is PersonAction.PROCEED:
        return "your part ends; the user signs in next"
    return _HINTS[action]


def _why_again(prompt: Prompt) -> tuple[Line, ...]:
    return () if prompt.note is None else (say(f"! {prompt.note}", Tone.WARN),)


def _for_watcher(progress: Progress, prompt: Prompt) -> tuple[Line, ...]:
    offered = " / ".join(action.label for action in prompt.actions)
    who = say(f"The person at the device is asked: {offered}", Tone.MUTED)
    return (*_why_again(prompt), say(prompt.text), who, *_limit(progress, prompt))


def _limit(progress: Progress, prompt: Prompt) -> tuple[Line, ...]:
    deadline_ms = answer_by_ms(progress, prompt)
    if deadline_ms is None:
        return ()
    left = until(deadline_ms, progress.attempt_ms)
    over = "the enrollment ends" if deadline_ms == prompt.deadline_ms else "the time limit is over"
    section = prompt.section.value if prompt.section else ""
    return (say(joined([f"{left} left to answer; then {over}", section]), Tone.MUTED),)
