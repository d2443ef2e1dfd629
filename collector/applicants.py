"""What the store knows of those who apply: how they began, whose they are, which profile and items are theirs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import TypeAdapter
from sqlalchemy import Connection, select
from sqlalchemy.schema import Table

from agent.wire.assignment import Admitted
from agent.wire.events import AttemptStarted
from agent.wire.vocabulary import SUCCESS_STATES, EnrollmentType
from collector.admission import AdmissionRules, Standing
from collector.decisions import among
from collector.profiles.book import stored_profiles
from collector.profiles.choice import Choice, StoredProfile, choose, offer
from collector.profiles.setup import Catalogue, Setup, default_entry
from collector.store import schema
from collector.store.columns import REPORT_CODEC, user_key
from collector.store.database import upsert
from collector.store.records import Key

_SUCCESSES: Final = tuple(sorted(state.value for state in SUCCESS_STATES))
_TEXT: Final[TypeAdapter[str]] = TypeAdapter(str)


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything that a decision needs beside the device itself."""

    organization: str
    rules: AdmissionRules
    profiles: Sequence[StoredProfile]


@dataclass(frozen=True, slots=True)
class Known:
    """What the store knows of some applicants; the rest depends on what is decided on others before."""

    registered: Collection[str]
    """The registered devices."""
    owners: Mapping[str, str]
    """Whom a device is enrolled with."""
    groups: Mapping[tuple[str, str | None], list[str]]
    """By kind and member."""
    catalogues: Mapping[EnrollmentType, Catalogue]


def policy_of(connection: Connection) -> Policy:
    """Organization, rules and profiles as they are now."""
    table = schema.SETTINGS
    settings = {row.name: row.value for row in connection.execute(select(table))}
    organization, admission = settings.get("organization"), settings.get("admission")
    return Policy(
        organization=_TEXT.validate_json(organization) if organization else Setup().organization,
        rules=AdmissionRules.model_validate_json(admission) if admission else AdmissionRules(),
        profiles=stored_profiles(connection),
    )


def open_applicants(connection: Connection, keys: Collection[Key]) -> dict[Key, AttemptStarted]:
    """How those of these attempts began that are open; one whose beginning is not stored is left out."""
    events, attempts = schema.EVENTS, schema.ATTEMPTS
    found: dict[Key, AttemptStarted] = {}
    if not keys:
        return found
    query = (
        select(events.c.device, events.c.attempt, events.c.report)
        .join(
            attempts,
            (attempts.c.device == events.c.device) & (attempts.c.attempt == events.c.attempt),
        )
        .where(among(attempts, keys), attempts.c.end_state.is_(None))
        .where(events.c.id >= attempts.c.first_order, events.c.kind == "attempt_started")
        .order_by(events.c.id)
    )
    for device, attempt, report in connection.execute(query):
        found.setdefault((device, attempt), _started_of(report))
    return {key: found[key] for key in keys if key in found}


def beginning_of(connection: Connection, key: Key) -> AttemptStarted | None:
    """How this attempt began; None when that is not stored."""
    table = schema.EVENTS
    query = (
        select(table.c.report)
        .where(table.c.device == key[0], table.c.attempt == key[1])
        .where(table.c.kind == "attempt_started")
        .order_by(table.c.id)
        .limit(1)
    )
    report = connection.execute(query).scalar()
    return None if report is None else _started_of(report)


def _started_of(report: str) -> AttemptStarted:
    body = REPORT_CODEC.loads(report).body
    assert isinstance(body, AttemptStarted), "the kind column says what the report is"
    return body


def latest_attempt(connection: Connection, device: str) -> str | None:
    """The device's latest attempt; None when it never began one."""
    table = schema.ATTEMPTS
    query = select(table.c.attempt).where(table.c.device == device, table.c.latest)
    return connection.execute(query).scalar()


def lock_users(connection: Connection, users: Iterable[str | None]) -> None:
    """Two devices of one user are decided one after the other, whatever their partitions.

    Everybody locks in the same order, so that no two transactions wait for each other.
    """
    if connection.dialect.name == "sqlite":
        # Whoever writes to SQLite is alone until the end of the transaction.
        return
    keys = sorted({key for user in users if (key := user_key(user)) is not None})
    table = schema.USERS
    upsert(connection, table, [{"user_key": key} for key in keys])
    for key in keys:
        connection.execute(select(table).where(table.c.user_key == key).with_for_update()).all()


def known_of(connection: Connection, applicants: Sequence[tuple[str, AttemptStarted]]) -> Known:
    """Everything about all of them in a few queries, each given as device and how its attempt began."""
    devices = {device for device, _ in applicants}
    registrations = schema.REGISTRATIONS
    registered = select(registrations.c.device).where(registrations.c.device.in_(devices))
    users = {user_key(started.user) for _, started in applicants} - {None}
    types = {started.enrollment_type for _, started in applicants}
    return Known(
        registered=frozenset(connection.execute(registered).scalars()),
        owners=_owners(connection, devices),
        groups=_groups(connection, devices, users),
        catalogues={one: catalogue_of(connection, one) for one in types},
    )


def standing_of(connection: Connection, known: Known, device: str, user: str | None) -> Standing:
    """What the rules ask about; without a user the other devices are not counted."""
    return Standing(
        owner=known.owners.get(device),
        other_devices=0 if user is None else len(_held(connection, user) - {device}),
        registered=device in known.registered,
    )


def _owners(connection: Connection, devices: set[str]) -> dict[str, str]:
    """Whom devices are enrolled with: the user of the newest success, else whoever the setup says."""
    before, attempts = schema.ENROLLED_BEFORE, schema.ATTEMPTS
    owners = {}
    for row in connection.execute(select(before).where(before.c.device.in_(devices))):
        owners[row.device] = row.user
    query = (
        select(attempts.c.device, attempts.c.user)
        .where(attempts.c.device.in_(devices), attempts.c.end_state.in_(_SUCCESSES))
        .where(attempts.c.user.is_not(None))
        .order_by(attempts.c.first_order)
    )
    for row in connection.execute(query):
        owners[row.device] = row.user
    return owners


def _held(connection: Connection, user: str) -> set[str]:
    """The devices that are enrolled with this user, or admitted for them and enrolling."""
    before, attempts, decisions = schema.ENROLLED_BEFORE, schema.ATTEMPTS, schema.ASSIGNMENTS
    key = user_key(user)
    candidates = _column(connection, before, key) | _column(connection, attempts, key)
    owners = _owners(connection, candidates)
    query = (
        select(attempts.c.device)
        .join(
            decisions,
            (decisions.c.device == attempts.c.device) & (decisions.c.attempt == attempts.c.attempt),
        )
        .where(attempts.c.user_key == key, attempts.c.end_state.is_(None), decisions.c.admitted)
    )
    enrolling = set(connection.execute(query).scalars())
    return enrolling | {device for device, owner in owners.items() if user_key(owner) == key}


def _column(connection: Connection, table: Table, key: str | None) -> set[str]:
    return set(connection.execute(select(table.c.device).where(table.c.user_key == key)).scalars())


def _groups(
    connection: Connection, devices: Collection[str], users: Collection[str | None]
) -> dict[tuple[str, str | None], list[str]]:
    table = schema.MEMBERS
    query = select(table).where(
        ((table.c.kind == "device") & table.c.member.in_(devices))
        | ((table.c.kind == "user") & table.c.member.in_(users))
    )
    groups: dict[tuple[str, str | None], list[str]] = {}
    for row in connection.execute(query):
        groups.setdefault((row.kind, row.member), []).append(row.group)
    return groups


def choice_of(policy: Policy, known: Known, device: str, started: AttemptStarted) -> Choice:
    """The profile that applies, and why."""
    return choose(
        policy.profiles,
        known.groups.get(("device", device), []),
        known.groups.get(("user", user_key(started.user)), []),
        started.variant,
    )


def offered_to(policy: Policy, known: Known, started: AttemptStarted, choice: Choice) -> Admitted:
    """Profile and items as they would be assigned."""
    catalogue = known.catalogues[started.enrollment_type]
    return offer(
        default_entry().stored(0) if choice.chosen is None else choice.chosen.stored,
        catalogue.items,
        catalogue.screens,
        organization=policy.organization,
        user=started.user,
    )


def catalogue_of(connection: Connection, enrollment_type: EnrollmentType) -> Catalogue:
    """What devices of this enrollment type get."""
    table = schema.CATALOGUE
    query = select(table.c.content).where(table.c.enrollment_type == enrollment_type.value)
    content = connection.execute(query).scalar()
    return Catalogue() if content is None else Catalogue.model_validate_json(content)
