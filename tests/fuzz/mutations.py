"""Good bytes made bad: what a broken disk, a careless editor or a hostile peer makes of something that was valid."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st


def _nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63, -(2**63) - 1, 10**400, 0, -1]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.just("x" * 70_000),
    st.just([]),
    st.just({}),
    st.integers(1, 200).map(_nested),
)
"""What nobody expects in a field."""


@st.composite
def broken(draw: st.DrawFn, good: bytes) -> bytes:
    """The same bytes with some of them changed, lost, doubled or put in."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        until = min(len(data), at + draw(st.integers(0, 30)))
        match draw(st.sampled_from(["change", "lose", "double", "insert", "cut"])):
            case "change" if at < len(data):
                data[at] = draw(st.integers(0, 255))
            case "lose":
                del data[at:until]
            case "double":
                data[at:at] = data[at:until]
            case "insert":
                data[at:at] = draw(st.binary(max_size=20))
            case _:
                del data[at:]
    return bytes(data)


@st.composite
def twisted(draw: st.DrawFn, good: Any) -> Any:
    """The same JSON with one value replaced, one key renamed, or one left out."""
    if isinstance(good, dict) and good and draw(st.integers(0, 3)):
        key = draw(st.sampled_from(sorted(good)))
        rest = {k: v for k, v in good.items() if k != key}
        match draw(st.sampled_from(["deeper", "deeper", "lost", "renamed"])):
            case "lost":
                return rest
            case "renamed":
                return {**rest, draw(st.text(max_size=10)): good[key]}
            case _:
                return {**rest, key: draw(twisted(good[key]))}
    if isinstance(good, list) and good and draw(st.booleans()):
        at = draw(st.integers(0, len(good) - 1))
        return [*good[:at], draw(twisted(good[at])), *good[at + 1 :]]
    return draw(ODD)


def hostile(good: bytes) -> st.SearchStrategy[bytes]:
    """Bytes that look like these, that look like JSON of the same form, or like nothing."""
    return st.one_of(
        broken(good),
        twisted(json.loads(good)).map(lambda value: json.dumps(value).encode()),
        st.binary(max_size=200),
    )
