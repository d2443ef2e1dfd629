"""Reads what people write (setup, profiles, registrations) and says of every mistake where it is and what would be right."""

from __future__ import annotations

import csv
import difflib
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

M = TypeVar("M", bound=BaseModel)


class FileRefused(Exception):
    """A file can't be used: one sentence that names the file, the key and the remedy."""


class ContentRefused(ValueError):
    """Content does not fit the model: the key at fault and one sentence with the remedy."""

    def __init__(self, key: str, sentence: str) -> None:
        super().__init__(f"{key}: {sentence}" if key else sentence)
        self.key = key
        self.sentence = sentence


def load(path: Path, model: type[M]) -> M:
    """Read a TOML or JSON file into a model.

    Raises:
        FileRefused: it can't be read, or does not fit.
    """
    try:
        return check(model, _parse(path))
    except ContentRefused as refused:
        raise FileRefused(f"{path}: {refused}") from None


def load_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds one object, whatever its name ends in.

    Raises:
        FileRefused: it can't be read, or holds something else.
    """
    content = _parsed(path, "JSON", json.loads)
    if not isinstance(content, dict):
        raise FileRefused(f"{path}: is not one JSON object; give a file that begins with {{")
    return content


def load_table(path: Path) -> dict[str, Any]:
    """Read a TOML or JSON file as it is.

    Raises:
        FileRefused: it can't be read, or is no table of keys.
    """
    content = _parse(path)
    if not isinstance(content, dict):
        raise FileRefused(f"{path}: is not one JSON object; give a file that begins with {{")
    return content


def _parse(path: Path) -> Any:
    if path.suffix == ".json":
        return _parsed(path, "JSON", json.loads)
    return _parsed(path, "TOML", tomllib.loads)


def _parsed(path: Path, kind: str, parse: Callable[[str], Any]) -> Any:
    try:
        # Windows programs begin UTF-8 files with a byte order mark.
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise FileRefused(f"{path}: can't be read ({error.strerror}); check the path") from None
    except UnicodeDecodeError:
        raise FileRefused(f"{path}: is not UTF-8 text; save it as UTF-8") from None
    try:
        return parse(text)
    except ValueError as error:
        raise FileRefused(f"{path}: is not valid {kind}: {error}; correct it there") from None
    except RecursionError:
        raise FileRefused(f"{path}: is nested too deeply; give a flatter file") from None


def check(model: type[M], data: Any) -> M:
    """Validate strictly: a key that the model does not have is a mistake, at any depth.

    Raises:
        ContentRefused: with the first key at fault.
    """
    try:
        value = model.model_validate(data)
    except ValidationError as error:
        worst = deepest(error.errors(include_url=False, include_input=False))
        raise ContentRefused(dotted(worst["loc"]), _sentence(model, worst)) from None
    for path, key, known in _unknown_keys(data, value, ()):
        raise ContentRefused(dotted((*path, key)), _unknown(key, known))
    return value


def deepest(errors: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The error to tell: where a value could be one of several things, the one that came closest to fitting."""
    return max(errors, key=lambda error: len(error["loc"]))


def dotted(location: Sequence[str | int]) -> str:
    """A key as a person writes it: `profiles[0].name`. The names of alternatives inside a type are left out."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif "[" not in part:
            text += f".{part}" if text else part
    return text


def _sentence(model: type[BaseModel], error: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return _unknown(str(error["loc"][-1]), _fields_at(model, error["loc"][:-1]))
    if error["type"] == "missing":
        return "is missing; add it"
    message = str(error["msg"]).removeprefix("Value error, ")
    return message[0].lower() + message[1:]


def _fields_at(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    return sorted(model.model_fields) if not location else []


def _unknown(key: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(key, known, 1)
    if close:
        return f"there is no such key; did you mean '{close[0]}'?"
    if known:
        return f"there is no such key; use one of: {', '.join(sorted(known))}"
    return "there is no such key; remove it"


Unknown = tuple[tuple[str | int, ...], str, list[str]]


def _unknown_keys(data: Any, value: Any, path: tuple[str | int, ...]) -> Iterator[Unknown]:
    if isinstance(value, BaseModel) and isinstance(data, Mapping):
        fields = type(value).model_fields
        known = {f.alias or name: name for name, f in fields.items()} | {n: n for n in fields}
        for key, inner in data.items():
            if key not in known:
                yield path, str(key), sorted(known)
            else:
                yield from _unknown_keys(inner, getattr(value, known[key]), (*path, key))
    elif isinstance(value, Mapping) and isinstance(data, Mapping):
        for (key, inner), held in zip(data.items(), value.values(), strict=True):
            yield from _unknown_keys(inner, held, (*path, key))
    elif isinstance(value, (list, tuple)) and isinstance(data, (list, tuple)):
        for index, (inner, held) in enumerate(zip(data, value, strict=True)):
            yield from _unknown_keys(inner, held, (*path, index))


def load_rows(path: Path, model: type[M], columns: Sequence[str]) -> list[M]:
    """Read a CSV file with a header line; each row becomes one model, empty cells are left out.

    Raises:
        FileRefused: with the line at fault.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise FileRefused(
            f"{path}: can't be read as UTF-8 text; check the path and the encoding"
        ) from None
    reader = csv.DictReader(text.splitlines())
    for name in reader.fieldnames or []:
        if name not in columns:
            raise FileRefused(f"{path}: column '{name}': {_unknown(name, columns)}")
    return [_row(path, reader.line_num, cells, model) for cells in reader]


def _row(path: Path, line: int, cells: Mapping[Any, Any], model: type[M]) -> M:
    if None in cells:
        raise FileRefused(f"{path}: line {line}: has more cells than the header; quote a comma")
    filled = {key: text.strip() for key, text in cells.items() if text and text.strip()}
    try:
        return check(model, filled)
    except ContentRefused as refused:
        raise FileRefused(f"{path}: line {line}: {refused}") from None
