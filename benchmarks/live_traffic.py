"""The messages that devices of a scenario send, made beforehand, so that other clients can send exactly the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal
from uuid import UUID

from agent.core.effects import Effect, Report
from agent.core.enrollment import Enrollment
from agent.core.events import Event
from agent.core.shell import StatusPace, is_urgent, progress_at, report_of
from agent.wire import codec
from agent.wire.events import Event as Envelope
from agent.wire.messages import Presence, Status
from agent.wire.topics import Channel, device_filters, device_topic
from simulator.device import VirtualDevice
from simulator.population import SimulatedDevice, fleet
from simulator.rollout import Rollout
from simulator.scenario import Scenario

TEMPLATES_MAX: Final = 40
WALL_MS: Final = 1_767_225_600_000
SESSION: Final = 1


@dataclass(frozen=True, slots=True)
class Sent:
    """One message, so many real seconds after its device was switched on."""

    at_s: float
    is_event: bool
    """A report at QoS 1; else a retained status at QoS 1."""
    payload: str


@dataclass(frozen=True, slots=True)
class Template:
    """What one device sends; others send the same with their own names in it."""

    device: str
    stream: str
    attempt: str
    messages: tuple[Sent, ...]


@dataclass(frozen=True, slots=True)
class Player:
    """One device: its topics, its names, and whose messages it sends."""

    device: str
    stream: str
    attempt: str
    template: int
    starts_s: float
    event_topic: str
    status_topic: str
    presence_topic: str
    ack_topic: str
    filters: tuple[str, ...]
    birth: str
    will: str


@dataclass(frozen=True, slots=True)
class Traffic:
    """The whole of it; `ends_s` real seconds after the start nothing more is sent."""

    templates: tuple[Template, ...]
    players: tuple[Player, ...]
    ends_s: float

    def write(self, path: Path, host: str, port: int) -> None:
        """As JSON, for a client that knows nothing of this project."""
        path.write_text(json.dumps({"host": host, "port": port, **asdict(self)}))


def traffic_of(
    scenario: Scenario, tenant: str, agents: int, speed: float, ramp_per_s: float, ends_s: float
) -> Traffic:
    """What the first so many devices of a scenario send, with this many real seconds to live."""
    rollout = Rollout(scenario)
    devices = list(fleet(scenario, scenario.seed, agents))
    templates = [_template(rollout, d, speed, ends_s) for d in devices[:TEMPLATES_MAX]]
    players = [_player(tenant, d, len(templates), ramp_per_s) for d in devices]
    return Traffic(tuple(templates), tuple(players), ends_s)


def _template(rollout: Rollout, device: SimulatedDevice, speed: float, ends_s: float) -> Template:
    writer = _Writer(device, speed, ends_s)
    VirtualDevice(rollout, device).run(writer.watch)
    writer.end()
    return Template(device.id, writer.stream, writer.attempt, tuple(writer.sent))


class _Writer:
    """Writes down what a device in simulated time would send in real time."""

    def __init__(self, device: SimulatedDevice, speed: float, ends_s: float) -> None:
        self.stream = _uuid(device, "stream")
        self.attempt = ""
        self.sent: list[Sent] = []
        self._device = device
        self._speed = speed
        self._ends_s = ends_s
        self._machine = Enrollment()
        self._handled_ms = 0
        self._seq = 0
        self._status_pace = StatusPace()

    def watch(self, at_ms: int, event: Event, effects: Sequence[Effect]) -> None:
        """Take in one input with its effects."""
        now_ms = at_ms / self._speed
        self._say_what_is_due(now_ms)
        self._machine.handle(event, at_ms)
        self._handled_ms = at_ms
        if self._machine.refusal is not None and not effects:
            return
        if now_ms <= self._ends_s * 1000:
            reports = [effect for effect in effects if isinstance(effect, Report)]
            self.sent += [Sent(now_ms / 1000, True, self._event(report)) for report in reports]
        self._status_pace.changed(int(now_ms), at_once=is_urgent(effects))

    def end(self) -> None:
        """The device is through."""
        self._say_what_is_due(float("inf"))

    def _say_what_is_due(self, now_ms: float) -> None:
        """The status that the agent sends before something else happens, if it sends one."""
        due_ms = self._status_pace.next_ms
        if due_ms is None or due_ms > min(now_ms, self._ends_s * 1000):
            return
        self._status_pace.told(due_ms)
        self.sent.append(Sent(due_ms / 1000, False, self._status(round(due_ms * self._speed))))

    def _event(self, report: Report) -> str:
        self._seq += 1
        self.attempt = report.attempt
        envelope = Envelope(
            device=self._device.id,
            stream=self.stream,
            seq=self._seq,
            oldest_held=1,
            session=SESSION,
            report=report_of(report, WALL_MS),
        )
        return codec.encode(envelope).decode()

    def _status(self, at_ms: int) -> str:
        status = Status(
            device=self._device.id,
            stream=self.stream,
            session=SESSION,
            device_time=datetime.fromtimestamp(WALL_MS / 1000, UTC),
            progress=progress_at(self._machine, self._handled_ms, at_ms),
        )
        return codec.encode_status(status).decode()


def _player(tenant: str, device: SimulatedDevice, templates: int, ramp_per_s: float) -> Player:
    def topic(channel: Channel) -> str:
        return str(device_topic(tenant, device.id, channel))

    stream, attempt = _uuid(device, "stream"), _uuid(device, "attempt")
    return Player(
        device=device.id,
        stream=stream,
        attempt=attempt,
        template=device.index % templates,
        starts_s=device.index / ramp_per_s,
        event_topic=topic(Channel.EVENT),
        status_topic=topic(Channel.STATUS),
        presence_topic=topic(Channel.PRESENCE),
        ack_topic=topic(Channel.ACK),
        filters=device_filters(tenant, device.id),
        birth=_presence(device, stream, "online"),
        will=_presence(device, stream, "lost"),
    )


def _presence(device: SimulatedDevice, stream: str, state: Literal["online", "lost"]) -> str:
    presence = Presence(
        device=device.id,
        stream=stream,
        session=SESSION,
        state=state,
        agent_version=device.facts.agent_version,
    )
    return codec.encode(presence).decode()


def _uuid(device: SimulatedDevice, purpose: str) -> str:
    return str(UUID(hex=device.draws.hex(purpose)))
