"""A store whose commits wait until a test lets them go on."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.collector.fleet import Office


def hold_commits(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> tuple[threading.Event, threading.Event]:
    """Two events: the first is set once a commit has begun, and none goes on before the second is."""
    reached, may_commit = threading.Event(), threading.Event()
    commit = office.store.commit

    def slow(*given: Any) -> Any:
        reached.set()
        assert may_commit.wait(10)
        return commit(*given)

    monkeypatch.setattr(office.store, "commit", slow)
    return reached, may_commit
