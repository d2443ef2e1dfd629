"""Conditional requests: an unchanged answer is not sent again, and a change that was decided on old facts is refused."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar

from fastapi import Header, Request, Response
from pydantic import BaseModel

M = TypeVar("M", bound=BaseModel)

IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        max_length=1_000,
        description="The ETag that the profile was read with, or `*` for whatever it is now.",
    ),
]

_TAG: Final = re.compile(r'(?:W/)?"[^"]*"|\*')


class NotModified(Exception):
    """The asker has this answer already."""

    def __init__(self, etag: str) -> None:
        super().__init__(etag)
        self.etag = etag


class PreconditionFailed(Exception):
    """It was changed meanwhile: one sentence with the remedy."""


class PreconditionMissing(Exception):
    """A change has to say what it was decided on: one sentence with the remedy."""


def tagged(
    request: Request, response: Response, answer: M, leave_out: Mapping[str, Any] | None = None
) -> M:
    """The answer with its ETag. `leave_out` names what changes with time alone; then the tag is a weak one.

    Raises:
        NotModified: the request names this tag in If-None-Match.
    """
    etag = ("W/" if leave_out else "") + tag_of(answer, leave_out)
    told = request.headers.get("if-none-match", "")
    if _opaque(etag) in {_opaque(t) for t in _TAG.findall(told)} or told.strip() == "*":
        raise NotModified(etag)
    response.headers["ETag"] = etag
    return answer


def tag_of(answer: BaseModel, leave_out: Mapping[str, Any] | None = None) -> str:
    """The strong ETag of an answer: a digest of what it says."""
    content = answer.model_dump_json(exclude=None if leave_out is None else dict(leave_out))
    return f'"{hashlib.sha256(content.encode()).hexdigest()[:32]}"'


def check_match(if_match: str | None, current: BaseModel) -> None:
    """Whether a change was decided on the present state.

    Raises:
        PreconditionMissing: the request does not say.
        PreconditionFailed: it was decided on another one.
    """
    if if_match is None:
        raise PreconditionMissing(
            "send If-Match with the ETag that you read, or If-Match: * to change it whatever it is now"
        )
    tags = _TAG.findall(if_match)
    if "*" not in tags and tag_of(current) not in tags:
        raise PreconditionFailed(
            "it was changed meanwhile; read it again and decide again, or send If-Match: *"
        )


def _opaque(tag: str) -> str:
    return tag.removeprefix("W/")
