"""The administrator's desk: who is expected, which profile applies, and the stored decision on every attempt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import TypeAdapter
from sqlalchemy import Connection, Row, delete, insert, select
from sqlalchemy.schema import Table

from agent.wire.assignment import Admitted, Refused
from agent.wire.codec import JsonCodec
from agent.wire.events import AttemptStarted
from agent.wire.profile import EspProfile
from agent.wire.vocabulary import SUCCESS_STATES, EnrollmentType
from collector.admission import AdmissionRules, Standing, decide
from collector.files import ContentRefused
from collector.pages.explanation import Case, Given, Question
from collector.profiles.book import next_priority, save_profile, stored_profiles
from collector.profiles.choice import Choice, StoredProfile, choose, offer
from collector.profiles.fitting import fitted, overflow
from collector.profiles.setup import Catalogue, ProfileEntry, Registration, Setup, default_entry
from collector.store import schema
from collector.store.columns import REPORT_CODEC, user_key
from collector.store.database import Database, upsert
from collector.store.records import Key

_DECISION: Final[JsonCodec[Admitted | Refused]] = JsonCodec(Admitted | Refused)
_SUCCESSES: Final = tuple(sorted(state.value for state in SUCCESS_STATES))
_TEXT: Final[TypeAdapter[str]] = TypeAdapter(str)


class ProfileExists(Exception):
    """A profile with this id is there already."""


@dataclass(frozen=True, slots=True)
class Assigned:
    """A stored decision on one attempt."""

    version: int
    device: str
    attempt: str
    issued_ms: int
    decision: Admitted | Refused


@dataclass(frozen=True, slots=True)
class _Policy:
    """Everything that a decision needs beside the device itself."""

    organization: str
    rules: AdmissionRules
    profiles: Sequence[StoredProfile]


class Desk:
    """Every method is one transaction and may be called from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.writing() as connection:
            # Several collectors may start at the same moment.
            database.queue_up(connection, "setup")
            _begin_with_a_profile(connection)

    def apply(self, setup: Setup, now_ms: int) -> None:
        """Replace profiles, catalogue, groups, rules and earlier enrollments; add the registrations."""
        with self._database.writing() as connection:
            self._database.queue_up(connection, "setup")
            for table in (
                schema.PROFILES,
                schema.CATALOGUE,
                schema.MEMBERS,
                schema.ENROLLED_BEFORE,
            ):
                connection.execute(delete(table))
            _set(connection, "organization", _TEXT.dump_json(setup.organization).decode())
            _set(connection, "admission", setup.admission.model_dump_json())
            for entry in setup.profiles:
                save_profile(connection, entry.stored(next_priority(connection)))
            _begin_with_a_profile(connection)
            contents = [
                {"enrollment_type": t.value, "content": c.model_dump_json()}
                for t, c in setup.catalogue.items()
            ]
            upsert(connection, schema.CATALOGUE, contents)
            upsert(connection, schema.MEMBERS, _members(setup))
            upsert(connection, schema.ENROLLED_BEFORE, _enrolled_before(setup))
            _register(connection, setup.registrations, now_ms)

    # Profiles

    def profiles(self) -> list[StoredProfile]:
        """All profiles, in the order in which they are looked at."""
        with self._database.reading() as connection:
            return stored_profiles(connection)

    def add_profile(self, entry: ProfileEntry) -> StoredProfile:
        """Add one profile; a new default takes the place of the old one.

        Raises:
            ProfileExists: there is one with this id.
            ContentRefused: with the items of some enrollment type it does not fit into a message.
        """
        with self._database.writing() as connection:
            stored = entry.stored(next_priority(connection))
            refuse_overflow(connection, stored.profile)
            table = schema.PROFILES
            known = connection.execute(select(table.c.id)).scalars().all()
            if stored.profile.id in known:
                raise ProfileExists(
                    f"there is a profile '{stored.profile.id}' already; choose another id or name"
                )
            if stored.default:
                connection.execute(table.update().values(is_default=False))
            save_profile(connection, stored)
        return stored

    def catalogues(self) -> list[Catalogue]:
        """What devices get, one entry for each enrollment type that gets anything."""
        table = schema.CATALOGUE
        with self._database.reading() as connection:
            found = connection.execute(select(table.c.content).order_by(table.c.enrollment_type))
            return [Catalogue.model_validate_json(content) for content in found.scalars()]

    # Registrations

    def register(self, registrations: Iterable[Registration], now_ms: int) -> int:
        """Expect these devices; one that is expected already is updated. Returns how many."""
        with self._database.writing() as connection:
            return _register(connection, registrations, now_ms)

    def registered(self) -> list[Registration]:
        """The registered devices, by name."""
        table = schema.REGISTRATIONS
        with self._database.reading() as connection:
            found = connection.execute(select(table).order_by(table.c.device))
            return [_registration_of(row) for row in found]

    # Decisions

    def admit(self, attempts: Sequence[Key], now_ms: int) -> list[Assigned]:
        """Decide on attempts from their stored reports; what was decided before stays decided.

        An attempt whose beginning is not stored, or that has ended, is left out.
        """
        if not attempts:
            return []
        with self._database.writing() as connection:
            policy = _policy(connection)
            decided = {key: _assigned(connection, key) for key in attempts}
            undecided = {
                key: started
                for key, assigned in decided.items()
                if assigned is None and (started := _applicant(connection, key)) is not None
            }
            _lock_users(connection, [started.user for started in undecided.values()])
            for key, started in undecided.items():
                decided[key] = _admit(connection, policy, key, started, now_ms)
        return [assigned for assigned in decided.values() if assigned is not None]

    def assigned(self, device: str, attempt: str) -> Assigned | None:
        """The newest decision on an attempt; None when there is none."""
        with self._database.reading() as connection:
            return _assigned(connection, (device, attempt))

    def explain(self, question: Question) -> Case:
        """Everything that decides on one device now; nothing is stored.

        Raises:
            DeviceUnknown: nobody says how it enrolls.
        """
        device = question.device
        with self._database.reading() as connection:
            policy = _policy(connection)
            attempt = _latest_attempt(connection, device)
            last = None if attempt is None else _started(connection, (device, attempt))
            given = None if attempt is None else _assigned(connection, (device, attempt))
            registered = _registration(connection, device)
            facts = question.facts(last, registered)
            choice = _choice(connection, policy, device, facts)
            offered = _offered(connection, policy, facts, choice)
            standing = _standing(connection, device, facts.user)
        return Case(
            facts=facts,
            source="attempt" if last else "registration" if registered else "request",
            choice=choice,
            offered=offered,
            decision=fitted(decide(facts, standing, policy.rules, offered)),
            minimum_os=policy.rules.minimum_os.get(facts.enrollment_type),
            given=None if given is None else _given(given),
        )

    def refresh(self, device: str, attempt: str, now_ms: int) -> Assigned | None:
        """Choose profile and items anew for an admitted attempt; a new version only when something changed.

        A choice that is too large to be sent is not taken: the attempt goes on with what it has.
        """
        with self._database.writing() as connection:
            current = _assigned(connection, (device, attempt))
            started = _started(connection, (device, attempt))
            if current is None or started is None or isinstance(current.decision, Refused):
                return current
            fresh = _offer(connection, _policy(connection), device, started)
            if fresh == current.decision or overflow(fresh) is not None:
                return current
            return _decided(connection, (device, attempt), fresh, now_ms)


def _set(connection: Connection, name: str, value: str) -> None:
    upsert(connection, schema.SETTINGS, [{"name": name, "value": value}])


def _members(setup: Setup) -> list[dict[str, Any]]:
    rows = []
    for name, group in setup.groups.items():
        rows += [{"kind": "user", "member": user_key(u), "group": name} for u in group.users]
        rows += [{"kind": "device", "member": d, "group": name} for d in group.devices]
    return rows


def _enrolled_before(setup: Setup) -> list[dict[str, Any]]:
    return [
        {"device": device, "user": user, "user_key": user_key(user)}
        for device, user in setup.enrolled.items()
    ]


def _register(connection: Connection, registrations: Iterable[Registration], now_ms: int) -> int:
    rows, members = [], []
    for one in registrations:
        rows.append(
            {
                "device": one.device,
                "enrollment_type": one.enrollment_type and one.enrollment_type.value,
                "user": one.user,
                "registered_ms": now_ms,
            }
        )
        if one.group is not None:
            members.append({"kind": "device", "member": one.device, "group": one.group})
    upsert(connection, schema.REGISTRATIONS, rows)
    upsert(connection, schema.MEMBERS, members)
    return len(rows)


def _registration(connection: Connection, device: str) -> Registration | None:
    table = schema.REGISTRATIONS
    row = connection.execute(select(table).where(table.c.device == device)).first()
    return None if row is None else _registration_of(row)


def _registration_of(row: Row[Any]) -> Registration:
    return Registration(
        device=row.device,
        user=row.user,
        enrollment_type=row.enrollment_type and EnrollmentType(row.enrollment_type),
    )


def refuse_overflow(connection: Connection, profile: EspProfile) -> None:
    """Raises `ContentRefused` when the profile does not fit into a message with the items of some enrollment type."""
    organization = _policy(connection).organization
    for enrollment_type in EnrollmentType:
        catalogue = _catalogue(connection, enrollment_type)
        found = overflow(catalogue.largest_offer(organization, profile))
        if found is not None:
            raise ContentRefused(
                found.field,
                f"with the items of {enrollment_type.value} an assignment {found.sizes}; {found.remedy}",
            )


def _begin_with_a_profile(connection: Connection) -> None:
    """A store without any profile begins with the default one, so that a device enrolls before anybody decided."""
    if connection.execute(select(schema.PROFILES.c.id).limit(1)).first() is None:
        save_profile(connection, default_entry().stored(1))


def _policy(connection: Connection) -> _Policy:
    table = schema.SETTINGS
    settings = {row.name: row.value for row in connection.execute(select(table))}
    organization, admission = settings.get("organization"), settings.get("admission")
    return _Policy(
        organization=_TEXT.validate_json(organization) if organization else Setup().organization,
        rules=AdmissionRules.model_validate_json(admission) if admission else AdmissionRules(),
        profiles=stored_profiles(connection),
    )


def _applicant(connection: Connection, key: Key) -> AttemptStarted | None:
    started = _started(connection, key)
    return started if started is not None and _is_open(connection, key) else None


def _admit(
    connection: Connection, policy: _Policy, key: Key, started: AttemptStarted, now_ms: int
) -> Assigned:
    # Another collector may have decided while this one waited for the user.
    known = _assigned(connection, key)
    if known is not None:
        return known
    # Without a limit nobody has to be asked what else the user has.
    limited = started.user if policy.rules.device_limit is not None else None
    standing = _standing(connection, key[0], limited)
    offered = _offer(connection, policy, key[0], started)
    decision = fitted(decide(started, standing, policy.rules, offered))
    return _decided(connection, key, decision, now_ms)


def _assigned(connection: Connection, key: Key) -> Assigned | None:
    table = schema.ASSIGNMENTS
    query = (
        select(table)
        .where(table.c.device == key[0], table.c.attempt == key[1])
        .order_by(table.c.version.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    return Assigned(row.version, *key, row.issued_ms, _DECISION.loads(row.decision))


def _given(assigned: Assigned) -> Given:
    return Given(
        attempt=assigned.attempt,
        version=assigned.version,
        issued_ms=assigned.issued_ms,
        decision=assigned.decision,
    )


def _decided(
    connection: Connection, key: Key, decision: Admitted | Refused, now_ms: int
) -> Assigned:
    made = connection.execute(
        insert(schema.ASSIGNMENTS).values(
            device=key[0],
            attempt=key[1],
            admitted=isinstance(decision, Admitted),
            issued_ms=now_ms,
            decision=_DECISION.dumps(decision).decode(),
        )
    )
    inserted = made.inserted_primary_key
    assert inserted is not None, "the database numbers assignments"
    return Assigned(int(inserted[0]), *key, now_ms, decision)


def _started(connection: Connection, key: Key) -> AttemptStarted | None:
    table = schema.EVENTS
    query = (
        select(table.c.report)
        .where(table.c.device == key[0], table.c.attempt == key[1])
        .where(table.c.kind == "attempt_started")
        .order_by(table.c.id)
        .limit(1)
    )
    report = connection.execute(query).scalar()
    if report is None:
        return None
    body = REPORT_CODEC.loads(report).body
    assert isinstance(body, AttemptStarted), "the kind column says what the report is"
    return body


def _latest_attempt(connection: Connection, device: str) -> str | None:
    table = schema.ATTEMPTS
    query = select(table.c.attempt).where(table.c.device == device, table.c.latest)
    return connection.execute(query).scalar()


def _is_open(connection: Connection, key: Key) -> bool:
    table = schema.ATTEMPTS
    query = select(table.c.device).where(
        table.c.device == key[0], table.c.attempt == key[1], table.c.end_state.is_(None)
    )
    return connection.execute(query).first() is not None


def _lock_users(connection: Connection, users: Iterable[str | None]) -> None:
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


def _standing(connection: Connection, device: str, user: str | None) -> Standing:
    registrations = schema.REGISTRATIONS
    known = select(registrations.c.device).where(registrations.c.device == device)
    owner = _owners(connection, {device}).get(device)
    return Standing(
        owner=owner,
        other_devices=0 if user is None else len(_held(connection, user) - {device}),
        registered=connection.execute(known).first() is not None,
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


def _offer(
    connection: Connection, policy: _Policy, device: str, started: AttemptStarted
) -> Admitted:
    return _offered(connection, policy, started, _choice(connection, policy, device, started))


def _choice(
    connection: Connection, policy: _Policy, device: str, started: AttemptStarted
) -> Choice:
    return choose(
        policy.profiles,
        _groups(connection, "device", device),
        _groups(connection, "user", user_key(started.user)),
        started.variant,
    )


def _offered(
    connection: Connection, policy: _Policy, started: AttemptStarted, choice: Choice
) -> Admitted:
    catalogue = _catalogue(connection, started.enrollment_type)
    return offer(
        default_entry().stored(0) if choice.chosen is None else choice.chosen.stored,
        catalogue.items,
        catalogue.screens,
        organization=policy.organization,
        user=started.user,
    )


def _groups(connection: Connection, kind: str, member: str | None) -> list[str]:
    table = schema.MEMBERS
    query = select(table.c.group).where(table.c.kind == kind, table.c.member == member)
    return list(connection.execute(query).scalars())


def _catalogue(connection: Connection, enrollment_type: EnrollmentType) -> Catalogue:
    table = schema.CATALOGUE
    query = select(table.c.content).where(table.c.enrollment_type == enrollment_type.value)
    content = connection.execute(query).scalar()
    return Catalogue() if content is None else Catalogue.model_validate_json(content)
