"""ESP profiles as Microsoft Graph has them, so that a tenant's own settings come in and go out unchanged."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import JsonValue, ValidationError

from agent.wire.profile import EspProfile

GRAPH_TYPE: Final = "#microsoft.graph.windows10EnrollmentCompletionPageConfiguration"
TYPE_KEY: Final = "@odata.type"
TIMEOUT_MINUTES_DEFAULT: Final = 60


class GraphRefused(ValueError):
    """An object or a profile that has no equal on the other side: the key at fault, and one sentence with the remedy."""

    def __init__(self, key: str, sentence: str) -> None:
        super().__init__(f"{key}: {sentence}" if key else sentence)
        self.key = key
        self.sentence = sentence


def _same(value: Any) -> Any:
    return value


def _first(values: Sequence[Any]) -> JsonValue:
    value: JsonValue = values[0]
    return value


def _opposite(value: bool) -> bool:
    return not value


def _apps(value: list[Any]) -> Any:
    return value or "all"


def _app_ids(values: Sequence[Any]) -> JsonValue:
    if values[0] == "all":
        return []
    if not values[0]:
        raise GraphRefused(
            "blocking_apps",
            "names no app, but an empty list is every app in Graph; name one app at least, or write 'all'",
        )
    return list(values[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """How one property of the Graph object is set here."""

    key: str
    settings: tuple[str, ...]
    """Paths in `EspProfile`: reading sets all of them."""
    kind: type
    absent: JsonValue
    """What Graph means when the property is missing or null, as it would be written."""
    read: Callable[[Any], Any] = _same
    write: Callable[[Sequence[Any]], JsonValue] = _first
    """From the values of `settings`."""
    is_required: bool = False


FIELDS: Final = (
    Field(key="id", settings=("id",), kind=str, absent=None, is_required=True),
    Field(key="displayName", settings=("name",), kind=str, absent=None, is_required=True),
    Field(key="description", settings=("description",), kind=str, absent=""),
    # One switch for the whole page: without it there is no ESP at all, so nothing blocks either.
    Field(
        key="showInstallationProgress",
        settings=("device_setup.show_progress", "account_setup.show_progress"),
        kind=bool,
        absent=False,
        write=any,
    ),
    Field(
        key="blockDeviceSetupRetryByUser",
        settings=("error_handling.allow_retry",),
        kind=bool,
        absent=False,
        read=_opposite,
        write=lambda values: not values[0],
    ),
    Field(
        key="allowDeviceResetOnInstallFailure",
        settings=("error_handling.allow_reset",),
        kind=bool,
        absent=False,
    ),
    Field(
        key="allowLogCollectionOnInstallFailure",
        settings=("error_handling.allow_log_collection",),
        kind=bool,
        absent=False,
    ),
    Field(
        key="allowDeviceUseOnInstallFailure",
        settings=("error_handling.allow_continue",),
        kind=bool,
        absent=False,
    ),
    # No text is the fixed one.
    Field(
        key="customErrorMessage",
        settings=("custom_message",),
        kind=str,
        absent=None,
        read=lambda value: value or None,
        write=lambda values: values[0] or None,
    ),
    # The untouched default profile of a tenant has 0.
    Field(
        key="installProgressTimeoutInMinutes",
        settings=("timeout_minutes",),
        kind=int,
        absent=TIMEOUT_MINUTES_DEFAULT,
        read=lambda value: TIMEOUT_MINUTES_DEFAULT if value == 0 else value,
    ),
    # An empty list is every required app.
    Field(
        key="selectedMobileAppIds",
        settings=("blocking_apps",),
        kind=list,
        absent=[],
        read=_apps,
        write=_app_ids,
    ),
    Field(
        key="trackInstallProgressForAutopilotOnly",
        settings=("windows.only_out_of_box",),
        kind=bool,
        absent=False,
    ),
    Field(
        key="installQualityUpdates",
        settings=("windows.quality_updates",),
        kind=bool,
        absent=False,
    ),
    Field(
        key="allowNonBlockingAppInstallation",
        settings=("windows.technician_installs_all",),
        kind=bool,
        absent=False,
    ),
)
"""Every property with a setting here.

Source: Microsoft Graph beta, resource `windows10EnrollmentCompletionPageConfiguration` (its properties and their
defaults), and, for the portal's meaning of each, Microsoft Learn, "Set up the Enrollment Status Page".
`EspProfile` settings without a property (the two `block_until_complete`, `allow_skip`, `show_details`) keep their
defaults on import and are not exported.
"""

KEPT: Final = {
    TYPE_KEY: "says that the object is an ESP profile; every export has it",
    "@odata.context": "where the object was read",
    "priority": "belongs to the list of profiles; the default profile has 0 and still comes last",
    "createdDateTime": "Graph's own record",
    "lastModifiedDateTime": "Graph's own record",
    "version": "Graph's own record",
    "roleScopeTagIds": "which administrators see the profile",
    "deviceEnrollmentConfigurationType": "tells the tenant's default profile from the others",
    "disableUserStatusTrackingAfterFirstUser": "concerns users after the first, and an attempt is the first one's",
    "assignments": "names groups of the tenant by their ids",
}
"""Properties known to have no setting here, and what they are: `EspProfile.graph` keeps them, as any unknown one."""

_KINDS: Final[dict[type, str]] = {
    bool: "true or false",
    int: "a whole number",
    str: "text",
    list: "a list of app ids",
}


def profile_from_graph(content: Mapping[str, Any]) -> EspProfile:
    """The profile of a Graph object; the properties that it had are kept in `graph`, those without a setting too.

    The object may stand inside `{"value": ...}`, as the documentation prints it.

    Raises:
        GraphRefused: it is no ESP profile, or a property has a value that no profile can have.
    """
    found = _unwrapped(content)
    _check_type(found)
    _check_text(found)
    settings: dict[str, Any] = {}
    for field in FIELDS:
        value = _read(field, found.get(field.key))
        for path in field.settings:
            _put(settings, path, value)
    return _validated({**settings, "graph": _kept(found)})


def profile_to_graph(profile: EspProfile) -> dict[str, JsonValue]:
    """The Graph object of a profile.

    An imported one comes back as it was, but for settings that were changed since. One that was made here has every
    property of `FIELDS`.

    Raises:
        GraphRefused: a setting can't be said in Graph.
    """
    written: dict[str, JsonValue] = {TYPE_KEY: GRAPH_TYPE, **profile.graph}
    for field in FIELDS:
        value = field.write([_at(profile, path) for path in field.settings])
        if field.key in profile.graph:
            if not _stands_for(field, profile.graph[field.key], value):
                written[field.key] = value
        elif not profile.graph or value != field.absent:
            written[field.key] = value
    return written


def _unwrapped(content: Mapping[str, Any]) -> Mapping[str, Any]:
    if "value" not in content or TYPE_KEY in content:
        return content
    inner = content["value"]
    if not isinstance(inner, Mapping):
        raise GraphRefused("value", "is not one object; give the object of a single ESP profile")
    return inner


def _check_type(found: Mapping[str, Any]) -> None:
    if TYPE_KEY not in found:
        raise GraphRefused(TYPE_KEY, f"is missing; add it with the value '{GRAPH_TYPE}'")
    if found[TYPE_KEY] != GRAPH_TYPE:
        raise GraphRefused(
            TYPE_KEY, f"is no ESP profile; give an object whose type is '{GRAPH_TYPE}'"
        )


def _check_text(found: Mapping[str, Any]) -> None:
    for key, value in found.items():
        try:
            json.dumps({key: value}, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            name = key.encode(errors="replace").decode()
            raise GraphRefused(
                name, "has half a character, which UTF-8 can't carry; correct it"
            ) from None


def _read(field: Field, value: Any) -> Any:
    """The setting that a property's value stands for."""
    if value is None and field.is_required:
        raise GraphRefused(field.key, "is missing; add it")
    value = field.absent if value is None else value
    # An exact type: a bool is an int to Python, but not to Graph.
    if value is not None and type(value) is not field.kind:
        raise GraphRefused(field.key, f"has to be {_KINDS[field.kind]}; correct it")
    return field.read(value)


def _stands_for(field: Field, kept: Any, value: JsonValue) -> bool:
    """Whether a property reads as the setting that would be written as `value`."""
    try:
        return field.write([_read(field, kept)] * len(field.settings)) == value
    except GraphRefused:
        return False


def _kept(found: Mapping[str, Any]) -> dict[str, Any]:
    """The object as `EspProfile.graph` keeps it: without the required properties, which every export has."""
    by_key = {field.key: field for field in FIELDS}
    return {
        key: _shortened(by_key.get(key), value)
        for key, value in found.items()
        if key not in by_key or not by_key[key].is_required
    }


def _shortened(field: Field | None, value: Any) -> Any:
    """Texts and lists that the setting gives back leave only their default: they would travel to every device twice."""
    if field is not None and field.kind in (str, list) and _is_exact(field, value):
        return field.absent
    return value


def _is_exact(field: Field, value: object) -> bool:
    """Whether an export writes the setting as it was read: null, for one, is written as the default."""
    return field.write([_read(field, value)] * len(field.settings)) == value


def _validated(settings: Mapping[str, Any]) -> EspProfile:
    try:
        return EspProfile.model_validate(settings)
    except ValidationError as error:
        # A list of apps is also refused as the word `all`: the deepest error is the one that tells.
        worst = max(
            error.errors(include_url=False, include_input=False), key=lambda e: len(e["loc"])
        )
        message = str(worst["msg"]).removeprefix("Value error, ")
        sentence = f"{message[0].lower()}{message[1:]}; correct it"
        raise GraphRefused(_key_of(worst["loc"]), sentence) from None


def _key_of(location: Sequence[str | int]) -> str:
    """The Graph property that a setting was read from."""
    for field in FIELDS:
        for path in field.settings:
            parts = tuple(path.split("."))
            if tuple(location[: len(parts)]) == parts:
                return field.key
    return str(location[1]) if len(location) > 1 else ""


def _put(settings: dict[str, Any], path: str, value: Any) -> None:
    *parents, name = path.split(".")
    for parent in parents:
        settings = settings.setdefault(parent, {})
    settings[name] = value


def _at(profile: EspProfile, path: str) -> Any:
    value: Any = profile
    for name in path.split("."):
        value = getattr(value, name)
    return value
