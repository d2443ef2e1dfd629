"""What an administrator decides before devices come: profiles, items, groups, registrations and admission rules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from agent.wire.assignment import (
    ITEMS_MAX,
    Admitted,
    AssignedItem,
    PersonScreens,
    check_dependencies,
)
from agent.wire.base import (
    USER_LENGTH_MAX,
    CustomMessage,
    DeviceId,
    Identifier,
    Name,
    Text,
    UserName,
)
from agent.wire.graph import profile_from_graph
from agent.wire.profile import (
    AccountSetupSettings,
    BlockingApps,
    DeviceSetupSettings,
    ErrorHandling,
    EspProfile,
    Minutes,
    WindowsSettings,
)
from agent.wire.vocabulary import EnrollmentType, ItemKind
from collector.admission import AdmissionRules
from collector.profiles.choice import ALL_DEVICES, StoredProfile
from collector.profiles.fitting import overflow

Priority = Annotated[int, Field(ge=0, le=1_000_000)]


class Strict(BaseModel):
    """What a person writes: a key that nobody reads is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ProfileEntry(Strict):
    """One ESP profile with whom it is assigned to: the form of setup files, `profile add` and the API alike."""

    id: Identifier | None = None
    """Made from the name when it is left out."""
    name: Name
    description: Text = ""
    timeout_minutes: Minutes = 60
    device_setup: DeviceSetupSettings = DeviceSetupSettings()
    account_setup: AccountSetupSettings = AccountSetupSettings()
    blocking_apps: BlockingApps = "all"
    error_handling: ErrorHandling = ErrorHandling()
    windows: WindowsSettings = WindowsSettings()
    custom_message: CustomMessage | None = None
    graph: dict[str, JsonValue] = {}
    """What an imported Graph object had, kept for export."""
    assigned_groups: tuple[Name, ...] = ()
    """`All Devices` and `All Users` are groups that everybody is in."""
    priority: Priority | None = None
    """The lowest number wins; one more than the highest so far when it is left out."""
    active: bool = True
    default: bool = False
    """The profile of every device that no other one is assigned to; its priority does not count."""

    @field_validator("blocking_apps", "graph")
    @classmethod
    def _as_a_profile_has_it(cls, value: Any, info: ValidationInfo) -> Any:
        assert info.field_name is not None, "a field has a name"
        try:
            made = EspProfile(**{"id": "any", "name": "any", info.field_name: value})
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
        return getattr(made, info.field_name)

    @property
    def profile(self) -> EspProfile:
        """The profile as a device gets it."""
        settings = {name: getattr(self, name) for name in EspProfile.model_fields}
        return EspProfile(**{**settings, "id": self.id or slug(self.name)})

    def stored(self, next_priority: int) -> StoredProfile:
        """The profile as the store keeps it; `next_priority` counts when none was given."""
        return StoredProfile(
            profile=self.profile,
            priority=next_priority if self.priority is None else self.priority,
            groups=self.assigned_groups,
            active=self.active,
            default=self.default,
        )


def slug(name: str) -> str:
    """An id from a name: `Default ESP` gives `default-esp`."""
    text = re.sub(r"[^a-z0-9]+", "-", name.casefold()).strip("-")
    return text[:128].strip("-") or "profile"


class Catalogue(Strict):
    """What devices of one enrollment type get."""

    items: Annotated[tuple[AssignedItem, ...], Field(max_length=ITEMS_MAX)] = ()
    screens: PersonScreens = PersonScreens()

    @field_validator("items")
    @classmethod
    def _sound(cls, items: tuple[AssignedItem, ...]) -> tuple[AssignedItem, ...]:
        check_dependencies(items)
        return items

    def largest_offer(self, organization: str, profile: EspProfile) -> Admitted:
        """What a device gets with this profile when its user has the longest of names."""
        return Admitted(
            organization=organization,
            user="u" * USER_LENGTH_MAX,
            profile=profile,
            items=self.items,
            screens=self.screens,
        )


class Group(Strict):
    """Who is in a group."""

    users: tuple[UserName, ...] = ()
    devices: tuple[DeviceId, ...] = ()


class Registration(Strict):
    """A device that is expected: it is pending until its first attempt."""

    device: DeviceId
    enrollment_type: EnrollmentType | None = None
    user: UserName | None = None
    group: Name | None = None
    """A group that the device joins."""


class Setup(Strict):
    """A setup file (TOML or JSON). Loading one replaces what an earlier one said; devices' reports stay."""

    organization: Name = "Your organization"
    admission: AdmissionRules = AdmissionRules()
    profiles: tuple[ProfileEntry, ...] = ()
    catalogue: dict[EnrollmentType, Catalogue] = {}
    groups: dict[Name, Group] = {}
    registrations: tuple[Registration, ...] = ()
    enrolled: dict[DeviceId, UserName] = {}
    """Devices that were enrolled before, each with its user: what "already enrolled with a different user" is about."""

    @model_validator(mode="after")
    def _sound_profiles(self) -> Setup:
        ids = [entry.profile.id for entry in self.profiles]
        twice = sorted({i for i in ids if ids.count(i) > 1})
        if twice:
            raise ValueError(f"profile '{twice[0]}' is there twice; give each profile its own id")
        defaults = [e.name for e in self.profiles if e.default]
        if len(defaults) > 1:
            raise ValueError(
                f"'{defaults[0]}' and '{defaults[1]}' are both default; keep one default profile"
            )
        self._blocking_apps_exist()
        self._assignments_fit()
        return self

    def _blocking_apps_exist(self) -> None:
        apps = {
            item.id
            for catalogue in self.catalogue.values()
            for item in catalogue.items
            if item.kind is ItemKind.APP
        }
        for index, entry in enumerate(self.profiles):
            named = () if entry.blocking_apps == "all" else entry.blocking_apps
            for app in named:
                if app not in apps:
                    known = ", ".join(sorted(apps)) or "none yet"
                    raise ValueError(
                        f"profiles[{index}].blocking_apps: there is no app '{app}' in the catalogue; "
                        f"add it there or use one of: {known}"
                    )

    def _assignments_fit(self) -> None:
        profiles = [(f"profiles[{i}]", entry.profile) for i, entry in enumerate(self.profiles)]
        if not any(entry.default for entry in self.profiles):
            profiles.append(("profiles", default_entry().profile))
        for enrollment_type, catalogue in self.catalogue.items():
            for key, profile in profiles:
                found = overflow(catalogue.largest_offer(self.organization, profile))
                if found is None:
                    continue
                items = f"catalogue.{enrollment_type.value}.items"
                where, other = items, f"profile '{found.profile}'"
                if not found.is_of_items:
                    where, other = f"{key}.{found.field}", f"the items of {enrollment_type.value}"
                raise ValueError(
                    f"{where}: with {other} an assignment {found.sizes}; {found.remedy}"
                )


def entry_from_graph(content: Mapping[str, Any], groups: tuple[str, ...]) -> dict[str, Any]:
    """A Graph object as the content of a `ProfileEntry`, assigned to these groups, with the priority it has in Graph.

    The default profile of a tenant becomes the default here: its priority of 0 stands behind all others.

    Raises:
        GraphRefused: it is no ESP profile that could be here.
    """
    profile = profile_from_graph(content)
    kind = profile.graph.get("deviceEnrollmentConfigurationType")
    return {
        **profile.model_dump(mode="json"),
        "assigned_groups": list(groups),
        "priority": profile.graph.get("priority"),
        "default": isinstance(kind, str) and kind.startswith("default"),
    }


def default_entry() -> ProfileEntry:
    """The profile of a new store, so that a device enrolls before anybody decided anything."""
    return ProfileEntry(name="Default ESP", assigned_groups=(ALL_DEVICES,), default=True)
