"""Sign-ins and their refusals, for the audit trail and the metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Literal

from fastapi import Request
from prometheus_client import Counter

from ossa.audit.entry import REFUSALS, entry_of
from ossa.gateway.arrival import arrival_of
from ossa.gateway.context import Trail
from ossa.gateway.guard import address_of
from ossa.gateway.problems import Problem, Unkept
from ossa.gateway.signin.sessions import ReusedToken


@dataclass(slots=True, kw_only=True)
class Step:
    """What is known of a request by its end."""

    verb: str
    how: Literal["password", "oidc", "refresh"] | None = None  # somebody signs in by it; None: it is not counted
    name: str = ""  # of the account, or the session
    user: str = ""  # once it is proved who it is
    changes: bool = True  # where not, refusals alone are recorded


class SignInTrail:
    """Records how each request of somebody not yet signed in ended, before it is answered.

    counted: by `how` and outcome: allowed, denied, limited, reused (a refresh token, by a thief or by mistake), failed.
    """

    def __init__(self, trail: Trail, counted: Counter) -> None:
        self._trail, self._counted = trail, counted

    @asynccontextmanager
    async def of(self, request: Request, step: Step) -> AsyncIterator[Step]:
        """Around what a request does; it fills in the step."""
        try:
            yield step
        except Unkept:
            self._count(step, "failed")  # nothing was done
            raise
        except Problem as problem:
            self._count(step, outcome_of(problem))
            if step.changes or problem.status in REFUSALS:
                await self._write(request, step, int(problem.status), problem.detail)
            raise
        if step.changes:
            await self._write(request, step, 200)
        self._count(step, "allowed")

    async def announce(self, request: Request, step: Step) -> None:
        """It is proved who it is, and a session is about to begin. Raises Unkept (503): then none may."""
        await self._write(request, step, 0)

    def _count(self, step: Step, outcome: str) -> None:
        if step.how is not None:
            self._counted.labels(step.how, outcome).inc()

    async def _write(self, request: Request, step: Step, status: int, reason: str = "") -> None:
        arrival = arrival_of(request.scope)
        await self._trail.record(
            entry_of(
                id=arrival.id,
                time=datetime.now(UTC),
                user=step.user,
                address=address_of(request),
                verb=step.verb,
                resource="sessions",
                name=step.name,
                status=status,
                reason=reason,
                trace_id=arrival.trace.trace_id,
            )
        )


def outcome_of(problem: Problem) -> str:
    """Of a sign-in that was refused, for the metrics."""
    if isinstance(problem, ReusedToken):
        return "reused"
    if problem.status is HTTPStatus.TOO_MANY_REQUESTS:
        return "limited"
    return "denied" if problem.status < HTTPStatus.INTERNAL_SERVER_ERROR else "failed"
