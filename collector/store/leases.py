"""Leases on partitions, kept in the store: several collectors share all of them, and each belongs to one at a time."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, select, update

from agent.wire.topics import PARTITIONS
from collector.store import schema
from collector.store.database import Database, upsert
from collector.store.sharing import share_of, surplus, wanted

LEASE_MS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Tended:
    """What one look after the leases came to."""

    kept: dict[str, int]
    """Partition and term of each lease that was renewed."""
    taken: dict[str, int]
    """Those that were free, each with a new term."""
    lost: frozenset[str]
    """Those that were held and have another owner now."""
    surplus: tuple[str, ...]
    """Those of `kept` to hand over, because others have a smaller share: stop, then `release`."""
    collectors: int
    """How many collectors share the partitions, this one included."""


class Leases:
    """The leases of one collector. Every method is one transaction and may be called from any thread.

    The law: a term grows each time a partition changes hands, and whoever commits under another one than the current
    stores nothing. So expiry decides only who may take over, never what is stored. Expiry goes by the database's clock.
    """

    def __init__(self, database: Database, owner: str, lease_ms: int = LEASE_MS) -> None:
        """`owner` stays the same over restarts, so that a collector that returns takes its own leases at once."""
        self.owner = owner
        self.lease_ms = lease_ms
        self._database = database

    def tend(self, held: Mapping[str, int]) -> Tended:
        """Renew what is held, take what is free up to the fair share, and say what is lost or too much.

        Args:
            held: partition and term of each lease that this process works under; empty after a start.
        """
        with self._database.writing() as connection:
            self._database.queue_up(connection, "leases")
            now_ms = self._database.now_ms(connection)
            owners = self._show_up(connection, now_ms)
            leases = {row.partition: row for row in connection.execute(select(schema.PARTITIONS))}
            kept = {
                p: term
                for p, term in held.items()
                if p in leases and (leases[p].owner, leases[p].term) == (self.owner, term)
            }
            self._renew(connection, kept, now_ms)
            free = [
                p
                for p in PARTITIONS
                if p not in kept
                and (
                    p not in leases
                    or leases[p].owner in (None, self.owner)
                    or leases[p].expires_ms <= now_ms
                )
            ]
            share = share_of(self.owner, owners)
            chosen = wanted(free, kept, share)
            # What an earlier life of this collector held beyond its share, nobody has to wait for.
            self._release(
                connection,
                {
                    p: leases[p].term
                    for p in free
                    if p in leases and leases[p].owner == self.owner and p not in chosen
                },
            )
            return Tended(
                kept=kept,
                taken=self._take(connection, chosen, now_ms),
                lost=frozenset(held) - frozenset(kept),
                surplus=surplus(kept, share),
                collectors=len(owners),
            )

    def release(self, held: Mapping[str, int]) -> None:
        """Hand these leases over: they are free from now on."""
        with self._database.writing() as connection:
            self._release(connection, held)

    def leave(self, held: Mapping[str, int]) -> None:
        """Hand everything over and share no more."""
        with self._database.writing() as connection:
            self._release(connection, held)
            table = schema.COLLECTORS
            connection.execute(delete(table).where(table.c.owner == self.owner))

    def _show_up(self, connection: Connection, now_ms: int) -> Collection[str]:
        table = schema.COLLECTORS
        connection.execute(delete(table).where(table.c.expires_ms <= now_ms))
        upsert(connection, table, [{"owner": self.owner, "expires_ms": now_ms + self.lease_ms}])
        return connection.execute(select(table.c.owner)).scalars().all()

    def _renew(self, connection: Connection, kept: Collection[str], now_ms: int) -> None:
        table = schema.PARTITIONS
        connection.execute(
            update(table)
            .where(table.c.partition.in_(kept))
            .values(expires_ms=now_ms + self.lease_ms)
        )

    def _take(
        self, connection: Connection, partitions: Collection[str], now_ms: int
    ) -> dict[str, int]:
        table = schema.PARTITIONS
        fresh = [{"partition": p, "term": 0} for p in partitions]
        upsert(connection, table, fresh, keep=True)
        # A collector that was halted in the middle of a commit holds its rows until the server ends its session:
        # whoever waited for them could not renew its own leases meanwhile.
        query = (
            select(table).where(table.c.partition.in_(partitions)).with_for_update(skip_locked=True)
        )
        taken = {row.partition: row.term + 1 for row in connection.execute(query)}
        for partition, term in taken.items():
            connection.execute(
                update(table)
                .where(table.c.partition == partition)
                .values(term=term, owner=self.owner, expires_ms=now_ms + self.lease_ms)
            )
        return taken

    def _release(self, connection: Connection, held: Mapping[str, int]) -> None:
        table = schema.PARTITIONS
        for partition, term in sorted(held.items()):
            connection.execute(
                update(table)
                .where(table.c.partition == partition, table.c.term == term)
                .where(table.c.owner == self.owner)
                .values(owner=None, expires_ms=0)
            )
