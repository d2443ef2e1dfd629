"""Who wants to be told of what, and what they still have to be told: kept in the store, so that nothing is lost by a restart."""

from __future__ import annotations

import base64
import json
import secrets
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from agent.wire.events import AttemptEnded, AttemptStarted, ErrorScreenShown
from collector import schema
from collector.answer import moment
from collector.attempts import FAILURE_STATES
from collector.database import Database, upsert
from collector.following import Followed, Following
from collector.stuck_watch import StuckRow

SECRET_PREFIX: Final = "whsec_"  # noqa: S105
SECRET_BYTES: Final = 32
"""Standard Webhooks asks for 24 to 64."""
HOUR_MS: Final = 3_600_000
GIVE_UP_MS: Final = 72 * HOUR_MS
BACKOFF_FIRST_MS: Final = 5_000
BACKOFF_MAX_MS: Final = HOUR_MS
GIVEN_UP_KEPT: Final = 1_000
QUEUE_MAX: Final = 100_000
WEBHOOKS_MAX: Final = 50
READER: Final = "webhooks"
_PAGE: Final = 1_000
_REPORT_KINDS: Final = ("attempt_started", "error_screen_shown", "attempt_ended")


class Kind(StrEnum):
    """What a webhook may be told of."""

    STARTED = "enrollment.started"
    FAILED = "enrollment.failed"
    STUCK = "enrollment.stuck"
    FINISHED = "enrollment.finished"


TEST: Final = "webhook.test"


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


def body_of(kind: str, at_ms: int, data: dict[str, Any]) -> str:
    """What is sent, as Standard Webhooks 1.0.0 has it: type, time of the fact, and the fact."""
    told = {"type": kind, "timestamp": moment(at_ms).isoformat(), "data": data}
    return json.dumps(told, separators=(",", ":"))


def backoff_ms(tries: int, jitter: float) -> int:
    """How long to wait after so many tries: doubling from five seconds to an hour, less up to a quarter by `jitter` (0 to 1)."""
    whole: int = min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS << min(tries - 1, 20))
    return round(whole * (1 - jitter / 4))


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
        return [_message(row) for row in rows[:limit]]

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
            page = self._following.after(position, newest, limit=_PAGE, kinds=_REPORT_KINDS)
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
                queued += _queue(connection, told, wall_ms)

    def tell_stuck(self, connection: Connection, rows: Sequence[StuckRow], wall_ms: int) -> None:
        """Queue that these items are stuck, in the transaction that marks them."""
        told = [(Kind.STUCK, row.since_ms, _stuck_data(row)) for row in rows]
        _queue(connection, told, wall_ms)

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
        return None if row is None or row.next_ms > wall_ms else _message(row)

    def due(self, wall_ms: int) -> list[str]:
        """The webhooks with a message that is due and that nobody delivers to."""
        queue, webhooks = schema.WEBHOOK_QUEUE, schema.WEBHOOKS
        heads = (
            select(func.min(queue.c.id).label("id"))
            .where(queue.c.given_up_ms.is_(None))
            .group_by(queue.c.webhook)
            .subquery()
        )
        query = (
            select(queue.c.webhook)
            .join(heads, heads.c.id == queue.c.id)
            .join(webhooks, webhooks.c.id == queue.c.webhook)
            .where(queue.c.next_ms <= wall_ms, webhooks.c.busy_until_ms <= wall_ms)
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
        given_up = wall_ms - message.made_ms >= GIVE_UP_MS
        tries = message.tries + 1
        queue, table = schema.WEBHOOK_QUEUE, schema.WEBHOOKS
        with self._database.writing() as connection:
            connection.execute(
                update(queue)
                .where(queue.c.id == message.order)
                .values(
                    tries=tries,
                    problem=problem,
                    next_ms=wall_ms + backoff_ms(tries, jitter),
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
                _forget_old(connection, message.webhook)
        return given_up


News = tuple[str, int, dict[str, Any]]
"""Kind, when it was stored (ms since 1970), and the fact."""


def news_of(one: Followed) -> Iterator[News]:
    """What a stored report is to whoever is told."""
    match one.report.body:
        case AttemptStarted() as body:
            told = {"enrollment_type": body.enrollment_type.value, "number": body.number}
            yield Kind.STARTED, one.received_ms, {**_about(one), **told}
        case ErrorScreenShown() as body:
            told_of = body.failure.model_dump(mode="json")
            failed = {
                "failure": told_of,
                "end_state": None,
                "failed_items": list(body.failed_items),
            }
            yield Kind.FAILED, one.received_ms, {**_about(one), **failed}
        case AttemptEnded() as body:
            ended = {
                "end_state": body.end_state.value,
                "failure": body.failure and body.failure.model_dump(mode="json"),
                "section": body.section,
                "action_name": body.action_name,
                "user_action": body.user_action,
            }
            if body.end_state in FAILURE_STATES:
                yield Kind.FAILED, one.received_ms, {**_about(one), **ended}
            yield Kind.FINISHED, one.received_ms, {**_about(one), **ended}
        case _:
            pass


def _about(one: Followed) -> dict[str, Any]:
    return {
        "device": one.device,
        "user": one.user,
        "platform": one.platform,
        "attempt": one.attempt,
        "attempt_ms": one.report.attempt_ms,
        "order": one.order,
    }


def _stuck_data(row: StuckRow) -> dict[str, Any]:
    return {
        "device": row.device,
        "user": row.user,
        "platform": row.platform,
        "attempt": row.attempt,
        "item": row.item,
        "name": row.name,
        "try": row.try_number,
        "running_ms": row.running_ms,
        "limit_ms": row.limit_ms,
        "basis": row.basis,
        "observations": row.observations,
    }


def _position(connection: Connection) -> int | None:
    table = schema.POSITIONS
    return connection.execute(select(table.c.position).where(table.c.reader == READER)).scalar()


def _queue(connection: Connection, told: Iterable[News], wall_ms: int) -> int:
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
        _forget_old(connection, webhook)


def _forget_old(connection: Connection, webhook: str) -> None:
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


def _message(row: Row[Any]) -> Message:
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
