"""What the rows of one device mean."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agent.core.batch import Checkpoint, Entry
from agent.core.events import EVENT_CODEC
from agent.core.outbox import (
    Acknowledged,
    Numbered,
    OutboxState,
)
from agent.core.shell import CHECKPOINT_BYTES_MAX, CHECKPOINTS_KEPT
from agent.journal.file import SCHEMA_WITH_CHECKPOINTS, pragma, readable
from agent.runtime.ports import (
    JournalState,
)
from agent.wire.events import Report


def read_device(path: Path, connection: sqlite3.Connection, device: str) -> JournalState:
    """All that is kept of a device. Raises `JournalUnreadable`."""
    key = device_key(connection, device)
    (stream, session, next_seq, next_position, stored_seq, store, held_after, chained_from) = (
        connection.execute(
            "SELECT stream, session, next_seq, next_position, stored_seq, store, held_after,"
            " chained_from FROM device WHERE id = ?",
            (key,),
        ).fetchone()
    )
    with readable(path):
        checkpoints = read_checkpoints(connection, key)
        entries = list(_understood(entry_rows(connection, key), checkpoints))
        outbox = OutboxState(
            next_position=next_position,
            next_seq=next_seq,
            stored_seq=stored_seq,
            store=store,
            held_after=held_after,
            chained_from=chained_from,
            acknowledged=_acknowledged(connection, key),
            numbered=_numbered(connection, key),
            queued=_queued(connection, key),
        )
    executed = connection.execute("SELECT id FROM command WHERE device = ?", (key,))
    return JournalState(
        device=device,
        stream=stream,
        session=session,
        entries=entries,
        outbox=outbox,
        executed=frozenset(command for (command,) in executed),
        checkpoints=checkpoints,
        name=str(path),
    )


def device_key(connection: sqlite3.Connection, device: str) -> int:
    """What the other tables call this device."""
    row = connection.execute("SELECT id FROM device WHERE name = ?", (device,)).fetchone()
    return int(row[0])


def entry_rows(connection: sqlite3.Connection, key: int) -> Iterable[Sequence[Any]]:
    """The inputs of a device, in order."""
    return connection.execute(
        f"SELECT {entry_columns(connection)} FROM entry WHERE device = ? ORDER BY n",  # noqa: S608
        (key,),
    )


def entry_columns(connection: sqlite3.Connection) -> str:
    """The columns of an input; a file of the first schema, which is only read, has no digests."""
    digest = "digest" if pragma(connection, "user_version") > 1 else "NULL"
    return f"n, at_ms, wall_ms, machine_version, input, {digest}"


def entry(columns: Sequence[Any]) -> Entry:
    """An input, from the columns that `entry_columns` names. Raises `ValidationError`."""
    n, at_ms, wall_ms, machine_version, content, digest = columns
    return Entry(n, at_ms, wall_ms, machine_version, EVENT_CODEC.loads(content), digest)


def _understood(
    rows: Iterable[Sequence[Any]], checkpoints: Sequence[Checkpoint]
) -> Iterator[Entry]:
    """The inputs, without those that this version can't read and that a checkpoint makes up for."""
    for columns in rows:
        try:
            yield entry(columns)
        except ValidationError:
            if not is_made_up_for(columns[0], checkpoints):
                raise


def is_made_up_for(n: int, checkpoints: Sequence[Checkpoint]) -> bool:
    """Whether a checkpoint holds what came of an input."""
    return any(n <= checkpoint.n for checkpoint in checkpoints)


def keep_checkpoint(connection: sqlite3.Connection, key: int, checkpoint: Checkpoint) -> None:
    """Add one, and let go of the oldest."""
    connection.execute(
        "INSERT INTO checkpoint VALUES (?, ?, ?)",
        (key, checkpoint.n, zlib.compress(checkpoint.content)),
    )
    connection.execute(
        "DELETE FROM checkpoint WHERE device = ?1 AND n NOT IN"
        " (SELECT n FROM checkpoint WHERE device = ?1 ORDER BY n DESC LIMIT ?2)",
        (key, CHECKPOINTS_KEPT),
    )


def read_checkpoints(connection: sqlite3.Connection, key: int) -> Sequence[Checkpoint]:
    """The newest first; a file of an older schema, which is only read, has none."""
    if pragma(connection, "user_version") < SCHEMA_WITH_CHECKPOINTS:
        return ()
    rows = connection.execute(
        "SELECT n, content FROM checkpoint WHERE device = ? ORDER BY n DESC", (key,)
    )
    return [Checkpoint(n, _inflated(content)) for n, content in rows]


def _inflated(content: bytes) -> bytes:
    """What was kept; nothing, which no version takes for a checkpoint, when it is damaged."""
    try:
        return zlib.decompressobj().decompress(content, CHECKPOINT_BYTES_MAX)
    except zlib.error:
        return b""


def _acknowledged(connection: sqlite3.Connection, key: int) -> Sequence[Acknowledged]:
    rows = connection.execute(
        "SELECT seq, LENGTH(content), acknowledged_ms, digest FROM report"
        " WHERE device = ? AND acknowledged_ms IS NOT NULL ORDER BY seq",
        (key,),
    )
    return [Acknowledged(*row) for row in rows]


def _numbered(connection: sqlite3.Connection, key: int) -> Sequence[Numbered]:
    rows = connection.execute(
        "SELECT position, seq, content, digest FROM report"
        " WHERE device = ? AND seq IS NOT NULL AND acknowledged_ms IS NULL ORDER BY seq",
        (key,),
    )
    return [
        Numbered(position, seq, Report.model_validate_json(content), digest)
        for position, seq, content, digest in rows
    ]


def _queued(connection: sqlite3.Connection, key: int) -> Sequence[tuple[int, Report]]:
    rows = connection.execute(
        "SELECT position, content FROM report WHERE device = ? AND seq IS NULL ORDER BY position",
        (key,),
    )
    return [(position, Report.model_validate_json(content)) for position, content in rows]
