"""A client that asks the gateway again and again, also while a service is away, and what came of what it asked for."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field

import httpx

from tests.e2e.harness.gateway import User
from tests.e2e.harness.namespace import Namespace
from tests.e2e.harness.services import Records

OUTAGE_REQUESTS = 60


@dataclass(slots=True)
class Load:
    """A client that asks for Executions one after another, and again with the same key where it was not accepted."""

    user: User
    namespace: str
    accepted: set[str] = field(default_factory=set)
    refused: list[int] = field(default_factory=list)

    async def run(self, count: int) -> None:
        """Until that many were accepted."""
        for _ in range(count):
            await self._one(secrets.token_hex(8))
            await asyncio.sleep(0.1)

    async def _one(self, key: str) -> None:
        body = {"namespace": self.namespace, "workflow": "flow"}
        while True:
            try:
                answer = await self.user.orchestrate(body, key=key)
            except httpx.TransportError:
                self.refused.append(0)
            else:
                if answer.status_code == httpx.codes.ACCEPTED:
                    self.accepted.add(answer.json()["execution"])
                    return
                assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE, answer.text
                self.refused.append(answer.status_code)
            await asyncio.sleep(0.5)


async def requests_of(namespace: Namespace, records: Records) -> dict[str, int]:
    """How many there are in each state."""
    query = "SELECT state, count(*) AS n FROM requests WHERE namespace = $1 GROUP BY state"
    return {row["state"]: row["n"] for row in await records.rows(query, namespace.name)}
