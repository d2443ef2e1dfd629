"""The API over a store of a test, and somebody who asks it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from agent.wire.messages import Status
from collector.api import Services, make_app
from collector.api.throttle import RequestLimits
from collector.device_commands import CommandRow
from collector.subscriber.ports import BrokerLost
from tests.collector.fleet import Office

TOKEN = "the-token"
SPEED = 10.0


@dataclass
class Courier:
    """Remembers what was to be sent."""

    sent: list[CommandRow] = field(default_factory=list)
    reassigned: list[tuple[str, str]] = field(default_factory=list)
    shown: list[Status] = field(default_factory=list)
    online_partitions: int = 16
    is_storing: bool = True

    async def send(self, command: CommandRow) -> None:
        self.sent.append(command)

    async def reassign(self, device: str, attempt: str) -> None:
        self.reassigned.append((device, attempt))

    async def statuses(self, device: str) -> AsyncIterator[Status]:
        for status in self.shown:
            if status.device == device:
                yield status
        raise BrokerLost("the broker went away")


def services(
    office: Office, courier: Courier | None = None, limits: RequestLimits | None = None
) -> Services:
    """What the API of this office answers from."""
    return Services(
        store=office.store,
        desk=office.desk,
        commands=office.commands,
        clock=office.clock,
        metrics=office.metrics,
        courier=courier or Courier(),
        token=TOKEN,
        speed=SPEED,
        limits=limits or RequestLimits(),
    )


@asynccontextmanager
async def asking(given: Services, token: str | None = TOKEN) -> AsyncIterator[httpx.AsyncClient]:
    """A client with this token."""
    transport = httpx.ASGITransport(app=make_app(given))
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://collector", headers=headers
    ) as client:
        yield client


async def ask(api: httpx.AsyncClient, path: str, status: int = 200, /, **asked: Any) -> Any:
    """The JSON of one answer; `asked` are the parameters of the query."""
    response = await api.get(path, params=asked or None)
    assert response.status_code == status, response.text
    return response.json()
