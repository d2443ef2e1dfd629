"""The program around one Enrollment Status Page: nothing but the page, and no key that ends it early."""

from __future__ import annotations

import os
from datetime import tzinfo

from textual.app import App

from agent.screen.ports import ScreenSource
from agent.screen.screen import EspScreen
from agent.screen.theme import DARK, LIGHT, initial_theme


class EspApp(App[None], inherit_bindings=False):
    """Shows the page of one device until it may be left or its source ends.

    None of Textual's own keys for leaving is inherited, and there is no command palette: what may end the page is
    decided by `EspScreen` alone.
    """

    ENABLE_COMMAND_PALETTE = False
    TITLE = "Enrollment Status Page"

    def __init__(
        self, source: ScreenSource, *, watching: bool = False, zone: tzinfo | None = None
    ) -> None:
        super().__init__()
        self._page = EspScreen(source, watching=watching, zone=zone)
        self.register_theme(DARK)
        self.register_theme(LIGHT)
        self.theme = initial_theme(os.environ)

    def on_mount(self) -> None:
        """Show the page; when it closes, so does the program."""
        self.push_screen(self._page, self._page_closed)

    def _page_closed(self, _: None) -> None:
        self.exit()

    async def action_quit(self) -> None:
        """Leave only when the page may be left, whoever asks."""
        self._page.action_leave()
