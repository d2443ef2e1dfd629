"""What every test may count on."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import settings
from hypothesis.database import DirectoryBasedExampleDatabase

# The machine that runs the tests may be busy: a slow example is no failure, and the time limit per test stands
# anyway. A failing example prints the line that brings it back. The examples are the same in every run, so that a
# change is judged by what it changed; `make nightly` looks for new ones.
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
settings.register_profile(
    "nightly",
    settings.get_profile("ci"),
    max_examples=20_000,
    derandomize=False,
    database=DirectoryBasedExampleDatabase(".hypothesis/examples"),
)
settings.load_profile("ci")

FIGURES = pytest.StashKey[Counter[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Begin to count."""
    config.stash[FIGURES] = Counter()


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Counter[str]:
    """Whatever a test counts here is printed at the end of the run."""
    return pytestconfig.stash[FIGURES]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker hands over what it counted."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        counted = session.config.stash[FIGURES]
        output["figures"] = dict(counted)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add what a worker counted."""
    counted: Counter[str] = node.config.stash[FIGURES]
    counted.update(getattr(node, "workeroutput", {}).get("figures", {}))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print what was counted."""
    for name, count in config.stash[FIGURES].items():
        terminalreporter.write_line(f"{name}: {count:,}")
