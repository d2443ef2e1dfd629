"""The assignment: what the collector decided for one attempt of one device."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

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
from agent.wire.vocabulary import Context, ItemKind

ITEMS_MAX = 200
DEPENDENCIES_MAX = 100


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
    """The usual time from start to detected; the remaining-time estimate is made of these."""
    install_limit_minutes: Minutes = 60
    tries: Annotated[int, Field(ge=1, le=10)] = 3


class PersonScreens(Wire):
    """Which of the optional person screens the administrator configured."""

    terms_of_use: bool = False
    device_category: bool = False
    compliance: bool = True
    activation: bool = False


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
    """Refuse duplicate ids, unknown dependencies, dependencies across contexts, and cycles.

    Raises:
        ValueError: one sentence that names the item and the remedy.
    """
    by_id: dict[str, AssignedItem] = {}
    for item in items:
        if item.id in by_id:
            raise ValueError(f"item '{item.id}' is listed twice; give each item its own id")
        by_id[item.id] = item
    for item in items:
        if len(item.depends_on) > DEPENDENCIES_MAX:
            raise ValueError(
                f"item '{item.id}' has more than {DEPENDENCIES_MAX} dependencies; remove some"
            )
        for needed in item.depends_on:
            if needed not in by_id:
                known = ", ".join(sorted(by_id))
                raise ValueError(
                    f"item '{item.id}' depends on '{needed}', which is not assigned; assign it or choose one of: {known}"
                )
            if by_id[needed].context is Context.ACCOUNT and item.context is Context.DEVICE:
                raise ValueError(
                    f"device item '{item.id}' depends on account item '{needed}', which comes later; move one of them"
                )
    _refuse_cycles(by_id)


def _refuse_cycles(by_id: dict[str, AssignedItem]) -> None:
    settled: set[str] = set()
    for root in by_id:
        path: list[str] = []
        on_path: set[str] = set()
        stack: list[tuple[str, int]] = [(root, 0)]
        while stack:
            current, edge = stack.pop()
            if current in settled:
                continue
            if edge == 0:
                path.append(current)
                on_path.add(current)
            needs = by_id[current].depends_on
            if edge == len(needs):
                path.pop()
                on_path.discard(current)
                settled.add(current)
                continue
            stack.append((current, edge + 1))
            if needs[edge] in on_path:
                cycle = " → ".join([*path[path.index(needs[edge]) :], needs[edge]])
                raise ValueError(f"the dependencies go in a circle: {cycle}; remove one of them")
            stack.append((needs[edge], 0))
