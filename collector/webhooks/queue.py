"""What webhooks still have to be told: a queue for each, in the store, with the rules of trying again and giving up."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, insert, select, update

from collector.store import schema
from collector.webhooks.news import News, body_of

HOUR_MS: Final = 3_600_000
GIVE_UP_MS: Final = 72 * HOUR_MS
BACKOFF_FIRST_MS: Final = 5_000
BACKOFF_MAX_MS: Final = HOUR_MS
GIVEN_UP_KEPT: Final = 1_000
QUEUE_MAX: Final = 100_000


@dataclass(frozen=True, slots=True)
class Message:
    """One message of one webhook. `message` stays the same however often it is sent."""

    order: int
    webhook: str
    message: str
    kind: str
    content: str
    made_ms: int
    tries: int
    next_ms: int
    given_up_ms: int | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class Backlog:
    """What one webhook has not got."""

    waiting: int
    oldest_ms: int | None
    given_up: int


def backoff_ms(tries: int, jitter: float) -> int:
    """How long to wait after so many tries: doubling from five seconds to an hour, less up to a quarter by `jitter` (0 to 1)."""
    whole: int = min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS << min(tries - 1, 20))
    return round(whole * (1 - jitter / 4))


def put(connection: Connection, told: Iterable[News], wall_ms: int) -> int:
    """Queue it for every webhook that asked for its kind; returns how many messages."""
    news = list(told)
    if not news:
        return 0
    table = schema.WEBHOOKS
    queued = 0
    for hook in connection.execute(select(table.c.id, table.c.kinds).order_by(table.c.id)).all():
        rows = [
            {
                "webhook": hook.id,
                "message": f"msg_{uuid.uuid4().hex}",
                "kind": str(kind),
                "content": body_of(kind, at_ms, data),
                "made_ms": wall_ms,
                "next_ms": wall_ms,
            }
            for kind, at_ms, data in news
            if kind in hook.kinds
        ]
        if rows:
            connection.execute(insert(schema.WEBHOOK_QUEUE), rows)
            _hold_to_limit(connection, hook.id, wall_ms)
        queued += len(rows)
    return queued


def _hold_to_limit(connection: Connection, webhook: str, wall_ms: int) -> None:
    """The oldest are given up where more wait than may."""
    table = schema.WEBHOOK_QUEUE
    waiting = select(table.c.id).where(table.c.webhook == webhook, table.c.given_up_ms.is_(None))
    beyond = waiting.order_by(table.c.id.desc()).offset(QUEUE_MAX).limit(1)
    newest_beyond = connection.execute(beyond).scalar()
    if newest_beyond is not None:
        connection.execute(
            update(table)
            .where(table.c.webhook == webhook, table.c.id <= newest_beyond)
            .where(table.c.given_up_ms.is_(None))
            .values(given_up_ms=wall_ms, problem=f"more than {QUEUE_MAX:,} waited")
        )
        forget_old(connection, webhook)


def forget_old(connection: Connection, webhook: str) -> None:
    """Of what was given up, the newest thousand stay."""
    table = schema.WEBHOOK_QUEUE
    lost = select(table.c.id).where(table.c.webhook == webhook, table.c.given_up_ms.is_not(None))
    beyond = connection.execute(
        lost.order_by(table.c.id.desc()).offset(GIVEN_UP_KEPT).limit(1)
    ).scalar()
    if beyond is not None:
        connection.execute(
            delete(table).where(
                table.c.webhook == webhook, table.c.given_up_ms.is_not(None), table.c.id <= beyond
            )
        )


def message_of(row: Row[Any]) -> Message:
    """A row of the queue as a message."""
    return Message(
        order=row.id,
        webhook=row.webhook,
        message=row.message,
        kind=row.kind,
        content=row.content,
        made_ms=row.made_ms,
        tries=row.tries,
        next_ms=row.next_ms,
        given_up_ms=row.given_up_ms,
        problem=row.problem,
    )
