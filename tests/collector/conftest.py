"""What the collector's tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from collector.cli import app
from tests.collector.calling import Call, Result
from tests.collector.fleet import Office
from tests.collector.pages import seed_report
from tests.collector.postgres import REASON, Server, binaries, running_server

ON_BOTH = frozenset(
    {"test_births", "test_live_updates", "test_retention", "test_watch", "test_webhooks"}
)
"""What reads and writes the store beside the intake is shown on SQLite and on PostgreSQL alike."""


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


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """One server for all tests of a run; each makes databases of its own in it."""
    found = binaries()
    if found is None:
        pytest.skip(REASON)
    # The tests never cut its power.
    with running_server(
        found, "fsync=off", "synchronous_commit=off", "max_connections=200"
    ) as server:
        yield server


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Call]:
    """Run the program in this process."""
    for name in ("ESP_COLLECTOR_URL", "ESP_COLLECTOR_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str | Path) -> Result:
        with pytest.raises(SystemExit) as ended:
            app([str(argument) for argument in arguments])
        told = capsys.readouterr()
        return Result(int(ended.value.code or 0), told.out, told.err)

    yield run
    # `serve` sends its logs to this test's stderr, which is gone after it.
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def report_seed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """A store with everything behind the incomplete-enrollments report; tests look and change nothing."""
    opened = Office.open(tmp_path_factory.mktemp("report"))
    seed_report.fill(opened)
    yield opened
    opened.close()
