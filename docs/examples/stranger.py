"""A device in another program: it needs asyncapi.json, an identity folder, and an MQTT and a JSON Schema library.

    python stranger.py asyncapi.json IDENTITY.json

It announces itself, begins an attempt, and prints what the collector acknowledged and decided.
"""

import base64
import hashlib
import json
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import jsonschema
import jwt
import paho.mqtt.client as mqtt

contract = json.loads(Path(sys.argv[1]).read_text())
identity = json.loads(Path(sys.argv[2]).read_text())
folder, device = Path(sys.argv[2]).parent, identity["device"]
stream, attempt = str(uuid.uuid4()), str(uuid.uuid4())


def topic(channel: str) -> str:
    return contract["channels"][channel]["address"].format(
        tenant=identity["tenant"],
        partition=hashlib.sha256(device.encode()).hexdigest()[0],
        device=device,
        command="+",
    )


def validate(name: str, content: dict) -> dict:
    reference = {"$ref": f"#/components/schemas/{name}", "components": contract["components"]}
    jsonschema.validate(content, reference)
    return content


def publish(channel: str, content: dict, retain: bool) -> None:
    client.publish(topic(channel), json.dumps(validate(channel, content)), qos=1, retain=retain)


def presence(state: str) -> dict:
    return {
        "schema": "esp.presence/1",
        "device": device,
        "stream": stream,
        "session": 1,
        "state": state,
        "agent_version": "stranger 1",
    }


def begin(*_: object) -> None:
    publish("presence", presence("online"), retain=True)
    body = {
        "kind": "attempt_started",
        "enrollment_type": "windows_autopilot",
        "platform": "Windows 11",
        "os_version": "10.0.22631",
        "user": "jane.smith@company.com",
        "agent_version": "stranger 1",
    }
    report = {
        "attempt": attempt,
        "attempt_ms": 0,
        "device_time": datetime.now(UTC).isoformat(),
        "stage": "Preparing Device",
        "percent": 0,
        "body": body,
    }
    event = {
        "schema": "esp.event/1",
        "device": device,
        "stream": stream,
        "seq": 1,
        "oldest_held": 1,
        "session": 1,
        "report": report,
    }
    publish("event", event, retain=False)


def opened(signed: dict) -> dict:
    header = json.loads(base64.urlsafe_b64decode(signed["protected"] + "=="))
    assert (header["alg"], header["typ"]) == ("EdDSA", "esp-assignment+jws")
    (key,) = (k["public_key"] for k in identity["trusted_keys"] if k["kid"] == header["kid"])
    compact = ".".join(signed[part] for part in ("protected", "payload", "signature"))
    return json.loads(jwt.api_jws.decode(compact, key, algorithms=["EdDSA"]))


told: dict = {}


def receive(_client: mqtt.Client, _: object, message: mqtt.MQTTMessage) -> None:
    channel = message.topic.split("/")[5] if message.topic.count("/") > 4 else "collector"
    if not message.payload:
        return
    content = json.loads(message.payload)
    if channel == "ack" and validate("ack", content)["stream"] == stream:
        told["stored"] = content["stored_seq"]
    if channel == "assignment":
        assignment = validate("assignment", opened(validate("signed", content)))
        if assignment["attempt"] == attempt:
            told["decision"] = assignment["decision"]["outcome"]
    if told.get("stored") == 1 and "decision" in told:
        client.publish(topic("presence"), json.dumps(presence("goodbye")), qos=1, retain=True)
        client.disconnect()


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, device, protocol=mqtt.MQTTv5)
client.tls_set(
    *(str(folder / identity[name]) for name in ("ca_file", "certificate_file", "key_file"))
)
client.will_set(topic("presence"), json.dumps(presence("lost")), qos=1, retain=True)
wanted = [(topic(name), 1) for name in ("ack", "assignment", "command", "collector")]
client.on_connect = lambda *_: client.subscribe(wanted)
client.on_subscribe, client.on_message = begin, receive
broker = urlsplit(identity["broker"])
client.connect(broker.hostname, broker.port)
client.loop_forever()
sys.stdout.write(json.dumps(told))
