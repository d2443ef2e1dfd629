"""What every answer of the API has in common, and how it tells times."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from pydantic import BaseModel, ConfigDict

MINUTE_MS: Final = 60_000


class Answer(BaseModel):
    """What the API answers: frozen, with every field always there."""

    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)


def moment(at_ms: int) -> datetime:
    """Milliseconds since 1970 as a time with its zone."""
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def age(age_ms: int) -> str:
    """How long ago, as a person says it."""
    minutes = age_ms // MINUTE_MS
    if minutes < 1:
        return "just now"
    for size, unit in ((24 * 60, "day"), (60, "hour"), (1, "minute")):
        if minutes >= size:
            count = minutes // size
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    raise AssertionError("a minute or more is at least one minute")
