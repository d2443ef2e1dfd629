"""Commands to devices: kept until they are answered, and cleared from the broker after that."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from sqlalchemy import Row, insert, select, update

from agent.wire.codec import JsonCodec
from agent.wire.messages import Command, CommandAction
from collector.store import schema
from collector.store.database import Database

VALID_MINUTES: Final = 60
MINUTE_MS: Final = 60_000

_ACTION: Final[JsonCodec[CommandAction]] = JsonCodec(CommandAction)

CommandState = Literal["waiting", "sent", "executed", "refused", "expired"]
"""What each means stands in docs/definitions.md."""


class NoAttempt(Exception):
    """The device has no attempt that a command could be for."""


@dataclass(frozen=True, slots=True)
class CommandRow:
    """One command with what became of it. Times are milliseconds since 1970."""

    id: str
    device: str
    attempt: str
    action: CommandAction
    issued_by: str
    issued_ms: int
    expires_ms: int
    attempt_ms_max: int
    executed: bool | None
    reason: str
    sent_ms: int | None = None
    answered_ms: int | None = None
    finished_ms: int | None = None
    result: str | None = None
    """Where the logs lie on the device, or why there are none; None for what has no result of its own."""

    def state(self, wall_ms: int) -> CommandState:
        """Where the command stands by the wall clock."""
        if self.executed is not None:
            return "executed" if self.executed else "refused"
        if wall_ms >= self.expires_ms:
            return "expired"
        return "waiting" if self.sent_ms is None else "sent"

    @property
    def message(self) -> Command:
        """The command as it travels inside its signature."""
        return Command(
            id=self.id,
            device=self.device,
            attempt=self.attempt,
            action=self.action,
            issued_by=self.issued_by,
            issued_at=datetime.fromtimestamp(self.issued_ms / 1000, UTC),
            expires_at=datetime.fromtimestamp(self.expires_ms / 1000, UTC),
            attempt_ms_max=self.attempt_ms_max,
        )


class Commands:
    """Every method is one transaction and may be called from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        device: str,
        action: CommandAction,
        *,
        issued_by: str,
        wall_ms: int,
        valid_minutes: int = VALID_MINUTES,
        speed: float = 1.0,
    ) -> CommandRow:
        """Keep a new command for the device's latest attempt.

        Its attempt-time limit is as far ahead as its expiry, `speed` times faster where attempt time runs so.

        Raises:
            NoAttempt: the device never began one.
        """
        attempts = schema.ATTEMPTS
        latest = select(attempts.c.attempt, attempts.c.attempt_ms).where(
            attempts.c.device == device, attempts.c.latest
        )
        with self._database.writing() as connection:
            attempt = connection.execute(latest).first()
            if attempt is None:
                raise NoAttempt(
                    f"'{device}' has not begun an attempt; send the command once it is enrolling"
                )
            valid_ms = valid_minutes * MINUTE_MS
            row = CommandRow(
                id=str(uuid.uuid4()),
                device=device,
                attempt=attempt.attempt,
                action=action,
                issued_by=issued_by,
                issued_ms=wall_ms,
                expires_ms=wall_ms + valid_ms,
                attempt_ms_max=attempt.attempt_ms + round(valid_ms * speed),
                executed=None,
                reason="",
            )
            connection.execute(insert(schema.COMMANDS).values(_values(row)))
        return row

    def of_device(self, device: str) -> list[CommandRow]:
        """The device's commands, the newest first."""
        table = schema.COMMANDS
        query = select(table).where(table.c.device == device)
        with self._database.reading() as connection:
            found = connection.execute(query.order_by(table.c.issued_ms.desc(), table.c.id))
            return [_row(row) for row in found]

    def get(self, command: str) -> CommandRow | None:
        """One command by its id."""
        table = schema.COMMANDS
        with self._database.reading() as connection:
            row = connection.execute(select(table).where(table.c.id == command)).first()
            return None if row is None else _row(row)

    def waiting(self, devices: Collection[str], wall_ms: int) -> list[CommandRow]:
        """What these devices still have to answer, the oldest first."""
        table = schema.COMMANDS
        query = (
            select(table)
            .where(table.c.device.in_(devices), table.c.executed.is_(None))
            .where(table.c.expires_ms > wall_ms)
            .order_by(table.c.issued_ms, table.c.id)
        )
        with self._database.reading() as connection:
            return [_row(row) for row in connection.execute(query)]

    def sent(self, command: str, wall_ms: int) -> None:
        """The broker has it, for the first time: its device gets it as soon as it is connected."""
        table = schema.COMMANDS
        first = update(table).where(table.c.id == command, table.c.sent_ms.is_(None))
        with self._database.writing() as connection:
            connection.execute(first.values(sent_ms=wall_ms))

    def to_clear(self, wall_ms: int) -> list[tuple[str, str]]:
        """Device and id of each command that is answered or expired and still lies in the broker."""
        table = schema.COMMANDS
        over = table.c.executed.is_not(None) | (table.c.expires_ms <= wall_ms)
        query = select(table.c.device, table.c.id).where(over, table.c.cleared.is_(False))
        with self._database.reading() as connection:
            return [(row.device, row.id) for row in connection.execute(query)]

    def lying(self, device: str) -> list[str]:
        """The ids of the device's commands that still lie in the broker."""
        table = schema.COMMANDS
        query = select(table.c.id).where(table.c.device == device, table.c.cleared.is_(False))
        with self._database.reading() as connection:
            return list(connection.execute(query.order_by(table.c.id)).scalars())

    def cleared(self, command: str) -> None:
        """The retained message is gone."""
        table = schema.COMMANDS
        with self._database.writing() as connection:
            connection.execute(update(table).where(table.c.id == command).values(cleared=True))


def _values(row: CommandRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "device": row.device,
        "attempt": row.attempt,
        "action": _ACTION.dumps(row.action).decode(),
        "issued_by": row.issued_by,
        "issued_ms": row.issued_ms,
        "expires_ms": row.expires_ms,
        "attempt_ms_max": row.attempt_ms_max,
        "executed": row.executed,
        "reason": row.reason,
        "cleared": False,
    }


def _row(row: Row[Any]) -> CommandRow:
    return CommandRow(
        id=row.id,
        device=row.device,
        attempt=row.attempt,
        action=_ACTION.loads(row.action),
        issued_by=row.issued_by,
        issued_ms=row.issued_ms,
        expires_ms=row.expires_ms,
        attempt_ms_max=row.attempt_ms_max,
        executed=row.executed,
        reason=row.reason,
        sent_ms=row.sent_ms,
        answered_ms=row.answered_ms,
        finished_ms=row.finished_ms,
        result=row.result,
    )
