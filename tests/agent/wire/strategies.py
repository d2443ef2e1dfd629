"""Hypothesis strategies for every wire model, read from the models' own fields and limits."""

from __future__ import annotations

import types
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel, JsonValue, StringConstraints
from pydantic.fields import FieldInfo

from agent.wire.assignment import Admitted, AssignedItem, InstallRules
from agent.wire.base import NAME_PATTERN
from agent.wire.identity import Identity
from agent.wire.profile import EspProfile
from agent.wire.vocabulary import Context

M = TypeVar("M", bound=BaseModel)
Strategy = st.SearchStrategy[Any]

TIMESTAMPS = st.datetimes(
    min_value=datetime(2000, 1, 1),  # noqa: DTZ001
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.one_of(
        st.just(UTC), st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))
    ),
)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
PATTERNS = {NAME_PATTERN: r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,20}[A-Za-z0-9])?"}


def messages(model: type[M]) -> st.SearchStrategy[M]:
    """Valid instances of a wire model, defaults and all."""
    if model is EspProfile:
        return _built(model, blocking_apps=_blocking_apps())
    if model is Admitted:
        return _built(model, items=_assigned_items())
    if model is Identity:
        return _identities()
    return _built(model)


@cache
def _names() -> st.SearchStrategy[str]:
    return st.from_regex(PATTERNS[NAME_PATTERN], fullmatch=True)


def _built(model: type[M], **chosen: Strategy) -> st.SearchStrategy[M]:
    fields = {name: chosen.get(name, _field(field)) for name, field in model.model_fields.items()}
    return st.builds(model, **fields)


def _field(field: FieldInfo) -> Strategy:
    return _values(field.annotation, tuple(field.metadata))


def _values(annotation: Any, metadata: tuple[Any, ...] = ()) -> Strategy:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is AwareDatetime:
        return TIMESTAMPS
    if annotation is JsonValue:
        return JSON
    if origin is Annotated:
        found = arguments[1:]
        unpacked = [m for f in found for m in (f.metadata if isinstance(f, FieldInfo) else [f])]
        return _values(arguments[0], (*metadata, *unpacked))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in {Union, types.UnionType}:
        return st.one_of([_values(member) for member in arguments])
    if origin is tuple:
        return st.lists(_values(arguments[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(st.text(max_size=5), _values(arguments[1]), max_size=3)
    return _plain(annotation, metadata)


def _plain(annotation: Any, metadata: tuple[Any, ...]) -> Strategy:
    if annotation is str:
        return _text(metadata)
    if annotation is int:
        return st.integers(_limit(metadata, "ge"), _limit(metadata, "le"))
    if annotation is bool:
        return st.booleans()
    if annotation is type(None):
        return st.none()
    assert isinstance(annotation, type), f"no strategy for {annotation}"
    if issubclass(annotation, Enum):
        return st.sampled_from(annotation)
    assert issubclass(annotation, BaseModel), f"no strategy for {annotation}"
    return messages(annotation)


def _text(metadata: tuple[Any, ...]) -> st.SearchStrategy[str]:
    (constraints,) = [m for m in metadata if isinstance(m, StringConstraints)] or [
        StringConstraints()
    ]
    if constraints.pattern == NAME_PATTERN:
        return _names()
    if isinstance(constraints.pattern, str):
        longest = constraints.max_length or 64
        matching = st.from_regex(constraints.pattern, fullmatch=True).map(str.strip)
        return matching.filter(lambda text: len(text) <= longest)
    return st.text(st.characters(codec="utf-8"), min_size=constraints.min_length or 0, max_size=20)


def _limit(metadata: tuple[Any, ...], name: str) -> int | None:
    return next((getattr(m, name) for m in metadata if hasattr(m, name)), None)


def _blocking_apps() -> Strategy:
    return st.just("all") | st.lists(_names(), unique=True, max_size=5).map(tuple)


@st.composite
def _assigned_items(draw: st.DrawFn) -> tuple[AssignedItem, ...]:
    """Items that depend only on earlier ones, and never from the device's setup on the account's."""
    drawn = draw(st.lists(_built(AssignedItem), unique_by=lambda item: item.id, max_size=3))
    items: list[AssignedItem] = []
    for item in drawn:
        earlier = [
            other.id
            for other in items
            if not (other.context is Context.ACCOUNT and item.context is Context.DEVICE)
        ]
        needed = draw(st.lists(st.sampled_from(earlier), unique=True)) if earlier else []
        items.append(
            item.model_copy(
                update={"depends_on": tuple(needed), "rules": _without_others(item.rules)}
            )
        )
    return tuple(items)


def _without_others(rules: InstallRules | None) -> InstallRules | None:
    """Rules that speak of no other item, which might make a circle."""
    return rules and rules.model_copy(update={"supersedes": (), "must_be_present": ()})


def _identities() -> Strategy:
    """A client certificate is named together with its key, or not at all."""
    bare = _built(Identity, certificate_file=st.none(), key_file=st.none())
    pair = st.none() | st.tuples(_names(), _names())
    return st.builds(_with_certificate, bare, pair)


def _with_certificate(identity: Identity, pair: tuple[str, str] | None) -> Identity:
    certificate, key = pair or (None, None)
    return identity.model_copy(update={"certificate_file": certificate, "key_file": key})
