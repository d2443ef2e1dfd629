"""Which collector this is: a name that stays in its data directory, used by one process at a time."""

from __future__ import annotations

import fcntl
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

NAME: Final = "collector-id"


class DataInUse(Exception):
    """Another process serves from this directory: one sentence with the remedy."""


@contextmanager
def collector_id(data: Path) -> Iterator[str]:
    """The collector's name, made at the first start; its leases go by it, so a collector that returns has them at once.

    Raises:
        DataInUse: another process has this name now.
    """
    path = data / NAME
    # The lock ends with the process, however it ends.
    with path.open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataInUse(
                f"--data {data}: another collector serves from this directory; stop it, or give this one a directory "
                "of its own and the same --database"
            ) from None
        file.seek(0)
        name = file.read().strip()
        if not name:
            name = str(uuid.uuid4())
            file.write(f"{name}\n")
            file.flush()
        yield name
