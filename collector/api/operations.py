"""Running the collector: what is stuck, why a device is where it is, live updates, webhooks and retention."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Header, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import Field
from starlette.exceptions import HTTPException

from agent.wire.base import NAME_PATTERN
from collector.access import Role
from collector.answer import moment
from collector.api.problems import ALWAYS, answers
from collector.api.services import DeviceName, Given, needs
from collector.files import ContentRefused
from collector.live_updates import StoreGone, TooManyReaders, Wanted, event_text
from collector.operations import Operations
from collector.pages.operations_page import (
    NewWebhook,
    RemovalLine,
    Removals,
    StuckItems,
    WebhookDetails,
    WebhookList,
    WebhookRequest,
    WebhookTest,
    stuck_item,
    undelivered_message,
    webhook_line,
)
from collector.stuck.standing import Standing
from collector.webhooks.target import TargetRefused, parts_of, target_of
from collector.webhooks.webhooks import TooManyWebhooks, Webhook, Webhooks, WebhookUnknown

ORDER_MAX = 2**53
UNDELIVERED = 20

router = APIRouter(prefix="/api", dependencies=[needs(Role.READ)], responses=ALWAYS)
administration = APIRouter(prefix="/api", dependencies=[needs(Role.ADMIN)], responses=ALWAYS)


def operations(request: Request) -> Operations:
    """What runs beside this application."""
    found = getattr(request.app.state, "operations", None)
    if not isinstance(found, Operations):
        raise HTTPException(503, "this collector takes reports in and does nothing beside that")
    return found


Running = Annotated[Operations, Depends(operations)]


@router.get("/devices/enrollment-status/stuck", tags=["Enrollment status"])
def stuck(running: Running, given: Given) -> StuckItems:
    """The items that are at work for longer than 99 in 100 of their kind needed that came in."""
    return StuckItems(
        generated_at=moment(given.clock.now_ms()),
        items=tuple(stuck_item(row) for row in running.watch.stuck()),
    )


@router.get("/devices/{device}/standing", tags=["Devices"], responses=answers(404))
def standing(running: Running, given: Given, device: DeviceName) -> Standing:
    """Where the device is and why, item by item, and who has to do something now."""
    registered = any(one.device == device for one in given.desk.registered())
    found = running.watch.standing(device, registered=registered)
    if found.attempt is None and not registered and given.store.device_presence(device) is None:
        raise HTTPException(404, f"nothing is known of '{device}'; check its id")
    return found


@router.get(
    "/events",
    tags=["Live updates"],
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def events(
    running: Running,
    device: Annotated[
        list[Annotated[str, Field(pattern=NAME_PATTERN, max_length=64)]] | None,
        Query(max_length=100, description="Only these devices; may be given several times."),
    ] = None,
    kind: Annotated[
        list[Annotated[str, Field(pattern=r"^[a-z_]+$", max_length=64)]] | None,
        Query(max_length=50, description="Only these kinds of report, such as `attempt_ended`."),
    ] = None,
    after: Annotated[
        int | None, Query(ge=0, le=ORDER_MAX, description="Begin after this position.")
    ] = None,
    last_event_id: Annotated[int | None, Header(ge=0, le=ORDER_MAX)] = None,
) -> StreamingResponse:
    """Stored reports as server-sent events, for as long as the connection is open.

    The id of each event is its position in the store. A reader that comes back with `Last-Event-ID` gets everything
    since; without a position it gets what is new. Every 15 seconds without an event there is a heartbeat. A reader that
    falls 1,000 events behind is cut off, and goes on where it was when it comes back.
    """
    wanted = Wanted(frozenset(device or ()), frozenset(kind or ()))
    lines = _event_lines(running, wanted, last_event_id if last_event_id is not None else after)
    try:
        first = await anext(lines)
    except TooManyReaders as too_many:
        raise HTTPException(429, str(too_many), {"Retry-After": "10"}) from None
    except StoreGone:
        raise HTTPException(503, "the store can't be used now; try again later") from None
    return StreamingResponse(
        _after(first, lines),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _event_lines(
    running: Operations, wanted: Wanted, after: int | None
) -> AsyncIterator[bytes]:
    async for news in running.feed.listen(wanted, after):
        yield event_text(news)


async def _after(first: bytes, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield b"retry: 1000\n" + first
    try:
        async for line in lines:
            yield line
    except StoreGone:
        # The answer has begun, so its end is what tells the reader, who comes back.
        return


WebhookId = Annotated[str, Path(pattern=r"^wh-[0-9a-f]{12}$")]


@administration.get("/webhooks", tags=["Webhooks"])
def webhooks(running: Running) -> WebhookList:
    """Who is told of what, and how that goes."""
    hooks = running.webhooks
    return WebhookList(webhooks=tuple(webhook_line(hooks, one) for one in hooks.all()))


@administration.post("/webhooks", status_code=201, tags=["Webhooks"], responses=answers(409))
async def add_webhook(
    running: Running, given: Given, asked: Annotated[WebhookRequest, Body()]
) -> NewWebhook:
    """Tell a URL from now on. The answer carries the secret that its receiver checks signatures with."""
    try:
        parts_of(asked.url)
        await target_of(asked.url, allow_private=asked.allow_any_address)
    except TargetRefused as refused:
        raise ContentRefused("url", str(refused)) from None
    return await run_in_threadpool(_add, running.webhooks, asked, given.clock.wall_ms())


def _add(hooks: Webhooks, asked: WebhookRequest, wall_ms: int) -> NewWebhook:
    try:
        made = hooks.add(
            asked.url, asked.kinds, allow_private=asked.allow_any_address, wall_ms=wall_ms
        )
    except TooManyWebhooks as too_many:
        raise HTTPException(409, str(too_many)) from None
    return NewWebhook(webhook=webhook_line(hooks, made), secret=made.secret)


@administration.get("/webhooks/{webhook}", tags=["Webhooks"], responses=answers(404))
def webhook_details(running: Running, webhook: WebhookId) -> WebhookDetails:
    """One webhook, and what waits for it or was given up."""
    hooks = running.webhooks
    found = _found(hooks, webhook)
    undelivered = hooks.undelivered(webhook, limit=UNDELIVERED)
    return WebhookDetails(
        webhook=webhook_line(hooks, found),
        undelivered=tuple(undelivered_message(one) for one in undelivered),
    )


@administration.delete(
    "/webhooks/{webhook}", status_code=204, tags=["Webhooks"], responses=answers(404)
)
def remove_webhook(running: Running, webhook: WebhookId) -> None:
    """Tell it nothing any more, and forget what was waiting for it."""
    _found(running.webhooks, webhook)
    running.webhooks.remove(webhook)


@administration.post("/webhooks/{webhook}/test", tags=["Webhooks"], responses=answers(404))
async def test_webhook(running: Running, webhook: WebhookId) -> WebhookTest:
    """Send a test message now and once, and say what became of it."""
    found = await run_in_threadpool(_found, running.webhooks, webhook)
    tried = await running.delivery.test(found)
    return WebhookTest(
        delivered=tried.delivered,
        status=tried.status,
        problem=tried.problem,
        took_ms=tried.took_ms,
    )


def _found(hooks: Webhooks, webhook: str) -> Webhook:
    try:
        return hooks.get(webhook)
    except WebhookUnknown as unknown:
        raise HTTPException(404, str(unknown)) from None


@router.get("/retention", tags=["Service"])
def removals(running: Running) -> Removals:
    """What retention let go, run by run."""
    return Removals(
        runs=tuple(
            RemovalLine(
                at=moment(at_ms),
                ended_before=moment(removed.ended_before_ms),
                attempts=removed.attempts,
                reports=removed.reports,
            )
            for at_ms, removed in running.retention.runs()
        )
    )
