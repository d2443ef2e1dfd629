"""ESP profiles that a scenario names by a file with their Microsoft Graph JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.wire.graph import GraphRefused, profile_from_graph


class GraphFileRefused(Exception):
    """A file that is no profile: the scenario's key, and one sentence with the remedy."""

    def __init__(self, key: str, sentence: str) -> None:
        super().__init__(f"{key}: {sentence}")


def with_graph_profiles(data: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """The same scenario, as parsed, with the profiles that it names by file in it; paths are relative to the folder.

    Raises:
        GraphFileRefused: a file can't be read, or is no ESP profile.
    """
    profiles = data.get("profiles")
    if not isinstance(profiles, list):
        return data
    return {**data, "profiles": [_read(n, entry, folder) for n, entry in enumerate(profiles)]}


def _read(number: int, entry: Any, folder: Path) -> Any:
    if not isinstance(entry, dict) or not isinstance(entry.get("profile"), str):
        return entry
    key, path = f"profiles[{number}].profile", folder / entry["profile"]
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise GraphFileRefused(
            key,
            f"{path}: can't be read: {error.strerror}; name a file beside the scenario, or write the settings here",
        ) from None
    except ValueError:
        raise GraphFileRefused(key, f"{path}: is not JSON; export the profile again") from None
    if not isinstance(content, dict):
        raise GraphFileRefused(key, f"{path}: is no object; give the object of one ESP profile")
    try:
        profile = profile_from_graph(content)
    except GraphRefused as refused:
        raise GraphFileRefused(key, f"{path}: {refused}") from None
    return {**entry, "profile": profile.model_dump(mode="json")}
