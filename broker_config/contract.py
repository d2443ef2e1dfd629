"""The contract for strangers: an AsyncAPI 3 document of all topics and messages, made from `agent.wire` alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agent.wire.base import IDENTIFIER_LENGTH_MAX, NAME_LENGTH_MAX, NAME_PATTERN
from agent.wire.codec import CHANNEL_MODELS, PAYLOAD_BYTES_MAX, SIGNED_MODELS, json_schemas
from agent.wire.topics import (
    COLLECTOR_WRITES,
    DEVICE_WRITES,
    PARTITIONS,
    RETAINED,
    Channel,
    CollectorTopic,
    DeviceTopic,
)

DOCUMENT = "asyncapi.json"
COLLECTOR = "collector"

Json = dict[str, Any]

SUMMARIES = {
    Channel.EVENT: "One numbered fact of an enrollment.",
    Channel.STATUS: "The whole progress, at most once a second, for whoever looks in later.",
    Channel.PRESENCE: "A birth, a planned goodbye, or the will.",
    Channel.ASSIGNMENT: "What was decided for one attempt of this device, signed.",
    Channel.ACK: "How far the reports of this device are stored.",
    Channel.COMMAND: "What the device is to do, signed; executed once.",
}


def asyncapi() -> Json:
    """The document, from the point of view of a device: what it sends and what it receives."""
    channels = [*Channel, None]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Enrollment reports",
            "version": "1",
            "description": (
                "What travels between enrolling devices and their collector. Payloads are JSON of at most "
                f"{PAYLOAD_BYTES_MAX} bytes, at QoS 1. protocol.md says what a device does and in which order."
            ),
        },
        "defaultContentType": "application/json",
        "servers": {
            "broker": {
                "host": "{host}:8883",
                "protocol": "secure-mqtt",
                "description": "MQTT 5 or 3.1.1. The name in the client's certificate is the device id.",
                "variables": {"host": {"description": "As it stands in the identity file."}},
                "security": [{"$ref": "#/components/securitySchemes/certificate"}],
            }
        },
        "channels": {_name(channel): _channel(channel) for channel in channels},
        "operations": {_operation_name(channel): _operation(channel) for channel in channels},
        "components": {
            "securitySchemes": {
                "certificate": {
                    "type": "X509",
                    "description": "Issued by `esp-broker device`, common name = device id.",
                }
            },
            "parameters": _parameters(),
            "messages": {_name(channel): _message(channel) for channel in channels},
            "schemas": dict(_schemas()),
        },
    }


def _name(channel: Channel | None) -> str:
    return COLLECTOR if channel is None else channel.value


def _operation_name(channel: Channel | None) -> str:
    verb = "send" if channel in DEVICE_WRITES else "receive"
    return f"{verb}{_name(channel).capitalize()}"


def _channel(channel: Channel | None) -> Json:
    if channel is None:
        address = str(CollectorTopic("{tenant}", "{partition}"))
        names = ["tenant", "partition"]
    else:
        command = "{command}" if channel is Channel.COMMAND else None
        address = str(DeviceTopic("{tenant}", "{partition}", "{device}", channel, command))
        names = ["tenant", "partition", "device", *(["command"] if command else [])]
    return {
        "address": address,
        "messages": {_name(channel): {"$ref": f"#/components/messages/{_name(channel)}"}},
        "parameters": {name: {"$ref": f"#/components/parameters/{name}"} for name in names},
    }


def _operation(channel: Channel | None) -> Json:
    reference = f"#/channels/{_name(channel)}"
    written_by = "device" if channel in DEVICE_WRITES else "collector"
    return {
        "action": "send" if channel in DEVICE_WRITES else "receive",
        "channel": {"$ref": reference},
        "messages": [{"$ref": f"{reference}/messages/{_name(channel)}"}],
        "summary": f"Written by the {written_by} alone.",
        "bindings": {
            "mqtt": {
                "qos": 1,
                "retain": channel is None or channel in RETAINED,
                "bindingVersion": "0.2.0",
            }
        },
    }


def _message(channel: Channel | None) -> Json:
    names = _schema_names()
    content: Json = {
        "name": _name(channel),
        "summary": "Whether somebody collects." if channel is None else SUMMARIES[channel],
        "contentType": "application/json",
        "payload": {"$ref": f"#/components/schemas/{names[CHANNEL_MODELS[channel].__name__]}"},
    }
    if channel in SIGNED_MODELS:
        assert channel is not None, "the collector's own topic is not signed"
        content["x-signed-content"] = {
            "$ref": f"#/components/schemas/{names[SIGNED_MODELS[channel].__name__]}"
        }
    return content


def _parameters() -> Json:
    name = f"{NAME_PATTERN}, at most {{}} characters"
    return {
        "tenant": {"description": f"The organization: {name.format(NAME_LENGTH_MAX)}"},
        "partition": {
            "description": "The first hex digit of the SHA-256 of the device id.",
            "enum": list(PARTITIONS),
        },
        "device": {"description": f"The device id: {name.format(NAME_LENGTH_MAX)}"},
        "command": {"description": f"The command's id: {name.format(IDENTIFIER_LENGTH_MAX)}"},
    }


def _schema_names() -> dict[str, str]:
    return {schema["title"]: name for name, schema in json_schemas().items()}


def _schemas() -> Iterable[tuple[str, Json]]:
    """Every message by its name, and every part that they share by its own; references lead to where they are now."""
    for name, schema in json_schemas().items():
        parts = schema.pop("$defs", {})
        yield name, _moved(schema)
        for part, content in parts.items():
            yield part, _moved(content)


def _moved(schema: Any) -> Any:
    match schema:
        case dict():
            return {
                key: _place(value) if key in _REFERENCES else _moved(value)
                for key, value in schema.items()
            }
        case list():
            return [_moved(value) for value in schema]
        case _:
            return schema


_REFERENCES = {"$ref", "mapping", "discriminator"}


def _place(value: Any) -> Any:
    match value:
        case str():
            return value.replace("#/$defs/", "#/components/schemas/")
        case {"propertyName": str() as name}:
            # A discriminator of AsyncAPI is the name of the property; the members say the rest.
            return name
        case _:
            return value


assert set(SUMMARIES) == set(DEVICE_WRITES) | set(COLLECTOR_WRITES), "every channel has a summary"
