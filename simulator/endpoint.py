"""Simulated endpoints for the real agent: one that stands alone and remembers, and one of a fleet."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

from pydantic import ValidationError

from agent.assembly import EndpointOptions
from agent.core.effects import EndpointEffect
from agent.core.events import DeviceFacts, Limits
from agent.given import BadInput
from agent.runtime.identifiers import new_id
from agent.runtime.ports import Endpoint, Post
from agent.wire.vocabulary import EnrollmentType, Variant
from simulator.draws import Draws
from simulator.endpoint_model import EndpointModel, Line
from simulator.ground_truth import GROUND_TRUTH_CODEC, GroundTruth
from simulator.habitat import Habitat
from simulator.person import SimulatedPerson
from simulator.population import SimulatedDevice
from simulator.rollout import Rollout
from simulator.scenario import Network, Person
from simulator.step_events import Scheduled


class Downloaded(Protocol):
    """See `EndpointModel.downloaded`."""

    def __call__(self, item: str, percent: int, at_ms: int, *, broke: bool) -> None:
        """A download on a shared line came to so many percent, or broke off."""
        ...


_SYSTEMS: Final[dict[EnrollmentType, tuple[str, str, str, str]]] = {
    EnrollmentType.WINDOWS_AUTOPILOT: ("Windows 11", "10.0.26100", "Dell", "Latitude 7450"),
    EnrollmentType.WINDOWS_MANUAL: ("Windows 11", "10.0.26100", "Dell", "OptiPlex 7020"),
    EnrollmentType.MACOS_ADE: ("macOS 15", "15.3", "Apple", "MacBook Pro"),
    EnrollmentType.IOS: ("iOS 18", "18.3", "Apple", "iPhone 15"),
    EnrollmentType.ANDROID_ENTERPRISE: ("Android 15", "15", "Google", "Pixel 8"),
}
"""What a simulated device is when nobody says so: its system's name and version, its maker and its model."""

_ADMINISTERED: Final = ("Android 13", "13", "Samsung", "Galaxy A55")
"""The same under a device administrator, which is met on older devices and has its Knox screen on Samsung's."""


class LineEnd(Line, Protocol):
    """A device's end of a line that it shares with other devices of the process."""

    def attach(self, downloaded: Downloaded) -> None:
        """Whom to tell how its downloads go; called once, before the first of them."""
        ...


class FleetEndpoint:
    """One device of a simulated fleet, with its simulated person.

    Args:
        line: its end of the line that the devices of its site share; None where they share nothing.
        record: where what is really on the device outlives a process that is killed; None forgets it.
    """

    def __init__(
        self,
        rollout: Rollout,
        device: SimulatedDevice,
        identifier: Callable[[], str] = new_id,
        *,
        record: Path | None = None,
        line: LineEnd | None = None,
    ) -> None:
        self._record = record
        self.truth = GroundTruth() if record is None else kept_truth(record)
        self._model = EndpointModel(
            device.facts,
            Habitat.of(rollout.scenario, device),
            device.draws,
            self.truth,
            limits=rollout.limits,
            new_id=identifier,
            person=SimulatedPerson(device.person, device.draws, self.truth.visits, device.week_ms),
            line=line,
        )
        self._post: Post | None = None
        if line is not None:
            line.attach(self._downloaded)

    def facts(self) -> DeviceFacts:
        """See `Endpoint.facts`."""
        return self._model.facts

    def attach(self, post: Post) -> None:
        """See `Endpoint.attach`."""
        self._post = post

    def act(self, effect: EndpointEffect, at_ms: int) -> None:
        """See `Endpoint.act`. A record is written before anything is said of it."""
        self._tell(self._model.act(effect, at_ms))

    def _downloaded(self, item: str, percent: int, at_ms: int, *, broke: bool) -> None:
        self._tell(self._model.downloaded(item, percent, at_ms, broke=broke))

    def _tell(self, schedule: Sequence[Scheduled]) -> None:
        assert self._post is not None, "an endpoint is attached before it acts"
        if self._record is not None:
            # A killed process keeps what it has handed to the system; fleets have no power cuts.
            _keep(self._record, self.truth, synced=False)
        for event_ms, event in schedule:
            self._post(event, event_ms)


class SimulatedEndpoint:
    """The endpoint of one simulated device whose record outlives the agent: a killed agent finds its apps again."""

    def __init__(self, options: EndpointOptions) -> None:
        self._file = options.state_dir / f"{options.device}.simulated.json"
        self._truth = kept_truth(self._file)
        if self._truth.asked is not None and not self._truth.asked.answers:
            # Whoever started the agent again is at the device.
            self._truth.asked = None
        draws = Draws(options.seed, options.device)
        person = None
        if options.person:
            person = SimulatedPerson(Person(), draws, self._truth.visits)
        self._model = EndpointModel(
            _facts(options),
            Habitat({}, {}, Network(), Network().megabits_per_second),
            draws,
            self._truth,
            limits=Limits(),
            new_id=new_id,
            person=person,
        )
        self._post: Post | None = None

    def facts(self) -> DeviceFacts:
        """See `Endpoint.facts`."""
        return self._model.facts

    def attach(self, post: Post) -> None:
        """See `Endpoint.attach`."""
        self._post = post

    def act(self, effect: EndpointEffect, at_ms: int) -> None:
        """See `Endpoint.act`. The record is written before anything is said of it."""
        assert self._post is not None, "an endpoint is attached before it acts"
        schedule = self._model.act(effect, at_ms)
        _keep(self._file, self._truth, synced=True)
        for event_ms, event in schedule:
            self._post(event, event_ms)


def SimulatedEndpointFactory(options: EndpointOptions) -> Endpoint:  # noqa: N802
    """What the entry point `enrollment.endpoints: simulated` names. Raises `BadInput`."""
    return SimulatedEndpoint(options)


def _facts(options: EndpointOptions) -> DeviceFacts:
    administered = options.variant is Variant.DEVICE_ADMINISTRATOR
    system = _ADMINISTERED if administered else _SYSTEMS[options.enrollment_type]
    name, system_version, maker, model = system
    return DeviceFacts(
        device=options.device,
        enrollment_type=options.enrollment_type,
        variant=options.variant,
        platform=name,
        os_version=options.os_version or system_version,
        agent_version=options.agent_version,
        user=options.user,
        manufacturer=maker,
        model=model,
        serial=f"SIM{Draws(options.seed, options.device).hex('serial')[:9].upper()}",
    )


def kept_truth(file: Path) -> GroundTruth:
    """What a device's record says; of a device that was never switched on, nothing. Raises `BadInput`."""
    try:
        return GROUND_TRUTH_CODEC.loads(file.read_bytes())
    except FileNotFoundError:
        return GroundTruth()
    except OSError as error:
        raise BadInput(f"{file}: can't be read ({error.strerror}); check --state-dir") from None
    except ValidationError:
        raise BadInput(
            f"{file}: is no record of a simulated device; move it away, and the device begins with nothing installed"
        ) from None


def _keep(file: Path, truth: GroundTruth, *, synced: bool) -> None:
    """Replace the record as a whole; one that is synced is the old one or the new one even after a power cut."""
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(".new")
    with fresh.open("wb") as written:
        written.write(GROUND_TRUTH_CODEC.dumps(truth))
        written.flush()
        if synced:
            os.fsync(written.fileno())
    fresh.replace(file)
