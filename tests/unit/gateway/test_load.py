"""PostgreSQL and the API server go away and come back while clients send: no request that was accepted is lost."""

from __future__ import annotations

import asyncio
from collections import Counter

from ossa.gateway.orchestrate.carrier import Carrier
from tests.unit.gateway.lab import Lab, lab
from tests.unit.servers import Postgres

PATH = "/api/v1/orchestrate"


class Clients:
    """Each sends one request after the other, each with a key of its own, and again where it was told to."""

    def __init__(self, gateway: Lab) -> None:
        self._gateway = gateway
        self.accepted: dict[str, str] = {}  # id of the request by key
        self.codes: Counter[int] = Counter()
        self.stopped = False

    async def run(self, client: int) -> None:
        """Until `stopped`."""
        number = 0
        while not self.stopped:
            number += 1
            key = f"{client}-{number}"
            for _ in range(3):
                body = {"namespace": "lab", "workflow": "pipeline", "inputs": {"key": key}}
                answer = await self._gateway.post(PATH, body, Idempotency_Key=key)
                self.codes[answer.status_code] += 1
                if answer.status_code == 202:
                    self.accepted[key] = answer.json()["id"]
                    break
                await asyncio.sleep(0.05)


async def test_nothing_accepted_is_lost(records_url: str, postgres: Postgres) -> None:
    async with lab(records_url, carry_interval=0.1, max_open_requests=100_000) as gateway:
        clients = Clients(gateway)
        carrier = asyncio.create_task(Carrier(gateway.collaborators).run())
        sending = [asyncio.create_task(clients.run(number)) for number in range(8)]
        cluster, people = gateway.cluster, gateway.people
        for _ in range(2):
            await asyncio.sleep(0.3)
            cluster.stopped = people.cluster_away = True
            await asyncio.sleep(0.4)
            await asyncio.to_thread(postgres.kill)
            await asyncio.sleep(0.3)
            cluster.stopped = people.cluster_away = False
            await asyncio.sleep(0.3)
            await asyncio.to_thread(postgres.start)
        await asyncio.sleep(2.5)  # until PostgreSQL is tried again
        clients.stopped = True
        await asyncio.gather(*sending)
        await gateway.acceptor.drained()
        carrier.cancel()
        await asyncio.gather(carrier, return_exceptions=True)
        await gateway.carried_out()

        assert clients.codes[202] > 20
        assert clients.codes[503] > 0
        assert clients.codes.keys() <= {202, 503}
        keys = Counter(item["spec"]["inputs"]["key"] for item in cluster.executions())
        assert set(keys.values()) == {1}
        assert clients.accepted.keys() <= keys.keys()
        assert not [row for row in await gateway.rows() if row["state"] == "open"]
        requests = {item["metadata"]["annotations"]["ossa.dev/request-id"] for item in cluster.executions()}
        assert set(clients.accepted.values()) <= requests
