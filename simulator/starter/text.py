"""A commented scenario to begin with, small but whole, for the enrollment types and the profile that somebody has."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import tomlkit

from agent.wire.base import IDENTIFIER_LENGTH_MAX, NAME_PATTERN
from agent.wire.profile import EspProfile
from agent.wire.vocabulary import EnrollmentType

_HERE: Final = Path(__file__).parent
EVERY_KEY: Final = _HERE / "every_key.toml"
STARTER: Final = _HERE / "starter.toml"
MORE_TYPES: Final = _HERE / "more_types.toml"
TYPES: Final = (EnrollmentType.WINDOWS_AUTOPILOT, EnrollmentType.IOS)
"""The types that the starter begins with."""
WINDOWS: Final = (EnrollmentType.WINDOWS_AUTOPILOT, EnrollmentType.WINDOWS_MANUAL)
_SIGN_IN: Final = re.compile(r"^\[persons\.office\.screens\.sign_in\]\n.*\n", re.MULTILINE)
"""How people answer at a screen that only Autopilot shows."""
SCHEMA_NAME: Final = "scenario.schema.json"
"""The file that the starter's first line names, beside it."""


class NameRefused(Exception):
    """A file name that no scenario can be named after; one sentence."""


def name_of(file: Path) -> str:
    """The name of the scenario in this file.

    Raises:
        NameRefused: the file's name is none that a scenario can have.
    """
    if not re.fullmatch(NAME_PATTERN, file.stem) or len(file.stem) > IDENTIFIER_LENGTH_MAX:
        raise NameRefused(
            f"{file}: a scenario is named after its file, and '{file.stem}' is no name; "
            "use letters, digits, points, dashes and underlines, a letter or digit at both ends"
        )
    return file.stem


def starter_text(
    file: Path | None = None,
    types: Collection[EnrollmentType] = TYPES,
    profile: EspProfile | None = None,
) -> str:
    """The starter with devices of these types, named after this file, with this profile instead of its own.

    Raises:
        NameRefused: the file's name is none that a scenario can have.
    """
    blocks = [*_blocks_for(types)]
    apps = [entry["id"] for block in blocks for entry in _data(block).get("apps", ())]
    if profile is not None:
        blocks = [*_with_profile(blocks, profile, apps, types)]
    text = "\n\n".join(blocks)
    first = next(kind for kind in EnrollmentType if kind in types)
    text = text.replace("# [targets.windows_autopilot]", f"# [targets.{first.value}]")
    if profile is None:
        text = _blocking(text, apps)
    if file is None:
        return text
    name = name_of(file)
    return text.replace('name = "starter"', f'name = "{name}"').replace("starter.toml", file.name)


# --- blocks: what stands between two empty lines ------------------------------------------------


def _blocks_for(types: Collection[EnrollmentType]) -> Iterator[str]:
    """The starter's blocks and what other types need, each behind the last of its kind; what nobody gets is left out."""
    own = STARTER.read_text(encoding="utf-8").split("\n\n")
    more = [block for block in _blocks(MORE_TYPES) if _data(block)]
    last = {_kind(block): place for place, block in enumerate(own) if _data(block)}
    kept: list[str] = []
    for place, block in enumerate(own):
        kind = _kind(block)
        group = [block]
        if last.get(kind) == place:
            group += [other for other in more if _kind(other) == kind]
        if kind == "admission.minimum_os":
            kept.append(_minimum_os(group, types))
        elif kind == "persons.office" and EnrollmentType.WINDOWS_AUTOPILOT not in types:
            kept.append(_SIGN_IN.sub("", block))
        else:
            kept += [narrowed for each in group if (narrowed := _for_types(each, types))]
    used = {
        name
        for block in kept
        for population in _data(block).get("population", ())
        for name in population.get("hardware", ())
    }
    for block in kept:
        described = _data(block).get("hardware")
        if described is None or not used.isdisjoint(described):
            yield block


def _blocks(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").rstrip("\n").split("\n\n")


def _data(block: str) -> dict[str, Any]:
    return tomllib.loads(block)


def _kind(block: str) -> str:
    """The heading of its first table; empty for a block that has none."""
    found = re.search(r"^\[+([a-z_.]+)\]+", block, re.MULTILINE)
    return found[1] if found else ""


def _for_types(block: str, types: Collection[EnrollmentType]) -> str | None:
    """The block for these types alone; None when it is for none of them."""
    data = _data(block)
    if "population" in data:
        return block if data["population"][0]["type"] in types else None
    if "apps" not in data or "types" not in data["apps"][0]:
        return block
    listed = {EnrollmentType(name) for name in data["apps"][0]["types"]}
    # What Autopilot devices get, other Windows devices get as well.
    meant = {*listed, *(WINDOWS if not listed.isdisjoint(WINDOWS) else ())}
    chosen = [kind for kind in EnrollmentType if kind in meant and kind in types]
    if not chosen:
        return None
    return re.sub(r"^types = .*$", f"types = {_toml(chosen)}", block, flags=re.MULTILINE)


def _minimum_os(blocks: Sequence[str], types: Collection[EnrollmentType]) -> str:
    versions = {
        name: version
        for block in blocks
        for name, version in _data(block)["admission"]["minimum_os"].items()
    }
    lines = [f"{kind} = {_toml(versions[kind])}" for kind in EnrollmentType if kind in types]
    return "\n".join(["[admission.minimum_os]", *lines])


def _blocking(text: str, apps: Sequence[str]) -> str:
    """The starter's own profile, which waits for those of its apps that are there, and for all that were added."""
    data = tomllib.loads(text)
    (wanted,) = (entry["profile"]["blocking_apps"] for entry in data["profiles"])
    added = {entry["id"] for block in _blocks(MORE_TYPES) for entry in _data(block).get("apps", ())}
    blocking = [app for app in apps if app in wanted or app in added]
    return re.sub(
        r"^blocking_apps = \[.*?\]", f"blocking_apps = {_toml(blocking)}", text, flags=re.MULTILINE
    )


# --- a profile ----------------------------------------------------------------------------------


def _with_profile(
    blocks: Sequence[str],
    profile: EspProfile,
    apps: Sequence[str],
    types: Collection[EnrollmentType],
) -> Iterator[str]:
    last_app = max(place for place, block in enumerate(blocks) if _kind(block) == "apps")
    for place, block in enumerate(blocks):
        yield _profile_block(profile) if _kind(block) == "profiles" else block
        if place == last_app and profile.blocking_apps != "all":
            missing = [app for app in profile.blocking_apps if app not in apps]
            for number, app in enumerate(missing, start=1):
                yield _unknown_app(app, number, types)


def _profile_block(profile: EspProfile) -> str:
    settings = profile.model_dump(mode="json", exclude={"graph"}, exclude_none=True)
    tables = {key: value for key, value in settings.items() if isinstance(value, dict)}
    lines = ["[[profiles]]", "priority = 1", 'groups = ["All Devices"]', "[profiles.profile]"]
    lines += [f"{key} = {_toml(value)}" for key, value in settings.items() if key not in tables]
    for name, table in tables.items():
        lines.append(f"[profiles.profile.{name}]")
        lines += [f"{key} = {_toml(value)}" for key, value in table.items()]
    return "\n".join(lines)


def _unknown_app(app: str, number: int, types: Collection[EnrollmentType]) -> str:
    windows = [kind for kind in WINDOWS if kind in types]
    lines = ["[[apps]]", f"id = {_toml(app)}", f'name = "Blocking app {number}"']
    lines[-1] += (
        "   # The profile knows apps by their ids; say here what it is called, its size and its time."
    )
    if windows and len(windows) < len(types):
        lines.append(f"types = {_toml(windows)}")
    return "\n".join([*lines, "size_mb = 100", "time = { median_s = 60 }"])


def _toml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(entry) for entry in value)}]"
    return tomlkit.item(value.value if isinstance(value, EnrollmentType) else value).as_string()
