"""A session ends when the broker's word for a message will never come."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from agent.core import link
from agent.core.publications import Publication
from agent.runtime.outgoing import Outgoing
from agent.runtime.ports import Incoming, Will
from agent.runtime.session import Session


class Mute:
    """A connection that takes messages and brings none."""

    def __init__(self) -> None:
        self.published: list[asyncio.Future[None]] = []

    @contextlib.asynccontextmanager
    async def connect(self, client_id: str, will: Will | None) -> AsyncIterator[Mute]:
        yield self

    async def subscribe(self, filters: Sequence[str]) -> None:
        pass

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> asyncio.Future[None]:
        self.published.append(asyncio.get_running_loop().create_future())
        return self.published[-1]

    async def messages(self) -> AsyncIterator[Incoming]:
        await asyncio.get_running_loop().create_future()
        yield Incoming("", b"", retained=False)


async def test_a_message_that_was_given_up_was_not_published() -> None:
    told: list[link.Event] = []
    connection = Mute()

    async def receive(_: Incoming) -> None:
        raise AssertionError("nothing comes")

    def envelope(_: object) -> Publication:
        raise AssertionError("no report leaves")

    outgoing = Outgoing(envelope)
    outgoing.status(Publication("esp/1/t/0/PC-1/status", b"{}", retain=True))
    session = Session(
        connection, "PC-1", ["a"], outgoing, tell=told.append, receive=receive, draw=lambda: 0.5
    )
    running = asyncio.create_task(session.run(Will("w", b"")))
    outgoing.birth(Publication("esp/1/t/0/PC-1/presence", b"{}", retain=True))
    async with asyncio.timeout(10):
        while not connection.published:  # noqa: ASYNC110 - nothing tells of a fake's list
            await asyncio.sleep(0)
        connection.published[0].cancel()
        await running
    assert [type(event) for event in told] == [link.ConnectionOpened, link.ConnectionLost]
