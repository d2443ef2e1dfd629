"""The rules say exactly what the table says, for every channel and every role."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wire.topics import (
    PARTITIONS,
    Channel,
    CollectorTopic,
    DeviceTopic,
    Topic,
    collector_filters,
    device_filters,
    device_topic,
    parse,
    partition_of,
    watcher_filters,
)
from broker_config.access import (
    RULES,
    SERVICE_USERS,
    Access,
    Role,
    allows,
    mosquitto_acl,
    topic_pattern,
)
from broker_config.emqx import emqx_acl

TENANT = "acme"
DEVICE = "PHONE-1"
OTHER = "PHONE-2"

# Rows: the channels and, last, the collector's own topic. r: may read, w: may write.
EXPECTED = {
    #              device   device,   collector  help desk
    #              itself   another
    "event":      ("w",     "",       "r",       ""),
    "status":     ("w",     "",       "rw",      "r"),
    "presence":   ("w",     "",       "rw",      "r"),
    "assignment": ("r",     "",       "rw",      ""),
    "ack":        ("r",     "",       "rw",      ""),
    "command":    ("r",     "",       "rw",      ""),
    "collector":  ("r",     "r",      "rw",      "r"),
}  # fmt: skip
COLUMNS = [
    (Role.DEVICE, DEVICE),
    (Role.DEVICE, OTHER),
    (Role.COLLECTOR, SERVICE_USERS[Role.COLLECTOR]),
    (Role.HELP_DESK, SERVICE_USERS[Role.HELP_DESK]),
]
NAMES = st.from_regex(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True)


def topic_of(row: str, device: str) -> DeviceTopic | CollectorTopic:
    if row == "collector":
        return CollectorTopic(TENANT, partition_of(device))
    channel = Channel(row)
    return device_topic(TENANT, device, channel, "c-1" if channel is Channel.COMMAND else None)


def mosquitto_allows(acl: str, user: str, access: Access, topic: str) -> bool:
    """What Mosquitto does with an access file, in a few lines of our own (mosquitto.conf(5), acl_file)."""
    section: str | None = None
    for line in acl.splitlines():
        word, _, rest = line.partition(" ")
        if word == "user":
            section = rest
        if word not in {"topic", "pattern"} or (word == "topic" and section != user):
            continue
        kind, _, pattern = rest.partition(" ")
        levels = pattern.replace("%u", user).split("/")
        regex = "/".join("[^/]*" if level == "+" else re.escape(level) for level in levels)
        if kind in {access.value, "readwrite"} and re.fullmatch(regex, topic):
            return True
    return False


@pytest.mark.parametrize("access", list(Access))
@pytest.mark.parametrize("row", list(EXPECTED))
def test_rules_follow_the_table(row: str, access: Access) -> None:
    """Each cell of the table, by the rule model and by the rendered file alike."""
    acl = mosquitto_acl(TENANT)
    topic = topic_of(row, DEVICE)
    for (role, user), cell in zip(COLUMNS, EXPECTED[row], strict=True):
        wanted = access.value[0] in cell
        assert allows(role, user, access, topic, TENANT) is wanted, (role, user)
        assert mosquitto_allows(acl, user, access, str(topic)) is wanted, (role, user)


def test_the_table_has_every_channel() -> None:
    """A new channel fails here until somebody decided who may read and write it."""
    assert set(EXPECTED) == {*(channel.value for channel in Channel), "collector"}


@given(
    st.sampled_from(Role),
    NAMES,
    NAMES,
    st.sampled_from(PARTITIONS),
    st.sampled_from(Channel),
    NAMES,
)
def test_model_and_file_agree(
    role: Role, user: str, device: str, partition: str, channel: Channel, tenant: str
) -> None:
    """Whoever asks for whatever topic gets the same answer from the rule model and from the file."""
    command = "c-1" if channel is Channel.COMMAND else None
    who = SERVICE_USERS.get(role, user)
    acl = mosquitto_acl(TENANT)
    topics: list[Topic] = [
        DeviceTopic(tenant, partition, device, channel, command),
        DeviceTopic(TENANT, partition, user, channel, command),
        CollectorTopic(TENANT, partition),
    ]
    for topic, access in product(topics, Access):
        by_model = allows(role, who, access, topic, TENANT)
        assert mosquitto_allows(acl, who, access, str(topic)) is by_model


def test_everybody_may_read_what_the_contract_makes_them_subscribe_to() -> None:
    """The filters of the contract lie inside the rights of the role that uses them."""
    subscriptions = {
        (Role.DEVICE, DEVICE): device_filters(TENANT, DEVICE),
        (Role.COLLECTOR, SERVICE_USERS[Role.COLLECTOR]): collector_filters(TENANT, "a"),
        (Role.HELP_DESK, SERVICE_USERS[Role.HELP_DESK]): watcher_filters(TENANT, DEVICE),
    }
    for (role, user), filters in subscriptions.items():
        for pattern in filters:
            topic = parse(pattern.replace("+", DEVICE))
            assert allows(role, user, Access.READ, topic, TENANT), (role, pattern)


def test_no_service_can_be_impersonated_by_naming_a_device() -> None:
    """The service accounts' names are no device ids, so `esp-broker device` can't issue them again."""
    for user in SERVICE_USERS.values():
        with pytest.raises(ValueError, match="no topic"):
            parse(f"esp/1/{TENANT}/0/{user}/event")


def test_a_device_writes_a_bounded_number_of_topics() -> None:
    """No wildcard stands in what a device may write: a stolen one can't fill the broker with retained messages."""
    lines = mosquitto_acl(TENANT).splitlines()
    writes = [line for line in lines if line.startswith("pattern write")]
    assert len(writes) == 3 * len(PARTITIONS)
    assert not any("+" in line or "#" in line for line in writes)


def test_nobody_has_a_multi_level_wildcard() -> None:
    """Each right names its levels, so that a new topic family is nobody's until a rule gives it."""
    assert "#" not in "".join(topic_pattern(rule, TENANT, "+", "+") for rule in RULES)


def emqx_allows(acl: str, user: str, access: Access, topic: str) -> bool:
    """What EMQX does with its access file: the first rule that fits decides."""
    action = {Access.READ: "subscribe", Access.WRITE: "publish"}[access]
    for line in acl.splitlines():
        found = re.match(r'\{allow, (all|\{user, "(\w+)"\}), (\w+), \["(.+)"\]\}\.', line)
        if found is None or found[3] != action or (found[1] != "all" and found[2] != user):
            continue
        levels = found[4].replace("${username}", user).split("/")
        if re.fullmatch("/".join("[^/]*" if x == "+" else re.escape(x) for x in levels), topic):
            return True
    return False


@pytest.mark.parametrize("access", list(Access))
@pytest.mark.parametrize("row", list(EXPECTED))
def test_emqx_gets_the_same_table(row: str, access: Access) -> None:
    """Its file grants each cell of the table and nothing else, and ends with a denial."""
    acl = emqx_acl(TENANT)
    topic = str(topic_of(row, DEVICE))
    for (role, user), cell in zip(COLUMNS, EXPECTED[row], strict=True):
        assert emqx_allows(acl, user, access, topic) is (access.value[0] in cell), (role, user)
    assert acl.endswith("{deny, all}.\n")
    assert '{deny, all, subscribe, ["$share/#"' in acl
