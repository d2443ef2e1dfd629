"""What a scenario says: the devices, people, apps, networks and rules that a simulated fleet is made of."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from agent.core.events import Hardware
from agent.wire.assignment import AssignedItem, InstallRules, PersonScreens
from agent.wire.base import Identifier, Name
from agent.wire.profile import EspProfile
from agent.wire.vocabulary import (
    Architecture,
    Context,
    EnrollmentType,
    ItemKind,
    PersonAction,
    Variant,
)

Chance = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[int, Field(ge=0, le=10**9)]
Weight = Annotated[float, Field(ge=0, le=1e9)]
NamePattern = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\{n(:0[1-9])?\}[A-Za-z0-9._-]*$")
]
Version = Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+){0,4}$")]
DEVICES_MAX = 10_000_000
MEBIBYTE = 1024 * 1024

AssignedKind = Literal[ItemKind.APP, ItemKind.POLICY, ItemKind.CERTIFICATE, ItemKind.NETWORK]


class Part(BaseModel):
    """A frozen part of a scenario that accepts no key it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Duration(Part):
    """A time that differs from case to case: log-normal, two thirds within `spread` times the median."""

    median_s: Annotated[float, Field(ge=0, le=10**7)]
    spread: Annotated[float, Field(ge=1, le=20)] = 1.4


class Fault(Part):
    """One way in which a step can go wrong on some devices."""

    kind: Literal[
        "installer_failed",
        "not_detected",
        "download_failed",
        "network_timeout",
        "attestation_failed",
        "step_failed",
        "hangs",
    ]
    """`hangs` is a step that never answers, so that a limit has to end it."""
    chance: Chance
    """The share of devices that it hits at the first try."""
    recovery: Chance = 0.5
    """The chance that each further try of an affected device works."""
    exit_code: int | None = None
    code: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    """The platform's own code; one that fits kind and platform when it is left out."""


class CatalogueItem(Part):
    """An app, policy, certificate or network of the catalogue."""

    id: Identifier
    name: Name
    types: tuple[EnrollmentType, ...] = tuple(EnrollmentType)
    context: Context = Context.DEVICE
    required: bool = True
    depends_on: tuple[Identifier, ...] = ()
    size_mb: Annotated[float, Field(ge=0, le=30 * 1024)] = 0
    """At most 30 GB, as on Windows."""
    time: Duration | None = None
    """From the end of the download to the end of the installer; the kind's usual time when left out."""
    faults: tuple[Fault, ...] = ()
    not_applicable: Chance = 0
    preinstalled: Chance = 0
    """The share of devices that come with it, so that an item which supersedes it has to remove it."""
    soft_reboot: Chance = 0
    hard_reboot: Chance = 0
    install_limit_minutes: Annotated[int, Field(ge=1, le=1440)] = 60
    tries: Annotated[int, Field(ge=1, le=10)] = 3
    rules: InstallRules | None = None
    """Requirements, supersedence, exit codes and restarts, as the assignment carries them."""

    @property
    def size_bytes(self) -> int:
        """The download, in bytes."""
        return int(self.size_mb * MEBIBYTE)


class App(CatalogueItem):
    """An app of the catalogue."""


class Step(Part):
    """A built-in step that takes another time than usual, or fails."""

    time: Duration | None = None
    faults: tuple[Fault, ...] = ()
    variants: Annotated[tuple[Variant, ...], Field(min_length=1)] = tuple(Variant)
    """The ways of enrolling in which it is so."""


class OperatingSystem(Part):
    """One version that devices of a population run."""

    name: Name
    """As people say it: `Windows 11`."""
    version: Version
    weight: Weight = 1


class DeviceHardware(Part):
    """What the devices of a population are made of; what is left out is not known."""

    architecture: Architecture | None = None
    disk_free_mb: Amount | None = None
    memory_mb: Amount | None = None
    processors: Amount | None = None
    """Logical ones."""
    processor_mhz: Amount | None = None

    @property
    def facts(self) -> Hardware:
        """The same as a device says it of itself."""
        return Hardware(**dict(self))


class Population(Part):
    """The devices of one enrollment type and variant."""

    type: EnrollmentType
    variant: Variant = Variant.STANDARD
    weight: Weight
    device: NamePattern
    manufacturer: Name | None = None
    """`Samsung` has the Knox screen on a device under a device administrator."""
    model: Name | None = None
    hardware: DeviceHardware | None = None
    pace: Annotated[float, Field(gt=0, le=100)] = 1
    """How fast its hardware is: at 2 a step takes half its time. Downloads stay with the network."""
    person: Name = "typical"
    """The archetype of the people who hold them."""
    os: Annotated[tuple[OperatingSystem, ...], Field(min_length=1)]


class ScreenHabits(Part):
    """What a person does at one screen, where it differs from the archetype."""

    answer: Duration | None = None
    silent: Chance | None = None
    halt: dict[PersonAction, Chance] | None = None


class ErrorHabits(Part):
    """What a person does at the error screen."""

    answer: Duration = Duration(median_s=90, spread=2)
    retries: Annotated[int, Field(ge=0, le=20)] = 2
    """How often they try again before they choose something else."""
    retries_one_item: Chance = 0.3
    collects_logs: Chance = 0.1
    then: dict[
        Literal["continue_anyway", "reset_device", "skip_account_setup", "walk_away"], Weight
    ] = {
        "continue_anyway": 4,
        "reset_device": 1,
        "skip_account_setup": 2,
        "walk_away": 3,
    }


class Person(Part):
    """An archetype of the people in front of the devices."""

    answer: Duration = Duration(median_s=12, spread=2)
    """How long they take to answer a screen."""
    silent: Chance = 0.0005
    """The chance, at each screen, that they leave it alone for longer than 30 minutes."""
    halt: dict[PersonAction, Chance] = {}
    """The chance, at each screen that offers it, of each action that halts the enrollment."""
    screens: dict[str, ScreenHabits] = {}
    error_screen: ErrorHabits = ErrorHabits()
    leaves_early: Chance = 0.1
    """The chance that they take an offer to go on before setup is complete."""
    returns: Chance = 0.6
    """The chance that they come back after an enrollment that they halted or left alone."""
    return_after: Duration = Duration(median_s=3600, spread=2)
    returns_max: Annotated[int, Field(ge=0, le=20)] = 3
    resets_max: Annotated[int, Field(ge=0, le=20)] = 3
    """After how many resets they still begin anew; after one more they leave the device alone for good."""


class ScenarioProfile(Part):
    """An ESP profile with the groups that get it."""

    profile: EspProfile
    groups: Annotated[tuple[Name, ...], Field(min_length=1)] = ("All Devices",)
    """A device is in `All Devices` always."""
    priority: Annotated[int, Field(ge=1, le=1000)]
    """1 is the highest."""


class Group(Part):
    """A group with the share of the devices that are in it."""

    name: Name
    share: Chance
    types: tuple[EnrollmentType, ...] = tuple(EnrollmentType)


class Network(Part):
    """The devices' connection to the sources of their apps."""

    megabits_per_second: Annotated[float, Field(gt=0, le=1e6)] = 60
    spread: Annotated[float, Field(ge=1, le=20)] = 1.6
    failure: Chance = 0
    """The chance, at each try of each item, that the network fails it."""
    failure_after: Duration = Duration(median_s=60)


class Admission(Part):
    """The enrollments that the collector has to refuse."""

    device_limit: Annotated[int, Field(ge=1, le=1000)] = 15
    device_limit_share: Chance = 0
    """The share of devices whose user has as many devices as allowed already."""
    different_user_share: Chance = 0
    """The share of devices that are enrolled with another user already."""
    minimum_os: dict[EnrollmentType, Version] = {}


class Limits(Part):
    """How long the machine waits where no profile says so."""

    assignment_wait_minutes: Annotated[float, Field(gt=0, le=1440)] = 60
    nobody_comes_back_minutes: Annotated[float, Field(gt=0, le=100_000)] = 24 * 60


class Start(Part):
    """When the devices are switched on, in their own time."""

    pattern: Literal["at_once", "even", "morning"] = "even"
    """`morning` has most of them in the middle of the span."""
    over_minutes: Annotated[float, Field(ge=0, le=100_000)] = 60


class Target(Part):
    """What a calibrated scenario has to come out at."""

    success_rate: Chance
    minutes: Annotated[float, Field(gt=0)]


class Scenario(Part):
    """A whole scenario."""

    name: Identifier
    title: Name = "A simulated fleet"
    organization: Name = "Your organization"
    user_domain: Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]+$")] = "company.com"
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 1
    devices: Annotated[int, Field(ge=1, le=DEVICES_MAX)] = 100
    speed: Annotated[float, Field(ge=1, le=100_000)] = 60
    """How many times faster than life a live run is, unless the command line says so."""
    limits: Limits = Limits()
    start: Start = Start()
    network: Network = Network()
    admission: Admission = Admission()
    population: Annotated[tuple[Population, ...], Field(min_length=1)]
    screens: dict[EnrollmentType, PersonScreens] = {}
    """The optional person screens that the administrator configured, for each type."""
    groups: tuple[Group, ...] = ()
    profiles: Annotated[tuple[ScenarioProfile, ...], Field(min_length=1)]
    apps: tuple[App, ...] = ()
    policies: tuple[CatalogueItem, ...] = ()
    certificates: tuple[CatalogueItem, ...] = ()
    networks: tuple[CatalogueItem, ...] = ()
    steps: dict[str, Step] = {}
    persons: dict[str, Person] = {"typical": Person()}
    targets: dict[EnrollmentType, Target] = {}

    def items_of(
        self, enrollment_type: EnrollmentType
    ) -> tuple[tuple[AssignedKind, CatalogueItem], ...]:
        """What devices of this type get."""
        return tuple((k, item) for k, item in self.catalogue() if enrollment_type in item.types)

    def catalogue(self) -> tuple[tuple[AssignedKind, CatalogueItem], ...]:
        """Every item with its kind, policies first and apps last."""
        return (
            *((ItemKind.POLICY, item) for item in self.policies),
            *((ItemKind.CERTIFICATE, item) for item in self.certificates),
            *((ItemKind.NETWORK, item) for item in self.networks),
            *((ItemKind.APP, item) for item in self.apps),
        )


def assigned_item(kind: AssignedKind, item: CatalogueItem, expected_seconds: int) -> AssignedItem:
    """The item as an assignment carries it."""
    return AssignedItem(
        id=item.id,
        name=item.name,
        kind=kind,
        context=item.context,
        required=item.required,
        depends_on=item.depends_on,
        size_bytes=item.size_bytes,
        expected_seconds=expected_seconds,
        install_limit_minutes=item.install_limit_minutes,
        tries=item.tries,
        rules=item.rules,
    )
