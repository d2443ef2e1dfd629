"""The published contract is current, valid, and enough for a client that knows nothing of us."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from agent.wire.codec import json_schemas
from agent.wire.topics import Channel, device_topic, partition_of
from broker_config.contract import DOCUMENT, asyncapi

PUBLISHED = Path(__file__).parents[2] / "docs" / "asyncapi" / DOCUMENT


def validate(document: dict[str, Any]) -> None:
    """By somebody else's model of AsyncAPI 3."""
    with warnings.catch_warnings():
        # It names fields of its own models as pydantic's, and says so at every import.
        warnings.simplefilter("ignore")
        from asyncapi3 import AsyncAPI3  # noqa: PLC0415
    AsyncAPI3.model_validate(document)


def references(content: Any) -> Iterator[str]:
    """Every `$ref` of a document."""
    match content:
        case dict():
            for key, value in content.items():
                if key == "$ref":
                    yield value
                else:
                    yield from references(value)
        case list():
            for value in content:
                yield from references(value)
        case _:
            return


def resolved(document: Any, reference: str) -> Any:
    """What a reference leads to; KeyError when it leads nowhere."""
    for step in reference.removeprefix("#/").split("/"):
        document = document[step]
    return document


def test_the_document_is_current() -> None:
    """docs/asyncapi is what `esp-broker contract --out docs/asyncapi` writes."""
    expected = json.dumps(asyncapi(), indent=2, sort_keys=True) + "\n"
    assert PUBLISHED.read_text() == expected, "run: esp-broker contract --out docs/asyncapi"


def test_the_document_is_valid() -> None:
    """AsyncAPI 3, and every reference leads somewhere."""
    document = json.loads(PUBLISHED.read_text())
    validate(document)
    found = set(references(document))
    assert len(found) > 50
    for reference in found:
        resolved(document, reference)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda document: document["info"].pop("title"),
        lambda document: document["channels"]["event"].update(adress="x"),
        lambda document: document["operations"]["sendEvent"].update(action="shout"),
    ],
)
def test_the_validation_sees_mistakes(spoil: Callable[[dict[str, Any]], None]) -> None:
    """A missing title, a misspelt key and an unknown action are each refused."""
    document = copy.deepcopy(asyncapi())
    spoil(document)
    with pytest.raises(ValidationError):
        validate(document)


def test_addresses_and_schemas_are_those_of_the_wire() -> None:
    """Filled in, each address is the topic; each message's schema says yes and no where the single file does."""
    document = asyncapi()
    for channel in Channel:
        command = "c-1" if channel is Channel.COMMAND else None
        address = document["channels"][channel.value]["address"]
        values = {"tenant": "t", "device": "PC-1", "partition": partition_of("PC-1")}
        assert address.format(**values, command="c-1") == str(
            device_topic("t", "PC-1", channel, command)
        )
    for name, schema in json_schemas().items():
        whole = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        jsonschema.Draft202012Validator.check_schema(document["components"]["schemas"][name])
        for content in ({}, {"schema": "esp.ack/1"}, {"protected": "a"}):
            by_file = jsonschema.Draft202012Validator(schema).is_valid(content)
            assert jsonschema.Draft202012Validator(whole).is_valid(content) is by_file
