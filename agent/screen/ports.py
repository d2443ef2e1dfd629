"""What the screen needs of whoever drives it: snapshots to draw, and a place to send what the person wants."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from agent.wire.progress import Progress, Reporting
from agent.wire.vocabulary import Choice, PersonAction


class IntentRefused(Exception):
    """What the person wanted can't be done now; the text is one sentence for the person."""


class ScreenSource(Protocol):
    """Drives one screen: the agent's driver for its own device, or a watcher of another one."""

    @property
    def emergency_exit_allowed(self) -> bool:
        """Whether the person may open the gate with the emergency exit; off unless the agent was started with it."""
        ...

    @property
    def can_act(self) -> bool:
        """False for a watcher without the rights to send commands."""
        ...

    def snapshots(self) -> AsyncIterator[tuple[Progress, Reporting]]:
        """What to draw, whenever it changed.

        The screen has no clock: while an attempt runs, the pair comes about once a second with a newer
        `attempt_ms`, so that minutes count down. When the iteration ends, the screen closes.
        """
        ...

    async def person_acted(self, item: str, action: PersonAction) -> None:
        """The person answered the person screen of `item`. Returns when that is kept; raises `IntentRefused`."""
        ...

    async def person_chose(self, choice: Choice, item: str | None) -> None:
        """The person made a choice. `item` only with `try_item_again`. Raises `IntentRefused`."""
        ...

    async def emergency_exit(self) -> None:
        """Open the gate and report it. Called only when allowed and confirmed. Raises `IntentRefused`."""
        ...
