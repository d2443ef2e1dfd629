"""The cells of a device's page: its items, reports, attempts and commands."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Final

from rich.text import Text

from agent.wire.vocabulary import (
    SATISFIED_STATES,
    SUCCESS_STATES,
    UNSATISFIED_STATES,
    WORKING_STATES,
    ItemState,
)
from collector.board.ordering import described
from collector.board.ports import DeviceStory
from collector.board.rows import Column, Row
from collector.pages import text
from collector.pages.history import CommandLine, ReportLine
from collector.stuck.limit import duration
from collector.stuck.standing import ItemStanding

ITEMS: Final = (
    Column("Item", 22, 3),
    Column("State", 20, 1),
    Column("Try", 4, figures=True),
    Column("For", 9, figures=True),
    Column("Note", 12, 4),
)
REPORTS: Final = (
    Column("Received", 15),
    Column("Attempt time", 12, figures=True),
    Column("What", 18),
    Column("About", 20, 4),
)
ATTEMPTS: Final = (
    Column("No.", 4, figures=True),
    Column("Begun", 15),
    Column("Took", 9, figures=True),
    Column("End", 18),
    Column("About", 16, 3),
)
COMMANDS: Final = (
    Column("Sent", 15),
    Column("Command", 23, 2),
    Column("By", 10, 1),
    Column("State", 10),
    Column("Reason", 8, 3),
)
_WAITING: Final = frozenset({ItemState.WAITING_FOR_PERSON, ItemState.WAITING_TO_RETRY})
_STATE_SIGNS: Final = (
    (SATISFIED_STATES, "✓", "green"),
    (UNSATISFIED_STATES, "✗", "red"),
    (WORKING_STATES, "▸", "cyan"),
    (_WAITING, "◷", "yellow"),
)
_COMMAND_SIGNS: Final = {
    "waiting": ("◷", "yellow"),
    "sent": ("◷", "yellow"),
    "received": ("▸", "cyan"),
    "executed": ("✓", "green"),
    "done": ("✓", "green"),
    "refused": ("✗", "red"),
    "expired": ("–", "dim"),
}
_ABOUT: Final = ("name", "item", "phase", "screen", "profile_name", "command", "platform")


def when(at: datetime, zone: tzinfo | None) -> str:
    """Day and time of day."""
    return f"{at.astimezone(zone):%d %b %H:%M:%S}"


def item_rows(story: DeviceStory) -> list[Row]:
    """The items of the latest attempt: what holds it up first, what is done last."""
    return [
        Row(
            one.item,
            (
                _cell(one.name + ("" if one.blocking else " (optional)")),
                _state(one),
                _right(f"{one.try_number}/{one.tries_max}", 4),
                _right(duration(one.in_state_ms), 9),
                _cell(_note(one)),
            ),
            None,
            (None, None, one.try_number, one.in_state_ms, None),
        )
        for one in sorted(story.standing.items, key=_rank)
    ]


def _rank(one: ItemStanding) -> int:
    if one.stuck is not None:
        return 0
    ranks = (UNSATISFIED_STATES, _WAITING, WORKING_STATES | {ItemState.REBOOT_REQUIRED})
    for rank, states in enumerate(ranks, 1):
        if one.state in states:
            return rank
    return 5 if one.state in SATISFIED_STATES else 4


def _state(one: ItemStanding) -> Text:
    if one.stuck is not None:
        return _cell(f"! stuck, {one.state.value}", "bold red")
    words = one.state.value.replace("_", " ")
    share = (
        ""
        if one.item_percent is None or one.state not in WORKING_STATES
        else f" {one.item_percent}%"
    )
    for states, sign, style in _STATE_SIGNS:
        if one.state in states:
            return _cell(f"{sign} {words}{share}", style)
    return _cell(f"· {words}", "dim")


def _note(one: ItemStanding) -> str:
    if one.stuck is not None:
        return one.stuck.sentence
    if one.failure is not None:
        return f"{one.failure.code}: {one.failure.engineer}"
    return one.note or ""


def report_rows(story: DeviceStory, zone: tzinfo | None) -> list[Row]:
    """Everything stored, the newest first."""
    return [
        Row(
            str(line.order),
            (
                _cell(when(line.received_at, zone)),
                _right(duration(line.attempt_ms), 12),
                _cell(line.kind.replace("_", " ")),
                _cell(_about(line)),
            ),
            None,
            (line.order, line.attempt_ms, None, None),
        )
        for line in story.history.reports
    ]


def _about(line: ReportLine) -> str:
    body = line.body
    named = next((str(body[key]) for key in _ABOUT if body.get(key)), "")
    details = [named]
    for key in ("state", "end_state", "gate", "cause", "action", "choice", "item_percent"):
        value = body.get(key)
        if value is not None and value != "":
            details.append(str(value).replace("_", " "))
    if line.kind == "command_answered":
        details.append("executed" if body.get("executed") else f"refused: {body.get('reason')}")
    if line.meaning is not None:
        details.append(line.meaning)
    failure = body.get("failure")
    if isinstance(failure, dict):
        details.append(f"{failure.get('code')}: {failure.get('engineer')}")
    return " · ".join(filter(None, details))


def attempt_rows(story: DeviceStory, zone: tzinfo | None) -> list[Row]:
    """The attempts, the newest first."""
    return [
        Row(
            one.attempt,
            (
                _right(str(one.number), 4),
                _cell(when(one.begun_at, zone)),
                _right(duration(one.attempt_ms), 9),
                _end(None if one.end_state is None else one.end_state.value),
                _cell(
                    " · ".join(
                        filter(
                            None,
                            (
                                None
                                if one.failure is None
                                else f"{one.failure.kind.label} ({one.failure.code})",
                                one.action_name,
                                one.user_action,
                                f"gate {one.gate.value}",
                            ),
                        )
                    )
                ),
            ),
            None,
            (one.number, one.begun_at.timestamp(), one.attempt_ms, None, None),
        )
        for one in reversed(story.history.attempts)
    ]


def _end(end_state: str | None) -> Text:
    if end_state is None:
        return _cell("▸ open", "cyan")
    good = end_state in {state.value for state in SUCCESS_STATES}
    return _cell(
        f"{'✓' if good else '✗'} {end_state.replace('_', ' ')}", "green" if good else "red"
    )


def command_rows(story: DeviceStory, zone: tzinfo | None) -> list[Row]:
    """The commands, the newest first."""
    return [
        Row(
            one.id,
            (
                _cell(when(one.issued_at, zone)),
                _cell(described(one.action)),
                _cell(one.issued_by),
                _command_state(one),
                _cell(one.reason or one.result),
            ),
            None,
            (one.issued_at.timestamp(), None, None, None, None),
        )
        for one in story.history.commands
    ]


def _command_state(one: CommandLine) -> Text:
    sign, style = _COMMAND_SIGNS[one.state]
    return _cell(f"{sign} {one.state}", style)


def _cell(value: str | None, style: str = "") -> Text:
    return Text(
        value or text.NOTHING, style=style if value else "dim", overflow="ellipsis", no_wrap=True
    )


def _right(value: str, width: int) -> Text:
    return Text(value.rjust(width))
