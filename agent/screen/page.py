"""The whole page as lines and actions: the pure function from what is known to what is shown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import tzinfo

from agent.screen.choices import offer_notice
from agent.screen.ended import ended_notice, open_notice
from agent.screen.error import error_notice
from agent.screen.logs import with_logs
from agent.screen.notice import Notice
from agent.screen.prompt import prompt_notice
from agent.screen.words import gate_is_open
from agent.wire.progress import Progress


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks at the page."""

    watching: bool = False
    """True when it is another device's page."""
    can_act: bool = True
    emergency_exit_allowed: bool = False
    zone: tzinfo | None = None
    """In which times of day are shown; None means this machine's."""

    @property
    def at_device(self) -> bool:
        """Whether it is the person whom the device asks."""
        return self.can_act and not self.watching

    @property
    def mark(self) -> str:
        """What the page's corner says of the viewer."""
        if self.at_device:
            return ""
        return "watching" if self.can_act else "watching · read only"

    def may_leave(self, progress: Progress | None) -> bool:
        """A watcher may always; the person at the device once the gate is open."""
        return not self.at_device or (progress is not None and gate_is_open(progress))


def notice_of(progress: Progress, viewer: Viewer) -> Notice | None:
    """What the page says above the list, the most pressing thing first; None while all goes by itself."""
    return with_logs(_notice_of(progress, viewer), progress)


def _notice_of(progress: Progress, viewer: Viewer) -> Notice | None:
    if progress.end_state is not None:
        return ended_notice(
            progress, progress.end_state, can_act=viewer.can_act, at_device=viewer.at_device
        )
    if progress.error is not None:
        return error_notice(progress, progress.error, can_act=viewer.can_act)
    if progress.prompt is not None:
        return prompt_notice(progress, progress.prompt, answerable=viewer.at_device)
    if gate_is_open(progress):
        return open_notice(progress, can_act=viewer.can_act, at_device=viewer.at_device)
    return offer_notice(progress, can_act=viewer.can_act)
