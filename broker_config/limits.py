"""The broker's limits, each with its reason: printed into the configuration, and judged by an operator there."""

from __future__ import annotations

from dataclasses import dataclass

from agent.wire.codec import PAYLOAD_BYTES_MAX

HEADER_BYTES_MAX = 1024
"""Room for the topic and the packet's own fields around a payload."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of the configuration, and why it is not left to the broker's default."""

    name: str
    value: str
    why: str


LIMITS: tuple[Setting, ...] = (
    Setting(
        "max_packet_size",
        str(PAYLOAD_BYTES_MAX + HEADER_BYTES_MAX),
        "A payload has at most 64 KiB. Whoever sends more is cut off, and costs the broker no memory.",
    ),
    Setting(
        "max_inflight_messages",
        "2000",
        "With the default of 20 a collector that hears 500 devices at once falls behind, and what does not fit into its queue is dropped although every device got its PUBACK.",
    ),
    Setting(
        "max_queued_messages",
        "100000",
        "A burst of a whole fleet has to fit while the collector commits. The default of 1000 lost most of a burst of 50,000 when measured.",
    ),
    Setting(
        "max_queued_bytes",
        str(256 * 1024 * 1024),
        "What one client that does not read may cost, whatever the size of its messages.",
    ),
    Setting(
        "max_keepalive",
        "120",
        "A device that vanished is known to be gone within three minutes. A client that asks for more is refused (3.1.1) or told (5).",
    ),
    Setting(
        "queue_qos0_messages",
        "false",
        "Nothing here travels at QoS 0, so nothing of it is worth memory.",
    ),
    Setting(
        "persistent_client_expiration",
        "1d",
        "Agents and collector open clean sessions. A session that somebody left behind goes after a day.",
    ),
    Setting(
        "check_retain_source",
        "true",
        "A retained message whose author has lost the right to write it is not delivered any more.",
    ),
    Setting(
        "set_tcp_nodelay",
        "true",
        "Acknowledgements are small and waited for.",
    ),
)

PERSISTENCE: tuple[Setting, ...] = (
    Setting(
        "persistence",
        "true",
        "Retained messages survive a restart of the broker. Nothing is lost without them: a device's birth is answered by the collector with everything it needs.",
    ),
    Setting(
        "autosave_interval",
        "300",
        "A power cut costs at most five minutes of retained messages, which the next births bring back.",
    ),
)

DEVICE_CONNECTIONS_MAX = 20_000
SERVICE_CONNECTIONS_MAX = 200
