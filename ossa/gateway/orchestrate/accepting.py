"""Accepting a request: written down, carried out where that is possible at once, answered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from http import HTTPStatus
from uuid import UUID

import orjson

from ossa.api.base import JSONObject
from ossa.api.gateway import Accepted, RequestState
from ossa.api.trace import trace_id_in
from ossa.gateway.batching import Batcher
from ossa.gateway.context import Call, Collaborators
from ossa.gateway.identity import Access
from ossa.gateway.orchestrate.creating import MOST, Created, Postponed, Refused, carry_out, other_body
from ossa.gateway.orchestrate.wanted import wanted
from ossa.gateway.problems import Problem
from ossa.gateway.refusals import RETRY_AFTER
from ossa.store.records import requests
from ossa.store.records.errors import RecordsUnavailable
from ossa.store.records.requests import Closing, Request, Row

_log = logging.getLogger("ossa.gateway")
# Seconds that a request is its caller's alone, before a carrier takes it for left behind.
GRACE = 2 * MOST
# Seconds to wait for more to close in one statement; nobody waits for it.
CLOSE_PAUSE = 0.1
# Seconds to wait for more to write down, where so many requests are being accepted: their clients wait.
INSERT_PAUSE, SIBLINGS = 0.005, 4
_ROUNDS = 3


class Acceptor:
    """Leads each request to exactly one Execution.

    The row is committed before the Execution is created, and closed once the audit trail tells of it: who dies in
    between leaves an open row, and a carrier finds the Execution by its name, or creates it, and tells the trail.
    """

    def __init__(self, c: Collaborators) -> None:
        self._c = c
        self._accepting = 0
        self._insert = Batcher(self._insert_all, pause=INSERT_PAUSE, busy=lambda: self._accepting >= SIBLINGS)
        self._close = Batcher(self._close_all, pause=CLOSE_PAUSE)

    async def accept(self, call: Call, namespace: str, spec: JSONObject, *, key: str | None) -> Accepted:
        """Raises Problem where it is refused, or where nothing was accepted."""
        self._accepting += 1
        try:
            return await self._accept(call, namespace, spec, key)
        finally:
            self._accepting -= 1

    async def _accept(self, call: Call, namespace: str, spec: JSONObject, key: str | None) -> Accepted:
        access = Access("create", "executions", namespace)
        request = wanted(call, namespace, spec, key)
        try:
            await call.require(self._c.authorizer, access)
        except Problem as problem:
            if problem.status != HTTPStatus.SERVICE_UNAVAILABLE or not self._c.authorizer.seen_lately(
                call.identity, access
            ):
                raise
            call.access = Access("create", "executions", namespace, request.name)
            return await self._accept_away(request)
        call.access = Access("create", "executions", namespace, request.name)
        row = await self._write(request)
        if row is not None and row.state == "done":
            return accepted(row, "Created", row.execution_uid)
        return await self._carry(call, row or request)

    async def drained(self) -> None:
        """Returns once all that is to be written was."""
        await self._insert.drained()
        await self._close.drained()

    async def _write(self, request: Request) -> Row | None:
        """The row of the same request that came before, open or done; None where this is the first."""
        for _ in range(_ROUNDS):
            if await self._insert.put(request):
                return None
            row = await self._before(request, grace=GRACE)
            if row is not None:
                return row
        raise Problem(
            HTTPStatus.SERVICE_UNAVAILABLE, "the request changed meanwhile; send it again", headers=RETRY_AFTER
        )

    async def _before(self, request: Request, *, grace: float | None) -> Row | None:
        """The row that has the key, opened again where nothing came of it; None where it changes just now.

        grace: seconds in which no carrier takes it then; None where it may not be opened again.
        """
        if request.key is None:
            return None
        async with self._c.records.connection() as connection:
            row = await requests.find(connection, user=request.user, namespace=request.namespace, key=request.key)
            if row is None:
                return None
            if row.id != request.id:
                raise other_body(request.key)
            if row.state in ("open", "done"):
                return row
            return row if grace is not None and await requests.reopen(connection, row.id, grace=grace) else None

    async def _carry(self, call: Call, request: Request) -> Accepted:
        outcome = await carry_out(self._c.api, request)
        match outcome:
            case Created(uid):
                closing = Closing(id=request.id, state="done", execution_uid=uid)
                call.afterwards(lambda: self._close.put(closing).add_done_callback(_heard))
                return accepted(request, "Created", uid)
            case Refused(problem):
                # Before the answer: a carrier that finds it open would carry it out after all.
                document = orjson.dumps(problem.document()).decode()
                await self._close.put(Closing(id=request.id, state="refused", problem=document))
                raise problem
            case Postponed():
                return await self._left_open(request)

    async def _left_open(self, request: Request) -> Accepted:
        async with self._c.records.connection() as connection:
            if await requests.count_open(connection) <= self._c.settings.max_open_requests:
                await requests.postpone(connection, [request.id], seconds=1.0)
                return accepted(request, "Accepted", None)
            await requests.close(connection, [Closing(id=request.id, state="withdrawn")])
        raise _too_many()

    async def _accept_away(self, request: Request) -> Accepted:
        """Nobody can be asked for rights; the caller had them lately."""
        for _ in range(_ROUNDS):
            async with self._c.records.connection() as connection:
                written = await requests.insert_within(connection, request, bound=self._c.settings.max_open_requests)
            if written:
                return accepted(request, "Accepted", None)
            row = await self._before(request, grace=None if written is None else 0.0)
            if row is not None:
                done = row.state == "done"
                return accepted(row, "Created" if done else "Accepted", row.execution_uid if done else None)
            if written is None:
                break  # the bound is reached, and this is no request that was accepted before
        raise _too_many()

    async def _insert_all(self, items: Sequence[Request]) -> Sequence[bool]:
        async with self._c.records.connection() as connection:
            written = await requests.insert(connection, items, grace=GRACE)
        # Of two that are the same the first was written.
        return [_taken_out(written, item.id) for item in items]

    async def _close_all(self, items: Sequence[Closing]) -> Sequence[None]:
        async with self._c.records.connection() as connection:
            await requests.close(connection, items)
        return [None] * len(items)


def accepted(request: Request, state: RequestState, uid: str | None) -> Accepted:
    """The answer."""
    return Accepted(
        id=str(request.id),
        namespace=request.namespace,
        execution=request.name,
        uid=uid,
        state=state,
        trace_id=trace_id_in(request.traceparent),
    )


def _taken_out(of: set[UUID], id_: UUID) -> bool:
    if id_ in of:
        of.remove(id_)
        return True
    return False


def _heard(future: asyncio.Future[None]) -> None:
    """A row that could not be closed is open, and a carrier closes it."""
    error = None if future.cancelled() else future.exception()
    if isinstance(error, RecordsUnavailable):
        _log.warning("requests stay open that were carried out; they are closed later", extra={"error": str(error)})
    elif error is not None:
        _log.error("requests could not be closed", exc_info=error)


def _too_many() -> Problem:
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "the API server does not answer, and as many requests wait for it as may: nothing was accepted, try later",
        headers={"Retry-After": "10"},
    )
