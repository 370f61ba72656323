"""Takes the API server's audit log into the trail.

The webhook backend of the API server posts batches to POST /api/v1/audit/events, `ossa audit import` those of a log
file. Each event comes into the trail once, however often it is posted and to whichever replica: they are looked up and
added under a lock of PostgreSQL. With PostgreSQL away the answer is 503, and the API server posts them again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import Protocol

from fastapi import APIRouter, Request, Response

from ossa.api.base import JSONObject
from ossa.api.gateway import AUDIT_EVENTS
from ossa.audit.entry import Entry
from ossa.audit.kubernetes import BadEvent, entries_of, events_of
from ossa.gateway.answers import JSON
from ossa.gateway.context import Collaborators, call_of
from ossa.gateway.guard import signed_in
from ossa.gateway.identity import Access
from ossa.gateway.problems import Problem
from ossa.store.records.audit import known_ids
from ossa.store.records.errors import RecordsUnavailable
from ossa.store.records.locks import Lock, hold
from ossa.store.records.pool import Records

# What the API server's account, or whoever imports a log, must be allowed: `create` on this, as RBAC has it. No object
# is of this kind.
NEEDED = Access(verb="create", resource="auditevents", namespace="")
# Events in one batch; the API server sends 400 by default.
MOST = 10_000


class Trail(Protocol):
    """What keeps entries."""

    async def keep(self, entry: Entry) -> None:
        """Returns once the entry is durable, whatever it tells of. Raises Problem 503."""


class Intake:
    """Adds what is not in the trail yet."""

    def __init__(self, records: Records, trail: Trail) -> None:
        self._records, self._trail = records, trail

    async def take(self, document: object) -> int:
        """An EventList or an Event as JSON; how many entries are new.

        Raises:
            Problem: 400 where it is neither, 413 where it is too long, 503 where it cannot be kept now.
        """
        try:
            events = list(events_of(document))
            if len(events) > MOST:
                raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"send at most {MOST} events at once")
            entries = entries_of(events)
        except BadEvent as error:
            raise Problem(HTTPStatus.BAD_REQUEST, str(error)) from error
        if not entries:
            return 0
        try:
            return await self._add(entries)
        except RecordsUnavailable as error:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "PostgreSQL is away, which knows what is in the trail; send it again later",
                headers={"Retry-After": "5"},
            ) from error

    async def _add(self, entries: Sequence[Entry]) -> int:
        async with self._records.transaction() as connection:
            # Held until what was found new is durable: nobody else finds the same new meanwhile.
            await hold(connection, Lock.AUDIT_INTAKE)
            known = await known_ids(connection, [entry.id for entry in entries])
            new = [entry for entry in entries if entry.id not in known]
            await asyncio.gather(*(self._trail.keep(entry) for entry in new))
            return len(new)


def router(c: Collaborators, intake: Intake) -> APIRouter:
    """The route."""
    routes = APIRouter(route_class=signed_in(c), tags=["audit"])

    @routes.post(AUDIT_EVENTS, summary="Take in the API server's audit log")
    async def take_events(request: Request, body: JSONObject) -> Response:
        """An EventList of audit.k8s.io/v1, as its webhook backend posts it, or an Event. `added`: new ones."""
        await call_of(request).require(c.authorizer, NEEDED)
        return JSON({"added": await intake.take(body)})

    return routes
