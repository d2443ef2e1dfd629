"""Every test in this folder runs on SQLite and on PostgreSQL alike: what the store promises, it promises on both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.collector.fleet import Office
from tests.collector.postgres import Server

DATABASES = ("sqlite", "postgresql")


@pytest.fixture(params=DATABASES)
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Gives the URL of an empty database each time it is called."""
    if request.param == "sqlite":
        numbers = iter(range(1_000_000))
        return lambda: f"sqlite:///{tmp_path / f'store-{next(numbers)}.sqlite'}"
    server: Server = request.getfixturevalue("postgres")
    return server.fresh


@pytest.fixture
def url(new_url: Callable[[], str]) -> str:
    """An empty database."""
    return new_url()


@pytest.fixture
def office(url: str, tmp_path: Path) -> Iterator[Office]:
    """A fresh store with everything around it."""
    opened = Office.open(tmp_path, url=url)
    yield opened
    opened.close()
