"""What has to be true of the collectors, one property an object: what they store, say and decide."""

from __future__ import annotations

from collections import defaultdict

from agent.wire.assignment import Admitted
from agent.wire.events import (
    AttemptEnded,
    AttemptStarted,
)
from agent.wire.messages import Presence
from agent.wire.vocabulary import (
    SUCCESS_STATES,
)
from collector.intake import Loss, StreamRow
from simulator.verify.plan import WorldPlan
from simulator.verify.store import Assigned, Store, Transaction
from simulator.verify.watch import Checker


class StoredInOrder(Checker):
    """Each stream is stored number by number, once; what is not there is recorded as lost."""

    name = "stored in order"

    def __init__(self, plan: WorldPlan) -> None:
        super().__init__(plan)
        self._lengths: dict[tuple[str, str], int] = {}

    def store_restored(self, store: Store) -> None:
        """See `Checker`."""
        self._lengths = {key: len(events) for key, events in store.holds.events.items()}

    def stored(self, collector: str, transaction: Transaction, store: Store) -> None:
        """See `Checker`."""
        for key in transaction.after:
            events = store.holds.events.get(key, [])
            known = self._lengths.get(key, 0)
            self._lengths[key] = len(events)
            lost = {n for k, one in store.holds.losses if k == key for n in _numbers(one)}
            last = events[known - 1].seq if known else 0
            for event in events[known:]:
                missing = set(range(last + 1, event.seq)) - lost
                if event.seq <= last or missing:
                    raise self.violated(f"number {event.seq} of {key[0]} is stored after {last}")
                last = event.seq


def _numbers(loss: Loss) -> range:
    return range(loss.first_seq, loss.last_seq + 1)


class OnlyTheOwner(Checker):
    """A commit under a lease that is over does not go through."""

    name = "only the owner"

    def stored(self, collector: str, transaction: Transaction, store: Store) -> None:
        """See `Checker`."""
        for arrival in transaction.arrivals:
            current = store.holds.terms.get(arrival.partition)
            if arrival.term != current:
                raise self.violated(
                    f"{collector} commits under term {arrival.term} of {arrival.partition}, "
                    f"which is at {current}"
                )


class CommittedFirst(Checker):
    """Nothing is acknowledged that is not committed."""

    name = "committed first"

    def __init__(self, plan: WorldPlan) -> None:
        super().__init__(plan)
        self._committed: defaultdict[tuple[str, str], int] = defaultdict(int)

    def stored(self, collector: str, transaction: Transaction, store: Store) -> None:
        """See `Checker`."""
        for key in transaction.after:
            stored_seq = store.stream(*key).last_seq
            self._committed[key] = max(self._committed[key], stored_seq)

    def acknowledged(self, row: StreamRow) -> None:
        """See `Checker`."""
        if row.last_seq > self._committed[row.device, row.stream]:
            raise self.violated(f"{row.device} is told {row.last_seq}, which is not committed")


class AdmissionHeld(Checker):
    """No user gets more devices admitted than allowed, however many ask at once."""

    name = "admission held"

    def decided(
        self, device: str, started: AttemptStarted, assigned: Assigned, store: Store
    ) -> None:
        """See `Checker`."""
        limit, user = self.plan.rules.device_limit, started.user
        if limit is None or user is None or not isinstance(assigned.decision, Admitted):
            return
        others = {d for d in self._holders(store, user) if d != device}
        if len(others) + 1 > limit:
            raise self.violated(
                f"{device} is admitted although {user} has {', '.join(sorted(others))}; "
                f"the limit is {limit}"
            )

    def _holders(self, store: Store, user: str) -> set[str]:
        """Devices that are enrolled with this user, or admitted for them and enrolling; from the reports alone."""
        found = set()
        for (device, _), events in store.holds.events.items():
            owner, open_attempt, asked_by = None, None, None
            over: set[str | None] = set()
            for event in events:
                attempt = event.report.attempt
                if attempt not in over | {open_attempt}:
                    # The first report of a newer attempt supersedes an open older one.
                    over.add(open_attempt)
                    open_attempt, asked_by = attempt, None
                match event.report.body:
                    case AttemptStarted() as began if attempt == open_attempt:
                        asked_by = began.user
                    case AttemptEnded(end_state=end_state) if attempt == open_attempt:
                        owner = asked_by if end_state in SUCCESS_STATES else owner
                        open_attempt = None
                        over.add(attempt)
                    case _:
                        pass
            decided = store.holds.assigned.get((device, open_attempt or ""))
            enrolling = decided is not None and isinstance(decided.decision, Admitted)
            if owner == user or (enrolling and asked_by == user):
                found.add(device)
        return found


class LateWillsIgnored(Checker):
    """A word of an older session is never believed after one of a newer session."""

    name = "late wills ignored"

    def __init__(self, plan: WorldPlan) -> None:
        super().__init__(plan)
        self._sessions: defaultdict[str, int] = defaultdict(int)

    def store_restored(self, store: Store) -> None:
        """The store knows what it knew then."""
        self._sessions.clear()
        for (_, stream), (session, _) in store.holds.presence.items():
            self._sessions[stream] = session

    def journal_restored(self, device: str) -> None:
        """An older copy counts its sessions again from where it was."""

    def presence(self, presence: Presence, *, believed: bool) -> None:
        """See `Checker`."""
        newest = self._sessions[presence.stream]
        if believed and presence.session < newest:
            raise self.violated(
                f"'{presence.state}' of session {presence.session} of {presence.device} is believed "
                f"after session {newest}"
            )
        self._sessions[presence.stream] = max(newest, presence.session)
