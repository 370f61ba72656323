"""Sign-ins and their refusals, for the audit trail."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import Request

from ossa.audit.entry import Entry, Outcome
from ossa.gateway.arrival import arrival_of
from ossa.gateway.context import Trail
from ossa.gateway.guard import REFUSALS, address_of
from ossa.gateway.problems import Problem, Unkept


@dataclass(slots=True, kw_only=True)
class Step:
    """What is known of a request by its end."""

    verb: str
    name: str = ""  # of the account, or the session
    user: str = ""  # once it is proved who it is
    changes: bool = True  # where not, refusals alone are recorded


class SignInTrail:
    """Records how each request of somebody not yet signed in ended, before it is answered."""

    def __init__(self, trail: Trail) -> None:
        self._trail = trail

    @asynccontextmanager
    async def of(self, request: Request, step: Step) -> AsyncIterator[Step]:
        """Around what a request does; it fills in the step."""
        try:
            yield step
        except Unkept:
            raise  # nothing was done
        except Problem as problem:
            if step.changes or problem.status in REFUSALS:
                outcome: Outcome = "denied" if problem.status in REFUSALS else "failed"
                await self._write(request, step, outcome, (int(problem.status), problem.detail))
            raise
        if step.changes:
            await self._write(request, step, "allowed", (200, ""))

    async def announce(self, request: Request, step: Step) -> None:
        """It is proved who it is, and a session is about to begin. Raises Unkept (503): then none may."""
        await self._write(request, step, "asked", (0, ""))

    async def _write(self, request: Request, step: Step, outcome: Outcome, ended: tuple[int, str]) -> None:
        arrival = arrival_of(request.scope)
        await self._trail.record(
            Entry(
                id=arrival.id,
                time=datetime.now(UTC),
                user=step.user,
                address=address_of(request)[:64],
                verb=step.verb,
                resource="sessions",
                name=step.name[:512],
                outcome=outcome,
                status=ended[0],
                reason=ended[1][:1024],
                trace_id=arrival.trace.trace_id,
            )
        )
