"""The same traffic through Locust's MQTT user, as its own documentation has one written. Locust runs this file.

It is the selector loop of the MQTT user, which carries more than 340 connections, and one statistics entry for each kind of
message instead of one for each topic: both are what a load test of this size needs.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import gevent
import paho.mqtt.client as paho
from live_client import TELL_S, Plan, Waiting
from locust import User, events, task
from locust.contrib.mqtt import MqttClient, MqttUser

PLAN = Plan(os.environ["LIVE_PLAN"])
PLAYERS = iter(PLAN.players)
SETTLE_S = 20.0


class Client(MqttClient):
    """Counts by kind, not by topic."""

    def _generate_event_name(self, event_type: str, qos: int, topic: str) -> str:
        return f"{event_type}:{qos}:{topic.rsplit('/', 1)[-1]}"


class Device(MqttUser):
    """One device."""

    host = PLAN.host
    port = PLAN.port
    client_cls = Client
    protocol = paho.MQTTv5
    use_loop_selectors = True

    def __init__(self, environment: Any) -> None:
        self.player = next(PLAYERS)
        self.client_id = self.player["device"]
        self.waiting = Waiting(PLAN)
        super().__init__(environment)
        # The connection is opened by a loop that has not had its turn yet.
        self.client.will_set(self.player["presence_topic"], self.player["will"], 1, retain=True)
        self.client.on_message = self._arrived

    def on_start(self) -> None:
        """Connect, subscribe, and say that it is there."""
        while not self.client.is_connected():
            gevent.sleep(0.02)
        self.client.subscribe([(name, 1) for name in self.player["filters"]])
        PLAN.connected += 1
        PLAN.published(self.player["birth"])
        self.client.publish(self.player["presence_topic"], self.player["birth"], 1, retain=True)

    @task
    def send(self) -> None:
        """Everything that the device has to say."""
        for due_s, is_event, payload in PLAN.messages(self.player):
            if (delay_s := due_s - time.monotonic()) > 0:
                gevent.sleep(delay_s)
            PLAN.published(payload, is_status=not is_event)
            if is_event:
                self.waiting.sent(due_s)
                self.client.publish(self.player["event_topic"], payload, 1)
            else:
                self.client.publish(self.player["status_topic"], payload, 1, retain=True)
        gevent.sleep(PLAN.ends_s + SETTLE_S)

    def _arrived(self, _: Any, __: Any, message: Any) -> None:
        if message.topic == self.player["ack_topic"]:
            self.waiting.acknowledged(message.payload)


@events.test_start.add_listener
def _begin(environment: Any, **_: Any) -> None:
    PLAN.begin()
    gevent.spawn(_watch, environment)


def _watch(environment: Any) -> None:
    until_s = PLAN.began_s + PLAN.ends_s + SETTLE_S
    while not PLAN.is_over and time.monotonic() < until_s:
        PLAN.tell()
        gevent.sleep(TELL_S)
    PLAN.tell()
    for error in environment.stats.errors.values():
        PLAN.failed[f"{error.name}: {error.error}"[:120]] = error.occurrences
    PLAN.end()
    sys.stdout.flush()
    # Two thousand greenlets have nothing more to say.
    os._exit(0)


assert issubclass(Device, User)
