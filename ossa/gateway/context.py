"""What routes work with, and one request of somebody who is signed in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Protocol

from starlette.requests import Request

from ossa.api.trace import trace_id_in
from ossa.audit.entry import Entry
from ossa.gateway.identity import Access, Authenticator, Authorizer, Identity, RateLimiter
from ossa.gateway.metrics import Metrics
from ossa.gateway.problems import Problem
from ossa.gateway.settings import Settings
from ossa.kube.client import ApiClient
from ossa.store.records.requests import Source


class Trail(Protocol):
    """The audit trail."""

    async def record(self, entry: Entry) -> None:
        """Returns once the entry is kept. Raises Unkept (503) where it cannot be."""


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
    """One request of somebody who is signed in.

    What changes something awaits `announce` first, unless a row of `requests` was written for it.
    """

    id: str
    identity: Identity
    address: str
    traceparent: str
    source: Source = "api"  # of an Execution that it leads to
    # Writes into the audit trail that this is asked for, with the access and the verb as they are then.
    ask: Callable[[Call], Awaitable[None]]
    # For the audit trail: what was asked for last, and what is done where the route's name does not say it.
    access: Access | None = None
    verb: str = ""
    _later: list[Callable[[], object]] = field(default_factory=list, init=False)

    async def announce(self) -> None:
        """After all that may refuse, before anything is changed. Raises Unkept (503): then nothing may be changed."""
        await self.ask(self)

    def afterwards(self, work: Callable[[], object]) -> None:
        """Called once the trail has how this ended; never, where it could not be kept."""
        self._later.append(work)

    def settle(self) -> None:
        """The trail has how this ended."""
        for work in self._later:
            work()
        self._later.clear()

    @property
    def trace_id(self) -> str:
        """32 hex digits."""
        return trace_id_in(self.traceparent)

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
