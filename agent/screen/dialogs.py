"""The three questions that are asked before something is sent: which item, really reset, really leave."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from agent.screen.lines import one_line

_CSS = """
%(name)s { align: center middle; }
%(name)s > Vertical {
    width: 64; max-width: 90%%; height: auto; max-height: 80%%;
    background: $panel; border: round $%(tone)s; padding: 1 2;
}
%(name)s .heading { text-style: bold; margin-bottom: 1; }
%(name)s .keys { margin-top: 1; color: $foreground 70%%; }
%(name)s OptionList, %(name)s OptionList:focus {
    background: $panel; border: none; height: auto; max-height: 10; padding: 0;
}
%(name)s Input, %(name)s Input:focus { background: $panel; border: tall $border; padding: 0 1; }
"""
_CLOSE: list[BindingType] = [Binding("escape", "dismiss(None)", show=False)]


class ItemPicker(ModalScreen[str | None]):
    """Which one item to try again; the answer is its id."""

    DEFAULT_CSS = _CSS % {"name": "ItemPicker", "tone": "primary"}
    BINDINGS = _CLOSE

    def __init__(self, items: tuple[tuple[str, str], ...]) -> None:
        super().__init__()
        self._items = items

    def compose(self) -> ComposeResult:
        """The items by name."""
        with Vertical():
            yield Static("Try one item again", classes="heading", markup=False)
            yield OptionList(
                *[Option(one_line(name), id=item) for item, name in self._items], markup=False
            )
            yield Static("↑↓ choose · Enter try again · Esc back", classes="keys", markup=False)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """An item was chosen."""
        self.dismiss(event.option.id)


class TypedConfirmation(ModalScreen[bool]):
    """Asks to type a word, so that no stray key resets a device or opens its gate."""

    DEFAULT_CSS = _CSS % {"name": "TypedConfirmation", "tone": "warning"}
    BINDINGS = _CLOSE

    def __init__(self, heading: str, text: str, word: str) -> None:
        super().__init__()
        self._heading = heading
        self._text = text
        self._word = word

    def compose(self) -> ComposeResult:
        """What follows, and where to type the word."""
        with Vertical():
            yield Static(self._heading, classes="heading", markup=False)
            yield Static(self._text, markup=False)
            answer = Input(placeholder=f"type {self._word}")
            answer.cursor_blink = False
            yield answer
            keys = f"Type {self._word} and press Enter · Esc back"
            yield Static(keys, classes="keys", markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Only the word itself confirms; anything else stays on the question."""
        if event.value.strip().upper() == self._word:
            self.dismiss(True)
        else:
            event.input.clear()


def reset_confirmation() -> TypedConfirmation:
    """Before a reset."""
    return TypedConfirmation(
        "Reset this device?",
        "Everything that the enrollment put on it is removed, and setup starts from the beginning.",
        "RESET",
    )


def emergency_confirmation() -> TypedConfirmation:
    """Before the emergency exit."""
    return TypedConfirmation(
        "Leave by the emergency exit?",
        "The device is opened although setup is not complete. This is reported to your organization.",
        "EXIT",
    )
