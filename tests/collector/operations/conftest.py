"""What reads and writes the store beside the intake is shown on SQLite and on PostgreSQL alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.collector.fleet import Office
from tests.collector.postgres import Server

ON_BOTH = frozenset({"test_live_updates", "test_retention", "test_stuck_watch", "test_webhooks"})


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Once for each database, in the modules named above."""
    if "office" in metafunc.fixturenames and Path(metafunc.module.__file__ or "").stem in ON_BOTH:
        metafunc.parametrize("office", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def office(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Office]:
    """A fresh store with everything around it."""
    url = None
    if getattr(request, "param", "sqlite") == "postgresql":
        server: Server = request.getfixturevalue("postgres")
        url = server.fresh()
    opened = Office.open(tmp_path, url=url)
    yield opened
    opened.close()
