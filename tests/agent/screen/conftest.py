"""Every test of the page waits for the page itself, so Textual's own guess of idleness may be short."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def short_idle_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Textual looks every 20 ms whether the process is idle; here every 4 ms is enough."""
    monkeypatch.setattr("textual._wait.SLEEP_GRANULARITY", 0.004)
    monkeypatch.setattr("textual._wait.SLEEP_IDLE", 0.0004)


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pictures are of a dark terminal with colours, whatever the tests run in."""
    for name in ("COLORFGBG", "NO_COLOR", "TEXTUAL_THEME"):
        monkeypatch.delenv(name, raising=False)
