"""Reads attempts: those that are in progress, those that failed, and how many there are of each kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, false, func, not_, or_, select
from sqlalchemy.engine import Connection

from agent.wire.vocabulary import EndState, EnrollmentType, FailureKind, Stage
from collector.attempts import FAILURE_STATES, AttemptView
from collector.queries.paging import Order, Page, Place, place_of
from collector.reports import DAY_MS, RECENT_DAYS, SILENT_AFTER_MS, ReasonCount, Tally
from collector.store import schema
from collector.store.columns import view_of
from collector.store.database import Database

_T: Final = schema.ATTEMPTS
_FAILURES: Final = tuple(sorted(state.value for state in FAILURE_STATES))

_IS_OPEN: Final = _T.c.end_state.is_(None)
_HAS_FAILED: Final = or_(_T.c.end_state.in_(_FAILURES), and_(_IS_OPEN, _T.c.waits_on_error))
_FAILED_MS: Final = func.coalesce(_T.c.ended_ms, _T.c.updated_ms)
_KIND: Final = _T.c.failure["kind"].as_string()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFilter:
    """What a list is narrowed to; an empty member narrows nothing."""

    platforms: Sequence[EnrollmentType] = ()
    stages: Sequence[Stage] = ()
    end_states: Sequence[EndState | None] = ()
    """None is an attempt that waits on its error screen."""
    kinds: Sequence[FailureKind] = ()
    user: str | None = None
    """Without regard to case."""
    device: str | None = None
    """How the device's name begins."""
    since_ms: int | None = None
    """For attempts in progress: begun then or later. For failures: failed then or later."""
    silent: bool | None = None

    def conditions(self, since: ColumnElement[Any], now_ms: int) -> list[ColumnElement[bool]]:
        """The conditions; `since` is what the moment is compared with."""
        found: list[ColumnElement[bool]] = []
        if self.platforms:
            found.append(_T.c.enrollment_type.in_([p.value for p in self.platforms]))
        if self.stages:
            found.append(_T.c.stage.in_([s.value for s in self.stages]))
        if self.end_states:
            named = [s.value for s in self.end_states if s is not None]
            waiting = None in self.end_states
            found.append(or_(_T.c.end_state.in_(named), _IS_OPEN if waiting else false()))
        if self.kinds:
            found.append(_KIND.in_([k.value for k in self.kinds]))
        if self.user is not None:
            found.append(_T.c.user_key == self.user.casefold())
        if self.device is not None:
            found.append(_T.c.device.startswith(self.device, autoescape=True))
        if self.since_ms is not None:
            found.append(since >= self.since_ms)
        if self.silent is not None:
            silent = and_(_IS_OPEN, _T.c.updated_ms < now_ms - SILENT_AFTER_MS)
            found.append(silent if self.silent else not_(silent))
        return found


NOTHING: Final = AttemptFilter()


def _orders(**columns: ColumnElement[Any]) -> Mapping[str, Order]:
    return {
        name: Order(name, column, _T.c.first_order)
        for plain, column in columns.items()
        for name in (plain, f"-{plain}")
    }


ACTIVE_ORDERS: Final = _orders(
    begun=_T.c.first_order,
    updated=_T.c.updated_ms,
    device=_T.c.device,
    user=func.coalesce(_T.c.user, ""),
    platform=_T.c.platform,
    stage=_T.c.stage,
    progress=_T.c.percent,
)
FAILURE_ORDERS: Final = _orders(
    failed=_FAILED_MS,
    device=_T.c.device,
    user=func.coalesce(_T.c.user, ""),
    platform=_T.c.platform,
)


def active(
    database: Database,
    wanted: AttemptFilter,
    order: Order,
    *,
    now_ms: int,
    limit: int,
    cursor: str | None = None,
) -> Page[AttemptView]:
    """The latest attempts that are in progress: neither ended nor on their error screen."""
    query = select(_T).where(_T.c.latest, _IS_OPEN, not_(_T.c.waits_on_error))
    return _page(
        database, query.where(*wanted.conditions(_T.c.begun_ms, now_ms)), order, limit, cursor
    )


def failed(
    database: Database,
    wanted: AttemptFilter,
    order: Order,
    *,
    now_ms: int,
    limit: int,
    cursor: str | None = None,
) -> Page[AttemptView]:
    """The devices that have failed now: those that the overview counts as failed."""
    query = select(_T).where(_T.c.latest, _HAS_FAILED)
    return _page(
        database, query.where(*wanted.conditions(_FAILED_MS, now_ms)), order, limit, cursor
    )


def _page(
    database: Database, query: Select[Any], order: Order, limit: int, cursor: str | None
) -> Page[AttemptView]:
    wanted = query.add_columns(order.column.label("sort_value"), order.tie.label("sort_tie"))
    if cursor is not None:
        wanted = wanted.where(order.behind(Place.of(cursor, order)))
    with database.reading() as connection:
        found = connection.execute(order.sorted(wanted).limit(limit + 1)).mappings().all()
        counted = query.with_only_columns(func.count(), maintain_column_froms=True)
        total = connection.execute(counted).scalar_one()
    rows = found[:limit]
    more = place_of(order, rows[-1]).cursor if rows and len(found) > limit else None
    return Page(tuple(view_of(row) for row in rows), total, more)


def tallies(
    database: Database, now_ms: int, platforms: Sequence[EnrollmentType] = ()
) -> list[Tally]:
    """All attempts, counted by what the summary asks about them."""
    since_ms = now_ms - RECENT_DAYS * DAY_MS
    with database.reading() as connection:
        return [
            *_tallied(connection, _ENDED_GROUP, _T.c.ended_ms.is_not(None), since_ms, platforms),
            *_tallied(connection, _OPEN_GROUP, _IS_OPEN, since_ms, platforms),
        ]


_ENDED_GROUP: Final = (_T.c.enrollment_type, _T.c.latest, _T.c.end_state)
_OPEN_GROUP: Final = (_T.c.enrollment_type, _T.c.latest, _T.c.waits_on_error)


def _tallied(
    connection: Connection,
    group: Sequence[ColumnElement[Any]],
    which: ColumnElement[bool],
    since_ms: int,
    platforms: Sequence[EnrollmentType],
) -> list[Tally]:
    # Ended and open attempts are asked apart, because each has an index that holds all that is asked.
    query = (
        select(
            *group,
            func.count().label("attempts"),
            func.count(_T.c.ended_ms).filter(_T.c.ended_ms > since_ms).label("recent"),
            func.sum(_T.c.attempt_ms).label("attempt_ms"),
        )
        .where(which)
        .group_by(*group)
    )
    if platforms:
        query = query.where(_T.c.enrollment_type.in_([p.value for p in platforms]))
    return [_tally(row) for row in connection.execute(query).mappings()]


def _tally(row: Mapping[Any, Any]) -> Tally:
    enrolls, ended = row["enrollment_type"], row.get("end_state")
    return Tally(
        enrollment_type=None if enrolls is None else EnrollmentType(enrolls),
        latest=row["latest"],
        end_state=None if ended is None else EndState(ended),
        waits_on_error=bool(row.get("waits_on_error")),
        attempts=row["attempts"],
        recent=row["recent"],
        attempt_ms=int(row["attempt_ms"]),
    )


def reasons(
    database: Database, wanted: AttemptFilter, *, now_ms: int, window_days: int
) -> list[ReasonCount]:
    """How often attempts failed in the window, by how they ended and the kind of failure; every attempt counts."""
    since_ms = now_ms - window_days * DAY_MS
    query = (
        select(_KIND.label("kind"), _T.c.end_state, func.count().label("attempts"))
        .where(_HAS_FAILED, since_ms < _FAILED_MS, *wanted.conditions(_FAILED_MS, now_ms))
        .group_by("kind", _T.c.end_state)
    )
    with database.reading() as connection:
        return [
            ReasonCount(
                kind=None if row.kind is None else FailureKind(row.kind),
                end_state=None if row.end_state is None else EndState(row.end_state),
                attempts=row.attempts,
            )
            for row in connection.execute(query)
        ]


def waiting_registrations(database: Database, platforms: Sequence[EnrollmentType] = ()) -> int:
    """How many registered devices have not begun an attempt."""
    query = _waiting(func.count())
    if platforms:
        types = [p.value for p in platforms]
        query = query.where(schema.REGISTRATIONS.c.enrollment_type.in_(types))
    with database.reading() as connection:
        return int(connection.execute(query).scalar_one())


def waiting_devices(database: Database) -> frozenset[str]:
    """The registered devices that have not begun an attempt."""
    with database.reading() as connection:
        found = connection.execute(_waiting(schema.REGISTRATIONS.c.device))
        return frozenset(found.scalars())


def _waiting(column: ColumnElement[Any]) -> Select[Any]:
    table = schema.REGISTRATIONS
    begun = select(_T.c.device).where(_T.c.device == table.c.device)
    return select(column).select_from(table).where(~begun.exists())


def failed_between(
    database: Database, first_ms: int, end_ms: int, *, limit: int
) -> list[AttemptView]:
    """Every attempt that failed in this time, the most recent first; `end_ms` is outside."""
    query = (
        select(_T)
        .where(_HAS_FAILED, _FAILED_MS.between(first_ms, end_ms - 1))
        .order_by(_FAILED_MS.desc(), _T.c.first_order.desc())
        .limit(limit)
    )
    with database.reading() as connection:
        return [view_of(row) for row in connection.execute(query).mappings()]


def is_registered(database: Database, device: str) -> bool:
    """Whether the device is expected, begun or not."""
    table = schema.REGISTRATIONS
    query = select(table.c.device).where(table.c.device == device)
    with database.reading() as connection:
        return connection.execute(query).first() is not None
