"""The protocol page says what the contract says."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

from agent.wire.assignment import Admitted
from agent.wire.codec import CHANNEL_MODELS, PAYLOAD_BYTES_MAX, SIGNED_MODELS, decode, json_schemas
from agent.wire.events import Event
from agent.wire.topics import (
    DEVICE_WRITES,
    RETAINED,
    Channel,
    CollectorTopic,
    DeviceTopic,
    partition_of,
)
from broker_config.access import RULES, Access, Role
from collector.files import load
from collector.profiles.setup import Setup

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "protocol.md").read_text()
CHANNELS_IN_ORDER = (
    Channel.EVENT,
    Channel.STATUS,
    Channel.PRESENCE,
    Channel.ASSIGNMENT,
    Channel.ACK,
    Channel.COMMAND,
)


def table_below(heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, without the table's own heading."""
    lines = PAGE.partition(heading)[2].splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("|"))
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines[first + 2 :])
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def payload_of(channel: Channel | None) -> str:
    """What travels on a channel, as the page says it."""
    names = {schema["title"]: name for name, schema in json_schemas().items()}
    text = f"`{names[CHANNEL_MODELS[channel].__name__]}`"
    if channel not in SIGNED_MODELS:
        return text
    inside = names[SIGNED_MODELS[channel].__name__]
    return f"{text}, with {'an' if inside[0] in 'aeiou' else 'a'} `{inside}` inside"


def test_the_topics_are_those_of_the_contract() -> None:
    """Topic, writer, retained and payload of each family, in one table."""
    expected = [topic_row(channel) for channel in CHANNELS_IN_ORDER]
    state = CollectorTopic("TENANT", "PARTITION")
    expected.append([f"`{state}`", "collector", "yes", payload_of(None)])
    assert set(CHANNELS_IN_ORDER) == set(Channel)
    assert table_below("<!-- topics:") == expected


def topic_row(channel: Channel) -> list[str]:
    command = "COMMAND" if channel is Channel.COMMAND else None
    topic = DeviceTopic("TENANT", "PARTITION", "DEVICE", channel, command)
    writer = "device" if channel in DEVICE_WRITES else "collector"
    return [f"`{topic}`", writer, "yes" if channel in RETAINED else "no", payload_of(channel)]


def test_the_rights_are_those_of_the_rules() -> None:
    """Who may read and write what."""
    rows = table_below("## Who may do what")
    assert {row[0] for row in rows} == {f"`{c}`" for c in (*Channel, "collector")}
    for row in rows:
        name = row[0].strip("`")
        channel = None if name == "collector" else Channel(name)
        for role, cell in zip(
            (Role.DEVICE, Role.COLLECTOR, Role.HELP_DESK), (row[1], *row[3:]), strict=True
        ):
            rights = {r.access for r in RULES if r.role is role and r.channel is channel}
            words = {word.replace("clear", "write") for word in cell.split(", ")} - {"-"}
            assert words == {access.value for access in rights}, (name, role)
        assert row[2] == ("read" if channel is None else "-")
    assert {Access.READ.value, Access.WRITE.value} == {"read", "write"}


def test_the_example_is_an_event() -> None:
    """The sample on the page decodes, and its partition is the one that the page computes."""
    (sample,) = re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    event = decode(Event, sample)
    assert f"`{event.device}` is in partition `{partition_of(event.device)}`" in PAGE
    assert f"at most\n{PAYLOAD_BYTES_MAX // 1024} KiB" in PAGE


def test_the_schemas_are_current() -> None:
    """docs/schemas is what `esp-agent schema --out docs/schemas` writes."""
    written = {path.name: path.read_text() for path in (DOCS / "schemas").iterdir()}
    # The language of the simulator's scenarios is no part of the protocol.
    del written["scenario.schema.json"]
    expected = {
        f"{name}.schema.json": json.dumps(schema, indent=2, sort_keys=True) + "\n"
        for name, schema in json_schemas().items()
    }
    assert written == expected, "run: esp-agent schema --out docs/schemas"


def test_the_examples_can_be_used() -> None:
    """The assignment and the setup file of the documents are valid, and their profiles name assigned apps."""
    admitted = decode(Admitted, (DOCS / "examples" / "assignment.json").read_bytes())
    assert set(admitted.profile.blocking_apps) <= {item.id for item in admitted.items}
    setup = load(DOCS / "examples" / "setup.toml", Setup)
    assert {entry.name for entry in setup.profiles} == {"Default ESP", "Executive ESP"}
