"""A checkpoint: all that an enrollment remembers, as data, so that a version which folds its inputs otherwise can go on from it."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Final

from agent.core.person_screens import AbandonmentRow
from agent.core.plan import Plan
from agent.core.state import Attempt, ItemRun
from agent.wire.codec import JsonCodec

FORMAT: Final = 1
"""Rises when what a field means changes; a field that is new and has a default needs no other format."""

_REMADE_OF_ATTEMPT: Final = frozenset({"items", "under_way", "waited_for"})
_REMADE_OF_ITEM: Final = frozenset({"plan", "position"})
"""What follows from the rest. An item's plan is the one of its name in the attempt's plan."""


class CheckpointUnreadable(ValueError):
    """The data is no checkpoint that this version can go on from; the reason in a few words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a machine remembers between two events. `now_ms` is device running time."""

    now_ms: int
    number: int
    """How many attempts there were."""
    executed: Collection[str]
    """The ids of all commands that were answered."""
    refusal: str | None
    """Why the last event changed nothing."""
    attempt: Attempt | None


def written(memory: Memory) -> bytes:
    """A memory as compact JSON; the same memory always gives the same bytes."""
    kept = {
        "format": FORMAT,
        "now_ms": memory.now_ms,
        "number": memory.number,
        "executed": sorted(memory.executed),
        "refusal": memory.refusal,
        "attempt": None if memory.attempt is None else _kept_attempt(memory.attempt),
    }
    return _any_codec().dumps(kept)


def read(content: bytes) -> Memory:
    """The memory again, sharing nothing with the one that was written.

    Raises:
        CheckpointUnreadable: another format, or something in it that this version does not know.
    """
    try:
        kept = json.loads(content)
        memory = _read_memory(kept)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointUnreadable(f"{type(error).__name__}: {error}") from error
    if not _is_within(kept, json.loads(written(memory))):
        raise CheckpointUnreadable("it holds something that this version would forget")
    return memory


def _read_memory(kept: dict[str, Any]) -> Memory:
    if kept["format"] != FORMAT:
        raise ValueError(f"it has format {kept['format']}, and this version knows {FORMAT}")
    attempt = kept["attempt"]
    return Memory(
        now_ms=int(kept["now_ms"]),
        number=int(kept["number"]),
        executed=frozenset(map(str, kept["executed"])),
        refusal=kept["refusal"],
        attempt=None if attempt is None else _read_attempt(attempt),
    )


def _kept_attempt(attempt: Attempt) -> dict[str, Any]:
    kept = _fields_of(attempt, _REMADE_OF_ATTEMPT)
    kept["items"] = {n: _fields_of(item, _REMADE_OF_ITEM) for n, item in attempt.items.items()}
    if attempt.plan is not None:
        # Sets have no order of their own, and the same memory has to give the same bytes.
        rows = [
            _fields_of(row) | {"platforms": sorted(row.platforms)} for row in attempt.plan.spans
        ]
        kept["plan"] = _fields_of(attempt.plan) | {"spans": rows}
    return kept


def _read_attempt(kept: dict[str, Any]) -> Attempt:
    items = {
        name: {field: value for field, value in item.items() if field != "phase"}
        | {"plan": kept["plan"]["items"][name]}
        for name, item in kept["items"].items()
    }
    attempt = _attempt_codec().loads(json.dumps(kept | {"items": items}))
    for name, item in attempt.items.items():
        item.plan = attempt.running_plan.items[name]
        item.phase = type(item.phase)(kept["items"][name]["phase"])
    attempt.set_items(attempt.items)
    return attempt


def _fields_of(
    kept: Attempt | ItemRun | Plan | AbandonmentRow, left_out: frozenset[str] = frozenset()
) -> dict[str, Any]:
    return {f.name: getattr(kept, f.name) for f in fields(kept) if f.name not in left_out}


def _is_within(kept: Any, again: Any) -> bool:
    """Whether all of the data comes back when it is read and written again, whatever else comes with it."""
    match kept:
        case dict():
            return isinstance(again, dict) and all(
                key in again and _is_within(value, again[key]) for key, value in kept.items()
            )
        case list():
            return (
                isinstance(again, list)
                and len(kept) == len(again)
                and all(map(_is_within, kept, again))
            )
        case _:
            return bool(kept == again)


@cache
def _attempt_codec() -> JsonCodec[Attempt]:
    """Made when it is needed: most agents never read a checkpoint."""
    return JsonCodec(Attempt)


@cache
def _any_codec() -> JsonCodec[Any]:
    return JsonCodec(Any)
