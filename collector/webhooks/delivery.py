"""Delivers what webhooks have to be told: signed, in order, again after a failure, and never by way of a redirect."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import httpx
import structlog

from collector.clock import Clock
from collector.store.database import StoreFailed
from collector.webhooks.news import TEST, body_of
from collector.webhooks.queue import Message
from collector.webhooks.target import Resolve, Target, TargetRefused, resolved, target_of
from collector.webhooks.webhooks import SECRET_PREFIX, Webhook, Webhooks, WebhookUnknown

LOG = structlog.get_logger("collector.webhooks")

TIMEOUT_S: Final = 10.0
BUSY_MS: Final = 60_000
"""Whoever delivers keeps others away for so long; a message takes at most a sixth of it."""
TURN_MAX: Final = 100
"""Messages of one webhook before others have their turn."""

Post = Callable[[Target, Mapping[str, str], bytes], Awaitable[int]]
"""Asks, and returns the status. Raises `httpx.HTTPError`, `TimeoutError`."""


class Counted(Protocol):
    """What is counted of deliveries."""

    def webhook_tried(self, outcome: str) -> None:
        """One try: `delivered`, `failed` or `given_up`."""
        ...


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of one try."""

    delivered: bool
    status: int | None
    problem: str | None
    took_ms: int


def signature(secret: str, message: str, at_s: int, body: bytes) -> str:
    """The header `webhook-signature`: HMAC-SHA256 over id, time and body (Standard Webhooks 1.0.0, symmetric)."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = f"{message}.{at_s}.".encode() + body
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


async def post(target: Target, headers: Mapping[str, str], body: bytes) -> int:
    """Ask the judged address, follow nothing, and read nothing of the answer but its status."""
    # A connection of its own: what is kept open would go to an address that was judged long ago.
    async with (
        asyncio.timeout(TIMEOUT_S),
        httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False, follow_redirects=False) as client,
        client.stream(
            "POST",
            target.url,
            content=body,
            headers={**headers, "host": target.host_header},
            extensions={"sni_hostname": target.host},
        ) as response,
    ):
        return response.status_code


class Delivery:
    """Runs beside the collector; one for each collector, as many as there are on a store."""

    def __init__(
        self,
        webhooks: Webhooks,
        clock: Clock,
        counted: Counted,
        *,
        post: Post = post,
        resolve: Resolve = resolved,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._webhooks = webhooks
        self._clock = clock
        self._counted = counted
        self._post = post
        self._resolve = resolve
        self._chance = chance

    async def turn(self) -> None:
        """Deliver what is due, each webhook beside the others. Raises `StoreFailed` when that can't be found out."""
        due = await asyncio.to_thread(self._webhooks.due, self._clock.wall_ms())
        async with asyncio.TaskGroup() as group:
            for webhook in due:
                group.create_task(self._deliver(webhook), name=f"webhook {webhook}")

    async def _deliver(self, name: str) -> None:
        if not await asyncio.to_thread(self._webhooks.claim, name, self._clock.wall_ms(), BUSY_MS):
            return
        try:
            await self._deliver_some(name)
        except WebhookUnknown:
            # It was removed meanwhile, and with it what was waiting.
            return
        except StoreFailed as failure:
            LOG.warning("webhooks wait for the store", problem=str(failure))
            return
        # Left busy when the store failed or this was cancelled: what is under way is not sent twice at once.
        await asyncio.to_thread(self._webhooks.release, name)

    async def _deliver_some(self, name: str) -> None:
        until_s = time.monotonic() + BUSY_MS / 1000 - 2 * TIMEOUT_S
        webhook = await asyncio.to_thread(self._webhooks.get, name)
        for _ in range(TURN_MAX):
            due = await asyncio.to_thread(self._webhooks.next_due, name, self._clock.wall_ms())
            if due is None or time.monotonic() > until_s or not await self._tell(webhook, due):
                return

    async def _tell(self, webhook: Webhook, message: Message) -> bool:
        tried = await self.send(webhook, message.message, message.content)
        if tried.delivered:
            await asyncio.to_thread(self._webhooks.delivered, message)
            self._counted.webhook_tried("delivered")
            return True
        problem = tried.problem or ""
        given_up = await asyncio.to_thread(
            self._webhooks.failed, message, problem, self._clock.wall_ms(), self._chance()
        )
        self._counted.webhook_tried("given_up" if given_up else "failed")
        LOG.warning(
            "webhook given up" if given_up else "webhook not delivered; it is tried again",
            webhook=webhook.id,
            message=message.message,
            tries=message.tries + 1,
            problem=problem,
        )
        return given_up

    async def test(self, webhook: Webhook) -> Tried:
        """Send one message that says it is a test, now and once, whatever waits."""
        body = body_of(TEST, self._clock.wall_ms(), {"webhook": webhook.id})
        return await self.send(webhook, f"msg_test{self._clock.wall_ms()}", body)

    async def send(self, webhook: Webhook, message: str, content: str) -> Tried:
        """One try."""
        begun = time.monotonic()
        status, problem = None, None
        try:
            status = await self._ask(webhook, message, content.encode())
            if not 200 <= status < 300:
                problem = f"it answered {status}"
                if 300 <= status < 400:
                    problem += ", a redirect, and none is followed; give the final URL"
        except TargetRefused as refused:
            problem = str(refused)
        except TimeoutError:
            problem = f"no answer within {TIMEOUT_S:.0f} seconds"
        except httpx.HTTPError as error:
            problem = str(error) or type(error).__name__
        took_ms = round((time.monotonic() - begun) * 1000)
        return Tried(problem is None, status, problem and problem[:500], took_ms)

    async def _ask(self, webhook: Webhook, message: str, body: bytes) -> int:
        target = await target_of(
            webhook.url, allow_private=webhook.allow_private, resolve=self._resolve
        )
        at_s = self._clock.wall_ms() // 1000
        headers = {
            "content-type": "application/json",
            "user-agent": "esp-collector",
            "webhook-id": message,
            "webhook-timestamp": str(at_s),
            "webhook-signature": signature(webhook.secret, message, at_s, body),
        }
        return await self._post(target, headers, body)
