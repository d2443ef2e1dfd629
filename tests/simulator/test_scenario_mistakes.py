from __future__ import annotations

import copy
import tomllib
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.scenario_file import ScenarioRefused, load_scenario, read_scenario
from simulator.scenario_schema import scenario_schema
from simulator.starter.text import EVERY_KEY

GOOD = tomllib.loads(EVERY_KEY.read_text(encoding="utf-8"))
SCHEMA = jsonschema.Draft202012Validator(scenario_schema())

Place = tuple[str | int, ...]


def places(value: Any, place: Place = ()) -> Iterator[Place]:
    """Every key and every entry of a list, those of inner tables included."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in inner:
        yield (*place, key)
        if isinstance(part, dict | list):
            yield from places(part, (*place, key))


PLACES = [place for place in places(GOOD) if "graph" not in place[:-1]]


def key_of(place: Place) -> str:
    """The place as a message writes it."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def changed(place: Place, value: Any) -> dict[str, Any]:
    data = copy.deepcopy(GOOD)
    holder: Any = data
    for part in place[:-1]:
        holder = holder[part]
    holder[place[-1]] = value
    return data


def at(place: Place) -> Any:
    value: Any = GOOD
    for part in place:
        value = value[part]
    return value


def wrong_types(value: Any) -> list[Any]:
    """What can never stand where this stands."""
    match value:
        case bool():
            return ["perhaps", [True], {"yes": True}]
        case int() | float():
            return ["many", [1], {"one": 1}]
        case str():
            return [7, True, ["text"], {"text": 1}]
        case list():
            return ["one", 7, {"one": 1}]
        case _:
            return ["one", 7, [1], True]


def refusal(data: dict[str, Any]) -> str | None:
    """The one sentence, or None when nothing is wrong."""
    try:
        read_scenario(data, "company.toml")
    except ScenarioRefused as refused:
        return str(refused)
    return None


def assert_names(message: str | None, place: Place, value: object) -> None:
    """One sentence with the file, and with this key or one that stands around or inside it."""
    assert message is not None, f"{key_of(place)} = {value!r} was accepted"
    file, _, rest = message.partition(": ")
    key, _, sentence = rest.partition(": ")
    assert file == "company.toml"
    assert "\n" not in message
    assert sentence
    mine = key_of(place)
    # Whoever renames something is told of those who still use the old name.
    is_name = place[-1] in ("id", "name") and isinstance(value, str)
    assert key.startswith(mine) or mine.startswith(key) or is_name, message
    assert "validation error" not in message
    assert "pydantic" not in message


def test_the_scenario_with_every_key_is_good() -> None:
    assert refusal(GOOD) is None
    assert load_scenario(EVERY_KEY).name == "every-key"
    assert len(PLACES) > 250


@pytest.mark.parametrize("place", PLACES, ids=key_of)
def test_a_value_of_another_type_is_one_sentence_with_file_and_key(place: Place) -> None:
    refused = 0
    for value in wrong_types(at(place)):
        data = changed(place, value)
        message = refusal(data)
        if message is None:
            assert SCHEMA.is_valid(data), f"{key_of(place)} = {value!r} was accepted"
        else:
            refused += 1
            assert_names(message, place, value)
    assert refused or "graph" in place


@pytest.mark.parametrize("place", PLACES, ids=key_of)
def test_a_value_out_of_range_or_a_word_that_nobody_knows_is_one_sentence_with_file_and_key(
    place: Place,
) -> None:
    value = at(place)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return
    tries: list[Any] = ["nonsense ", ""] if isinstance(value, str) else [-1, 10**30]
    if isinstance(value, float):
        tries += [float("nan"), float("inf"), -0.5]
    for wrong in tries:
        data = changed(place, wrong)
        message = refusal(data)
        if message is None:
            assert SCHEMA.is_valid(data), f"{key_of(place)} = {wrong!r} was accepted"
        else:
            assert_names(message, place, wrong)


@pytest.mark.parametrize(
    "place", [place for place in PLACES if isinstance(at(place), dict)], ids=key_of
)
def test_a_key_that_nobody_knows_is_one_sentence_with_file_key_and_a_proposal(
    place: Place,
) -> None:
    data = changed(place, {**at(place), "nonsense": 1})
    message = refusal(data)
    if message is None:
        assert SCHEMA.is_valid(data), "the schema and the reader disagree"
    else:
        assert_names(message, place, "nonsense")


@pytest.mark.parametrize("place", [p for p in PLACES if isinstance(p[-1], str)], ids=key_of)
def test_a_key_that_is_left_out_is_nothing_or_one_sentence_with_file_and_key(place: Place) -> None:
    data = copy.deepcopy(GOOD)
    holder: Any = data
    for part in place[:-1]:
        holder = holder[part]
    del holder[place[-1]]
    message = refusal(data)
    if message is None:
        assert SCHEMA.is_valid(data), "the schema and the reader disagree"
        return
    assert message.startswith("company.toml: ")
    assert "\n" not in message
    if not SCHEMA.is_valid(data):
        assert message == f"company.toml: {key_of(place)}: is missing; add it"


def test_an_item_can_not_have_the_id_of_a_step_that_a_platform_brings() -> None:
    message = refusal(changed(("apps", 0, "id"), "sign_in"))
    assert message is not None
    assert message.startswith("company.toml: apps[0].id: 'sign_in' is a step of a platform; ")


def test_more_items_than_a_message_holds_are_refused() -> None:
    apps = GOOD["apps"] + [{"id": f"app-{n}", "name": f"App {n}"} for n in range(200)]
    message = refusal(changed(("apps",), apps))
    assert message is not None
    assert message.startswith("company.toml: apps: ")
    assert "200 is the limit" in message


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["windows_autopilot", "all", "09:00", "10.0", "typical", "notebook"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=4,
)


@given(place=st.sampled_from(PLACES), value=anything)
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_no_value_makes_a_traceback(place: Place, value: Any) -> None:
    """What is accepted can be used; what is not is one sentence."""
    message = refusal(changed(place, value))
    if message is not None:
        assert message.startswith("company.toml: ")
        assert "\n" not in message
