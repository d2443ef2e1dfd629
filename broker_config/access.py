"""Who may read and write which topic: one table of rules, made from the topic families, for any broker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from agent.wire.topics import (
    COLLECTOR_WRITES,
    DEVICE_WRITES,
    PARTITIONS,
    ROOT,
    Channel,
    CollectorTopic,
    DeviceTopic,
    Topic,
)


class Role(StrEnum):
    """What an account of the broker is for."""

    DEVICE = "device"
    COLLECTOR = "collector"
    HELP_DESK = "help_desk"


class Access(StrEnum):
    """What a rule allows; what no rule allows is denied."""

    READ = "read"
    WRITE = "write"


# No device id begins with an underscore, so no device can be given one of these names. Mosquitto's patterns
# hold for these accounts too, but what they allow below such a name is no topic of the contract.
SERVICE_USERS = {Role.COLLECTOR: "_collector", Role.HELP_DESK: "_helpdesk"}


@dataclass(frozen=True, slots=True)
class Rule:
    """One right of one role."""

    role: Role
    access: Access
    channel: Channel | None
    """A device's channel; None for the state topic of the collector that owns a partition."""
    why: str


DEVICE_REASONS = {
    Channel.EVENT: "a device reports for itself",
    Channel.STATUS: "a device shows its own screen to whoever looks in",
    Channel.PRESENCE: "a device announces itself, and its will says that it is gone",
    Channel.ASSIGNMENT: "a device reads what was decided for it, and nobody else's",
    Channel.ACK: "a device reads how far its reports are stored",
    Channel.COMMAND: "a device reads the commands for it, and can neither write nor clear one",
}
COLLECTOR_REASONS = {
    Channel.ASSIGNMENT: "the collector decides",
    Channel.ACK: "the collector acknowledges what it has stored",
    Channel.COMMAND: "the collector alone writes and clears commands",
}

RULES: tuple[Rule, ...] = (
    *(
        Rule(Role.DEVICE, Access.WRITE, channel, DEVICE_REASONS[channel])
        for channel in DEVICE_WRITES
    ),
    *(
        Rule(Role.DEVICE, Access.READ, channel, DEVICE_REASONS[channel])
        for channel in COLLECTOR_WRITES
    ),
    Rule(Role.DEVICE, Access.READ, None, "a device holds its reports while its collector is away"),
    *(
        Rule(Role.COLLECTOR, Access.WRITE, channel, COLLECTOR_REASONS[channel])
        for channel in COLLECTOR_WRITES
    ),
    Rule(
        Role.COLLECTOR,
        Access.WRITE,
        Channel.STATUS,
        "the collector clears what an ended device left behind",
    ),
    Rule(
        Role.COLLECTOR,
        Access.WRITE,
        Channel.PRESENCE,
        "the collector clears what an ended device left behind",
    ),
    Rule(Role.COLLECTOR, Access.WRITE, None, "the collector announces itself to its partitions"),
    *(
        Rule(Role.COLLECTOR, Access.READ, channel, "the collector hears and checks every channel")
        for channel in Channel
    ),
    Rule(
        Role.COLLECTOR, Access.READ, None, "the collector sees when an owner of a partition changed"
    ),
    Rule(Role.HELP_DESK, Access.READ, Channel.STATUS, "the help desk looks at a device's screen"),
    Rule(
        Role.HELP_DESK,
        Access.READ,
        Channel.PRESENCE,
        "the help desk sees whether a device is there",
    ),
    Rule(Role.HELP_DESK, Access.READ, None, "the help desk sees whether the collector is there"),
)


def allows(role: Role, user: str, access: Access, topic: Topic, tenant: str) -> bool:
    """Whether an account with this role and user name may read or write a topic.

    A device's account has the device id as its user name.
    """
    if topic.tenant != tenant or topic.partition not in PARTITIONS:
        return False
    match topic:
        case CollectorTopic():
            channel = None
        case DeviceTopic():
            channel = topic.channel
            if role is Role.DEVICE and topic.device != user:
                return False
        case _:
            assert_never(topic)
    return any(r.role is role and r.access is access and r.channel is channel for r in RULES)


def topic_pattern(rule: Rule, tenant: str, partition: str, device: str) -> str:
    """The topics of a rule as one filter; `device` may be a wildcard or a broker's placeholder."""
    if rule.channel is None:
        return str(CollectorTopic(tenant, partition))
    command = "+" if rule.channel is Channel.COMMAND else None
    return str(DeviceTopic(tenant, partition, device, rule.channel, command))


def mosquitto_acl(tenant: str, denied: Sequence[str] = ()) -> str:
    """The rules as a Mosquitto access file; `denied` are devices that may do nothing.

    Mosquitto refuses no SUBSCRIBE for the sake of this file: it filters what it delivers, message by message.
    """
    lines = [
        "# Who may read and write what. Made by `esp-broker init` from the topic families; what is not",
        "# listed is denied. Mosquitto applies these rules to every message that it would deliver, so a",
        "# subscription to more than this is granted and stays silent.",
    ]
    for role, user in SERVICE_USERS.items():
        lines += ["", f"user {user}"]
        for rule in _rules_of(role):
            pattern = topic_pattern(rule, tenant, "+", "+")
            lines += [f"# {rule.why}", f"topic {rule.access} {pattern}"]
    lines += [
        "",
        "# Devices: %u is the user name that the broker has checked, which is the device id. For writing, the",
        "# sixteen partitions are listed one by one, because a wildcard would let one device leave retained",
        "# messages under any number of names. The rules for reading come first, because they are fewer and",
        "# Mosquitto tries one pattern after the other.",
    ]
    lines += _device_patterns(tenant)
    for device in denied:
        lines += ["", "# revoked, or cut off for what it did", f"user {device}", "topic deny #"]
    return "\n".join(lines) + "\n"


def mosquitto_development_acl() -> str:
    """The access file of the development configuration: everybody may do everything below our root."""
    return (
        "# For development on loopback only: whoever reaches the listener may read and write every device.\n"
        f"pattern readwrite {ROOT}/#\n"
        "pattern read $SYS/#\n"
    )


def _rules_of(role: Role) -> Iterator[Rule]:
    return (rule for rule in RULES if rule.role is role)


def _device_patterns(tenant: str) -> Iterator[str]:
    for access, partitions in ((Access.READ, ("+",)), (Access.WRITE, PARTITIONS)):
        for rule in _rules_of(Role.DEVICE):
            if rule.access is access:
                yield f"# {rule.why}"
                for partition in partitions:
                    yield f"pattern {access} {topic_pattern(rule, tenant, partition, '%u')}"
