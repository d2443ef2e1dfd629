"""What the last commits left in the store, kept so that the next ones need not read it again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from collector.attempts import DeviceAttempts
from collector.intake import StreamRow
from collector.store.records import Key

DEVICES_MAX: Final = 5_000
"""So many devices of one partition are remembered; then it begins anew."""


@dataclass(slots=True)
class PartitionMemory:
    """One partition under one term: nobody else can have changed it while that is the current one."""

    term: int
    streams: dict[Key, tuple[int, StreamRow]] = field(default_factory=dict)
    """The id of each stream, and how far it is stored."""
    attempts: dict[str, DeviceAttempts] = field(default_factory=dict)
    """By device: its latest attempt and all open ones."""


class Memory:
    """All partitions. A commit that failed makes it forget what the commit was about."""

    def __init__(self) -> None:
        self._partitions: dict[str, PartitionMemory] = {}

    def of(self, partition: str, term: int) -> PartitionMemory:
        """What is known of a partition under this term; nothing where another one may have changed it since."""
        found = self._partitions.get(partition)
        if found is None or found.term != term or len(found.attempts) > DEVICES_MAX:
            found = self._partitions[partition] = PartitionMemory(term)
        return found

    def forget(self, partitions: Iterable[str]) -> None:
        """Read them anew."""
        for partition in partitions:
            self._partitions.pop(partition, None)

    def forget_all(self) -> None:
        """Read everything anew."""
        self._partitions.clear()
