"""The page as plain text, for agents without a terminal screen, logs and `--once`."""

from __future__ import annotations

from datetime import tzinfo

from agent.screen.error import told
from agent.screen.items import Detail, item_list
from agent.screen.lines import Line, joined, line, one_line, text_of
from agent.screen.notice import notice_lines
from agent.screen.overview import activity_of, current_item, head
from agent.screen.page import Viewer, notice_of
from agent.screen.reporting import reporting_line
from agent.screen.words import budget, remaining, stage
from agent.wire.progress import Progress, Reporting

WIDTH = 100


def plain_line(progress: Progress) -> str:
    """One line: device, percent, stage, the current item, remaining time or end, gate."""
    item = current_item(progress)
    doing = f"{one_line(item.name)}: {activity_of(item)}" if item is not None else ""
    return f"{progress.device}  {progress.percent:3d} %  " + joined(
        [
            stage(progress),
            doing if progress.end_state is None else _why(progress),
            remaining(progress),
            budget(progress),
            f"gate {progress.gate.value}",
        ]
    )


def _why(progress: Progress) -> str:
    if progress.failure is None:
        return ""
    return one_line(told(progress, progress.failure))


def plain_page(
    progress: Progress,
    reporting: Reporting | None = None,
    *,
    width: int = WIDTH,
    everything: bool = True,
    zone: tzinfo | None = None,
) -> str:
    """The whole page as lines of at most `width` cells; without `reporting`, nothing is said of reports."""
    lines: list[Line] = list(head(progress, progress.percent, width, roomy=False))
    viewer = Viewer(watching=True, can_act=False)
    notice = notice_of(progress, viewer)
    if notice is not None:
        lines += [line(""), *notice_lines(notice, width, 20)]
    lines += [line(""), *item_list(progress, Detail(width, everything=everything)).lines]
    if reporting is not None:
        lines += [line(""), reporting_line(reporting, width, zone)]
    return "\n".join(text_of(row) for row in lines)
