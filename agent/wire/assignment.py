"""The assignment: what the collector decided for one attempt of one device."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from agent.wire.base import (
    Count,
    DeviceId,
    Identifier,
    Message,
    Name,
    Seconds,
    Timestamp,
    UserName,
    Wire,
)
from agent.wire.profile import EspProfile, Minutes
from agent.wire.progress import Failure
from agent.wire.vocabulary import (
    Architecture,
    Context,
    ExitCodeMeaning,
    ItemKind,
    RestartBehavior,
)

ITEMS_MAX = 200
DEPENDENCIES_MAX = 100
"""Of one graph: all apps that hang together, whoever depends on whom."""
SUPERSEDED_MAX = 10
"""Of one graph, the newest app included."""
EXIT_CODES_MAX = 100


OsVersion = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+){0,5}$", max_length=64)]


class Requirements(Wire):
    """What a device has to have, or the app does not apply to it; what the device does not know of itself is met."""

    architectures: tuple[Architecture, ...] = ()
    """One of these; none named means any."""
    minimum_os: OsVersion | None = None
    """The lowest version of the system."""
    disk_mb: Count | None = None
    """Megabytes that have to be free on the system's disk."""
    memory_mb: Count | None = None
    """Megabytes of memory."""
    processors: Count | None = None
    """Logical ones."""
    processor_mhz: Count | None = None
    """The clock of one processor."""


class Superseded(Wire):
    """An older app that this one takes the place of."""

    id: Identifier
    """The older app."""
    uninstall: bool = False
    """True: the old one is removed first (replace); False: it stays (update)."""


class ExitCode(Wire):
    """What one exit code of an installer means."""

    code: Annotated[int, Field(ge=-(2**31), le=2**32 - 1)]
    """What the installer ends with."""
    meaning: ExitCodeMeaning
    """What follows from it."""


class InstallRules(Wire):
    """How an installer's work is prepared and judged, where it differs from the platform's usual way.

    The rules and their limits are those of Windows apps (Win32) in Microsoft Intune.
    """

    requirements: Requirements = Requirements()
    """What a device has to have."""
    supersedes: Annotated[tuple[Superseded, ...], Field(max_length=SUPERSEDED_MAX)] = ()
    """The older apps that it takes the place of."""
    must_be_present: tuple[Identifier, ...] = ()
    """Dependencies without automatic installation: unless they are set up for their own sake, this item is not attempted."""
    exit_codes: Annotated[tuple[ExitCode, ...], Field(max_length=EXIT_CODES_MAX)] = ()
    """In addition to 0 and 1707 success, 3010 soft reboot, 1641 hard reboot and 1618 retry."""
    restart: RestartBehavior = RestartBehavior.BY_EXIT_CODE
    """What follows from the installer's wish to restart."""


class AssignedItem(Wire):
    """One app, policy, certificate or network that this device is to get."""

    id: Identifier
    name: Name
    kind: Literal[ItemKind.APP, ItemKind.POLICY, ItemKind.CERTIFICATE, ItemKind.NETWORK] = (
        ItemKind.APP
    )
    context: Context = Context.DEVICE
    required: bool = True
    depends_on: tuple[Identifier, ...] = ()
    size_bytes: Count = 0
    expected_seconds: Seconds = 60
    """The median time from start to detected, download included; the remaining-time estimate is made of these."""
    install_limit_minutes: Minutes = 60
    tries: Annotated[int, Field(ge=1, le=10)] = 3
    rules: InstallRules | None = None

    @property
    def install_rules(self) -> InstallRules:
        """Its rules, or the usual ones."""
        return self.rules or USUAL_RULES


USUAL_RULES = InstallRules()


class PersonScreens(Wire):
    """Which of the optional person screens the administrator configured."""

    terms_of_use: bool = False
    """The organization's terms have to be accepted."""
    device_category: bool = False
    """The person says what kind of device it is."""
    compliance: bool = True
    """The person puts the device's settings in order."""
    activation: bool = False
    """The device has to be activated."""
    setup_action: bool = False
    """An app that a fully managed Android device opens before setup ends."""


class Admitted(Wire):
    """The device may enroll: its profile and its items."""

    outcome: Literal["admitted"] = "admitted"
    organization: Name = "Your organization"
    user: UserName | None = None
    profile: EspProfile
    items: Annotated[tuple[AssignedItem, ...], Field(max_length=ITEMS_MAX)] = ()
    screens: PersonScreens = PersonScreens()

    @field_validator("items")
    @classmethod
    def _sound_dependencies(cls, items: tuple[AssignedItem, ...]) -> tuple[AssignedItem, ...]:
        check_dependencies(items)
        return items


class Refused(Wire):
    """The device may not enroll; nothing is installed."""

    outcome: Literal["refused"] = "refused"
    failure: Failure


class Assignment(Message):
    """The signed content of the `assignment` channel."""

    schema_: Literal["esp.assignment/1"] = Field("esp.assignment/1", alias="schema")
    device: DeviceId
    attempt: Identifier
    store: Identifier
    term: Count
    version: Annotated[int, Field(ge=1)]
    """Grows within a store; a lower one than the device has seen from that store is ignored."""
    issued_at: Timestamp
    decision: Annotated[Admitted | Refused, Field(discriminator="outcome")]


def check_dependencies(items: tuple[AssignedItem, ...]) -> None:
    """Refuse duplicate ids, unknown dependencies, dependencies across contexts, graphs too large, and cycles.

    Raises:
        ValueError: one sentence that names the item and the remedy.
    """
    by_id: dict[str, AssignedItem] = {}
    for item in items:
        if item.id in by_id:
            raise ValueError(f"item '{item.id}' is listed twice; give each item its own id")
        by_id[item.id] = item
    for item in items:
        _refuse_impossible(item, by_id)
    replaced = _replacements(items)
    needs = {
        item.id: tuple(_newest(n, replaced) for n in _dependencies(item) if n in by_id)
        for item in items
    }
    # A device to which the newer app does not apply gets the older one, so both graphs have to be sound.
    _refuse_cycles({i.id: _dependencies(i) for i in items}, "the dependencies go in a circle")
    _refuse_cycles(needs, "the dependencies go in a circle")
    _refuse_large_graphs(needs, DEPENDENCIES_MAX, "dependencies")


def _dependencies(item: AssignedItem) -> tuple[str, ...]:
    return item.depends_on + item.install_rules.must_be_present


def _refuse_impossible(item: AssignedItem, by_id: dict[str, AssignedItem]) -> None:
    for needed in item.depends_on:
        if needed not in by_id:
            known = ", ".join(sorted(by_id))
            raise ValueError(
                f"item '{item.id}' depends on '{needed}', which is not assigned; assign it or choose one of: {known}"
            )
    for needed in _dependencies(item):
        other = by_id.get(needed)
        if other is not None and _comes_later(other, item):
            raise ValueError(
                f"device item '{item.id}' depends on account item '{needed}', which comes later; move one of them"
            )


def _comes_later(other: AssignedItem, item: AssignedItem) -> bool:
    return other.context is Context.ACCOUNT and item.context is Context.DEVICE


def _replacements(items: tuple[AssignedItem, ...]) -> dict[str, str]:
    """The newer item of each superseded one; refuses two newer ones, circles and other contexts."""
    by_id = {item.id: item for item in items}
    found: dict[str, str] = {}
    for item in items:
        for old in item.install_rules.supersedes:
            if old.id in found:
                raise ValueError(
                    f"items '{found[old.id]}' and '{item.id}' both supersede '{old.id}'; leave it to one of them"
                )
            if old.id in by_id and by_id[old.id].context is not item.context:
                raise ValueError(
                    f"item '{item.id}' supersedes '{old.id}' of the other context; give both the same context"
                )
            found[old.id] = item.id
    chains = {old: (new,) for old, new in found.items()}
    _refuse_cycles(chains, "the items supersede each other")
    _refuse_large_graphs(chains, SUPERSEDED_MAX - 1, "supersedence")
    return found


def _newest(name: str, replaced: dict[str, str]) -> str:
    while name in replaced:
        name = replaced[name]
    return name


def _refuse_large_graphs(needs: Mapping[str, Sequence[str]], limit: int, what: str) -> None:
    """One item may hang together with `limit` others."""
    neighbours: defaultdict[str, set[str]] = defaultdict(set)
    for name, others in needs.items():
        for other in others:
            neighbours[name].add(other)
            neighbours[other].add(name)
    seen: set[str] = set()
    for root in needs:
        graph: set[str] = set()
        waiting = [root]
        while waiting:
            current = waiting.pop()
            if current not in graph and current not in seen:
                graph.add(current)
                waiting.extend(neighbours[current])
        seen |= graph
        if len(graph) > limit + 1:
            raise ValueError(
                f"item '{root}' hangs together with {len(graph) - 1} others by {what}, and "
                f"{limit} is the limit; remove some"
            )


def _refuse_cycles(needs: Mapping[str, Sequence[str]], complaint: str) -> None:
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        circle = " → ".join(reversed(error.args[1]))
        raise ValueError(f"{complaint}: {circle}; remove one of them") from None
