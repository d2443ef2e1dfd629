"""Who may ask the collector what: tokens with roles, of which the store keeps only digests."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Row, insert, or_, select, update

from collector.store import schema
from collector.store.database import Database

TOKEN_PREFIX: Final = "esp_"  # noqa: S105
DAY_MS: Final = 24 * 60 * 60 * 1000

_T: Final = schema.TOKENS


class Role(StrEnum):
    """What a token opens; each role may do all that the ones before it may."""

    READ = "read"
    """Look at everything."""
    HELPDESK = "helpdesk"
    """Send commands to devices and register them."""
    ADMIN = "admin"
    """Change profiles."""

    def allows(self, needed: Role) -> bool:
        """Whether this role is enough where `needed` is asked for."""
        return _RANK[self] >= _RANK[needed]


_RANK: Final = {role: rank for rank, role in enumerate(Role)}


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever asks, by the token that was shown."""

    id: str
    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One token without its secret. Times are milliseconds since 1970."""

    id: str
    name: str
    role: Role
    issued_ms: int
    expires_ms: int | None
    revoked_ms: int | None

    def is_good(self, now_ms: int) -> bool:
        """Whether it opens anything now."""
        return self.revoked_ms is None and (self.expires_ms is None or now_ms < self.expires_ms)


class TokenUnknown(Exception):
    """No token, or more than one, goes by what was given: one sentence with the remedy."""


class TokenExists(Exception):
    """A good token has this name already: one sentence with the remedy."""


def digest_of(token: str) -> str:
    """What the store keeps of a token.

    One round of SHA-256 without salt is right here: a token is 256 random bits, so nobody can try them all, and two are
    never alike. Slow hashes are for passwords, which people choose; here they would only make every request slow.
    """
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def file_caller() -> Caller:
    """Whoever can read the token file of the data directory."""
    return Caller("file", "token file", Role.ADMIN)


class Tokens:
    """Every method is one transaction and may be called from any thread. Times are the wall clock's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self, name: str, role: Role, wall_ms: int, days: int | None = None
    ) -> tuple[TokenRow, str]:
        """A new token with its secret, which cannot be asked for again.

        Raises:
            TokenExists: a good one has this name.
        """
        token = TOKEN_PREFIX + secrets.token_urlsafe(32)
        expires_ms = None if days is None else wall_ms + days * DAY_MS
        row = TokenRow(secrets.token_hex(4), name, role, wall_ms, expires_ms, None)
        with self._database.writing() as connection:
            same = connection.execute(select(_T).where(_T.c.name == name))
            if any(_row(one).is_good(wall_ms) for one in same):
                raise TokenExists(
                    f"there is a token '{name}' already; choose another name, or revoke that one"
                )
            values = {
                "id": row.id,
                "name": name,
                "role": role.value,
                "digest": digest_of(token),
                "issued_ms": wall_ms,
                "expires_ms": expires_ms,
            }
            connection.execute(insert(_T).values(values))
        return row, token

    def all(self) -> list[TokenRow]:
        """Every token there ever was, the oldest first."""
        with self._database.reading() as connection:
            found = connection.execute(select(_T).order_by(_T.c.issued_ms, _T.c.id))
            return [_row(row) for row in found]

    def revoke(self, which: str, wall_ms: int) -> TokenRow:
        """Close a token for good, by its id or its name; it counts at once, also for a collector that runs.

        Raises:
            TokenUnknown: no token that still opens something goes by this.
        """
        with self._database.writing() as connection:
            named = select(_T).where(or_(_T.c.id == which, _T.c.name == which))
            good = [one for one in map(_row, connection.execute(named)) if one.is_good(wall_ms)]
            if not good:
                raise TokenUnknown(
                    f"no token '{which}' is in use; `esp-collector token list` shows them"
                )
            if len(good) > 1:
                raise TokenUnknown(f"'{which}' is the name of one token and the id of another")
            connection.execute(update(_T).where(_T.c.id == good[0].id).values(revoked_ms=wall_ms))
        return good[0]

    def caller(self, token: str, wall_ms: int) -> Caller | None:
        """Who shows this token; None when it opens nothing."""
        with self._database.reading() as connection:
            found = connection.execute(select(_T).where(_T.c.digest == digest_of(token))).first()
        if found is None or not (row := _row(found)).is_good(wall_ms):
            return None
        return Caller(row.id, row.name, row.role)


def _row(row: Row[Any]) -> TokenRow:
    return TokenRow(
        id=row.id,
        name=row.name,
        role=Role(row.role),
        issued_ms=row.issued_ms,
        expires_ms=row.expires_ms,
        revoked_ms=row.revoked_ms,
    )
