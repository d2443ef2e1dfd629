"""Looks at one device's screen for whoever asks the API, from the status that the device keeps in the broker."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

from agent.wire.codec import PayloadRefused, decode
from agent.wire.messages import Status
from agent.wire.topics import Channel, device_topic, watcher_filters
from collector.subscriber.ports import Broker


class Watcher:
    """Opens one connection for each look."""

    def __init__(self, broker: Broker, tenant: str) -> None:
        self._broker = broker
        self._tenant = tenant

    async def statuses(self, device: str) -> AsyncIterator[Status]:
        """The device's newest status, then each newer one. Raises `BrokerLost` and `BrokerRefused`."""
        topic = str(device_topic(self._tenant, device, Channel.STATUS))
        client_id = f"esp-watch-{uuid.uuid4()}"
        async with self._broker.connect(client_id, None) as connection:
            await connection.subscribe(watcher_filters(self._tenant, device))
            async for message in connection.messages():
                if message.topic != topic or not message.payload:
                    continue
                try:
                    status = decode(Status, message.payload)
                except PayloadRefused:
                    # A device that can't be read now may be readable in a second; the last good screen stays.
                    continue
                if status.device == device:
                    yield status
