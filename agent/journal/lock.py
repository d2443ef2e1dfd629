"""One agent at a time uses a journal, which a lock file beside it says."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from agent.runtime.ports import JournalUnreadable

if sys.platform == "win32":
    import msvcrt

    def _hold(lock: int) -> None:
        """Hold an open file alone. Raises `OSError` at once when another process holds it."""
        msvcrt.locking(lock, msvcrt.LK_NBLCK, 1)

    def let_go(lock: int) -> None:
        """Let others have it."""
        # Windows lets a file go some time after it was closed, unless it is told.
        msvcrt.locking(lock, msvcrt.LK_UNLCK, 1)
        os.close(lock)

else:
    import fcntl

    def _hold(lock: int) -> None:
        """Hold an open file alone. Raises `OSError` at once when another process holds it."""
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def let_go(lock: int) -> None:
        """Let others have it."""
        os.close(lock)


def take_lock(path: Path) -> int:
    """Hold the lock file beside the journal; the system lets it go when the process ends, however it ends."""
    try:
        lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise JournalUnreadable(
            f"{path}: cannot be locked ({error.strerror}); check that its folder may be written"
        ) from error
    try:
        _hold(lock)
    except OSError as error:
        os.close(lock)
        raise JournalUnreadable(
            f"{path}: in use by another agent; stop that one first, or name another --state-dir"
        ) from error
    return lock


def is_in_use(path: Path) -> bool:
    """Whether an agent holds the journal now; makes no lock file where there is none."""
    try:
        lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR)
    except OSError:
        return False
    try:
        _hold(lock)
    except OSError:
        os.close(lock)
        return True
    let_go(lock)
    return False
