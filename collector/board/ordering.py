"""A command from the board: asks what is needed, has it confirmed, and says what it will do on the device."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Final

from textual.app import App

from agent.screen.dialogs import reset_confirmation
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
from agent.wire.vocabulary import Context, ItemState
from collector.board.ports import DeviceStory
from collector.board.questions import Confirm, Pick

_ACTIONS: Final = (
    ("retry_phase", "Try the failed phase again"),
    ("retry_item", "Try one item again …"),
    ("extend_timeout", "Give it more time …"),
    ("continue_anyway", "Continue anyway"),
    ("skip_account_setup", "Skip account setup"),
    ("refresh_assignment", "Hand out the newest assignment"),
    ("collect_logs", "Collect logs"),
    ("reset_device", "Reset the device"),
)
_TOLD: Final = {
    "retry_phase": "The phase that failed runs again; what is installed already stays.",
    "retry_item": "This item alone is tried again.",
    "extend_timeout": "The time budget that runs now becomes longer.",
    "continue_anyway": "The gate opens although something failed. The attempt ends “bypassed”.",
    "skip_account_setup": "Account setup is left out and the gate opens.",
    "refresh_assignment": "Profile and items are chosen anew, in the middle of the attempt.",
    "collect_logs": "The agent writes a log archive on the device. Nothing else changes.",
}
_MINUTES: Final = (15, 30, 60, 120)
_AGAIN: Final = frozenset(
    {ItemState.FAILED, ItemState.NOT_DETECTED, ItemState.TIMED_OUT, ItemState.CANCELLED}
)


@dataclass(frozen=True, slots=True)
class Ordering:
    """Asks on behalf of one device."""

    app: App[None]
    device: str
    story: DeviceStory

    async def ask(self) -> CommandAction | None:
        """What to send; None when the person went back."""
        kind = await self.app.push_screen_wait(Pick(f"Send to {self.device}", _ACTIONS))
        if kind is None:
            return None
        action = await _MAKERS[kind](self)
        if action is None or not await self._confirmed(action):
            return None
        return action

    async def _confirmed(self, action: CommandAction) -> bool:
        if isinstance(action, ResetDevice):
            confirmed: bool | None = await self.app.push_screen_wait(reset_confirmation())
            return bool(confirmed)
        heading = f"{described(action)} on {self.device}?"
        told = " ".join([_TOLD[action.kind], *self._cautions()])
        return await self.app.push_screen_wait(Confirm(heading, told))

    def _cautions(self) -> Iterator[str]:
        """Why a command may come to nothing."""
        attempts = self.story.history.attempts
        if attempts and attempts[-1].end_state is not None:
            yield "Its attempt is over, so it may refuse this."
        if self.story.history.presence != "online":
            yield "It is not connected: it hears of this when it is back."

    async def retry_item(self) -> CommandAction | None:
        """Which item, those that failed first."""
        ranked = sorted(self.story.standing.items, key=lambda one: one.state not in _AGAIN)
        options = [(one.item, f"{one.name}: {one.state.value.replace('_', ' ')}") for one in ranked]
        if not options:
            self.app.notify("No item is known of this attempt.", markup=False)
            return None
        item = await self.app.push_screen_wait(Pick("Try one item again", options))
        return None if item is None else RetryItem(item=item)

    async def extend_timeout(self) -> CommandAction | None:
        """Whose budget, and by how much."""
        options = [
            (f"{context.value} {minutes}", f"{minutes} minutes more for {context.value} setup")
            for context in Context
            for minutes in _MINUTES
        ]
        chosen = await self.app.push_screen_wait(Pick("Give it more time", options))
        if chosen is None:
            return None
        context, minutes = chosen.split()
        return ExtendTimeout(context=Context(context), minutes=int(minutes))


def _always(action: CommandAction) -> Callable[[Ordering], Awaitable[CommandAction | None]]:
    async def make(_: Ordering) -> CommandAction | None:
        return action

    return make


_MAKERS: Final[dict[str, Callable[[Ordering], Awaitable[CommandAction | None]]]] = {
    "retry_phase": _always(RetryPhase()),
    "retry_item": Ordering.retry_item,
    "extend_timeout": Ordering.extend_timeout,
    "continue_anyway": _always(ContinueAnyway()),
    "skip_account_setup": _always(SkipAccountSetup()),
    "refresh_assignment": _always(RefreshAssignment()),
    "collect_logs": _always(CollectLogs()),
    "reset_device": _always(ResetDevice()),
}


def described(action: CommandAction) -> str:
    """A command as one reads it."""
    match action:
        case RetryItem(item=item):
            return f"Try item {item} again"
        case ExtendTimeout(context=context, minutes=minutes):
            return f"{minutes} minutes more for {context.value} setup"
        case _:
            return dict(_ACTIONS)[action.kind]
