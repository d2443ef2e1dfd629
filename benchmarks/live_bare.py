"""The same traffic through a bare loop on aiomqtt: no journal, no window, no machine, nothing sent again."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from typing import Any

import aiomqtt
import uvloop

from benchmarks.live_client import TELL_S, Plan, Waiting, plan_of

SETTLE_S = 20.0


async def main() -> None:
    """Carry the whole traffic."""
    plan = plan_of(sys.argv)
    plan.begin()
    devices = [asyncio.create_task(_device(plan, player)) for player in plan.players]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(plan.ends_s + SETTLE_S):
            while not plan.is_over:
                plan.tell()
                await asyncio.sleep(TELL_S)
    plan.tell()
    plan.end()
    for device in devices:
        device.cancel()
    await asyncio.gather(*devices, return_exceptions=True)


async def _device(plan: Plan, player: dict[str, Any]) -> None:
    await asyncio.sleep(plan.began_s + player["starts_s"] - time.monotonic())
    will = aiomqtt.Will(player["presence_topic"], player["will"], qos=1, retain=True)
    waiting = Waiting(plan)
    try:
        async with aiomqtt.Client(
            plan.host,
            plan.port,
            identifier=player["device"],
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=True,
            will=will,
        ) as client:
            await client.subscribe([(name, 1) for name in player["filters"]])
            plan.connected += 1
            listening = asyncio.create_task(_listen(client, player["ack_topic"], waiting))
            plan.published(player["birth"])
            await client.publish(player["presence_topic"], player["birth"], qos=1, retain=True)
            await _publish(plan, player, client, waiting)
            await listening
    except aiomqtt.MqttError as error:
        plan.fail(error)


async def _publish(
    plan: Plan, player: dict[str, Any], client: aiomqtt.Client, waiting: Waiting
) -> None:
    for due_s, is_event, payload in plan.messages(player):
        if (delay_s := due_s - time.monotonic()) > 0:
            await asyncio.sleep(delay_s)
        plan.published(payload, is_status=not is_event)
        if is_event:
            waiting.sent(due_s)
            await client.publish(player["event_topic"], payload, qos=1)
        else:
            await client.publish(player["status_topic"], payload, qos=1, retain=True)


async def _listen(client: aiomqtt.Client, ack_topic: str, waiting: Waiting) -> None:
    async for message in client.messages:
        if message.topic.value == ack_topic and isinstance(message.payload, bytes):
            waiting.acknowledged(message.payload)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
