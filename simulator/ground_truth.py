"""What is really on a device and when it came there, kept apart from all that the agent believes or reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from agent.wire.codec import JsonCodec
from agent.wire.vocabulary import Choice, Gate, GateCause


@dataclass(frozen=True, slots=True)
class Presence:
    """From when to when an item was on the device; `until_ms` None while it still is."""

    from_ms: int
    until_ms: int | None = None

    def covers(self, at_ms: int) -> bool:
        """True when the item was there at that time."""
        return self.from_ms <= at_ms and (self.until_ms is None or at_ms < self.until_ms)


@dataclass(frozen=True, slots=True)
class GateSet:
    """The gate was put into a state."""

    at_ms: int
    gate: Gate
    cause: GateCause


@dataclass(frozen=True, slots=True)
class Chosen:
    """A person pressed something that the screen offered."""

    at_ms: int
    choice: Choice


@dataclass(frozen=True, slots=True)
class Asked:
    """The last screen that the person was asked, and when they are done with it."""

    screen: str
    at_ms: int
    until_ms: int | None
    """None when they are gone for good."""
    answers: bool
    """They answer it and stay; False for those who go away, whether or not they come back."""

    def lasts(self, at_ms: int) -> bool:
        """True while the person attends to nothing else."""
        return self.until_ms is None or at_ms < self.until_ms


@dataclass(slots=True)
class GroundTruth:
    """The record of one device. Times are its running time, in milliseconds."""

    presences: dict[str, list[Presence]] = field(default_factory=dict)
    not_applicable: dict[str, int] = field(default_factory=dict)
    """Items that this device has no use for, and when that was found."""
    gates: list[GateSet] = field(default_factory=list)
    choices: list[Chosen] = field(default_factory=list)
    reboots: list[int] = field(default_factory=list)
    resets: list[int] = field(default_factory=list)
    tries: dict[str, int] = field(default_factory=dict)
    """How often each item was tried, over all attempts."""
    visits: int = 0
    """How often the person came back."""
    asks: dict[str, int] = field(default_factory=dict)
    """How often the person was asked each screen in this visit."""
    asked: Asked | None = None

    def is_present(self, item: str, at_ms: int) -> bool:
        """True when the item was on the device at that time."""
        return any(presence.covers(at_ms) for presence in self.presences.get(item, ()))

    def appears(self, item: str, from_ms: int) -> None:
        """The item is there from now on; an earlier promise that has not come true yet is void."""
        if item in self.presences:
            self.withdraw(item, from_ms)
            self.presences[item].append(Presence(from_ms))
        else:
            self.presences[item] = [Presence(from_ms)]

    def withdraw(self, item: str, at_ms: int) -> None:
        """What would have appeared after this time does not: its installer was stopped."""
        if item in self.presences:
            self.presences[item] = [p for p in self.presences[item] if p.from_ms <= at_ms]

    def disappears(self, item: str, at_ms: int) -> None:
        """What is there then is removed at that time."""
        if item in self.presences:
            self.presences[item] = [
                Presence(p.from_ms, at_ms) if p.covers(at_ms) else p for p in self.presences[item]
            ]

    def stays(self, item: str, at_ms: int) -> None:
        """What would have been removed after this time is not: its uninstaller was stopped."""
        if item in self.presences:
            self.presences[item] = [
                p if p.until_ms is None or p.until_ms <= at_ms else Presence(p.from_ms)
                for p in self.presences[item]
            ]

    def wipe(self, at_ms: int) -> None:
        """Everything is removed, and nobody waits for an answer any more."""
        for item in self.presences:
            self.withdraw(item, at_ms)
            self.presences[item] = [
                Presence(p.from_ms, at_ms if p.until_ms is None else min(p.until_ms, at_ms))
                for p in self.presences[item]
            ]
        self.asked = None
        self.not_applicable.clear()
        self.resets.append(at_ms)


GROUND_TRUTH_CODEC: Final[JsonCodec[GroundTruth]] = JsonCodec(GroundTruth)
"""How a simulated device keeps its record across a restart of the agent."""
