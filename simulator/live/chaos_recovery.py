"""Measures how long a fault is felt: until every agent that it struck has something newer stored at the collector."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agent.assembly import read_reports
from agent.runtime.ports import JournalUnreadable
from simulator.live.chaos_faults import Fault

QUIET_AFTER_S: Final = 1.0
"""How often the journals of agents that nothing is heard of are looked at."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one device stands in its journal."""

    last: int = 0
    """The number of its last report; one that has no number yet counts as the next."""
    unacknowledged: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """What the collector knows of one device."""

    stored: int = 0
    session: int = 0


@dataclass(slots=True)
class Felt:
    """One fault and how it was got over. Times are real seconds on the run's clock."""

    fault: Fault
    whom: str
    """The worker whose agents or line it struck, or broker or collector."""
    began_s: float
    ended_s: float
    agents: int
    """Agents that were enrolling and were struck."""
    note: str = ""
    waiting: dict[str, tuple[Standing, Known]] = field(default_factory=dict)
    """Those of whom nothing newer was heard yet, with what was known of them when the fault ended."""
    heard: int = 0
    """Those of whom something newer was stored, or who got through."""
    quiet: int = 0
    """Those who had nothing to report after it: they waited for a person, for example."""
    recovered_s: float | None = None
    """When the last of those who had something to say was heard."""

    @property
    def recovery_s(self) -> float | None:
        """From the end of the fault; None while somebody is waited for, or when nobody had anything to say."""
        if self.waiting or self.recovered_s is None:
            return None
        return self.recovered_s - self.ended_s


def standings(journal: Path) -> dict[str, Standing]:
    """Where each device of a journal stands; empty while there is no journal to read."""
    found: dict[str, Standing] = {}
    try:
        for row in read_reports(journal):
            before = found.get(row.device, Standing())
            # In the order of the numbers, and those that have none yet last.
            last = row.seq if row.seq is not None else before.last + 1
            found[row.device] = Standing(last, before.unacknowledged + (not row.acknowledged))
    except JournalUnreadable:
        return {}
    return found


def known_of(store: Path) -> dict[str, Known] | None:
    """What the collector's store says of each device; None while it can't be read."""
    try:
        with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=1)) as database:
            stored = dict(
                database.execute("SELECT device, MAX(last_seq) FROM streams GROUP BY device")
            )
            sessions = dict(
                database.execute("SELECT device, MAX(session) FROM presence GROUP BY device")
            )
    except sqlite3.Error:
        return None
    names = stored.keys() | sessions.keys()
    return {name: Known(stored.get(name, 0), sessions.get(name, 0)) for name in names}


class Recoveries:
    """Follows every fault until it is got over.

    Args:
        through: the devices that are through.
        journal_of: where a device's journal is.
    """

    def __init__(
        self,
        store: Path,
        journal_of: Mapping[str, Path],
        through: Callable[[], AbstractSet[str]],
    ) -> None:
        self._store = store
        self._journal_of = journal_of
        self._through = through
        self.felt: list[Felt] = []

    def watch(self, felt: Felt, agents: Iterable[str]) -> None:
        """A fault has ended: from now on something newer is waited for, of each of these agents."""
        known = known_of(self._store) or {}
        read: dict[Path, dict[str, Standing]] = {}
        for agent in agents:
            journal = self._journal_of[agent]
            if journal not in read:
                read[journal] = standings(journal)
            stands = read[journal].get(agent, Standing())
            felt.waiting[agent] = (stands, known.get(agent, Known()))
        self.felt.append(felt)

    def look(self, now_s: float, *, at_journals: bool) -> None:
        """See who has been heard of; `at_journals` also sees who has nothing to say."""
        open_faults = [felt for felt in self.felt if felt.waiting]
        known = known_of(self._store) if open_faults else None
        if known is None:
            return
        through = self._through()
        for felt in open_faults:
            for agent, (stood, _) in list(felt.waiting.items()):
                if agent in through or known.get(agent, Known()).stored > stood.last:
                    del felt.waiting[agent]
                    felt.heard += 1
                    felt.recovered_s = now_s
        if at_journals:
            self._let_quiet_go(known)

    def _let_quiet_go(self, known: Mapping[str, Known]) -> None:
        read: dict[Path, dict[str, Standing]] = {}
        for felt in self.felt:
            for agent, (stood, was) in list(felt.waiting.items()):
                journal = self._journal_of[agent]
                if journal not in read:
                    read[journal] = standings(journal)
                stands = read[journal].get(agent, Standing())
                now = known.get(agent, Known())
                is_back = not felt.fault.kind.breaks_sessions or now.session > was.session
                if is_back and stands.last <= stood.last and not stands.unacknowledged:
                    del felt.waiting[agent]
                    felt.quiet += 1
