"""What `esp-sim new --from` begins with: an ESP profile of a tenant, or a scenario that is there already."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import tomlkit

from agent.wire.graph import GraphRefused, profile_from_graph
from agent.wire.vocabulary import EnrollmentType
from simulator.scenario_file import load_scenario
from simulator.starter.text import SCHEMA_NAME, TYPES, name_of, starter_text

_FIRST_LINE = "#:schema"


class SourceRefused(Exception):
    """A file to begin with that can't be used; one sentence."""


def text_from(source: Path, file: Path | None, types: Collection[EnrollmentType]) -> str:
    """A scenario for `file` that begins with `source`: Graph JSON where its name ends so, or else a scenario.

    Args:
        types: those that somebody asked for; none is the starter's own, or all of the scenario's.

    Raises:
        NameRefused: the file's name is none that a scenario can have.
        ScenarioRefused: the scenario to begin with can't be used.
        SourceRefused: the profile can't be used, or the scenario has no devices of a type that was asked for.
    """
    if source.suffix.lower() == ".json":
        return _from_profile(source, file, types or TYPES)
    return _from_scenario(source, file, types)


def _from_profile(source: Path, file: Path | None, types: Collection[EnrollmentType]) -> str:
    try:
        content = json.loads(source.read_bytes())
    except OSError as error:
        raise SourceRefused(
            f"{source}: can't be read: {error.strerror}; name another file"
        ) from None
    except ValueError:
        raise SourceRefused(f"{source}: is not JSON; export the profile again") from None
    if not isinstance(content, dict):
        raise SourceRefused(f"{source}: is no object; give the object of one ESP profile")
    try:
        profile = profile_from_graph(content)
    except GraphRefused as refused:
        raise SourceRefused(f"{source}: {refused}") from None
    return starter_text(file, types, profile)


def _from_scenario(source: Path, file: Path | None, types: Collection[EnrollmentType]) -> str:
    load_scenario(source)
    document: Any = tomlkit.parse(source.read_text(encoding="utf-8"))
    if file is not None:
        document["name"] = name_of(file)
    folder = Path() if file is None else file.parent
    for entry in document["profiles"]:
        if isinstance(entry["profile"], str):
            entry["profile"] = Path(
                os.path.relpath(source.parent / entry["profile"], folder)
            ).as_posix()
    if types:
        _keep_types(document, types, source)
    text = tomlkit.dumps(document)
    first, _, rest = text.partition("\n")
    return f"{_FIRST_LINE} ./{SCHEMA_NAME}\n" + (rest if first.startswith(_FIRST_LINE) else text)


def _keep_types(document: Any, types: Collection[EnrollmentType], source: Path) -> None:
    populations = document["population"]
    found = {EnrollmentType(population["type"]) for population in populations}
    for kind in EnrollmentType:
        if kind in types and kind not in found:
            there = ", ".join(kind.value for kind in EnrollmentType if kind in found)
            raise SourceRefused(
                f"{source}: population: has no devices of type {kind.value}; choose among {there}"
            )
    for index in reversed(range(len(populations))):
        if populations[index]["type"] not in types:
            del populations[index]
