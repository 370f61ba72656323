"""The process ossa-gateway is killed again and again at random moments, under load: SIGKILL, as where memory is over.

Each request that was answered 202 has led to exactly one Execution, and no request to two: told by an input of its own,
so that neither names nor ids, which the gateway makes, prove themselves.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import asyncpg
import httpx

from hack.test import seed
from ossa.api.gateway import IDEMPOTENCY_KEY, ORCHESTRATE
from tests.bench.gateway.running import Gateway, serving_with
from tests.unit.gateway.installed import UNLIMITED, Permissive
from tests.unit.gateway.test_process import kubeconfig

LIVES, CLIENTS = 3, 6
ANSWERS = 40  # at most, until it is killed
LATER = 0.02  # seconds at most, from then on: what an answer takes


@dataclass
class Wish:
    """One Execution that a client wants; without a key it asks once."""

    number: int
    key: str | None
    told: list[tuple[str, str]] = field(default_factory=list)  # id and Execution of each 202


@dataclass
class Clients:
    """What was wished for so far."""

    wishes: list[Wish] = field(default_factory=list)
    waiting: list[Wish] = field(default_factory=list)  # that have a key, and no answer yet
    left: int = 0  # answers until the next kill
    due: asyncio.Event = field(default_factory=asyncio.Event)

    def aim(self, answers: int) -> None:
        """After so many answers it is time to kill."""
        self.left = answers
        self.due.clear()

    def next(self) -> Wish:
        """One that had no answer, or a new one; every other one has a key."""
        if self.waiting:
            return self.waiting.pop()
        number = len(self.wishes)
        self.wishes.append(Wish(number, f"key-{number}" if number % 2 else None))
        return self.wishes[-1]

    async def until_killed(self, gateway: Gateway) -> None:
        """Asks on and on, and sends each second request with a key again although it was answered."""
        async with client_of(gateway) as client:
            while True:
                wish = self.next()
                again = wish.number % 4 == 1
                try:
                    for _ in range(1 + again):
                        await ask(client, wish)
                        self.left -= 1
                        if self.left <= 0:
                            self.due.set()
                except httpx.TransportError:
                    if wish.key is not None:
                        self.waiting.append(wish)
                    return


def client_of(gateway: Gateway) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {gateway.token}"}
    return httpx.AsyncClient(base_url=gateway.url, headers=headers, timeout=30)


async def ask(client: httpx.AsyncClient, wish: Wish) -> None:
    body = {"namespace": "lab", "workflow": "pipeline", "inputs": {"number": wish.number}}
    headers = {} if wish.key is None else {IDEMPOTENCY_KEY: wish.key}
    answer = await client.post(ORCHESTRATE, json=body, headers=headers)
    assert answer.status_code == 202, answer.text
    told = answer.json()
    wish.told.append((told["id"], told["execution"]))


async def test_a_process_that_is_killed_again_and_again(tmp_path: Path, records_url: str, redis_url: str) -> None:
    cluster, clients, mine = Permissive(), Clients(), Random(seed())  # noqa: S311 - a test's own
    async with cluster.served() as config:
        environment = {**UNLIMITED, "KUBECONFIG": str(kubeconfig(tmp_path, config.server))}
        for _ in range(LIVES):
            await due_now(records_url)  # so that the kill meets the carrier at its work, too
            async with (
                serving_with(tmp_path, records_url, redis_url, **environment) as gateway,
                asyncio.TaskGroup() as group,
            ):
                clients.aim(mine.randint(1, ANSWERS))
                for _ in range(CLIENTS):
                    group.create_task(clients.until_killed(gateway))
                await clients.due.wait()
                await asyncio.sleep(mine.uniform(0, LATER))
                gateway.process.kill()
        await due_now(records_url)
        async with (
            serving_with(tmp_path, records_url, redis_url, **environment) as gateway,
            client_of(gateway) as client,
        ):
            for wish in clients.waiting:
                await ask(client, wish)
            states = await closed(records_url)
    assert set(states.values()) == {"done"}
    await each_led_to_one(clients.wishes, cluster, states)
    await all_are_in_the_trail(records_url, cluster)


async def each_led_to_one(wishes: Iterable[Wish], cluster: Permissive, states: dict[str, str]) -> None:
    """Executions against answers, by the number that was asked for."""
    made = Counter(item["spec"]["inputs"]["number"] for item in cluster.executions())
    names = {item["spec"]["inputs"]["number"]: item["metadata"]["name"] for item in cluster.executions()}
    answered = {wish.number: set(wish.told) for wish in wishes if wish.told}
    assert len(answered) >= LIVES
    assert [number for number, count in made.items() if count != 1] == []
    assert {number: {names.get(number)} for number in answered} == {
        number: {name for _, name in told} for number, told in answered.items()
    }
    # What nobody heard of is either written down and done, or was never there.
    assert len(made) == len(states)


async def all_are_in_the_trail(records_url: str, cluster: Permissive) -> None:
    """Who asked for each Execution is known, whatever died in between."""
    query = "SELECT DISTINCT name FROM audit WHERE resource = 'executions' AND outcome = 'allowed'"
    connection = await asyncpg.connect(records_url)
    try:
        told = {row["name"] for row in await connection.fetch(query)}
    finally:
        await connection.close()
    assert {item["metadata"]["name"] for item in cluster.executions()} - told == set()


async def due_now(records_url: str) -> None:
    """Open requests are a carrier's at once, as if their time had come."""
    connection = await asyncpg.connect(records_url)
    try:
        await connection.execute("UPDATE requests SET due_at = now() - interval '1s' WHERE state = 'open'")
    finally:
        await connection.close()


async def closed(records_url: str) -> dict[str, str]:
    """States of all requests by id, once none is open."""
    async with asyncio.timeout(60):
        while True:
            connection = await asyncpg.connect(records_url)
            try:
                rows = await connection.fetch("SELECT id, state FROM requests")
            finally:
                await connection.close()
            states = {str(row["id"]): str(row["state"]) for row in rows}
            if "open" not in states.values():
                return states
            await asyncio.sleep(0.2)
