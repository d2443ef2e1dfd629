"""What may be chosen now, and the sentence that says why something may not."""

from __future__ import annotations

from agent.core.events import CommandReceived
from agent.core.state import Attempt, Mode
from agent.wire.assignment import Assignment
from agent.wire.vocabulary import Choice, EndState, Gate, Phase, RowState, Variant

ORDER = tuple(Choice)


def offered(attempt: Attempt) -> tuple[Choice, ...]:
    """Everything that may be chosen now, in the order of the buttons."""
    return tuple(c for c in ORDER if why_not(attempt, c) is None)


def ways_out(attempt: Attempt) -> tuple[Choice, ...]:
    """The choices that lead away from the error screen."""
    return tuple(c for c in offered(attempt) if c is not Choice.COLLECT_LOGS)


def retryable(attempt: Attempt) -> tuple[str, ...]:
    """The failed items that may be tried again one by one."""
    if attempt.mode is not Mode.STOPPED:
        return ()
    return tuple(i.plan.id for i in attempt.waited_for if i.is_unsatisfied)


def why_not(attempt: Attempt, choice: Choice, item: str | None = None) -> str | None:
    """None when the choice is allowed now, else one sentence for whoever asked."""
    if attempt.plan is None:
        return "the device has no assignment yet"
    handling = attempt.plan.profile.error_handling
    match choice:
        case Choice.TRY_AGAIN:
            return _retry(attempt, handling.allow_retry)
        case Choice.TRY_ITEM_AGAIN:
            return _retry_item(attempt, handling.allow_retry, item)
        case Choice.CONTINUE_ANYWAY:
            return _continue(attempt, handling.allow_continue)
        case Choice.RESET_DEVICE:
            return _reset(attempt, handling.allow_reset)
        case Choice.SKIP_ACCOUNT_SETUP:
            return _skip(attempt, attempt.plan.profile.account_setup.allow_skip)
        case Choice.COLLECT_LOGS:
            return _collect_logs(attempt, handling.allow_log_collection)


def _in_technicians_hands(attempt: Attempt) -> bool:
    """Pre-provisioning shows a technician what failed, and no way past it."""
    technician = attempt.facts.variant is Variant.PRE_PROVISIONED
    return technician and attempt.phase is not Phase.ACCOUNT_SETUP


NO_WAY_PAST = "pre-provisioning can't be tried again or left; correct the cause and start it anew"


def _retry(attempt: Attempt, allowed: bool) -> str | None:
    if _in_technicians_hands(attempt):
        return NO_WAY_PAST
    if not allowed:
        return "the profile does not allow to try again"
    return None if attempt.mode is Mode.STOPPED else "nothing has failed"


def _retry_item(attempt: Attempt, allowed: bool, item: str | None) -> str | None:
    refused = _retry(attempt, allowed)
    if refused is not None:
        return refused
    failed = retryable(attempt)
    if item is not None and item not in failed:
        return f"'{item}' is not an item that failed"
    return None if failed else "no single item failed"


def _continue(attempt: Attempt, allowed: bool) -> str | None:
    if attempt.gate is not Gate.LOCKED:
        return "the device may be used already"
    if _in_technicians_hands(attempt):
        return NO_WAY_PAST
    if attempt.phase_states[Phase.DEVICE_PREPARATION] is not RowState.SUCCEEDED:
        return "the device is not enrolled yet"
    if attempt.mode is Mode.STOPPED:
        return None if allowed else "the profile does not allow to continue after a failure"
    assert attempt.plan is not None, "a mode past waiting has a plan"
    unblocked = (
        attempt.phase is Phase.DEVICE_SETUP
        and not attempt.plan.profile.device_setup.block_until_complete
    )
    if attempt.mode is Mode.WORKING and unblocked:
        return None
    return "nothing has failed, and the profile blocks the device until setup is complete"


def _skip(attempt: Attempt, allowed: bool) -> str | None:
    if not allowed:
        return "the profile does not allow to skip account setup"
    if attempt.phase is not Phase.ACCOUNT_SETUP or attempt.mode not in (Mode.WORKING, Mode.STOPPED):
        return "account setup is not running"
    late = (i for i in attempt.waited_for if i.plan.phase is not Phase.ACCOUNT_SETUP)
    if any(i.plan.blocking and not i.is_satisfied for i in late):
        return "the device itself got something new that has to be set up first"
    return None


def _reset(attempt: Attempt, allowed: bool) -> str | None:
    if _in_technicians_hands(attempt):
        return NO_WAY_PAST
    if not allowed:
        return "the profile does not allow to reset the device"
    return None if attempt.mode is Mode.STOPPED else "nothing has failed"


def _collect_logs(attempt: Attempt, allowed: bool) -> str | None:
    if not allowed:
        return "the profile does not allow to collect logs"
    if attempt.end_state is EndState.RESET:
        return "the device is being reset"
    return None if attempt.failure is not None else "nothing has failed"


def why_not_assignment(attempt: Attempt, assignment: Assignment) -> str | None:
    """None when this assignment is to be taken over, else why not."""
    if assignment.device != attempt.facts.device:
        return "the assignment is for another device"
    if assignment.attempt != attempt.id:
        return "the assignment is for another attempt"
    if assignment.store == attempt.store and assignment.version <= attempt.version:
        return "this assignment, or a newer one, is applied already"
    return None


def why_not_command(attempt: Attempt, received: CommandReceived, now_ms: int) -> str | None:
    """None when this command is for this attempt and still in time, else one sentence for its sender."""
    command = received.command
    if command.device != attempt.facts.device:
        return "the command is for another device"
    if command.attempt != attempt.id:
        return "the command is for another attempt"
    if received.expired:
        return "the command has expired"
    if now_ms - attempt.began_ms > command.attempt_ms_max:
        return "the attempt is older than the command allows"
    return None


def is_late_again(attempt: Attempt, received: CommandReceived, now_ms: int) -> bool:
    """Whether a command that was answered comes again when its sender has long taken it back.

    Until then it comes again in normal life: it stays retained until the answer is stored. Running time says so for
    the running attempt, because a wall clock may be wrong.
    """
    command = received.command
    if command.attempt == attempt.id:
        return now_ms - attempt.began_ms > command.attempt_ms_max
    return received.expired
