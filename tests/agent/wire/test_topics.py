"""Topics are built, parsed and filtered in one place, both ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wire.base import NAME_PATTERN
from agent.wire.topics import (
    COLLECTOR_WRITES,
    DEVICE_WRITES,
    PARTITIONS,
    Channel,
    CollectorTopic,
    DeviceTopic,
    collector_filters,
    collector_topic,
    device_filters,
    device_topic,
    parse,
    partition_of,
    watcher_filters,
)

NAMES = (
    st.from_regex(NAME_PATTERN, fullmatch=True).map(str.strip).filter(lambda name: len(name) <= 64)
)
CHANNELS = st.sampled_from(Channel)


def built(tenant: str, device: str, channel: Channel, command: str) -> DeviceTopic:
    return device_topic(tenant, device, channel, command if channel is Channel.COMMAND else None)


def matches(pattern: str, topic: str) -> bool:
    """MQTT's rule for `+`; none of our filters uses `#` (OASIS MQTT 3.1.1 §4.7)."""
    wanted, levels = pattern.split("/"), topic.split("/")
    return len(wanted) == len(levels) and all(
        w in {"+", level} for w, level in zip(wanted, levels, strict=True)
    )


@given(NAMES, NAMES, CHANNELS, NAMES)
def test_a_topic_comes_apart_as_it_was_put_together(
    tenant: str, device: str, channel: Channel, command: str
) -> None:
    """Parsing is the inverse of building, for every family."""
    topic = built(tenant, device, channel, command)
    assert parse(str(topic)) == topic
    state = collector_topic(tenant, partition_of(device))
    assert parse(str(state)) == state


@given(
    st.text(max_size=80)
    | st.lists(
        st.sampled_from(
            [
                "esp",
                "1",
                "2",
                "t",
                "a",
                "g",
                "D",
                "event",
                "command",
                "collector",
                "",
                "+",
                "#",
                "c-1",
            ]
        ),
        max_size=8,
    ).map("/".join)
)
def test_what_parses_is_what_could_have_been_built(text: str) -> None:
    """There is one spelling of each topic: whatever is understood prints as it came."""
    try:
        topic = parse(text)
    except ValueError:
        return
    assert str(topic) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "esp/1",
        "esp/2/t/0/D/event",
        "ESP/1/t/0/D/event",
        "/esp/1/t/0/D/event",
        "esp/1/t/0/D/event/",
        "esp/1/t/0/D/unknown",
        "esp/1/t/0/D/command",
        "esp/1/t/0/D/event/c-1",
        "esp/1/t/g/D/event",
        "esp/1/t/A/D/event",
        "esp/1/t/00/D/event",
        "esp/1/t/0//event",
        "esp/1/t/0/+/event",
        "esp/1/t/0/D/command/+",
        "esp/1/#",
        "esp/1/t/0/D\n/event",
        "esp/1/t\n/0/D/event",
        "esp/1/t/0/-D/event",
        "esp/1/t/0/D/command/c\n",
        f"esp/1/t/0/{'D' * 65}/event",
        f"esp/1/t/0/D/command/{'c' * 129}",
        "$SYS/broker/uptime",
    ],
)
def test_what_belongs_to_no_family_is_refused(text: str) -> None:
    """Other roots, versions, shapes and names are a ValueError with one short sentence."""
    with pytest.raises(ValueError, match="no topic of this product"):
        parse(text)


def test_the_partition_is_the_first_digit_of_the_hash() -> None:
    """Published for clients in other languages: these never change."""
    known = {"DESKTOP-NEW001": "4", "MacBook-NEW002": "1", "iPhone-NEW003": "9"}
    assert {device: partition_of(device) for device in known} == known


@given(st.lists(NAMES, min_size=1))
def test_every_device_has_one_partition(devices: list[str]) -> None:
    """The partition follows from the device alone."""
    for device in devices:
        assert partition_of(device) in PARTITIONS
        assert device_topic("t", device, Channel.EVENT).partition == partition_of(device)


@given(NAMES, NAMES, NAMES, CHANNELS, NAMES)
def test_a_device_hears_what_is_written_for_it_and_nothing_else(
    tenant: str, device: str, other: str, channel: Channel, command: str
) -> None:
    """Its filters match its own inbound channels, never what it writes itself or what is another's."""
    filters = device_filters(tenant, device)

    def heard(topic: DeviceTopic | CollectorTopic) -> bool:
        return any(matches(pattern, str(topic)) for pattern in filters)

    assert heard(built(tenant, device, channel, command)) is (channel in COLLECTOR_WRITES)
    assert heard(built(tenant, other, channel, command)) is (
        other == device and channel in COLLECTOR_WRITES
    )
    assert not heard(built(f"{tenant}x", device, channel, command))
    assert heard(collector_topic(tenant, partition_of(device)))


@given(NAMES, NAMES, st.sampled_from(PARTITIONS), CHANNELS, NAMES)
def test_a_collector_hears_its_own_partition(
    tenant: str, device: str, owned: str, channel: Channel, command: str
) -> None:
    """Reports and presence of the partition it owns, and of no other."""
    filters = collector_filters(tenant, owned)
    topic = built(tenant, device, channel, command)
    wanted = channel in {Channel.EVENT, Channel.PRESENCE} and partition_of(device) == owned
    assert any(matches(pattern, str(topic)) for pattern in filters) is wanted


@given(NAMES, NAMES, NAMES, CHANNELS, NAMES)
def test_a_watcher_hears_one_device(
    tenant: str, device: str, other: str, channel: Channel, command: str
) -> None:
    """Status and presence of the device that is looked at."""
    filters = watcher_filters(tenant, device)
    topic = built(tenant, other, channel, command)
    wanted = other == device and channel in {Channel.STATUS, Channel.PRESENCE}
    assert any(matches(pattern, str(topic)) for pattern in filters) is wanted


def test_each_channel_has_one_writer() -> None:
    """Ordering and access rules rest on it."""
    assert {*DEVICE_WRITES, *COLLECTOR_WRITES} == set(Channel)
    assert not {*DEVICE_WRITES} & {*COLLECTOR_WRITES}
