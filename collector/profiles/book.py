"""Changes to ESP profiles after they were made: settings, groups, order, whether they are handed out, and their end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from agent.wire.profile import EspProfile
from collector.files import ContentRefused
from collector.profiles.choice import StoredProfile, rank
from collector.store import schema
from collector.store.database import Database

_T: Final = schema.PROFILES


class ProfileUnknown(Exception):
    """No profile has this id: one sentence with the remedy."""


class ProfileIsDefault(Exception):
    """The default profile has to stay: one sentence with the remedy."""


Check = Callable[[StoredProfile], None]
"""Raises when the profile, as it is in the store now, is not what the change was decided on, or may not be changed so."""

Fits = Callable[[Connection, EspProfile], None]
"""Raises `ContentRefused` when assignments with this profile would be too large to be sent."""


class ProfileBook:
    """Every method is one transaction and may be called from any thread."""

    def __init__(self, database: Database, fits: Fits) -> None:
        self._database = database
        self._fits = fits

    def all(self) -> list[StoredProfile]:
        """All profiles, in the order in which they are looked at."""
        with self._database.reading() as connection:
            return stored_profiles(connection)

    def get(self, profile: str) -> StoredProfile:
        """One profile.

        Raises:
            ProfileUnknown: there is none.
        """
        with self._database.reading() as connection:
            return _get(connection, profile)

    def change(
        self, profile: str, check: Check, made: Callable[[StoredProfile], StoredProfile]
    ) -> StoredProfile:
        """Replace a profile by what `made` makes of it; a new default takes the place of the old one.

        Raises:
            ProfileUnknown: there is none.
            ProfileIsDefault: it would leave devices that no profile is assigned to without any.
            ContentRefused: it does not fit into a message.
        """
        with self._database.writing() as connection:
            current = _get(connection, profile)
            check(current)
            fresh = made(current)
            assert fresh.profile.id == profile, "a profile keeps its id"
            if current.default and not fresh.default:
                raise ProfileIsDefault(
                    f"'{profile}' is the default; make another profile the default instead"
                )
            self._fits(connection, fresh.profile)
            if fresh.default and not current.default:
                connection.execute(update(_T).values(is_default=False))
            connection.execute(update(_T).where(_T.c.id == profile).values(**_values(fresh)))
        return fresh

    def delete(self, profile: str, check: Check) -> None:
        """Take a profile away; attempts that have it keep it.

        Raises:
            ProfileUnknown: there is none.
            ProfileIsDefault: it is the default one.
        """
        with self._database.writing() as connection:
            current = _get(connection, profile)
            check(current)
            if current.default:
                raise ProfileIsDefault(
                    f"'{profile}' is the default and stays; make another profile the default first"
                )
            connection.execute(delete(_T).where(_T.c.id == profile))

    def reorder(
        self, profiles: Sequence[str], check: Callable[[Sequence[StoredProfile]], None]
    ) -> list[StoredProfile]:
        """Give these profiles the first priorities, in this order; all others come behind them as they were.

        Raises:
            ProfileUnknown: one of them is none.
            ContentRefused: one is named twice, or is the default, which always stands last.
        """
        with self._database.writing() as connection:
            current = stored_profiles(connection)
            check(current)
            first = [_named(current, name, index) for index, name in enumerate(profiles)]
            if len(set(profiles)) != len(profiles):
                raise ContentRefused("profiles", "a profile is named twice; name each once")
            rest = [p for p in current if not p.default and p.profile.id not in profiles]
            fresh = [replace(p, priority=n) for n, p in enumerate([*first, *rest], 1)]
            for stored in fresh:
                mine = _T.c.id == stored.profile.id
                connection.execute(update(_T).where(mine).values(priority=stored.priority))
            return stored_profiles(connection)


def _named(current: Sequence[StoredProfile], name: str, index: int) -> StoredProfile:
    found = next((p for p in current if p.profile.id == name), None)
    if found is None:
        raise ProfileUnknown(f"there is no profile '{name}'; check profiles[{index}]")
    if found.default:
        raise ContentRefused(
            f"profiles[{index}]",
            f"'{name}' is the default and stands behind all others; leave it out",
        )
    return found


def _get(connection: Connection, profile: str) -> StoredProfile:
    row = connection.execute(select(_T).where(_T.c.id == profile)).first()
    if row is None:
        raise ProfileUnknown(f"there is no profile '{profile}'; check its id")
    return _stored(row)


def stored_profiles(connection: Connection) -> list[StoredProfile]:
    """All profiles, in the order in which they are looked at."""
    return sorted((_stored(row) for row in connection.execute(select(_T))), key=rank)


def save_profile(connection: Connection, stored: StoredProfile) -> None:
    """Store a new profile."""
    connection.execute(insert(_T).values(id=stored.profile.id, **_values(stored)))


def next_priority(connection: Connection) -> int:
    """One more than the highest so far."""
    highest = connection.execute(select(func.max(_T.c.priority))).scalar()
    return 1 if highest is None else int(highest) + 1


def _values(stored: StoredProfile) -> dict[str, Any]:
    return {
        "priority": stored.priority,
        "active": stored.active,
        "is_default": stored.default,
        "groups": list(stored.groups),
        "profile": stored.profile.model_dump_json(),
    }


def _stored(row: Row[Any]) -> StoredProfile:
    return StoredProfile(
        profile=EspProfile.model_validate_json(row.profile),
        priority=row.priority,
        groups=tuple(row.groups),
        active=row.active,
        default=row.is_default,
    )
