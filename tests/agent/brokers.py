"""The embedded broker as a process of its own, so that what it leaves open ends with it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def embedded_broker() -> Iterator[int]:
    """Runs while the block runs; gives its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "broker_config", "run", "--port", "0", "--embedded"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        ready, url = process.stdout.readline().split()
        assert ready == "ready"
        yield int(url.rpartition(":")[2])
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()
