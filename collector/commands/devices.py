"""`esp-collector command`: what a device can be told to do."""

from __future__ import annotations

import getpass
from enum import StrEnum
from typing import Annotated

import typer

from agent.wire.messages import (
    CollectLogs,
    CommandAction,
    ContinueAnyway,
    ExtendTimeout,
    RefreshAssignment,
    ResetDevice,
    RetryItem,
    RetryPhase,
    SkipAccountSetup,
)
from agent.wire.vocabulary import Context
from collector.client import Collector
from collector.commands.command_line import (
    EXIT_USAGE,
    Json,
    TokenFile,
    Url,
    ask_collector,
    check_device,
    fail,
    print_line,
)


class Action(StrEnum):
    """The commands by name."""

    RETRY_PHASE = "retry-phase"
    RETRY_ITEM = "retry-item"
    CONTINUE_ANYWAY = "continue-anyway"
    RESET_DEVICE = "reset-device"
    SKIP_ACCOUNT_SETUP = "skip-account-setup"
    EXTEND_TIMEOUT = "extend-timeout"
    COLLECT_LOGS = "collect-logs"
    REFRESH_ASSIGNMENT = "refresh-assignment"


def command(
    device: Annotated[str, typer.Argument(help="The device id.")],
    action: Annotated[
        Action, typer.Argument(metavar="ACTION", help=f"One of {', '.join(Action)}.")
    ],
    item: Annotated[str | None, typer.Option(help="For retry-item: the item's id.")] = None,
    minutes: Annotated[
        int | None, typer.Option(min=1, max=1440, help="For extend-timeout.")
    ] = None,
    context: Annotated[Context, typer.Option(help="For extend-timeout.")] = Context.DEVICE,
    url: Url = None,
    token_file: TokenFile = None,
    *,
    as_json: Json = False,
) -> None:
    """Send a command to a device's latest attempt.

    \b
    Examples:
      esp-collector command DESKTOP-NEW001 extend-timeout --minutes 30
      esp-collector command DESKTOP-NEW001 retry-item --item vpn-client
    """
    wanted = _action(action, item, minutes, context)
    check_device(device)

    async def ask(collector: Collector) -> None:
        line = await collector.send(device, wanted, getpass.getuser())
        print_line(line.model_dump_json() if as_json else f"sent {line.id} to {device}")

    ask_collector(url, token_file, ask)


def _action(
    action: Action, item: str | None, minutes: int | None, context: Context
) -> CommandAction:
    match action:
        case Action.RETRY_PHASE:
            return RetryPhase()
        case Action.RETRY_ITEM:
            named = item or fail("retry-item needs --item with the item's id", EXIT_USAGE)
            return RetryItem(item=named)
        case Action.CONTINUE_ANYWAY:
            return ContinueAnyway()
        case Action.RESET_DEVICE:
            return ResetDevice()
        case Action.SKIP_ACCOUNT_SETUP:
            return SkipAccountSetup()
        case Action.EXTEND_TIMEOUT:
            more = minutes or fail("extend-timeout needs --minutes", EXIT_USAGE)
            return ExtendTimeout(context=context, minutes=more)
        case Action.COLLECT_LOGS:
            return CollectLogs()
        case Action.REFRESH_ASSIGNMENT:
            return RefreshAssignment()
