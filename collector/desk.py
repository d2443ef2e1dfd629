"""The administrator's desk: who is expected, which profile applies, and the stored decision on every attempt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pydantic import TypeAdapter
from sqlalchemy import Connection, Row, delete, select

from agent.wire.assignment import Refused
from agent.wire.events import AttemptStarted
from agent.wire.profile import EspProfile
from agent.wire.vocabulary import EnrollmentType
from collector.admission import decide
from collector.applicants import (
    beginning_of,
    catalogue_of,
    choice_of,
    known_of,
    latest_attempt,
    lock_users,
    offered_to,
    open_applicants,
    policy_of,
    standing_of,
)
from collector.decisions import Assigned, newest_decision, newest_decisions, store_decision
from collector.files import ContentRefused
from collector.pages.explanation import Case, Given, Question
from collector.profiles.book import next_priority, save_profile, stored_profiles
from collector.profiles.choice import StoredProfile
from collector.profiles.fitting import fitted, overflow
from collector.profiles.setup import Catalogue, ProfileEntry, Registration, Setup, default_entry
from collector.store import schema
from collector.store.columns import user_key
from collector.store.database import Database, upsert
from collector.store.records import Key

_TEXT: Final[TypeAdapter[str]] = TypeAdapter(str)


class ProfileExists(Exception):
    """A profile with this id is there already."""


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
            decided = newest_decisions(connection, attempts)
            applicants = open_applicants(
                connection, [key for key in attempts if key not in decided]
            )
            if applicants:
                lock_users(connection, [started.user for started in applicants.values()])
                # Another collector may have decided while this one waited for the users.
                decided |= newest_decisions(connection, applicants)
                undecided = {k: started for k, started in applicants.items() if k not in decided}
                decided |= _admit_all(connection, undecided, now_ms)
        return [decided[key] for key in dict.fromkeys(attempts) if key in decided]

    def assigned(self, device: str, attempt: str) -> Assigned | None:
        """The newest decision on an attempt; None when there is none."""
        with self._database.reading() as connection:
            return newest_decision(connection, (device, attempt))

    def explain(self, question: Question) -> Case:
        """Everything that decides on one device now; nothing is stored.

        Raises:
            DeviceUnknown: nobody says how it enrolls.
        """
        device = question.device
        with self._database.reading() as connection:
            policy = policy_of(connection)
            attempt = latest_attempt(connection, device)
            last = None if attempt is None else beginning_of(connection, (device, attempt))
            given = None if attempt is None else newest_decision(connection, (device, attempt))
            registered = _registration(connection, device)
            facts = question.facts(last, registered)
            known = known_of(connection, [(device, facts)])
            choice = choice_of(policy, known, device, facts)
            offered = offered_to(policy, known, facts, choice)
            standing = standing_of(connection, known, device, facts.user)
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
            current = newest_decision(connection, (device, attempt))
            started = beginning_of(connection, (device, attempt))
            if current is None or started is None or isinstance(current.decision, Refused):
                return current
            policy, known = policy_of(connection), known_of(connection, [(device, started)])
            fresh = offered_to(policy, known, started, choice_of(policy, known, device, started))
            if fresh == current.decision or overflow(fresh) is not None:
                return current
            return store_decision(connection, (device, attempt), fresh, now_ms)


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
    organization = policy_of(connection).organization
    for enrollment_type in EnrollmentType:
        catalogue = catalogue_of(connection, enrollment_type)
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


def _admit_all(
    connection: Connection, applicants: Mapping[Key, AttemptStarted], now_ms: int
) -> dict[Key, Assigned]:
    policy = policy_of(connection)
    known = known_of(connection, [(device, started) for (device, _), started in applicants.items()])
    decided = {}
    for key, started in applicants.items():
        device = key[0]
        # Without a limit nobody has to be asked what else the user has.
        limited = started.user if policy.rules.device_limit is not None else None
        standing = standing_of(connection, known, device, limited)
        offered = offered_to(policy, known, started, choice_of(policy, known, device, started))
        decision = fitted(decide(started, standing, policy.rules, offered))
        decided[key] = store_decision(connection, key, decision, now_ms)
    return decided


def _given(assigned: Assigned) -> Given:
    return Given(
        attempt=assigned.attempt,
        version=assigned.version,
        issued_ms=assigned.issued_ms,
        decision=assigned.decision,
    )
