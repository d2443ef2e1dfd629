"""Every topic string: built, parsed and filtered here and nowhere else.

The families, one segment each: `esp/1/<tenant>/<partition>/<device>/<channel>`, commands with one more segment for
their id, and `esp/1/<tenant>/<partition>/collector` for the collector that owns the partition.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum

from agent.wire.base import IDENTIFIER_LENGTH_MAX, NAME_LENGTH_MAX, NAME_PATTERN

ROOT = "esp/1"
PARTITIONS = tuple("0123456789abcdef")
_NAME = re.compile(NAME_PATTERN)


class Channel(StrEnum):
    """The channels of a device."""

    EVENT = "event"
    STATUS = "status"
    PRESENCE = "presence"
    ASSIGNMENT = "assignment"
    ACK = "ack"
    COMMAND = "command"


DEVICE_WRITES = (Channel.EVENT, Channel.STATUS, Channel.PRESENCE)
COLLECTOR_WRITES = (Channel.ASSIGNMENT, Channel.ACK, Channel.COMMAND)
RETAINED = frozenset(Channel) - {Channel.EVENT}


@dataclass(frozen=True, slots=True)
class DeviceTopic:
    """A topic of one device."""

    tenant: str
    partition: str
    device: str
    channel: Channel
    command: str | None = None

    def __str__(self) -> str:
        base = f"{ROOT}/{self.tenant}/{self.partition}/{self.device}/{self.channel.value}"
        return base if self.command is None else f"{base}/{self.command}"


@dataclass(frozen=True, slots=True)
class CollectorTopic:
    """The state topic of the collector that owns one partition."""

    tenant: str
    partition: str

    def __str__(self) -> str:
        return f"{ROOT}/{self.tenant}/{self.partition}/collector"


Topic = DeviceTopic | CollectorTopic


def partition_of(device: str) -> str:
    """The partition of a device: the first hex digit of the SHA-256 of its id."""
    return hashlib.sha256(device.encode()).hexdigest()[0]


def device_topic(
    tenant: str, device: str, channel: Channel, command: str | None = None
) -> DeviceTopic:
    """The topic of a device's channel; the partition follows from the device."""
    assert (command is not None) == (channel is Channel.COMMAND), (
        "a command topic, and no other, has a command id"
    )
    return DeviceTopic(tenant, partition_of(device), device, channel, command)


def collector_topic(tenant: str, partition: str) -> CollectorTopic:
    """The collector's topic of one partition."""
    return CollectorTopic(tenant, partition)


def parse(topic: str) -> Topic:
    """Take a topic apart.

    The partition is not compared with the device here: what disagrees is for intake to refuse and count.

    Raises:
        ValueError: the topic belongs to no family.
    """
    match topic.split("/"):
        case ["esp", "1", tenant, partition, "collector"] if _fits(tenant, partition):
            return CollectorTopic(tenant, partition)
        case ["esp", "1", tenant, partition, device, channel] if (
            _fits(tenant, partition) and _is_name(device) and channel in _PLAIN
        ):
            return DeviceTopic(tenant, partition, device, Channel(channel))
        case ["esp", "1", tenant, partition, device, "command", command] if (
            _fits(tenant, partition)
            and _is_name(device)
            and _is_name(command, IDENTIFIER_LENGTH_MAX)
        ):
            return DeviceTopic(tenant, partition, device, Channel.COMMAND, command)
        case _:
            raise ValueError(f"'{topic[:200]}' is no topic of this product")


_PLAIN = frozenset(c.value for c in Channel if c is not Channel.COMMAND)


def _fits(tenant: str, partition: str) -> bool:
    return _is_name(tenant) and partition in PARTITIONS


def _is_name(segment: str, length_max: int = NAME_LENGTH_MAX) -> bool:
    return len(segment) <= length_max and _NAME.fullmatch(segment) is not None


def device_filters(tenant: str, device: str) -> tuple[str, ...]:
    """What a device subscribes to: its own assignment, acknowledgements and commands, and its collector's state."""
    base = f"{ROOT}/{tenant}/{partition_of(device)}/{device}"
    return (
        f"{base}/{Channel.ACK.value}",
        f"{base}/{Channel.ASSIGNMENT.value}",
        f"{base}/{Channel.COMMAND.value}/+",
        str(collector_topic(tenant, partition_of(device))),
    )


def collector_filters(tenant: str, partition: str) -> tuple[str, ...]:
    """What the owner of a partition subscribes to: its devices' reports and presence, and its own state."""
    base = f"{ROOT}/{tenant}/{partition}"
    return (
        f"{base}/+/{Channel.EVENT.value}",
        f"{base}/+/{Channel.PRESENCE.value}",
        str(collector_topic(tenant, partition)),
    )


def watcher_filters(tenant: str, device: str) -> tuple[str, ...]:
    """What somebody who looks at one device's screen subscribes to."""
    base = f"{ROOT}/{tenant}/{partition_of(device)}/{device}"
    return (f"{base}/{Channel.STATUS.value}", f"{base}/{Channel.PRESENCE.value}")
