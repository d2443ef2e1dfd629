"""What happened, in plain words: an input of a recording, and each report that it caused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from agent.core.events import (
    AssignmentArrived,
    AttemptBegan,
    CommandReceived,
    DeadlinePassed,
    EmergencyExitUsed,
    Event,
    LogsCollected,
    MessageRefused,
    PersonActed,
    PersonChose,
    Restarted,
    StepFinished,
    StepMoved,
    StepResult,
)
from agent.wire import events as wire
from agent.wire.assignment import Admitted
from agent.wire.progress import Failure
from agent.wire.vocabulary import MessageKind


def input_words(event: Event, names: Mapping[str, str]) -> str:
    """One input as a sentence; `names` are those of the items by id."""
    match event:
        case AttemptBegan(facts=facts):
            return f"A new attempt begins on {facts.platform} ({facts.os_version})"
        case StepMoved(item=item, state=state, percent=percent):
            share = "" if percent is None else f", {percent} %"
            return f"{names.get(item, item)}: {_plain(state)}{share}"
        case StepFinished(item=item):
            return f"{names.get(item, item)}: {_result_words(event)}"
        case PersonActed(item=item, action=action):
            return f"The person answers “{names.get(item, item)}” with “{action.label}”"
        case PersonChose(choice=choice, item=item):
            which = "" if item is None else f" for {names.get(item, item)}"
            return f"The person chooses “{choice.label}”{which}"
        case AssignmentArrived() | CommandReceived() | MessageRefused():
            return _message_words(event)
        case LogsCollected(path=path, problem=problem):
            return f"Logs could not be written: {problem}" if problem else f"Logs are in {path}"
        case Restarted(planned=planned):
            how = (
                "after the restart it wanted" if planned else "after a crash, a stop or a power cut"
            )
            return f"The agent starts again, {how}"
        case DeadlinePassed():
            return "A time comes that was waited for: a limit, a next try or the end of a wait"
        case EmergencyExitUsed():
            return "The emergency exit is used"
        case _:
            assert_never(event)


def _message_words(event: AssignmentArrived | CommandReceived | MessageRefused) -> str:
    """What came from the broker."""
    match event:
        case AssignmentArrived(assignment=assignment):
            return _assignment_words(assignment.decision)
        case CommandReceived(command=command, expired=expired):
            late = ", which has expired" if expired else ""
            return f"A command of {command.issued_by} arrives: {_plain(command.action.kind)}{late}"
        case MessageRefused(message=message, reason=reason):
            article = "A" if message is MessageKind.COMMAND else "An"
            return f"{article} {message.label} is refused: {reason.label}"
        case _:
            assert_never(event)


def _assignment_words(decision: object) -> str:
    if not isinstance(decision, Admitted):
        return "The assignment arrives: the device is refused"
    count = len(decision.items)
    return f"The assignment arrives: profile “{decision.profile.name}”, {count} items"


def _result_words(event: StepFinished) -> str:
    match event.result:
        case StepResult.ALREADY_PRESENT:
            return "already there"
        case StepResult.NOT_APPLICABLE:
            return "does not apply to this device"
        case StepResult.FAILED:
            kind = _plain(event.failure) if event.failure is not None else "failed"
            return ", ".join(part for part in (kind, event.code, event.detail) if part)
        case StepResult.COMPLETED:
            code = "" if event.exit_code is None else f" with exit code {event.exit_code}"
            found = {None: "", True: ", detected", False: ", not detected"}[event.detected]
            return f"ended{code}{found}"
        case _:
            assert_never(event.result)


def report_words(body: wire.Body, names: Mapping[str, str]) -> str:
    """One report in a few words; `names` are those of the items by id."""
    match body:
        case wire.PhaseChanged(phase=phase, state=state):
            return f"{phase.label}: {_plain(state)}"
        case wire.ItemChanged(name=name, state=state, failure=failure):
            again = f", try {body.attempt} of {body.attempts_max}" if body.attempt > 1 else ""
            return f"{name}: {_plain(state)}{again}{_failure_words(failure)}"
        case wire.ItemAdvanced(item=item, item_percent=percent):
            return f"{names.get(item, item)}: {percent} %"
        case wire.PersonAnswered(screen=screen, action=action):
            return f"screen {names.get(screen, screen)}: {_plain(action)}"
        case wire.ErrorScreenShown(failure=failure, failed_items=failed):
            return f"error screen{_failure_words(failure)}, {len(failed)} failed"
        case wire.ChoiceMade(choice=choice, item=item):
            which = "" if item is None else f" for {names.get(item, item)}"
            return f"choice: {choice.label}{which}"
        case _:
            return _whole_words(body)


_Whole = (
    wire.AttemptStarted
    | wire.AssignmentApplied
    | wire.GateChanged
    | wire.RebootPlanned
    | wire.AgentRestarted
    | wire.CommandAnswered
    | wire.LogsCollected
    | wire.MessageRefused
    | wire.AttemptEnded
)


def _whole_words(body: _Whole) -> str:
    """A report about the attempt or the device as a whole."""
    match body:
        case wire.AttemptStarted(number=number):
            return f"attempt {number} started"
        case wire.AssignmentApplied(profile_name=name, items=items, blocking=blocking):
            return f"“{name}” applied: {items} items, {blocking} blocking"
        case wire.GateChanged(gate=gate, cause=cause):
            return f"gate {_plain(gate)}: {_plain(cause)}"
        case wire.RebootPlanned(reboot=reboot):
            return f"{_plain(reboot)} restart planned"
        case wire.AgentRestarted(planned=planned):
            return f"agent restarted, {'planned' if planned else 'not planned'}"
        case wire.CommandAnswered(action=action, executed=executed, reason=reason):
            return f"command {_plain(action)}: " + (
                "executed" if executed else f"refused, {reason}"
            )
        case wire.LogsCollected(problem=problem):
            return "logs not written" if problem else "logs written"
        case wire.MessageRefused(message=message, reason=reason):
            return f"{message.label} refused: {reason.label}"
        case wire.AttemptEnded(end_state=end_state, failure=failure):
            return f"attempt ended: {_plain(end_state)}{_failure_words(failure)}"
        case _:
            assert_never(body)


def _failure_words(failure: Failure | None) -> str:
    return "" if failure is None else f" ({failure.code})"


def _plain(word: str) -> str:
    return str(word).replace("_", " ")
