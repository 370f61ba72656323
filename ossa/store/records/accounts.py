"""Local users and sessions in PostgreSQL.

Every method is one statement or one transaction, and raises RecordsUnavailable where the database cannot be asked now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import asyncpg

from ossa.store.records.accountrows import (
    EndedBy,
    NewSession,
    Refresh,
    Session,
    User,
    session_of,
    user_of,
)
from ossa.store.records.pool import Connection, Records

# Days that a session's row is kept after its end.
KEPT_DAYS = 30


class NameTaken(ValueError):
    """There is a user of this name."""


class Accounts:
    """Queries of users and sessions."""

    def __init__(self, records: Records) -> None:
        self._records = records

    # Users.

    async def user(self, name: str) -> User | None:
        """By name."""
        async with self._records.connection() as db:
            row = await db.fetchrow("SELECT * FROM users WHERE name = $1", name)
        return user_of(row) if row else None

    async def users(self, *, after: str = "", limit: int = 100) -> list[User]:
        """By name, from the one after `after` on."""
        query = "SELECT * FROM users WHERE name > $1 ORDER BY name LIMIT $2"
        async with self._records.connection() as db:
            return [user_of(row) for row in await db.fetch(query, after, limit)]

    async def add_user(self, name: str, password_hash: str, *, groups: Sequence[str], created_by: str) -> User:
        """Raises NameTaken."""
        query = "INSERT INTO users (name, password_hash, groups, created_by) VALUES ($1, $2, $3, $4) RETURNING *"
        try:
            async with self._records.transaction() as db:
                row = await db.fetchrow(query, name, password_hash, list(groups), created_by)
        except asyncpg.UniqueViolationError as error:
            raise NameTaken(name) from error
        assert row is not None  # noqa: S101 - INSERT … RETURNING gives the row
        return user_of(row)

    async def add_first_user(self, name: str, password_hash: str, *, groups: Sequence[str]) -> bool:
        """Add the user where there is none at all; whether that was so. Several replicas may try at once."""
        async with self._records.transaction() as db:
            await db.execute("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE")
            done = await db.execute(
                "INSERT INTO users (name, password_hash, groups, created_by) "
                "SELECT $1, $2, $3, 'bootstrap' WHERE NOT EXISTS (SELECT FROM users)",
                name,
                password_hash,
                list(groups),
            )
        return done == "INSERT 0 1"

    async def change_user(
        self,
        name: str,
        *,
        password_hash: str | None = None,
        groups: Sequence[str] | None = None,
        disabled: bool | None = None,
    ) -> tuple[User, list[UUID]] | None:
        """Change what is given. None where there is no such user, else the user and the sessions that this ended.

        A new password and being disabled end the user's sessions; new groups come with the next refresh.
        """
        query = (
            "UPDATE users SET password_hash = coalesce($2, password_hash), groups = coalesce($3, groups), "
            "disabled = coalesce($4, disabled), updated_at = now() WHERE name = $1 RETURNING *"
        )
        async with self._records.transaction() as db:
            given = None if groups is None else list(groups)
            row = await db.fetchrow(query, name, password_hash, given, disabled)
            if row is None:
                return None
            ended: list[UUID] = []
            if disabled or password_hash is not None:
                ended = await _end(db, "disabled" if disabled else "password", "local_user = $2", row["id"])
        return user_of(row), ended

    async def rehash(self, user: User, password_hash: str) -> None:
        """The same password under new parameters, unless it was changed meanwhile; ends no session."""
        async with self._records.transaction() as db:
            await db.execute(
                "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2",
                user.id,
                user.password_hash,
                password_hash,
            )

    async def delete_user(self, name: str) -> list[UUID] | None:
        """The sessions that this ended; None where there is no such user."""
        async with self._records.transaction() as db:
            row = await db.fetchrow("SELECT id FROM users WHERE name = $1 FOR UPDATE", name)
            if row is None:
                return None
            ended = await _end(db, "disabled", "local_user = $2", row["id"])
            await db.execute("DELETE FROM users WHERE id = $1", row["id"])
        return ended

    # Sessions.

    async def begin(self, new: NewSession) -> Session | None:
        """Write a sign-in down; None where its local user was changed or deleted since the password was read."""
        query = (
            "INSERT INTO sessions (id, user_name, local_user, groups, method, address, client, expires_at) "
            "VALUES ($1, $2, $3, $4, $5, $6, $7, now() + $8) RETURNING *"
        )
        async with self._records.transaction() as db:
            if new.local_user is not None:
                same = "SELECT FROM users WHERE id = $1 AND updated_at = $2 AND NOT disabled FOR SHARE"
                if await db.fetchrow(same, new.local_user.id, new.local_user.updated_at) is None:
                    return None
            row = await db.fetchrow(
                query,
                new.id,
                new.user_name,
                new.local_user.id if new.local_user else None,
                list(new.groups),
                new.method,
                new.address,
                new.client,
                new.lifetime,
            )
            await _issue(db, new.refresh_hash, new.id)
        assert row is not None  # noqa: S101 - INSERT … RETURNING gives the row
        return session_of(row)

    async def is_live(self, session_id: UUID) -> bool:
        """Whether it has neither ended nor expired."""
        async with self._records.connection() as db:
            query = "SELECT FROM sessions WHERE id = $1 AND ended_at IS NULL AND expires_at > now()"
            return await db.fetchrow(query, session_id) is not None

    async def has_signed_in(self, user_name: str, address: str) -> bool:
        """Whether somebody signed in with this name's password from this address in the last 30 days."""
        query = (
            "SELECT FROM sessions WHERE user_name = $1 AND address = $2 AND method = 'password' "
            "AND created_at > now() - interval '30 days' LIMIT 1"
        )
        async with self._records.connection() as db:
            return await db.fetchrow(query, user_name, address) is not None

    async def sessions_of(self, user_name: str) -> list[Session]:
        """Those that are live, newest first; at most 200."""
        query = (
            "SELECT * FROM sessions WHERE user_name = $1 AND ended_at IS NULL AND expires_at > now() "
            "ORDER BY created_at DESC LIMIT 200"
        )
        async with self._records.connection() as db:
            return [session_of(row) for row in await db.fetch(query, user_name)]

    async def refresh(self, used: bytes, successor: bytes, *, grace: timedelta) -> Refresh:
        """Use the refresh token with the hash `used` up, and put `successor` in its place.

        One that was used within `grace` gives the same successor again, as long as that is unused: an answer that was
        lost, or two tabs. Any other use of an old one ends the session.
        """
        async with self._records.transaction() as db:
            token = await db.fetchrow("SELECT session_id FROM refresh_tokens WHERE hash = $1", used)
            if token is None:
                return Refresh("unknown")
            # The session's row is the lock of its tokens.
            query = "SELECT *, ended_at IS NULL AND expires_at > now() AS live FROM sessions WHERE id = $1 FOR UPDATE"
            row = await db.fetchrow(query, token["session_id"])
            if row is None or not row["live"]:
                return Refresh("over", session_of(row) if row else None)
            session = await _with_present_groups(db, session_of(row))
            if session is None:
                await _end(db, "disabled", "id = $2", row["id"])
                return Refresh("over", session_of(row))
            return await _rotate(db, session, (used, successor), grace=grace)

    async def end(self, session_id: UUID, ended_by: EndedBy, *, user_name: str | None = None) -> Session | None:
        """End one, of `user_name` where that is given; None where there is none that is live."""
        query = (
            "UPDATE sessions SET ended_at = now(), ended_by = $2 "
            "WHERE id = $1 AND ended_at IS NULL AND expires_at > now() "
            "AND ($3::text IS NULL OR user_name = $3) RETURNING *"
        )
        async with self._records.transaction() as db:
            row = await db.fetchrow(query, session_id, ended_by, user_name)
        return session_of(row) if row else None

    async def end_all(self, user_name: str, ended_by: EndedBy) -> list[UUID]:
        """End all of a user."""
        async with self._records.transaction() as db:
            return await _end(db, ended_by, "user_name = $2", user_name)

    async def remove_old(self) -> int:
        """Remove the rows of sessions that are over for long; how many."""
        query = "DELETE FROM sessions WHERE expires_at < now() - make_interval(days => $1)"
        async with self._records.transaction() as db:
            return int((await db.execute(query, KEPT_DAYS)).rpartition(" ")[2])


async def _rotate(db: Connection, session: Session, hashes: tuple[bytes, bytes], *, grace: timedelta) -> Refresh:
    used, successor = hashes
    # Read under the session's lock: another use may have come between.
    token = await db.fetchrow("SELECT used_at, now() - used_at AS since FROM refresh_tokens WHERE hash = $1", used)
    if token is not None and token["used_at"] is None:
        await db.execute("UPDATE refresh_tokens SET used_at = now() WHERE hash = $1", used)
        await db.execute(
            "UPDATE sessions SET refreshed_at = now(), groups = $2 WHERE id = $1", session.id, list(session.groups)
        )
        await _issue(db, successor, session.id)
        return Refresh("refreshed", session)
    if token is not None and token["since"] <= grace:
        following = await db.fetchrow("SELECT used_at FROM refresh_tokens WHERE hash = $1", successor)
        if following is not None and following["used_at"] is None:
            return Refresh("repeated", session)
    await _end(db, "reuse", "id = $2", session.id)
    return Refresh("reused", session)


async def _with_present_groups(db: Connection, session: Session) -> Session | None:
    """The session with the groups that its local user has now; None where that user may sign in no more."""
    if session.method == "oidc":
        return session
    row = await db.fetchrow("SELECT name, groups, disabled FROM users WHERE id = $1", session.local_user)
    if row is None or row["disabled"]:
        return None
    prefix = session.user_name.removesuffix(row["name"])
    groups = tuple(prefix + group for group in row["groups"])
    return replace(session, groups=groups)


async def _issue(db: Connection, token_hash: bytes, session_id: UUID) -> None:
    await db.execute("INSERT INTO refresh_tokens (hash, session_id) VALUES ($1, $2)", token_hash, session_id)


async def _end(db: Connection, ended_by: EndedBy, which: str, value: object) -> list[UUID]:
    rows = await db.fetch(
        "UPDATE sessions SET ended_at = now(), ended_by = $1 "  # noqa: S608 - conditions of ours
        f"WHERE {which} AND ended_at IS NULL AND expires_at > now() RETURNING id",
        ended_by,
        value,
    )
    return [row["id"] for row in rows]
