"""What the simulator's tests share: one device, and the wishes that a machine has of it."""

from __future__ import annotations

from typing import Any

from agent.core.effects import RunStep
from agent.core.events import DeviceFacts, Limits
from agent.wire.vocabulary import Context, EnrollmentType, ItemKind, Variant
from simulator.draws import Draws
from simulator.endpoint_model import EndpointModel
from simulator.ground_truth import GroundTruth
from simulator.habitat import Habitat
from simulator.person import SimulatedPerson
from simulator.scenario import CatalogueItem, Network, Person, Step


def facts_of(
    enrollment_type: EnrollmentType, variant: Variant = Variant.STANDARD, **more: Any
) -> DeviceFacts:
    """A device of this type."""
    return DeviceFacts(
        device="DESKTOP-000001",
        enrollment_type=enrollment_type,
        variant=variant,
        platform="Windows 11",
        os_version="10.0.22631",
        agent_version="1",
        **more,
    )


def make_model(
    *items: CatalogueItem,
    person: Person | None = None,
    truth: GroundTruth | None = None,
    network: Network | None = None,
    enrollment_type: EnrollmentType = EnrollmentType.WINDOWS_AUTOPILOT,
    variant: Variant = Variant.STANDARD,
    steps: dict[str, Step] | None = None,
    seed: int = 1,
) -> EndpointModel:
    """A device with these catalogue items and this person."""
    draws = Draws(seed, 0)
    habitat = Habitat({item.id: item for item in items}, steps or {}, network or Network(), 100)
    numbers = iter(range(1, 1000))
    return EndpointModel(
        facts_of(enrollment_type, variant),
        habitat,
        draws,
        GroundTruth() if truth is None else truth,
        limits=Limits(),
        new_id=lambda: f"again-{next(numbers)}",
        person=None if person is None else SimulatedPerson(person, draws),
    )


def make_step(item: str, **changes: Any) -> RunStep:
    """The machine's wish to run one item."""
    values: dict[str, Any] = {
        "item": item,
        "name": item.title(),
        "kind": ItemKind.APP,
        "context": Context.DEVICE,
        "run": 1,
        "attempt": 1,
        "detect_first": False,
        "size_bytes": 0,
    }
    return RunStep(**(values | changes))
