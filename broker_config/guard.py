"""What clients do to the broker, counted from its log: who does far more than a device ever does is cut off."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from broker_config.access import SERVICE_USERS

WINDOW_S = 10.0
CUT_OFF_S = 600.0
DENIED_LINES_MAX = 5


class Deed(StrEnum):
    """What is counted."""

    PUBLISHED = "published"
    DENIED = "denied"
    SUBSCRIBED = "subscribed"
    CONNECTED = "connected"


LIMITS: dict[Deed, int] = {
    # A device that returns with a full outbox sends as fast as it is acknowledged, 32 at a time.
    Deed.PUBLISHED: 20_000,
    # An agent never publishes what it may not.
    Deed.DENIED: 100,
    # An agent has four filters.
    Deed.SUBSCRIBED: 64,
    # An agent waits longer after every failure.
    Deed.CONNECTED: 60,
}
"""How often one client may do it within the window before it is cut off."""


@dataclass(frozen=True, slots=True)
class Offence:
    """A client that went over a limit."""

    client: str
    deed: Deed
    count: int

    def __str__(self) -> str:
        return (
            f"{self.client} {self.deed} {self.count} times within {WINDOW_S:.0f} seconds, "
            f"where {LIMITS[self.deed]} are allowed"
        )


@dataclass(slots=True)
class Guard:
    """Reads what Mosquitto says with `-v`, a chunk at a time, because under a flood it says a great deal.

    Devices only are counted: their client id is the name in their certificate.
    """

    totals: Counter[tuple[str, Deed]] = field(default_factory=Counter)
    """By client and deed, since the start."""
    _recent: Counter[tuple[str, Deed]] = field(default_factory=Counter)
    _window_began_s: float = 0.0
    _devices: set[str] = field(default_factory=set)
    _rest: str = ""
    _subscriber: str = ""

    def hear(self, text: str, now_s: float) -> Sequence[Offence]:
        """Count what is in the next piece of the log; each offence is told once a window."""
        if now_s - self._window_began_s >= WINDOW_S:
            self._recent.clear()
            self._window_began_s = now_s
        whole, newline, self._rest = (self._rest + text).rpartition("\n")
        if not newline:
            self._rest = whole + self._rest
            return []
        return list(self._offences(Counter(self._deeds(whole))))

    def _deeds(self, text: str) -> Iterator[tuple[str, Deed]]:
        for found in _DEED.finditer(text):
            connected, user, verb, publisher, subscriber = found.groups()
            if connected is not None:
                # A service chooses its client ids itself.
                if user == connected and user not in SERVICE_USERS.values():
                    self._devices.add(connected)
                    yield connected, Deed.CONNECTED
                else:
                    self._devices.discard(connected)
            elif publisher is not None:
                yield publisher, Deed.DENIED if verb == "Denied" else Deed.PUBLISHED
            elif subscriber is not None:
                self._subscriber = subscriber
            else:
                yield self._subscriber, Deed.SUBSCRIBED

    def _offences(self, counted: Counter[tuple[str, Deed]]) -> Iterator[Offence]:
        for (client, deed), count in counted.items():
            if client in self._devices:
                before = self._recent[client, deed]
                self._recent[client, deed] += count
                self.totals[client, deed] += count
                if before <= LIMITS[deed] < before + count:
                    yield Offence(client, deed, before + count)


_DEED = re.compile(
    r"^\d+: (?:New client connected from \S+ as (\S+) \(.*u'([^']*)'\)\."
    r"|(Received|Denied) PUBLISH from (\S+) "
    r"|Received SUBSCRIBE from (\S+)"
    r"|\t.* \(QoS \d\))",
    re.MULTILINE,
)
_OF_INTEREST = re.compile(
    r"^(?!\d+: (?:Received |Sending |\t|No will message |\S+ [012] )).+$", re.MULTILINE
)


def of_interest(text: str) -> list[str]:
    """The lines that a person reads: connections, refusals and complaints, not every packet.

    Of what was denied a few lines for each piece of the log: who floods the broker is not to fill its disk as well.
    """
    kept: list[str] = []
    denied = 0
    for line in _OF_INTEREST.findall(text):
        denied += " Denied PUBLISH from " in line
        if denied <= DENIED_LINES_MAX or " Denied PUBLISH from " not in line:
            kept.append(line)
    return kept
