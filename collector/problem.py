"""The one shape of every refusal: problem details as in RFC 9457, with the field at fault."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:esp-collector:problem:"


class Problem(BaseModel):
    """What was wrong with a request, and what would be right."""

    model_config = ConfigDict(frozen=True)

    type: str
    """`urn:esp-collector:problem:` and the code."""
    title: str
    status: int
    detail: str
    """One sentence for people, with the remedy."""
    code: str
    """What programs compare with; docs/api.md lists the codes."""
    key: str | None = None
    """The field at fault, as in `profiles[0].name`."""
