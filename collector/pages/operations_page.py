"""What the API says of running the collector: stuck items, webhooks and what was let go."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from collector.answer import Answer, moment
from collector.stuck.watch import StuckRow
from collector.webhooks.news import Kind
from collector.webhooks.queue import Message
from collector.webhooks.webhooks import Webhook, Webhooks


class StuckItem(Answer):
    """One item that is stuck."""

    device: str
    user: str | None
    platform: str
    attempt: str
    item: str
    name: str
    try_number: int
    since: datetime
    """When it was found so."""
    running_ms: int
    """How long it had been at work then, in attempt time."""
    limit_ms: int
    basis: str
    """`history`: the 99th percentile of those that came in; `expected`: three times its assignment's expectation."""
    observations: int


class StuckItems(Answer):
    """The items that are stuck, the first one first."""

    generated_at: datetime
    items: tuple[StuckItem, ...]


class WebhookRequest(BaseModel):
    """Who is to be told of what."""

    model_config = ConfigDict(extra="forbid")

    url: Annotated[str, Field(max_length=2_000, examples=["https://help.example.com/esp"])]
    kinds: Annotated[tuple[Kind, ...], Field(min_length=1, max_length=len(Kind))] = tuple(Kind)
    allow_any_address: bool = False
    """Link-local addresses, cloud metadata and unencrypted http beyond this machine too."""


class WebhookLine(Answer):
    """One webhook and what it has not got."""

    id: str
    url: str
    kinds: tuple[Kind, ...]
    allow_any_address: bool
    added_at: datetime
    delivered: int
    waiting: int
    oldest_waiting_at: datetime | None
    given_up: int
    """Kept to be looked at, at most 1,000."""
    failing_since: datetime | None
    last_problem: str | None


class NewWebhook(Answer):
    """A webhook with the secret that signs; it is shown once."""

    webhook: WebhookLine
    secret: str


class WebhookList(Answer):
    """All webhooks."""

    webhooks: tuple[WebhookLine, ...]


class UndeliveredMessage(Answer):
    """One message that waits or was given up."""

    message: str
    kind: str
    made_at: datetime
    tries: int
    next_try_at: datetime | None
    """None once it was given up."""
    given_up_at: datetime | None
    problem: str | None


class WebhookDetails(Answer):
    """One webhook with what it has not got."""

    webhook: WebhookLine
    undelivered: tuple[UndeliveredMessage, ...]


class WebhookTest(Answer):
    """What became of a test message."""

    delivered: bool
    status: int | None
    problem: str | None
    took_ms: int


class RemovalLine(Answer):
    """One run of retention that let reports go."""

    at: datetime
    ended_before: datetime
    """Attempts that ended before this moment lost their reports."""
    attempts: int
    reports: int


class Removals(Answer):
    """What retention let go, the newest run first."""

    runs: tuple[RemovalLine, ...]


def stuck_item(row: StuckRow) -> StuckItem:
    """One item that is stuck."""
    return StuckItem(
        device=row.device,
        user=row.user,
        platform=row.platform,
        attempt=row.attempt,
        item=row.item,
        name=row.name,
        try_number=row.try_number,
        since=moment(row.since_ms),
        running_ms=row.running_ms,
        limit_ms=row.limit_ms,
        basis=row.basis,
        observations=row.observations,
    )


def webhook_line(hooks: Webhooks, one: Webhook) -> WebhookLine:
    """One webhook and what it has not got."""
    backlog = hooks.backlog(one.id)
    return WebhookLine(
        id=one.id,
        url=one.url,
        kinds=one.kinds,
        allow_any_address=one.allow_private,
        added_at=moment(one.made_ms),
        delivered=one.delivered,
        waiting=backlog.waiting,
        oldest_waiting_at=None if backlog.oldest_ms is None else moment(backlog.oldest_ms),
        given_up=backlog.given_up,
        failing_since=None if one.failing_since_ms is None else moment(one.failing_since_ms),
        last_problem=one.last_problem,
    )


def undelivered_message(one: Message) -> UndeliveredMessage:
    """One message that waits or was given up."""
    lost = one.given_up_ms
    return UndeliveredMessage(
        message=one.message,
        kind=one.kind,
        made_at=moment(one.made_ms),
        tries=one.tries,
        next_try_at=moment(one.next_ms) if lost is None else None,
        given_up_at=None if lost is None else moment(lost),
        problem=one.problem,
    )
