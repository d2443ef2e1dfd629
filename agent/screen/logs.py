"""What the page says of a log archive: where it is, or why there is none."""

from __future__ import annotations

from dataclasses import replace

from agent.screen.lines import Tone
from agent.screen.notice import Notice, say
from agent.wire.progress import CollectedLogs, Progress


def logs_sentence(logs: CollectedLogs) -> str:
    """Where the archive is on the device, or why there is none."""
    if logs.problem:
        return f"The logs were not collected: {logs.problem}."
    return f"The logs are collected: {logs.path}"


def with_logs(notice: Notice | None, progress: Progress) -> Notice | None:
    """The notice with a paragraph on the newest archive; one of its own where there is no other."""
    if progress.logs is None:
        return notice
    tone = Tone.WARN if progress.logs.problem else Tone.PLAIN
    told = say(logs_sentence(progress.logs), tone)
    if notice is None:
        return Notice("»", Tone.NOW, "Setup goes on.", (told,))
    return replace(notice, paragraphs=(*notice.paragraphs, told))
