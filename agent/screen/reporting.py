"""The line that says whether the reports get through, so that nobody has to guess why a console is silent."""

from __future__ import annotations

from datetime import tzinfo

from agent.screen.lines import Line, Span, Tone, clip, joined, one_line
from agent.screen.words import clock
from agent.wire.progress import Reporting


def reporting_line(
    reporting: Reporting,
    width: int,
    zone: tzinfo | None = None,
    *,
    watching: bool = False,
    over: bool = False,
) -> Line:
    """Connection and reports in one line; a symbol and words, what a person should know first.

    For a watcher it says how current the page is: the reports are the watched device's business. An attempt that is
    `over` needs no connection any more once its reports are through.
    """
    symbol, tone, words = _watched(reporting) if watching else _state(reporting, zone, over=over)
    broker = f" · {one_line(reporting.broker)}" if reporting.broker and width >= 100 else ""
    return clip((Span(f"{symbol} ", tone), Span(words, tone), Span(broker, Tone.MUTED)), width)


def _state(reporting: Reporting, zone: tzinfo | None, *, over: bool) -> tuple[str, Tone, str]:
    waiting = _waiting(reporting.unacknowledged)
    if reporting.problem:
        return "!", Tone.WARN, joined([one_line(reporting.problem), waiting])
    if reporting.not_through_since is not None:
        since = clock(reporting.not_through_since, zone)
        return "!", Tone.WARN, joined([f"Reports are not getting through since {since}", waiting])
    if not reporting.connected and not reporting.broker:
        return "○", Tone.MUTED, "Works without a broker · nothing is reported"
    if not reporting.connected and over and not reporting.unacknowledged:
        return "✓", Tone.GOOD, "Signed off · every report has arrived"
    if not reporting.connected:
        return "○", Tone.WARN, joined(["Not connected · setup goes on, reports are kept", waiting])
    if reporting.collector_online is False:
        return (
            "○",
            Tone.WARN,
            joined(["Connected · nobody is collecting now, reports are kept", waiting]),
        )
    if reporting.unacknowledged:
        return "●", Tone.GOOD, f"Connected · {_reports(reporting.unacknowledged)} on the way"
    return "●", Tone.GOOD, "Connected · every report has arrived"


def _watched(reporting: Reporting) -> tuple[str, Tone, str]:
    if reporting.problem:
        return "!", Tone.WARN, one_line(reporting.problem)
    if not reporting.connected:
        return "○", Tone.WARN, "Not connected · what you see may be old"
    return "●", Tone.GOOD, "Connected · watching live"


def _waiting(count: int) -> str:
    return f"{count} waiting" if count else ""


def _reports(count: int) -> str:
    return "1 report" if count == 1 else f"{count} reports"
