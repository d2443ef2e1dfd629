"""Query parameters that several lists share; one that no list knows is refused, so that a typo is never a silent no-op."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from agent.wire.vocabulary import EnrollmentType

PAGE_MAX: Final = 1_000
PAGE: Final = 100

NO_CONTROL_CHARACTERS: Final = r"^[^\x00-\x1f\x7f]+$"

SearchedUser = Annotated[
    str,
    Field(
        min_length=1,
        max_length=320,
        pattern=NO_CONTROL_CHARACTERS,
        description="The user's whole name, without regard to case.",
        examples=["john.doe@company.com"],
    ),
]
SearchedDevice = Annotated[
    str,
    Field(
        min_length=1,
        max_length=64,
        pattern=NO_CONTROL_CHARACTERS,
        description="How the device's name begins.",
        examples=["DESKTOP-"],
    ),
]
Since = Annotated[
    AwareDatetime,
    Field(description="A moment with its zone.", examples=["2025-06-15T12:00:00Z"]),
]
Platforms = Annotated[
    tuple[EnrollmentType, ...],
    Field(max_length=5, description="Only these platforms; may be given several times."),
]


class Listed(BaseModel):
    """How much of a list, from where."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[int, Field(ge=1, le=PAGE_MAX, description="How many rows a page has.")] = PAGE
    cursor: Annotated[
        str | None,
        Field(
            max_length=2_000,
            pattern=r"^[A-Za-z0-9_=-]+$",
            description="`next_cursor` of the page before, with the same filters and sort.",
        ),
    ] = None


def milliseconds(at: datetime | None) -> int | None:
    """A moment as milliseconds since 1970."""
    return None if at is None else round(at.timestamp() * 1000)
