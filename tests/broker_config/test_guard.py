"""The guard counts devices, not services, and tells each offence once."""

from __future__ import annotations

import pytest

from broker_config.guard import LIMITS, WINDOW_S, Deed, Guard, of_interest

NEW = "1: New client connected from 127.0.0.1:5 as {id} (p2, c1, k60, u'{user}').\n"
LINES = {
    Deed.PUBLISHED: "1: Received PUBLISH from {id} (d0, q1, r0, m1, 'a/b', ... (6 bytes))\n",
    Deed.DENIED: "1: Denied PUBLISH from {id} (d0, q1, r0, m1, 'a/b', ... (6 bytes))\n",
    Deed.SUBSCRIBED: "1: \ta/b (QoS 1)\n",
    Deed.CONNECTED: NEW,
}


def guard_of(client: str, user: str) -> Guard:
    """One that has seen a client connect and subscribe."""
    guard = Guard()
    begin = NEW.format(id=client, user=user) + f"1: Received SUBSCRIBE from {client}\n"
    assert guard.hear(begin, 0) == []
    return guard


@pytest.mark.parametrize("deed", list(Deed))
def test_a_device_over_a_limit_is_told_once_a_window(deed: Deed) -> None:
    """At the limit nothing, one more is an offence, and more of the same no news until the next window."""
    guard = guard_of("PC-1", "PC-1")
    line = LINES[deed].format(id="PC-1", user="PC-1")
    allowed = LIMITS[deed] - (deed is Deed.CONNECTED)
    assert guard.hear(line * allowed, 1) == []
    (offence,) = guard.hear(line, 1)
    assert (offence.client, offence.deed, offence.count) == ("PC-1", deed, LIMITS[deed] + 1)
    assert guard.hear(line, 1) == []
    assert guard.hear(line * LIMITS[deed], WINDOW_S + 1) == []
    assert len(guard.hear(line, WINDOW_S + 1)) == 1


@pytest.mark.parametrize("client", ["esp-collector-acme-0", "_collector", "PC-1"])
def test_a_service_is_never_counted(client: str) -> None:
    """The collector publishes for a whole fleet; its client ids are its own choice, even a device's name."""
    guard = guard_of(client, "_collector")
    line = LINES[Deed.PUBLISHED].format(id=client)
    assert guard.hear(line * (LIMITS[Deed.PUBLISHED] + 1), 1) == []
    assert not guard.totals


def test_a_piece_that_ends_within_a_line_is_put_together() -> None:
    """The log comes in pieces of any size."""
    guard = guard_of("PC-1", "PC-1")
    text = LINES[Deed.DENIED].format(id="PC-1") * 10
    for letter in text:
        guard.hear(letter, 1)
    assert guard.totals["PC-1", Deed.DENIED] == 10


def test_a_person_reads_connections_and_complaints() -> None:
    """Each packet is no news; a refusal is."""
    kept = [
        "1: OpenSSL Error[0]: error:0A0000C7:SSL routines::peer did not return a certificate",
        "1: Client PC-1 disconnected due to oversize packet.",
        LINES[Deed.DENIED].format(id="PC-1").strip(),
    ]
    noise = [
        LINES[Deed.PUBLISHED].format(id="PC-1").strip(),
        "1: Sending PUBACK to PC-1 (m1, rc0)",
        "1: \ta/b (QoS 1)",
        "1: PC-1 1 a/b",
    ]
    assert of_interest("\n".join([*noise, *kept])) == kept


def test_a_flood_fills_no_disk() -> None:
    """Of a thousand denied messages a person reads five, and all of what else was said meanwhile."""
    denied = ["1: Denied PUBLISH from PC-1 (d0, q1, r0, m1, 'a/b')"] * 1_000
    other = "1: Client PC-2 disconnected."
    assert of_interest("\n".join([*denied, other])) == [*denied[:5], other]
