"""How every wire model behaves: frozen, exact in what we write, tolerant of fields that we do not know."""

from __future__ import annotations

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

NAME_PATTERN = r"^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$"

NAME_LENGTH_MAX = 64
IDENTIFIER_LENGTH_MAX = 128
USER_LENGTH_MAX = 320

DeviceId = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=NAME_LENGTH_MAX)]
Tenant = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=NAME_LENGTH_MAX)]
Identifier = Annotated[
    str, StringConstraints(pattern=NAME_PATTERN, max_length=IDENTIFIER_LENGTH_MAX)
]
Partition = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]$")]
UserName = Annotated[str, StringConstraints(min_length=1, max_length=USER_LENGTH_MAX)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Text = Annotated[str, StringConstraints(max_length=2000)]
CustomMessage = Annotated[str, StringConstraints(max_length=10_000)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Code = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Milliseconds = Annotated[int, Field(ge=0, le=10**13)]
Seconds = Annotated[int, Field(ge=0, le=10**8)]
Percent = Annotated[int, Field(ge=0, le=100)]
Seq = Annotated[int, Field(ge=1, le=2**53)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Timestamp = AwareDatetime


class Wire(BaseModel):
    """A frozen model that ignores unknown fields when reading, so that newer peers can speak to older ones."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Message(Wire):
    """A whole payload: it names its schema, so that a reader can refuse one that it does not know."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)
