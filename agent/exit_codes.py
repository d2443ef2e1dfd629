"""The exit codes of `esp-agent`: one list for the programs that call it."""

from __future__ import annotations

from enum import IntEnum

from agent.wire.vocabulary import EndState, Gate


class ExitCode(IntEnum):
    """What the exit code says."""

    OPEN = 0
    FAILED_TO_RUN = 1
    BAD_INPUT = 2
    LOCKED = 3
    BYPASSED = 4
    SETUP_FAILED = 5
    TIMED_OUT = 6
    ABANDONED = 7
    REFUSED = 8
    NOTHING_KNOWN = 9

    @property
    def meaning(self) -> str:
        """For `--help`."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.OPEN: "the gate is open: setup succeeded, or account setup goes on behind an open gate",
    ExitCode.FAILED_TO_RUN: "the agent could not run: its journal can't be used, or the broker refused it",
    ExitCode.BAD_INPUT: "a flag, variable or file was wrong; the message names it and the remedy",
    ExitCode.LOCKED: "the gate is locked and the attempt is not over (the agent was stopped, or a reset began)",
    ExitCode.BYPASSED: "the gate was opened although something failed",
    ExitCode.SETUP_FAILED: "the attempt failed; the gate is locked",
    ExitCode.TIMED_OUT: "the attempt timed out; the gate is locked",
    ExitCode.ABANDONED: "the person left; the gate is locked",
    ExitCode.REFUSED: "the device may not enroll; the gate is locked",
    ExitCode.NOTHING_KNOWN: "nothing is known of that device",
}

_ENDS = {
    EndState.FAILED: ExitCode.SETUP_FAILED,
    EndState.TIMED_OUT: ExitCode.TIMED_OUT,
    EndState.ABANDONED: ExitCode.ABANDONED,
    EndState.REFUSED: ExitCode.REFUSED,
}


def exit_code_of(gate: Gate, end_state: EndState | None) -> ExitCode:
    """What a run that left the device like this says."""
    match gate:
        case Gate.RELEASED:
            return ExitCode.OPEN
        case Gate.BYPASSED:
            return ExitCode.BYPASSED
        case Gate.LOCKED:
            return ExitCode.LOCKED if end_state is None else _ENDS.get(end_state, ExitCode.LOCKED)


def exit_codes(*codes: ExitCode, **otherwise: str) -> str:
    """The end of a help page: these codes with their meanings; `otherwise` has a command's own meaning by name."""
    lines = [f"  {code.value}: {otherwise.get(code.name, code.meaning)}" for code in codes]
    return "\n".join(["\b", "Exit codes:", *lines])
