"""The questions before a command goes out: which one, about what, and whether it is really meant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

_CSS = """
%(name)s { align: center middle; }
%(name)s > Vertical {
    width: 66; max-width: 92%%; height: auto; max-height: 85%%;
    background: $panel; border: round $%(tone)s; padding: 1 2;
}
%(name)s .heading { text-style: bold; margin-bottom: 1; }
%(name)s .keys { margin-top: 1; color: $foreground 70%%; }
%(name)s OptionList, %(name)s OptionList:focus {
    background: $panel; border: none; height: auto; max-height: 12; padding: 0;
}
"""


class Pick(ModalScreen[str | None]):
    """One of several; the answer is its id."""

    DEFAULT_CSS = _CSS % {"name": "Pick", "tone": "primary"}
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", show=False)]

    def __init__(self, heading: str, options: Sequence[tuple[str, str]]) -> None:
        """`options` are ids with what is shown for them."""
        super().__init__()
        self._heading = heading
        self._options = options

    def compose(self) -> ComposeResult:
        """What may be chosen."""
        with Vertical():
            yield Static(self._heading, classes="heading", markup=False)
            yield OptionList(*[Option(shown, id=key) for key, shown in self._options], markup=False)
            yield Static("↑↓ choose   Enter next   Esc back", classes="keys", markup=False)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """It was chosen."""
        self.dismiss(event.option.id)


class Confirm(ModalScreen[bool]):
    """Whether a command is really meant: `y`, because Enter is what one presses without reading."""

    DEFAULT_CSS = _CSS % {"name": "Confirm", "tone": "warning"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", show=False),
        Binding("n,escape", "dismiss(False)", show=False),
    ]

    def __init__(self, heading: str, told: str) -> None:
        super().__init__()
        self._heading = heading
        self._told = told

    def compose(self) -> ComposeResult:
        """What follows from it."""
        with Vertical():
            yield Static(self._heading, classes="heading", markup=False)
            yield Static(self._told, markup=False)
            yield Static("y send   n or Esc back", classes="keys", markup=False)
