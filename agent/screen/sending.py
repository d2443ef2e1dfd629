"""Sends what the person wants to the source, one intent at a time, and asks first where a stray key would cost much."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from textual.screen import Screen

from agent.screen.dialogs import ItemPicker, emergency_confirmation, reset_confirmation
from agent.screen.notice import Act, Choose, EmergencyExit, Intent, Leave, PickItem
from agent.screen.ports import IntentRefused, ScreenSource
from agent.wire.vocabulary import Choice


class IntentSender:
    """Between the page and its source. `offers` says whether an intent can still be pressed on the page."""

    def __init__(
        self, page: Screen[None], source: ScreenSource, offers: Callable[[Intent], bool]
    ) -> None:
        self._page = page
        self._source = source
        self._offers = offers
        self._busy = False

    async def send(self, intent: Intent) -> bool:
        """Send it from within a worker; True when the page is to close. A second one meanwhile is dropped."""
        if self._busy:
            return False
        self._busy = True
        try:
            return await self._send(intent)
        except IntentRefused as refused:
            self._page.notify(
                str(refused), title="That was not done", severity="warning", markup=False
            )
            return False
        finally:
            self._busy = False

    async def _send(self, intent: Intent) -> bool:
        match intent:
            case Leave():
                return True
            case EmergencyExit():
                return await self._leave_in_emergency()
            case Act(item, action):
                await self._source.person_acted(item, action)
            case PickItem(items):
                picked = await self._page.app.push_screen_wait(ItemPicker(items))
                if picked is not None:
                    await self._choose(intent, Choice.TRY_ITEM_AGAIN, picked)
            case Choose(Choice.RESET_DEVICE, item):
                if await self._page.app.push_screen_wait(reset_confirmation()):
                    await self._choose(intent, Choice.RESET_DEVICE, item)
            case Choose(choice, item):
                await self._source.person_chose(choice, item)
            case _:
                assert_never(intent)
        return False

    async def _leave_in_emergency(self) -> bool:
        if not await self._page.app.push_screen_wait(emergency_confirmation()):
            return False
        await self._source.emergency_exit()
        return True

    async def _choose(self, intent: Intent, choice: Choice, item: str | None) -> None:
        """Choose after a question; while it was asked, the choice may have gone."""
        if not self._offers(intent):
            raise IntentRefused("This is no longer offered: the setup has gone on meanwhile.")
        await self._source.person_chose(choice, item)
