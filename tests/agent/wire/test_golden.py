"""Golden samples: what is on the wire today can be read tomorrow, and is written the same."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import get_args

import jsonschema
import pytest
from pydantic import BaseModel

from agent.wire.assignment import Assignment
from agent.wire.codec import CHANNEL_MODELS, SIGNED_MODELS, decode, encode, json_schemas
from agent.wire.events import Body, Event, LogsCollected
from agent.wire.messages import (
    Ack,
    CollectorState,
    Command,
    CommandAction,
    Presence,
    Signed,
    Status,
)

GOLDEN = Path(__file__).parent / "golden"
MODELS: dict[str, type[BaseModel]] = {
    "ack": Ack,
    "assignment": Assignment,
    "collector": CollectorState,
    "command": Command,
    "event": Event,
    "presence": Presence,
    "signed": Signed,
    "status": Status,
}
SAMPLES = sorted(GOLDEN.glob("*.json"))
each_sample = pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)


def model_of(sample: Path) -> type[BaseModel]:
    return MODELS[sample.stem.partition("-")[0]]


def kinds(union: object) -> set[str]:
    """The kinds of a discriminated union."""
    return {member.model_fields["kind"].default for member in get_args(get_args(union)[0])}


def samples_of(kind: str) -> set[str]:
    return {
        sample.stem.partition("-")[2] for sample in SAMPLES if sample.stem.startswith(f"{kind}-")
    }


@each_sample
def test_reading_and_writing_gives_the_same_json(sample: Path) -> None:
    """Nothing is lost, added or renamed between reading a sample and writing it again."""
    content = json.loads(sample.read_text())
    message = decode(model_of(sample), sample.read_bytes())
    assert json.loads(encode(message)) == content


@each_sample
def test_samples_fit_the_published_schema(sample: Path) -> None:
    """A reader that knows only the exported JSON Schema accepts what we write."""
    schema = json_schemas()[sample.stem.partition("-")[0]]
    jsonschema.validate(
        json.loads(sample.read_text()), schema, format_checker=jsonschema.FormatChecker()
    )


@each_sample
def test_unknown_fields_are_tolerated(sample: Path) -> None:
    """A newer peer may add a field anywhere; an older one reads the rest."""
    content = json.loads(sample.read_text())
    known = decode(model_of(sample), sample.read_bytes())
    assert decode(model_of(sample), json.dumps(with_surprises(content))) == known


def with_surprises(value: object) -> object:
    match value:
        case dict() if "roleScopeTagIds" in value:
            return value  # Fields of a Graph object are all unknown to us, and all kept.
        case dict():
            inner = {key: with_surprises(item) for key, item in value.items()}
            return {**inner, "surprise": {"of": ["a", "newer", "version"]}}
        case list():
            return [with_surprises(item) for item in value]
        case _:
            return value


def test_collected_logs_of_an_older_agent_are_read() -> None:
    """It knew archives only that were written."""
    content = json.loads((GOLDEN / "event-logs_collected.json").read_text())
    del content["report"]["body"]["problem"]
    body = decode(Event, json.dumps(content)).report.body
    assert isinstance(body, LogsCollected)
    assert body.problem == ""


def test_every_kind_of_message_has_a_sample() -> None:
    """A new event, command, decision or channel fails here until it has a sample."""
    assert samples_of("event") == kinds(Body)
    assert samples_of("command") == kinds(CommandAction)
    assert samples_of("assignment") == {"admitted", "refused"}
    assert samples_of("presence") == {"online", "goodbye", "lost"}
    assert samples_of("collector") == {"online", "offline"}
    used = {*CHANNEL_MODELS.values(), *SIGNED_MODELS.values()}
    assert used == {model_of(sample) for sample in SAMPLES}


def test_a_signed_sample_carries_the_message_that_its_type_names() -> None:
    """The signature's header says what is inside, and it is that."""
    signed = decode(Signed, (GOLDEN / "signed.json").read_bytes())
    protected, payload = (
        base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        for part in (signed.protected, signed.payload)
    )
    assert json.loads(protected)["typ"] == "esp-command+jws"
    assert decode(Command, payload) == decode(
        Command, (GOLDEN / "command-retry_item.json").read_bytes()
    )
    assert Signed.from_compact(signed.compact) == signed
