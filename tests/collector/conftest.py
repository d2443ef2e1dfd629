"""What the collector's tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.collector.fleet import Office


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """A fresh store with everything around it."""
    opened = Office.open(tmp_path)
    yield opened
    opened.close()
