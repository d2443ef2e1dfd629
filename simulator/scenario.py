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
TimeOfDay = Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
Version = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+){0,4}$")]
DEVICES_MAX = 10_000_000
MEBIBYTE = 1024 * 1024

AssignedKind = Literal[ItemKind.APP, ItemKind.POLICY, ItemKind.CERTIFICATE, ItemKind.NETWORK]


class Part(BaseModel):
    """A frozen part of a scenario that accepts no key it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Duration(Part):
    """A time that differs from case to case: log-normal, two thirds within `spread` times the median."""

    median_s: Annotated[float, Field(ge=0, le=10**7)]
    """Half of the cases are over by then."""
    spread: Annotated[float, Field(ge=1, le=20)] = 1.4
    """How far cases differ: at 1.4 two thirds take between 1/1.4 of the median and 1.4 times as long; at 1 all take the same."""


class WorkingHours(Part):
    """The hours of a week in which somebody is there; the clock is the devices' own."""

    begin: TimeOfDay = "09:00"
    """When they come, as in `09:00`."""
    end: TimeOfDay = "17:30"
    """When they leave, later than `begin`."""
    days: Annotated[tuple[Weekday, ...], Field(min_length=1)] = (
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
    )
    """The days on which they come."""


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
    """What the installer ends with; 1603 when it is left out of an `installer_failed` on Windows."""
    code: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    """The platform's own code; one that fits kind and platform when it is left out."""
    hardware: tuple[Name, ...] = ()
    """The hardware classes that it hits; all of them when none is named."""


class CatalogueItem(Part):
    """An app, policy, certificate or network of the catalogue."""

    id: Identifier
    """The id by which `depends_on` and `blocking_apps` name it."""
    name: Name
    """The name on the screen."""
    types: tuple[EnrollmentType, ...] = tuple(EnrollmentType)
    """The enrollment types whose devices get it."""
    context: Context = Context.DEVICE
    """`device` is set up before somebody signs in, `account` after."""
    required: bool = True
    """False is an app that is only offered: nobody waits for it."""
    depends_on: tuple[Identifier, ...] = ()
    """What has to be there before it, by ids; it is installed for its sake."""
    size_mb: Annotated[float, Field(ge=0, le=30 * 1024)] = 0
    """At most 30 GB, as on Windows."""
    time: Duration | None = None
    """From the end of the download to the end of the installer; the kind's usual time when left out."""
    faults: tuple[Fault, ...] = ()
    """What goes wrong with it."""
    not_applicable: Chance = 0
    """The share of devices to which it turns out not to apply."""
    preinstalled: Chance = 0
    """The share of devices that come with it, so that an item which supersedes it has to remove it."""
    soft_reboot: Chance = 0
    """The chance that its installer asks for a restart at the end of the phase."""
    hard_reboot: Chance = 0
    """The chance that its installer asks for a restart at once."""
    install_limit_minutes: Annotated[int, Field(ge=1, le=1440)] = 60
    """How long one try may take until it is stopped."""
    tries: Annotated[int, Field(ge=1, le=10)] = 3
    """How often it is tried until it counts as failed."""
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
    """How long it takes; the platform's usual time when left out."""
    faults: tuple[Fault, ...] = ()
    """What goes wrong with it."""
    variants: Annotated[tuple[Variant, ...], Field(min_length=1)] = tuple(Variant)
    """The ways of enrolling in which it is so."""


class OperatingSystem(Part):
    """One version that devices of a population run."""

    name: Name
    """As people say it: `Windows 11`."""
    version: Version
    """The full version, which `admission.minimum_os` and an item's requirements compare."""
    weight: Weight = 1
    """Its share of the population, as against the weights of the other versions."""


class HardwareClass(Part):
    """What some devices are made of; what is left out is not known to the device either."""

    pace: Annotated[float, Field(gt=0, le=100)] = 1
    """How fast it is: at 2 a step, an installer or a detection takes half its time. Downloads stay with the network."""
    architecture: Architecture | None = None
    """What an item's `rules.requirements` compare, as all the following."""
    disk_free_mb: Amount | None = None
    """Megabytes that are free on the system's disk."""
    memory_mb: Amount | None = None
    """Megabytes of memory."""
    processors: Amount | None = None
    """Logical ones."""
    processor_mhz: Amount | None = None
    """The clock of one of them."""

    @property
    def facts(self) -> Hardware | None:
        """The same as a device says it of itself; None when nothing is known."""
        known = self.model_dump(exclude={"pace"}, exclude_none=True)
        return Hardware(**known) if known else None


class Population(Part):
    """The devices of one enrollment type and variant."""

    type: EnrollmentType
    """How its devices enroll."""
    variant: Variant = Variant.STANDARD
    """Which way of the type they enroll in."""
    weight: Weight
    """Its share of the fleet, as against the weights of the other populations."""
    device: NamePattern
    """The devices' names; `{n}` is the number, `{n:06}` the same with six digits."""
    manufacturer: Name | None = None
    """`Samsung` has the Knox screen on a device under a device administrator."""
    model: Name | None = None
    """The model that the devices report."""
    hardware: dict[Name, Weight] = {}
    """The hardware classes of its devices, each with a weight. Without any, the pace is 1 and nothing else is known."""
    person: Name = "typical"
    """The archetype of the people who hold them."""
    os: Annotated[tuple[OperatingSystem, ...], Field(min_length=1)]
    """The versions that its devices run."""


class ScreenHabits(Part):
    """What a person does at one screen, where it differs from the archetype."""

    answer: Duration | None = None
    """How long they take to answer it, reading not counted."""
    silent: Chance | None = None
    """The chance that they leave it alone for longer than 30 minutes."""
    halt: dict[PersonAction, Chance] | None = None
    """The chance of each action that halts the enrollment there."""
    words: Annotated[int, Field(ge=0, le=100_000)] | None = None
    """How many words there are to read, as in the organization's own terms; the screen's own text when left out."""


class ErrorHabits(Part):
    """What a person does at the error screen."""

    answer: Duration = Duration(median_s=90, spread=2)
    """How long they take to choose something."""
    patience: Duration | None = None
    """How long after the first error screen of a visit they still try again; without end when left out."""
    retries: Annotated[int, Field(ge=0, le=20)] = 2
    """How often they try again before they choose something else."""
    retries_one_item: Chance = 0.3
    """The chance that they try one item alone where that is offered, and not the whole phase."""
    collects_logs: Chance = 0.1
    """The chance that they collect the logs first."""
    then: dict[
        Literal["continue_anyway", "reset_device", "skip_account_setup", "walk_away"], Weight
    ] = {
        "continue_anyway": 4,
        "reset_device": 1,
        "skip_account_setup": 2,
        "walk_away": 3,
    }
    """What they do when they try no more, of what is offered, each with a weight."""


class Person(Part):
    """An archetype of the people in front of the devices."""

    answer: Duration = Duration(median_s=12, spread=2)
    """How long they take to answer a screen, reading not counted."""
    words_per_minute: Annotated[int, Field(ge=20, le=2000)] | None = None
    """How fast they read a screen before they answer it; reading takes no time when left out."""
    hours: WorkingHours | None = None
    """When they are there: whoever is asked after hours answers in the next ones. Always when left out."""
    silent: Chance = 0.0005
    """The chance, at each screen, that they leave it alone for longer than 30 minutes."""
    halt: dict[PersonAction, Chance] = {}
    """The chance, at each screen that offers it, of each action that halts the enrollment."""
    screens: dict[str, ScreenHabits] = {}
    """What is different at single screens, by their ids."""
    error_screen: ErrorHabits = ErrorHabits()
    """What they do when something has failed."""
    other_devices: Annotated[
        dict[Annotated[int, Field(ge=0, le=1000)], Weight], Field(min_length=1)
    ] = {0: 1}
    """How many devices they have enrolled before the run, each number with a weight."""
    leaves_early: Chance = 0.1
    """The chance that they take an offer to go on before setup is complete."""
    returns: Chance = 0.6
    """The chance that they come back after an enrollment that they halted or left alone."""
    return_after: Duration = Duration(median_s=3600, spread=2)
    """After how long they come back."""
    returns_max: Annotated[int, Field(ge=0, le=20)] = 3
    """How often they come back at most."""
    resets_max: Annotated[int, Field(ge=0, le=20)] = 3
    """After how many resets they still begin anew; after one more they leave the device alone for good."""


class ScenarioProfile(Part):
    """An ESP profile with the groups that get it."""

    profile: EspProfile
    """The settings of the enrollment status page, or in quotes the name of a file with its Microsoft Graph JSON."""
    groups: Annotated[tuple[Name, ...], Field(min_length=1)] = ("All Devices",)
    """A device is in `All Devices` always."""
    priority: Annotated[int, Field(ge=1, le=1000)]
    """1 is the highest."""


class Group(Part):
    """A group with the share of the devices that are in it."""

    name: Name
    """What the group is called, as profiles name it."""
    share: Chance
    """The chance of each device to be in it."""
    types: tuple[EnrollmentType, ...] = tuple(EnrollmentType)
    """The enrollment types whose devices may be in it."""


class Network(Part):
    """The devices' own lines to the sources of their apps."""

    megabits_per_second: Annotated[float, Field(gt=0, le=1e6)] = 60
    """The median over the devices."""
    spread: Annotated[float, Field(ge=1, le=20)] = 1.6
    """Two thirds of the devices are within this factor of the median."""
    failure: Chance = 0
    """The chance, at each try of each item, that the network fails it."""
    failure_after: Duration = Duration(median_s=60)
    """How far into the try it fails."""
    weak: Chance = 0
    """The share of devices whose line is weak for good, as at the edge of the radio's reach."""
    weak_failure: Chance = 0.6
    """The chance, at each try of each item, that such a line fails it."""


class Cache(Part):
    """A cache or peers at a site: the first download of an item fills it, the others then come from there."""

    megabits_per_second: Annotated[float, Field(gt=0, le=1e6)] = 400
    """How fast each device gets what is there already; neither its own line nor the site's is used for it."""


class Users(Part):
    """How the devices of the fleet are divided among people."""

    devices: Annotated[dict[Annotated[int, Field(ge=1, le=50)], Weight], Field(min_length=1)] = {
        1: 1
    }
    """How many of the fleet's devices belong to one person, each number with a weight."""


class Admission(Part):
    """The rules by which the collector refuses enrollments, and the state in which reused devices come."""

    device_limit: Annotated[int, Field(ge=1, le=1000)] = 15
    """How many devices one person may have; the collector refuses the next one. Who has how many follows from
    `users.devices` and `persons.NAME.other_devices`."""
    reused: Chance = 0
    """The share of devices that somebody else had before."""
    not_released: Chance = 0
    """Of the reused devices, the share that is still enrolled with that person, so that the collector refuses them."""
    minimum_os: dict[EnrollmentType, Version] = {}
    """The lowest version that may enroll, for each type that has one."""


class Limits(Part):
    """How long the machine waits where no profile says so."""

    assignment_wait_minutes: Annotated[float, Field(gt=0, le=1440)] = 60
    """How long a device waits for its profile."""
    nobody_comes_back_minutes: Annotated[float, Field(gt=0, le=100_000)] = 24 * 60
    """How long an error screen waits for somebody."""


class Start(Part):
    """When the devices are switched on, in their own time."""

    pattern: Literal["at_once", "even", "morning", "rolling", "truckload"] = "even"
    """`morning` has most of them in the middle of the span; `rolling` is so many per working hour, as in a refresh of
    devices that goes on for weeks; `truckload` is one after another, in quick succession."""
    over_minutes: Annotated[float, Field(ge=0, le=100_000)] = 60
    """The span of `even` and `morning`."""
    after_minutes: Annotated[float, Field(ge=0, le=100_000)] = 0
    """How long after the begin of the run the first may be switched on."""
    per_hour: Annotated[float, Field(gt=0, le=1e6)] = 10
    """For `rolling`: how many in each working hour, at each site where there are sites."""
    hours: WorkingHours = WorkingHours()
    """For `rolling`: the hours in which devices are handed out."""
    seconds_apart: Annotated[float, Field(ge=0, le=100_000)] = 45
    """For `truckload`: how long after one device the next is switched on, on average."""


class Site(Part):
    """Places where devices share a line; a large fleet has many alike."""

    name: Name
    """What people call it, as in `Branch office`."""
    weight: Weight = 1
    """Its share of the devices, as against the weights of the other sites."""
    devices: Annotated[int, Field(ge=1, le=10_000)] = 100
    """How many devices are at one such site. A fleet with more of them has more such sites, each with its own line."""
    megabits_per_second: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """The line that its devices share; when left out each has only its own, as at home."""
    cache: Cache | None = None
    """Peers or a cache that keep what was downloaded; `cache = {}` takes the usual ones. None when left out."""
    network: Network | None = None
    """The devices' own lines there; those of `[network]` when left out."""
    start: Start | None = None
    """When its devices are switched on; as in `[start]` when left out."""


class Target(Part):
    """What a calibrated scenario has to come out at."""

    success_rate: Chance
    """The share of attempts that succeed."""
    minutes: Annotated[float, Field(gt=0)]
    """The average time of those."""


class Scenario(Part):
    """A whole scenario."""

    name: Identifier
    """The scenario's id, as in the names of reports."""
    title: Name = "A simulated fleet"
    """What people read above its figures."""
    organization: Name = "Your organization"
    """The organization that the enrollment screens name."""
    user_domain: Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]+$")] = "company.com"
    """The part of the users' names after the @."""
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 1
    """Another seed is another fleet of the same kind; the same one is the same fleet, device by device."""
    devices: Annotated[int, Field(ge=1, le=DEVICES_MAX)] = 100
    """How many devices enroll, unless the command line says so."""
    begins: TimeOfDay = "08:00"
    """The time of day, on a Monday, at which the run begins; working hours are counted by it."""
    speed: Annotated[float, Field(ge=1, le=100_000)] = 60
    """How many times faster than life a live run is, unless the command line says so."""
    limits: Limits = Limits()
    """How long a device waits where no profile says so."""
    start: Start = Start()
    """When the devices are switched on."""
    network: Network = Network()
    """The devices' own lines."""
    sites: tuple[Site, ...] = ()
    """Where the devices are; without any, each has its own line to the sources of its apps."""
    users: Users = Users()
    """How many devices people have."""
    admission: Admission = Admission()
    """Who is refused."""
    hardware: dict[Name, HardwareClass] = {}
    """The hardware classes by the names under which populations refer to them."""
    population: Annotated[tuple[Population, ...], Field(min_length=1)]
    """What kinds of devices there are, each with its share of the fleet."""
    screens: dict[EnrollmentType, PersonScreens] = {}
    """The optional person screens that the administrator configured, for each type."""
    groups: tuple[Group, ...] = ()
    """Groups of devices that get profiles of their own."""
    profiles: Annotated[tuple[ScenarioProfile, ...], Field(min_length=1)]
    """The ESP profiles. Each device gets the one with the highest priority of its groups'."""
    apps: tuple[App, ...] = ()
    """The apps that devices get."""
    policies: tuple[CatalogueItem, ...] = ()
    """The policies that devices get."""
    certificates: tuple[CatalogueItem, ...] = ()
    """The certificates that devices get."""
    networks: tuple[CatalogueItem, ...] = ()
    """The network connections that devices get: Wi-Fi, VPN."""
    steps: dict[str, Step] = {}
    """The platform's own steps that take another time than usual or fail, by their ids."""
    persons: dict[str, Person] = {"typical": Person()}
    """The archetypes of people by the names under which populations refer to them."""
    targets: dict[EnrollmentType, Target] = {}
    """What the page of the real fleet says, for each type, to compare a simulated fleet with."""

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
