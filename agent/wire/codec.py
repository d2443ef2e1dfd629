"""Bytes to messages and back, with the size limit and one clear sentence for everything refused."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from agent.wire.assignment import Assignment
from agent.wire.base import Message, Timestamp
from agent.wire.events import Event, Report
from agent.wire.messages import Ack, CollectorState, Command, Presence, Signed, Status
from agent.wire.progress import shortened
from agent.wire.topics import Channel

PAYLOAD_BYTES_MAX: Final = 64 * 1024

STATUS_ITEMS_STEPS: Final = (120, 60, 30, 0)
"""How many items a status that is too large keeps, tried one after another."""

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

CHANNEL_MODELS: Final[dict[Channel | None, type[BaseModel]]] = {
    Channel.EVENT: Event,
    Channel.STATUS: Status,
    Channel.PRESENCE: Presence,
    Channel.ASSIGNMENT: Signed,
    Channel.COMMAND: Signed,
    Channel.ACK: Ack,
    None: CollectorState,
}
"""What travels on each channel; None stands for the collector's own topic."""

SIGNED_MODELS: Final[dict[Channel, type[Message]]] = {
    Channel.ASSIGNMENT: Assignment,
    Channel.COMMAND: Command,
}
"""What is inside a signed payload."""

SIGNATURE_TYPES: Final[dict[Channel, str]] = {
    Channel.ASSIGNMENT: "esp-assignment+jws",
    Channel.COMMAND: "esp-command+jws",
}
"""The `typ` of a signature's protected header, so that one kind of message never passes for the other."""


class PayloadRefused(ValueError):
    """A payload that can't be read: the sentence says why; `reason` is one word to count by."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


def encode(message: BaseModel) -> bytes:
    """A message as compact JSON.

    Raises:
        PayloadRefused: it is larger than 64 KiB.
    """
    data = message.model_dump_json(exclude_none=True).encode()
    if len(data) > PAYLOAD_BYTES_MAX:
        raise _oversized(type(message), data)
    return data


def _oversized(model: type[BaseModel], data: bytes) -> PayloadRefused:
    return PayloadRefused(
        "oversized", f"a {model.__name__} of {len(data)} bytes is over {PAYLOAD_BYTES_MAX}"
    )


def encode_ack(
    device: str, store: str, term: int, stream: str, stored_seq: int, digest: str | None
) -> bytes:
    """The bytes that `encode` makes of this acknowledgement. Nothing is escaped: these are names and a digest."""
    last = "" if digest is None else f',"digest":"{digest}"'
    return (
        f'{{"schema":"esp.ack/1","device":"{device}","store":"{store}","term":{term},'
        f'"stream":"{stream}","stored_seq":{stored_seq}{last}}}'
    ).encode()


def encode_event(
    device: str,
    stream: str,
    seq: int,
    oldest_held: int,
    after: str | None,
    session: int,
    content: str,
) -> bytes:
    """The bytes that `encode` makes of this event, where `content` is its report as JSON without what is None.

    Nothing is escaped: device and stream are names, and the digest before it is hexadecimal.

    Raises:
        PayloadRefused: it is larger than 64 KiB.
    """
    chain = "" if after is None else f'"after":"{after}",'
    data = (
        f'{{"schema":"esp.event/1","device":"{device}","stream":"{stream}","seq":{seq},'
        f'"oldest_held":{oldest_held},{chain}"session":{session},"report":{content}}}'
    ).encode()
    if len(data) > PAYLOAD_BYTES_MAX:
        raise _oversized(Event, data)
    return data


def report_text(report: Report) -> str:
    """A report as JSON, without what is None, as an envelope and a journal hold it."""
    return (
        f'{{"attempt":"{report.attempt}","attempt_ms":{report.attempt_ms},'
        f'"device_time":"{time_text(report.device_time)}","stage":"{report.stage}","percent":{report.percent},'
        f'"body":{report.body.text}}}'
    )


def time_text(at: datetime) -> str:
    """A moment as every message writes it."""
    # What pydantic writes too, in a tenth of the time, for what a device says of its own clock.
    return at.isoformat()[:-6] + "Z" if at.tzinfo is UTC else _TIMES.dump_json(at).decode()[1:-1]


_TIMES: Final[TypeAdapter[datetime]] = TypeAdapter(Timestamp)


def encode_status(status: Status) -> bytes:
    """A status that always fits: of a snapshot that is too large, as many items as possible are kept."""
    for items_max in STATUS_ITEMS_STEPS:
        try:
            return encode(status)
        except PayloadRefused:
            progress = shortened(status.progress, items_max)
            status = status.model_copy(update={"progress": progress})
    return encode(status)


def encode_status_text(
    device: str, stream: str, session: int, device_time: str, progress: str
) -> bytes | None:
    """The bytes of a status whose snapshot is JSON already; None when they are more than a message may have.

    Nothing else is escaped: device and stream are names.
    """
    data = (
        f'{{"schema":"esp.status/1","device":"{device}","stream":"{stream}","session":{session},'
        f'"device_time":"{device_time}","progress":{progress}}}'
    ).encode()
    return data if len(data) <= PAYLOAD_BYTES_MAX else None


def decode(model: type[M], payload: bytes | bytearray | memoryview | str) -> M:
    """Read one message.

    Types are taken as the schema has them: a number in quotes is refused, not converted.

    Raises:
        PayloadRefused: oversized, not JSON, of no or an unknown schema, or not valid; with the first field at fault.
    """
    data = payload.encode(errors="surrogatepass") if isinstance(payload, str) else bytes(payload)
    if len(data) > PAYLOAD_BYTES_MAX:
        raise PayloadRefused(
            "oversized", f"{len(data)} bytes are over the limit of {PAYLOAD_BYTES_MAX}"
        )
    try:
        message = model.model_validate_json(data, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "payload"
        reason = "not_json" if first["type"] == "json_invalid" else "invalid"
        if first["loc"] == ("schema",):
            reason = "unknown_schema"
        raise PayloadRefused(reason, f"{model.__name__}: {where}: {first['msg']}") from None
    if isinstance(message, Message) and "schema_" not in message.model_fields_set:
        raise PayloadRefused("unknown_schema", f"{model.__name__}: schema: the field is missing")
    return message


def digest(stream: str, seq: int, report: Report, after: str | None = None) -> str:
    """The fingerprint of one report and, by the digest of the one before it, of all that its stream told until then.

    Device and store compute it alike. Where two digests under one number are equal, so is everything before; the audit
    compares them, and so does a device, to learn whether the store was told what its own journal says.
    """
    return chained(stream, seq, canonical(report), after)


def canonical(report: Report) -> str:
    """A report as its digest covers it: compact JSON with sorted keys, in ASCII, with what is None."""
    # Only the text of the body has to be looked for; attempt and stage are names, and nothing in them is escaped.
    return (
        f'{{"attempt":"{report.attempt}","attempt_ms":{report.attempt_ms},"body":{report.body.canonical},'
        f'"device_time":"{time_text(report.device_time)}","percent":{report.percent},"stage":"{report.stage}"}}'
    )


def chained(stream: str, seq: int, content: str, after: str | None) -> str:
    """The digest of a report that reads `content` in its canonical form."""
    told = (
        f"{stream}\n{seq}\n{content}" if after is None else f"{stream}\n{seq}\n{content}\n{after}"
    )
    return hashlib.sha256(told.encode()).hexdigest()


def json_schemas() -> dict[str, dict[str, Any]]:
    """The JSON Schema of every message, by file name without suffix."""
    models: dict[str, type[BaseModel]] = {
        "event": Event,
        "status": Status,
        "presence": Presence,
        "ack": Ack,
        "collector": CollectorState,
        "signed": Signed,
        "assignment": Assignment,
        "command": Command,
    }
    return {name: _json_schema(model) for name, model in models.items()}


def _json_schema(model: type[BaseModel]) -> dict[str, Any]:
    """In Python a message's schema has its value by itself; on the wire it has to be written."""
    schema = model.model_json_schema(by_alias=True, mode="validation")
    if issubclass(model, Message):
        schema["required"] = ["schema", *schema["required"]]
    return schema


class JsonCodec(Generic[T]):
    """Reads and writes one type as JSON: for what a device or a store keeps rather than sends."""

    def __init__(self, kept: Any) -> None:
        self._adapter: TypeAdapter[T] = TypeAdapter(kept)

    def dumps(self, value: T) -> bytes:
        """The value as compact JSON."""
        return self._adapter.dump_json(value, by_alias=True)

    def loads(self, data: bytes | str) -> T:
        """The value again; pydantic's ValidationError when the data is not of this type."""
        return self._adapter.validate_json(data)
