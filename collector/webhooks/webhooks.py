"""Who wants to be told of what: the webhooks in the store, what is queued for each, and whose turn it is."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from collector.store import schema
from collector.store.database import Database, upsert
from collector.store.following import Following
from collector.stuck.watch import StuckRow
from collector.webhooks import queue
from collector.webhooks.news import REPORT_KINDS, Kind, news_of, stuck_news
from collector.webhooks.queue import Backlog, Message, message_of

SECRET_PREFIX: Final = "whsec_"  # noqa: S105
SECRET_BYTES: Final = 32
"""Standard Webhooks asks for 24 to 64."""
WEBHOOKS_MAX: Final = 50
READER: Final = "webhooks"
_PAGE: Final = 1_000


class WebhookUnknown(Exception):
    """There is no such webhook: one sentence."""


class TooManyWebhooks(Exception):
    """There are as many as there may be: one sentence."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """One receiver. Times are milliseconds since 1970 by the wall clock."""

    id: str
    url: str
    kinds: tuple[Kind, ...]
    secret: str
    allow_private: bool
    made_ms: int
    failing_since_ms: int | None
    last_problem: str | None
    delivered: int


class Webhooks:
    """Every method is one transaction and may be called from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._following = Following(database)

    def add(self, url: str, kinds: Sequence[Kind], *, allow_private: bool, wall_ms: int) -> Webhook:
        """Tell this URL from now on.

        Raises:
            TooManyWebhooks: there are as many as there may be.
        """
        webhook = Webhook(
            id=f"wh-{secrets.token_hex(6)}",
            url=url,
            kinds=tuple(dict.fromkeys(kinds)),
            secret=SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode(),
            allow_private=allow_private,
            made_ms=wall_ms,
            failing_since_ms=None,
            last_problem=None,
            delivered=0,
        )
        newest = self._following.newest()
        with self._database.writing() as connection:
            self._database.queue_up(connection, READER)
            count = connection.execute(select(func.count()).select_from(schema.WEBHOOKS)).scalar()
            if (count or 0) >= WEBHOOKS_MAX:
                raise TooManyWebhooks(f"there are {WEBHOOKS_MAX} webhooks already; remove one")
            if not count:
                # Nobody was told anything so far; what is stored already is no news.
                upsert(connection, schema.POSITIONS, [{"reader": READER, "position": newest}])
            connection.execute(
                insert(schema.WEBHOOKS).values(
                    id=webhook.id,
                    url=url,
                    kinds=[kind.value for kind in webhook.kinds],
                    secret=webhook.secret,
                    allow_private=allow_private,
                    made_ms=wall_ms,
                )
            )
        return webhook

    def all(self) -> list[Webhook]:
        """All webhooks, the first one first."""
        table = schema.WEBHOOKS
        with self._database.reading() as connection:
            found = connection.execute(select(table).order_by(table.c.made_ms, table.c.id))
            return [_webhook(row) for row in found]

    def get(self, webhook: str) -> Webhook:
        """One webhook. Raises `WebhookUnknown`."""
        table = schema.WEBHOOKS
        with self._database.reading() as connection:
            row = connection.execute(select(table).where(table.c.id == webhook)).first()
        if row is None:
            raise WebhookUnknown(f"there is no webhook '{webhook}'; `webhook list` shows them")
        return _webhook(row)

    def remove(self, webhook: str) -> None:
        """Tell it nothing any more, and forget what was waiting for it. Raises `WebhookUnknown`."""
        self.get(webhook)
        with self._database.writing() as connection:
            connection.execute(
                delete(schema.WEBHOOK_QUEUE).where(schema.WEBHOOK_QUEUE.c.webhook == webhook)
            )
            connection.execute(delete(schema.WEBHOOKS).where(schema.WEBHOOKS.c.id == webhook))

    def backlog(self, webhook: str) -> Backlog:
        """What it has not got."""
        table = schema.WEBHOOK_QUEUE
        query = select(func.count(), func.min(table.c.made_ms)).where(table.c.webhook == webhook)
        given_up = table.c.given_up_ms
        with self._database.reading() as connection:
            waiting, oldest = connection.execute(query.where(given_up.is_(None))).one()
            lost, _ = connection.execute(query.where(given_up.is_not(None))).one()
        return Backlog(waiting, oldest, lost)

    def undelivered(self, webhook: str, *, limit: int) -> list[Message]:
        """The newest messages that were given up, then those that wait, the first one first."""
        table = schema.WEBHOOK_QUEUE
        mine = select(table).where(table.c.webhook == webhook)
        lost = mine.where(table.c.given_up_ms.is_not(None)).order_by(table.c.id.desc())
        waiting = mine.where(table.c.given_up_ms.is_(None)).order_by(table.c.id)
        with self._database.reading() as connection:
            rows = [
                *connection.execute(lost.limit(limit)),
                *connection.execute(waiting.limit(limit)),
            ]
        return [message_of(row) for row in rows[:limit]]

    # Being told

    def follow(self, wall_ms: int) -> int:
        """Queue what happened since the last time, once, whoever else follows the same store; returns how many messages."""
        if not self._webhooks_at_all():
            return 0
        newest = self._following.newest()
        queued = 0
        while True:
            with self._database.reading() as connection:
                position = _position(connection)
            if position is None or position >= newest:
                return queued
            page = self._following.after(position, newest, limit=_PAGE, kinds=REPORT_KINDS)
            reached = page[-1].order if len(page) == _PAGE else newest
            with self._database.writing() as connection:
                moved = connection.execute(
                    update(schema.POSITIONS)
                    .where(schema.POSITIONS.c.reader == READER)
                    .where(schema.POSITIONS.c.position == position)
                    .values(position=reached)
                )
                if moved.rowcount != 1:
                    # Another collector was faster; what it read is queued by it.
                    return queued
                told = [news for one in page for news in news_of(one)]
                queued += queue.put(connection, told, wall_ms)

    def tell_stuck(self, connection: Connection, rows: Sequence[StuckRow], wall_ms: int) -> None:
        """Queue that these items are stuck, in the transaction that marks them."""
        queue.put(connection, [stuck_news(row) for row in rows], wall_ms)

    def _webhooks_at_all(self) -> bool:
        with self._database.reading() as connection:
            return connection.execute(select(schema.WEBHOOKS.c.id).limit(1)).first() is not None

    # Delivering

    def claim(self, webhook: str, wall_ms: int, busy_ms: int) -> bool:
        """Be the only one who delivers to it for so long; False while somebody else does."""
        table = schema.WEBHOOKS
        with self._database.writing() as connection:
            done = connection.execute(
                update(table)
                .where(table.c.id == webhook, table.c.busy_until_ms <= wall_ms)
                .values(busy_until_ms=wall_ms + busy_ms)
            )
            return done.rowcount == 1

    def release(self, webhook: str) -> None:
        """Others may deliver to it."""
        table = schema.WEBHOOKS
        with self._database.writing() as connection:
            connection.execute(update(table).where(table.c.id == webhook).values(busy_until_ms=0))

    def next_due(self, webhook: str, wall_ms: int) -> Message | None:
        """The first message that waits, once it is due: nothing overtakes it."""
        table = schema.WEBHOOK_QUEUE
        query = (
            select(table)
            .where(table.c.webhook == webhook, table.c.given_up_ms.is_(None))
            .order_by(table.c.id)
            .limit(1)
        )
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return None if row is None or row.next_ms > wall_ms else message_of(row)

    def due(self, wall_ms: int) -> list[str]:
        """The webhooks with a message that is due and that nobody delivers to."""
        waiting, webhooks = schema.WEBHOOK_QUEUE, schema.WEBHOOKS
        heads = (
            select(func.min(waiting.c.id).label("id"))
            .where(waiting.c.given_up_ms.is_(None))
            .group_by(waiting.c.webhook)
            .subquery()
        )
        query = (
            select(waiting.c.webhook)
            .join(heads, heads.c.id == waiting.c.id)
            .join(webhooks, webhooks.c.id == waiting.c.webhook)
            .where(waiting.c.next_ms <= wall_ms, webhooks.c.busy_until_ms <= wall_ms)
        )
        with self._database.reading() as connection:
            return list(connection.execute(query).scalars())

    def delivered(self, message: Message) -> None:
        """It was taken."""
        table = schema.WEBHOOKS
        with self._database.writing() as connection:
            connection.execute(
                delete(schema.WEBHOOK_QUEUE).where(schema.WEBHOOK_QUEUE.c.id == message.order)
            )
            connection.execute(
                update(table)
                .where(table.c.id == message.webhook)
                .values(failing_since_ms=None, last_problem=None, delivered=table.c.delivered + 1)
            )

    def failed(self, message: Message, problem: str, wall_ms: int, jitter: float) -> bool:
        """It was not taken: try again later, or give it up after 72 hours. Returns whether it was given up."""
        given_up = wall_ms - message.made_ms >= queue.GIVE_UP_MS
        tries = message.tries + 1
        waiting, table = schema.WEBHOOK_QUEUE, schema.WEBHOOKS
        with self._database.writing() as connection:
            connection.execute(
                update(waiting)
                .where(waiting.c.id == message.order)
                .values(
                    tries=tries,
                    problem=problem,
                    next_ms=wall_ms + queue.backoff_ms(tries, jitter),
                    given_up_ms=wall_ms if given_up else None,
                )
            )
            since = func.coalesce(table.c.failing_since_ms, wall_ms)
            connection.execute(
                update(table)
                .where(table.c.id == message.webhook)
                .values(failing_since_ms=since, last_problem=problem)
            )
            if given_up:
                queue.forget_old(connection, message.webhook)
        return given_up


def _position(connection: Connection) -> int | None:
    table = schema.POSITIONS
    return connection.execute(select(table.c.position).where(table.c.reader == READER)).scalar()


def _webhook(row: Row[Any]) -> Webhook:
    return Webhook(
        id=row.id,
        url=row.url,
        kinds=tuple(Kind(kind) for kind in row.kinds),
        secret=row.secret,
        allow_private=row.allow_private,
        made_ms=row.made_ms,
        failing_since_ms=row.failing_since_ms,
        last_problem=row.last_problem,
        delivered=row.delivered,
    )
