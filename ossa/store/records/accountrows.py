"""Local users, sessions, and how a refresh ended, as PostgreSQL has them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import asyncpg

Method = Literal["password", "oidc"]
EndedBy = Literal["logout", "reuse", "disabled", "password", "revoked"]


@dataclass(frozen=True, slots=True)
class User:
    """A local user. Name and groups are without the prefix."""

    id: UUID
    name: str
    groups: tuple[str, ...]
    disabled: bool
    created_by: str
    created_at: datetime
    updated_at: datetime
    password_hash: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Session:
    """One sign-in of a person. Name and groups are with the prefix."""

    id: UUID
    user_name: str
    local_user: UUID | None
    groups: tuple[str, ...]
    method: Method
    address: str
    client: str
    created_at: datetime
    refreshed_at: datetime
    expires_at: datetime
    ended_at: datetime | None = None
    ended_by: EndedBy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """What a sign-in writes down."""

    id: UUID
    user_name: str
    groups: tuple[str, ...]
    method: Method
    address: str
    client: str
    lifetime: timedelta
    refresh_hash: bytes = field(repr=False)
    local_user: User | None = None  # as they were when the password was checked


RefreshOutcome = Literal["refreshed", "repeated", "unknown", "over", "reused"]


@dataclass(frozen=True, slots=True)
class Refresh:
    """How a use of a refresh token ended; `session` where the token is known."""

    outcome: RefreshOutcome
    session: Session | None = None


def user_of(row: asyncpg.Record) -> User:
    """Of a row of `users`."""
    return User(**{**{name: row[name] for name in User.__slots__}, "groups": tuple(row["groups"])})


def session_of(row: asyncpg.Record) -> Session:
    """Of a row of `sessions`."""
    return Session(**{**{name: row[name] for name in Session.__slots__}, "groups": tuple(row["groups"])})
