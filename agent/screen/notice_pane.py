"""The pane above the list: what the page says to the person, and what may be pressed."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from agent.screen.lines import fit, one_line, shorten
from agent.screen.notice import Action, Intent, Notice, notice_lines
from agent.screen.painted import Painted

LABEL_CELLS = 20


class ActionLine(Static, can_focus=True):
    """One thing to press: a line with its label and what follows from it."""

    DEFAULT_CSS = """
    ActionLine { height: 1; width: 1fr; }
    ActionLine:focus { background: $primary; color: $background; text-style: bold; }
    """
    BINDINGS = [
        Binding("enter,space", "press", show=False),
        Binding("down,right", "app.focus_next", show=False),
        Binding("up,left", "app.focus_previous", show=False),
    ]

    class Pressed(Message):
        """A person pressed this action."""

        def __init__(self, action: Action) -> None:
            super().__init__()
            self.action = action

    def __init__(self, action: Action, width: int) -> None:
        super().__init__(markup=False)
        self.action = action
        self.show(width)

    def show(self, width: int) -> None:
        """Draw it at this width."""
        label = one_line(self.action.label)
        head = f"  ▸ {fit(label, LABEL_CELLS)}" if len(label) <= LABEL_CELLS else f"  ▸ {label} "
        hint = shorten(self.action.hint, width - len(head) - 2)
        self.update(Content.assemble((head, "bold"), "  ", hint))

    def action_press(self) -> None:
        """Send the intent."""
        self.post_message(self.Pressed(self.action))

    def on_click(self) -> None:
        """A mouse works as well."""
        self.action_press()


class NoticePane(Vertical):
    """One notice with its actions; hidden while there is none."""

    DEFAULT_CSS = """
    NoticePane { height: auto; display: none; background: $panel; padding: 0 1; }
    NoticePane.-shown { display: block; }
    NoticePane > #notice-text { height: auto; }
    NoticePane > #notice-actions { height: auto; }
    NoticePane.-roomy { padding: 1 2; margin-bottom: 1; }
    NoticePane.-roomy > #notice-text { margin-bottom: 1; }
    """

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's own name for it
        super().__init__(id=id)
        self._actions: tuple[Action, ...] = ()

    def compose(self) -> ComposeResult:
        """The text and, beneath it, the actions."""
        yield Painted(id="notice-text")
        yield Vertical(id="notice-actions")

    async def show(self, notice: Notice | None, width: int, height: int, *, roomy: bool) -> None:
        """Show this notice in at most `height` lines; None hides the pane."""
        self.set_class(notice is not None, "-shown")
        self.set_class(roomy, "-roomy")
        if notice is None:
            await self._show_actions((), width)
            return
        padding = 4 if roomy else 2
        room = max(height - len(notice.actions) - (3 if roomy else 0), 2)
        self.query_one(Painted).show(notice_lines(notice, width - padding, room))
        await self._show_actions(notice.actions, width - padding)

    async def _show_actions(self, actions: tuple[Action, ...], width: int) -> None:
        holder = self.query_one("#notice-actions", Vertical)
        if actions != self._actions:
            self._actions = actions
            await self._replace(holder, actions, width)
        for action_line in self.query(ActionLine):
            action_line.show(width)

    async def _replace(self, holder: Vertical, actions: tuple[Action, ...], width: int) -> None:
        """Keep the lines of actions that stay, so that their focus stays; the others go."""
        kept = {action_line.action: action_line for action_line in self.query(ActionLine)}
        for action, action_line in kept.items():
            if action not in actions:
                # Textual would hand the focus to a neighbour, and the next Enter would press that.
                if action_line.has_focus:
                    self.screen.set_focus(None)
                await action_line.remove()
        for place, action in enumerate(actions):
            if action not in kept:
                await holder.mount(ActionLine(action, width), before=_place(holder, place))

    def offers(self, intent: Intent) -> bool:
        """Whether this can still be pressed."""
        return any(action.intent == intent for action in self._actions)


def _place(holder: Vertical, place: int) -> int | None:
    return place if place < len(holder.children) else None
