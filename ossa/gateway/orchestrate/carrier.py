"""Carries out requests that were accepted and left open: the API server was away, or who accepted them died."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import defaultdict
from http import HTTPStatus
from uuid import UUID

import orjson

from ossa.api.trace import trace_id_in
from ossa.audit.entry import entry_of
from ossa.gateway.context import Collaborators
from ossa.gateway.identity import Access
from ossa.gateway.orchestrate.creating import Created, Outcome, Postponed, Refused, carry_out
from ossa.gateway.orchestrate.wanted import identity_of
from ossa.gateway.problems import Problem, Unkept
from ossa.kube.errors import ApiError
from ossa.logs import log_about
from ossa.store.records import requests
from ossa.store.records.errors import RecordsUnavailable
from ossa.store.records.requests import Closing, Row

_log = logging.getLogger("ossa.gateway")
BATCH = 32  # requests carried out at once
LEASE = 30.0  # seconds after which another carrier may take what this one has claimed
BACKOFF_MOST = 30.0
PURGE_EVERY = 60.0


class Carrier:
    """One in each replica; they share the work by rows that are locked."""

    def __init__(self, c: Collaborators) -> None:
        self._c = c
        self._purge_at = 0.0

    async def run(self) -> None:
        """For ever."""
        while True:
            more = False
            try:
                more = await self.turn()
            except RecordsUnavailable as error:
                _log.warning("open requests cannot be looked for", extra={"error": str(error)})
            if not more:
                # Replicas that were started together do not look together.
                await asyncio.sleep(self._c.settings.carry_interval * random.uniform(0.5, 1.5))  # noqa: S311

    async def turn(self) -> bool:
        """Carry out what is due; whether there may be more. Raises RecordsUnavailable."""
        async with self._c.records.connection() as connection:
            rows = await requests.claim(connection, limit=BATCH, lease=LEASE)
            self._c.metrics.open.set(await requests.count_open(connection))
            if time.monotonic() >= self._purge_at:
                self._purge_at = time.monotonic() + PURGE_EVERY
                await requests.purge(connection, keep=self._c.settings.keep_requests)
        if not rows:
            return False
        outcomes = await asyncio.gather(*(self._carry(row) for row in rows))
        await self._write(list(zip(rows, outcomes, strict=True)))
        return len(rows) == BATCH and not all(isinstance(outcome, Postponed) for outcome in outcomes)

    async def _carry(self, row: Row) -> Outcome:
        trace_id = trace_id_in(row.traceparent)
        # Each in a task of its own.
        log_about({"namespace": row.namespace, "execution": row.name, "traceId": trace_id})
        try:
            return await self._carried(row)
        except Unkept as problem:
            return Postponed(ApiError(0, "Unkept", problem.detail))  # the row stays open until the trail has it
        except Exception:  # noqa: BLE001 - a defect in one must not hold up the others
            _log.exception("a defect: an open request could not be carried out", extra={"request": str(row.id)})
            return Postponed(ApiError(0, "Defect", "see the log"))

    async def _carried(self, row: Row) -> Outcome:
        outcome = await self._permitted(row)
        if outcome is None:
            outcome = await carry_out(self._c.api, row)
        match outcome:
            case Created():
                self._c.metrics.carried.labels("created").inc()
                await self._tell(row, HTTPStatus.CREATED, "")
            case Refused(problem):
                self._c.metrics.carried.labels("refused").inc()
                await self._tell(row, problem.status, problem.detail)
            case Postponed():
                self._c.metrics.carried.labels("postponed").inc()
        return outcome

    async def _permitted(self, row: Row) -> Outcome | None:
        """None where whoever asked for it may still do so."""
        try:
            await self._c.authorizer.require(identity_of(row), Access("create", "executions", row.namespace))
        except Problem as problem:
            if problem.status is HTTPStatus.SERVICE_UNAVAILABLE:
                return Postponed(ApiError(0, "NoAnswer", problem.detail))
            return Refused(problem)
        return None

    async def _tell(self, row: Row, status: HTTPStatus, reason: str) -> None:
        """The audit trail, before the row is closed: an entry that comes twice has the same id."""
        await self._c.trail.record(
            entry_of(
                id=f"{row.id}:carried",
                time=self._c.clock(),
                user=row.user,
                verb="carry-out",
                resource="executions",
                namespace=row.namespace,
                name=row.name,
                status=int(status),
                reason=reason,
                trace_id=trace_id_in(row.traceparent),
            )
        )

    async def _write(self, results: list[tuple[Row, Outcome]]) -> None:
        closings: list[Closing] = []
        later: defaultdict[float, list[UUID]] = defaultdict(list)
        for row, outcome in results:
            match outcome:
                case Created(uid):
                    closings.append(Closing(id=row.id, state="done", execution_uid=uid))
                case Refused(problem):
                    document = orjson.dumps(problem.document()).decode()
                    closings.append(Closing(id=row.id, state="refused", problem=document))
                case Postponed():
                    later[backoff(row.attempts)].append(row.id)
        async with self._c.records.connection() as connection:
            if closings:
                await requests.close(connection, closings)
            for seconds, ids in later.items():
                await requests.postpone(connection, ids, seconds=seconds)


def backoff(attempts: int) -> float:
    """Seconds until an open request is looked at again, after so many attempts."""
    return float(min(BACKOFF_MOST, 2 ** min(attempts - 1, 10)))
