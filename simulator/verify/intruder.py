"""The intruder: whoever has the broker in the wrong hands writes on the devices' topics, and must not move them by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from agent.wire.assignment import Admitted, Assignment
from agent.wire.codec import encode
from agent.wire.messages import Ack, Command, ContinueAnyway, ResetDevice
from agent.wire.topics import Channel, device_topic
from agent.wire.vocabulary import MessageKind, RefusalReason
from simulator.verify.broker import Broker
from simulator.verify.plan import TENANT, DevicePlan
from simulator.verify.seal import STRANGER, altered, sealed
from simulator.verify.store import STORE, Store
from simulator.verify.watch import Finding
from simulator.verify.world import HOUR_MS, World

FORGER: Final = "forger"
"""Whom a forged command is by, and from which store a forged assignment is."""
ELSEWHERE: Final = "device-elsewhere"
"""A device of the same collector that is in no world."""


@dataclass(frozen=True, slots=True)
class Planted:
    """One message on a device's topic; `finding` is None for what normal life may bring too."""

    topic: str
    payload: bytes
    finding: Finding | None


class Intruder:
    """Knows everything that passes through the broker, and no key that a device trusts."""

    def __init__(self, world: World, broker: Broker, store: Store) -> None:
        self._world = world
        self._broker = broker
        self._store = store
        self._count = 0

    def strike(self, plan: DevicePlan) -> None:
        """Plant a message."""
        if not self._broker.is_up:
            return
        world, device = self._world, plan.device
        index = int(world.uniform(device, "forgery") * len(_FORGERIES))
        name, forge = tuple(_FORGERIES.items())[index]
        self._count += 1
        planted = forge(self, plan)
        world.struck("forgeries_per_hour", device, name)
        world.watch.planted(planted.topic, planted.payload, planted.finding)
        retain = world.chance(0.5, device, "forgery is retained")
        self._broker.plant(planted.topic, planted.payload, retain=retain)

    # What it would like a device to do.

    def _attempt(self, device: str) -> str:
        return next(
            (view.attempt for view in reversed(self._store.views()) if view.device == device),
            "none",
        )

    def _command(self, plan: DevicePlan, device: str) -> Command:
        """A way out for the person, or an end of everything."""
        now_ms = self._world.wall_ms
        leaves = self._world.chance(0.5, plan.device, "forged command leaves")
        return Command(
            id=f"{FORGER}-{self._count}",
            device=device,
            attempt=self._attempt(plan.device),
            action=ContinueAnyway() if leaves else ResetDevice(),
            issued_by=FORGER,
            issued_at=_moment(now_ms),
            expires_at=_moment(now_ms + 24 * HOUR_MS),
            attempt_ms_max=24 * HOUR_MS,
        )

    def _assignment(self, plan: DevicePlan, device: str) -> Assignment:
        """Nothing to install, so that the gate opens by itself."""
        return Assignment(
            device=device,
            attempt=self._attempt(plan.device),
            store=FORGER,
            term=1,
            version=1_000_000 + self._count,
            issued_at=_moment(self._world.wall_ms),
            decision=Admitted(user=plan.facts.user, profile=plan.offer.profile, items=()),
        )

    def _content(self, plan: DevicePlan, device: str) -> tuple[Channel, bytes, str]:
        """A command or an assignment, and the topic that it belongs on."""
        if self._world.chance(0.5, plan.device, "forged assignment"):
            topic = device_topic(TENANT, plan.device, Channel.ASSIGNMENT)
            return Channel.ASSIGNMENT, encode(self._assignment(plan, device)), str(topic)
        command = self._command(plan, device)
        topic = device_topic(TENANT, plan.device, Channel.COMMAND, command.id)
        return Channel.COMMAND, encode(command), str(topic)

    # How it tries.

    def unsigned(self, plan: DevicePlan) -> Planted:
        """As it is."""
        channel, content, topic = self._content(plan, plan.device)
        return Planted(topic, content, (_KINDS[channel], RefusalReason.UNSIGNED))

    def forged(self, plan: DevicePlan) -> Planted:
        """With a key of its own."""
        channel, content, topic = self._content(plan, plan.device)
        message = sealed(content, channel, STRANGER)
        return Planted(topic, message, (_KINDS[channel], RefusalReason.UNKNOWN_KEY))

    def altered(self, plan: DevicePlan) -> Planted:
        """Under a good signature of something else."""
        channel, content, topic = self._content(plan, plan.device)
        message = altered(sealed(b"{}", channel), content)
        return Planted(topic, message, (_KINDS[channel], RefusalReason.SIGNATURE))

    def misdirected(self, plan: DevicePlan) -> Planted:
        """What the collector signed for somebody else."""
        channel, content, topic = self._content(plan, ELSEWHERE)
        finding = _KINDS[channel], RefusalReason.OTHER_DEVICE
        return Planted(topic, sealed(content, channel), finding)

    def renamed(self, plan: DevicePlan) -> Planted:
        """What the collector signed, under another id, as if it had not been answered yet."""
        command = self._command(plan, plan.device)
        topic = device_topic(TENANT, plan.device, Channel.COMMAND, f"{command.id}-again")
        message = sealed(encode(command), Channel.COMMAND)
        return Planted(str(topic), message, (MessageKind.COMMAND, RefusalReason.OTHER_COMMAND))

    def replayed(self, plan: DevicePlan) -> Planted:
        """A command that the collector sent some time, exactly as it was."""
        device = plan.device
        known = [c for c in self._store.holds.commands.values() if c.device == device]
        if not known:
            return self.renamed(plan)
        command = known[int(self._world.uniform(device, "replayed") * len(known))]
        topic = device_topic(TENANT, device, Channel.COMMAND, command.id)
        return Planted(str(topic), sealed(encode(command), Channel.COMMAND), None)

    def nonsense(self, plan: DevicePlan) -> Planted:
        """An acknowledgement that none is, or one of somebody else."""
        topic = str(device_topic(TENANT, plan.device, Channel.ACK))
        if self._world.chance(0.5, plan.device, "forged ack is readable"):
            ack = Ack(device=ELSEWHERE, store=STORE, term=1, stream=ELSEWHERE, stored_seq=7)
            return Planted(topic, encode(ack), (MessageKind.ACK, RefusalReason.OTHER_DEVICE))
        return Planted(topic, b'{"forged": true}', (MessageKind.ACK, RefusalReason.UNREADABLE))


_KINDS: Final = {
    Channel.ASSIGNMENT: MessageKind.ASSIGNMENT,
    Channel.COMMAND: MessageKind.COMMAND,
}

_FORGERIES: Final[dict[str, Callable[[Intruder, DevicePlan], Planted]]] = {
    "unsigned": Intruder.unsigned,
    "forged": Intruder.forged,
    "altered": Intruder.altered,
    "misdirected": Intruder.misdirected,
    "renamed": Intruder.renamed,
    "replayed": Intruder.replayed,
    "nonsense": Intruder.nonsense,
}


def _moment(wall_ms: int) -> datetime:
    return datetime.fromtimestamp(wall_ms / 1000, UTC)
