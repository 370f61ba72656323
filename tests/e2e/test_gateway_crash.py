"""A gateway that is killed while clients ask for Executions: each Idempotency-Key leads to exactly one."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import pytest

from ossa.client import AsyncGateway, FixedToken, OrchestrateRequest
from tests.e2e.harness import Namespace, task, workflow
from tests.e2e.harness.executioner import Executioner
from tests.e2e.harness.gateway import User
from tests.e2e.harness.load import requests_of
from tests.e2e.harness.services import Records

CLIENTS, KEYS = 4, 80
PAUSE = 0.1  # seconds between two requests of a client: the kill meets them, and the limit of a user does not


@pytest.mark.usefixtures("alone")
async def test_a_gateway_that_is_killed(namespace: Namespace, user: User, records: Records) -> None:
    await namespace.apply(workflow("flow", [task("none", "nobody", when="${{ false }}")]))
    executioner = Executioner(namespace)
    await executioner.prepare()
    aim = await executioner.aim_at_gateway()
    names: dict[str, list[str]] = defaultdict(list)

    async def client(gateway: AsyncGateway, number: int) -> None:
        """Each key is asked for by two clients, at about the same time."""
        for key in range(number // 2, KEYS, CLIENTS // 2):
            request = OrchestrateRequest(namespace=namespace.name, workflow="flow")
            accepted = await gateway.orchestrate(request, key=f"key-{key}")
            names[f"key-{key}"].append(accepted.execution)
            await asyncio.sleep(PAUSE)

    async with AsyncGateway(user.url, FixedToken(user.token)) as gateway, asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            group.create_task(client(gateway, number))
        await asyncio.sleep(CLIENTS * PAUSE)
        await executioner.kill(aim)
        assert len(names) < KEYS, "all was over before the kill"

    assert {key: len(held) for key, held in names.items()} == {f"key-{number}": 2 for number in range(KEYS)}
    each = [set(held) for held in names.values()]
    assert [held for held in each if len(held) != 1] == []
    accepted = set().union(*each)
    assert len(accepted) == KEYS

    async def closed() -> bool:
        return await requests_of(namespace, records) == {"done": KEYS}

    await namespace.wait(closed, "each request to be closed, by a carrier where its gateway died")
    assert await namespace.execution_names() == accepted
