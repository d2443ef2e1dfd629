"""Watches the items of the open attempts: learns from those that came in how long they take, and says which are stuck."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final

from sqlalchemy import Connection, delete, func, insert, select, tuple_

from agent.wire.assignment import Admitted, Refused
from agent.wire.codec import JsonCodec
from agent.wire.events import AttemptEnded, ErrorScreenShown, ItemChanged, Report
from collector.attempts import AttemptView
from collector.clock import Clock
from collector.store import schema
from collector.store.columns import view_of
from collector.store.database import Database
from collector.store.following import Following
from collector.store.records import Committed
from collector.stuck.item_work import ItemWork
from collector.stuck.limit import GRACE_MS, Histories, Stuck, attempt_now_ms, stuck_items
from collector.stuck.standing import Facts, Standing, standing

LEARNED_REPORTS: Final = 200_000
"""How far back it looks when it starts."""
_PAGE: Final = 2_000
_KINDS: Final = ("item_changed", "attempt_ended")
_HEARD_MAX: Final = 100
"""So many commits wait while a look learns; of more than that all are read when it looks next."""
_DECISION: Final[JsonCodec[Admitted | Refused]] = JsonCodec(Admitted | Refused)

Key = tuple[str, str]
"""Device and attempt."""
Mark = tuple[str, str, str, int]
"""Device, attempt, item and try."""


@dataclass(frozen=True, slots=True)
class StuckRow:
    """One item that is stuck. Times are milliseconds; `since_ms` is when it was found so, since 1970."""

    device: str
    attempt: str
    item: str
    try_number: int
    name: str
    since_ms: int
    running_ms: int
    limit_ms: int
    basis: str
    observations: int
    platform: str
    user: str | None


Tell = Callable[[Connection, Sequence[StuckRow]], None]


def tell_nobody(_connection: Connection, _rows: Sequence[StuckRow]) -> None:
    """For whoever looks by himself."""


class StuckWatch:
    """May be called from any thread; what it learned is kept in memory and learned again at the next start."""

    def __init__(self, database: Database, clock: Clock, tell: Tell = tell_nobody) -> None:
        """`tell` gets what was marked, in the transaction that marks it."""
        self._database = database
        self._clock = clock
        self._tell = tell
        self._expected: dict[Key, dict[str, int]] = {}
        self._following = Following(database)
        self._histories = Histories()
        self._open: dict[Key, ItemWork] = {}
        self._position: int | None = None
        self._heard: deque[Committed] = deque()
        self._lock = Lock()

    def hear(self, committed: Committed) -> None:
        """Learn from what this collector has just stored, so that it need not be read again; never waits.

        What others stored in between is read by the next look, and so is all that came after it.
        """
        if len(self._heard) >= _HEARD_MAX:
            self._heard.clear()
        self._heard.append(committed)
        if self._lock.acquire(blocking=False):
            try:
                self._learn_heard()
            finally:
                self._lock.release()

    def look(self) -> list[StuckRow]:
        """Learn what is new, then mark what is stuck and take away the marks of what moved on.

        Returns what was marked by this look; of several collectors on one store only one marks an item.
        """
        with self._lock:
            self._learn()
            known = set(self._open)
        views = {(v.device, v.attempt): v for v in self._views()}
        with self._lock:
            # What was heard of since is not among these views, and not over.
            for key in known - views.keys():
                self._open.pop(key, None)
            self._expected = {key: told for key, told in self._expected.items() if key in views}
            stuck = {
                (*key, one.item.changed.item, one.item.changed.attempt): one
                for key, work in self._open.items()
                if key in views
                for one in self._judge(views[key], work)
            }
        return self._mark(stuck, views)

    def standing(self, device: str, *, registered: bool) -> Standing:
        """Why the device is where it is, from all that is stored of its latest attempt."""
        view = self._latest(device)
        presence = self._presence(device)
        work, error = ItemWork(), None
        if view is not None:
            for one in self._following.of_attempt(device, view.attempt):
                work.apply(one.report.attempt_ms, one.report.body)
                if isinstance(one.report.body, ErrorScreenShown):
                    error = one.report.body
        is_open = view is not None and view.end_state is None
        with self._lock:
            stuck = self._judge(view, work) if view is not None and is_open else []
        return standing(
            Facts(
                device=device,
                view=view,
                registered=registered,
                presence=presence and presence[0],
                presence_ms=presence and presence[1],
                work=work,
                attempt_now_ms=0 if view is None else self._attempt_now(view),
                error=error,
                stuck=stuck,
                now_ms=self._clock.now_ms(),
            )
        )

    def count_open(self) -> int:
        """How many attempts have not ended."""
        table = schema.ATTEMPTS
        query = select(func.count()).where(table.c.latest, table.c.end_state.is_(None))
        with self._database.reading() as connection:
            return connection.execute(query).scalar_one()

    def stuck(self) -> list[StuckRow]:
        """The items that are marked as stuck, the first one first."""
        table, attempts = schema.STUCK, schema.ATTEMPTS
        query = (
            select(table, attempts.c.platform, attempts.c.user)
            .join(
                attempts,
                (attempts.c.device == table.c.device) & (attempts.c.attempt == table.c.attempt),
            )
            .order_by(table.c.since_ms, table.c.device, table.c.item)
        )
        with self._database.reading() as connection:
            return [_row(row) for row in connection.execute(query).mappings()]

    # Learning

    def _learn(self) -> None:
        newest = self._following.newest()
        if self._position is None:
            self._position = max(0, newest - LEARNED_REPORTS)
            self._catch_up(self._position)
        while self._position < newest:
            page = self._following.after(self._position, newest, limit=_PAGE, kinds=_KINDS)
            for one in page:
                self._apply(one.device, one.platform, one.report)
            self._position = page[-1].order if len(page) == _PAGE else newest
        self._learn_heard()

    def _learn_heard(self) -> None:
        """Go on with what was stored right after the last report that it knows; the rest is known, or to be read."""
        while self._heard:
            committed = self._heard.popleft()
            orders = committed.orders
            if self._position is None or not orders or orders[0] != self._position + 1:
                continue
            if orders[-1] - orders[0] != len(orders) - 1:
                continue
            for accepted in committed.stored:
                event = accepted.event
                if isinstance(event.report.body, ItemChanged | AttemptEnded):
                    platform = committed.platforms[event.device, event.report.attempt]
                    self._apply(event.device, platform, event.report)
            self._position = orders[-1]

    def _catch_up(self, position: int) -> None:
        """The attempts that are still open and began before the reports that are looked through."""
        for view in self._views():
            if view.first_order <= position:
                for one in self._following.of_attempt(view.device, view.attempt):
                    if one.order <= position:
                        self._apply(one.device, one.platform, one.report)

    def _apply(self, device: str, platform: str, report: Report) -> None:
        key = (device, report.attempt)
        if isinstance(report.body, AttemptEnded):
            self._open.pop(key, None)
            return
        work = self._open.get(key)
        if work is None:
            work = self._open[key] = ItemWork()
        span = work.apply(report.attempt_ms, report.body)
        if span is not None:
            self._histories.add(platform, span)

    # Judging

    def _judge(self, view: AttemptView, work: ItemWork) -> list[Stuck]:
        """A look at the database only where an item would be stuck if its device had been there all the time."""
        latest_ms = attempt_now_ms(view.attempt_ms, view.updated_ms, self._clock.now_ms(), None)
        at_work = [item for item in work.working if latest_ms - (item.begun_ms or 0) > GRACE_MS]
        if view.waits_on_error or not at_work:
            return []
        has_history = all(
            self._histories.limit(view.platform, item.changed.item) is not None for item in at_work
        )
        # Only where too few came in to compare with does it matter what the assignment expects.
        expected = {} if has_history else self._expected_of(view)
        if not stuck_items(work, latest_ms, view.platform, self._histories, expected):
            return []
        return stuck_items(work, self._attempt_now(view), view.platform, self._histories, expected)

    def _attempt_now(self, view: AttemptView) -> int:
        presence = self._presence(view.device)
        left_ms = None if presence is None or presence[0] == "online" else presence[1]
        return attempt_now_ms(view.attempt_ms, view.updated_ms, self._clock.now_ms(), left_ms)

    def _expected_of(self, view: AttemptView) -> dict[str, int]:
        key = (view.device, view.attempt)
        if key not in self._expected:
            self._expected[key] = self._assigned(view)
        return self._expected[key]

    def _assigned(self, view: AttemptView) -> dict[str, int]:
        table = schema.ASSIGNMENTS
        query = (
            select(table.c.decision)
            .where(table.c.device == view.device, table.c.attempt == view.attempt)
            .order_by(table.c.version.desc())
            .limit(1)
        )
        with self._database.reading() as connection:
            found = connection.execute(query).scalar()
        decision = None if found is None else _DECISION.loads(found)
        if not isinstance(decision, Admitted):
            return {}
        return {item.id: item.expected_seconds for item in decision.items}

    def _views(self) -> Iterator[AttemptView]:
        table = schema.ATTEMPTS
        query = select(table).where(table.c.latest, table.c.end_state.is_(None))
        with self._database.reading() as connection:
            for row in connection.execute(query).mappings():
                yield view_of(row)

    def _latest(self, device: str) -> AttemptView | None:
        table = schema.ATTEMPTS
        query = select(table).where(table.c.device == device, table.c.latest)
        with self._database.reading() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else view_of(row)

    def _presence(self, device: str) -> tuple[str, int] | None:
        table = schema.PRESENCE
        query = (
            select(table.c.state, table.c.seen_ms)
            .where(table.c.device == device)
            .order_by(table.c.seen_ms.desc(), table.c.session.desc())
            .limit(1)
        )
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else (row.state, row.seen_ms)

    # Marking

    def _mark(self, stuck: dict[Mark, Stuck], views: dict[Key, AttemptView]) -> list[StuckRow]:
        table = schema.STUCK
        marks = (table.c.device, table.c.attempt, table.c.item, table.c["try"])
        now_ms = self._clock.now_ms()
        with self._database.reading() as connection:
            before: set[Mark] = {tuple(row) for row in connection.execute(select(*marks))}
        if before == set(stuck):
            return []
        with self._database.writing() as connection:
            self._database.queue_up(connection, "stuck")
            before = {tuple(row) for row in connection.execute(select(*marks))}
            gone = sorted(before - set(stuck))
            if gone:
                connection.execute(delete(table).where(tuple_(*marks).in_(gone)))
            fresh = [
                _new_row(mark, stuck[mark], views[mark[0], mark[1]], now_ms)
                for mark in sorted(set(stuck) - before)
            ]
            _insert(connection, fresh)
            self._tell(connection, fresh)
        return fresh


def _new_row(mark: Mark, stuck: Stuck, view: AttemptView, now_ms: int) -> StuckRow:
    device, attempt, item, try_number = mark
    return StuckRow(
        device=device,
        attempt=attempt,
        item=item,
        try_number=try_number,
        name=stuck.item.changed.name,
        since_ms=now_ms,
        running_ms=stuck.running_ms,
        limit_ms=stuck.limit.limit_ms,
        basis=stuck.limit.basis,
        observations=stuck.limit.observations,
        platform=view.platform,
        user=view.user,
    )


def _insert(connection: Connection, rows: Sequence[StuckRow]) -> None:
    if not rows:
        return
    names = [c.name for c in schema.STUCK.columns if c.name != "try"]
    values = [{**{n: getattr(row, n) for n in names}, "try": row.try_number} for row in rows]
    connection.execute(insert(schema.STUCK), values)


def _row(row: Any) -> StuckRow:
    values = dict(row)
    return StuckRow(try_number=values.pop("try"), **values)
