"""What routes work with, and one request of somebody who is signed in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Protocol

from starlette.requests import Request

from ossa.audit.entry import Entry
from ossa.gateway.identity import Access, Authenticator, Authorizer, Identity, RateLimiter
from ossa.gateway.metrics import Metrics
from ossa.gateway.problems import Problem
from ossa.gateway.settings import Settings
from ossa.kube.client import ApiClient


class Trail(Protocol):
    """The audit trail."""

    async def record(self, entry: Entry) -> None:
        """Returns once the entry is kept. Raises Problem 503 where it cannot be."""


class Records(Protocol):
    """PostgreSQL."""

    def connection(self) -> AbstractAsyncContextManager[Any]:
        """A connection of the pool (asyncpg)."""


def utc_now() -> datetime:
    """Now, with its zone."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collaborators:
    """What the routes need. Everything is connected, and closed by whoever made it."""

    settings: Settings
    authenticator: Authenticator
    authorizer: Authorizer
    limiter: RateLimiter
    api: ApiClient
    records: Records
    trail: Trail
    metrics: Metrics = field(default_factory=Metrics)
    clock: Callable[[], datetime] = utc_now


@dataclass(slots=True, kw_only=True)
class Call:
    """One request of somebody who is signed in."""

    id: str
    identity: Identity
    address: str
    traceparent: str
    # For the audit trail: what was asked for last, and what is done where the route's name does not say it.
    access: Access | None = None
    verb: str = ""

    @property
    def trace_id(self) -> str:
        """32 hex digits."""
        return self.traceparent.split("-")[1]

    async def require(self, authorizer: Authorizer, access: Access) -> None:
        """Raises Problem: 403 where the caller may not, 503 where that cannot be known."""
        self.access = access
        await authorizer.require(self.identity, access)

    async def require_to_read(self, authorizer: Authorizer, access: Access) -> None:
        """Likewise; with the API server away the caller reads what they were seen to be allowed to lately."""
        try:
            await self.require(authorizer, access)
        except Problem as problem:
            if problem.status != HTTPStatus.SERVICE_UNAVAILABLE or not authorizer.seen_lately(self.identity, access):
                raise


def call_of(request: Request) -> Call:
    """The call that `signed_in` has let in."""
    call = request.scope["ossa.call"]
    if not isinstance(call, Call):
        raise TypeError("the route does not ask who calls: make its router with route_class=signed_in(…)")
    return call
