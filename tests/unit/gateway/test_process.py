"""The process ossa-gateway as it is installed: signs in, runs a workflow, ends without losing a request."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web

from tests.bench.gateway.running import Gateway, serving_with
from tests.ports import free_port
from tests.unit.gateway.lab import Cluster
from tests.unit.servers import Postgres, Redis


def kubeconfig(folder: Path, server: str) -> Path:
    """A file that leads there."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": server}}],
        "users": [{"name": "test", "user": {"token": "token"}}],
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def servers(postgres: Postgres, redis: Redis, database: str) -> tuple[str, str]:
    """URLs of an empty database and of Redis."""
    del postgres
    return database, redis.url


async def test_the_process(tmp_path: Path, servers: tuple[str, str]) -> None:
    """One process for many claims, because it takes seconds to start."""
    cluster = Cluster()
    cluster.allowed = lambda *_: True
    async with cluster.served() as config:
        path = kubeconfig(tmp_path, config.server)
        async with serving_with(tmp_path, *servers, KUBECONFIG=str(path), OSSA_GATEWAY_DRAIN_DELAY="0.5") as held:
            authorization = {"Authorization": f"Bearer {held.token}"}
            async with aiohttp.ClientSession(held.url, headers=authorization) as session:
                await it_serves(session, cluster)
                await it_ends_after_its_last_answer(session, held, cluster)
        lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
        assert not [line for line in lines if line["level"] == "error"], lines
        assert held.password not in (tmp_path / "log").read_text()


async def test_it_lives_while_it_waits_for_postgresql(
    tmp_path: Path, servers: tuple[str, str], postgres: Postgres
) -> None:
    """Or it would be killed by whoever looks after it, for as long as PostgreSQL is away."""
    await asyncio.to_thread(postgres.stop)
    cluster, port = Cluster(), free_port()
    cluster.allowed = lambda *_: True
    async with cluster.served() as config, asyncio.TaskGroup() as group:
        path = kubeconfig(tmp_path, config.server)
        waiting = group.create_task(it_waits(f"http://127.0.0.1:{port}", postgres))
        async with serving_with(tmp_path, *servers, OSSA_GATEWAY_PORT=str(port), KUBECONFIG=str(path)) as held:
            await waiting
            async with aiohttp.ClientSession(held.url, headers={"Authorization": f"Bearer {held.token}"}) as session:
                await it_serves(session, cluster)
            assert held.process.poll() is None


async def it_waits(url: str, postgres: Postgres) -> None:
    """It lives and says that it cannot work yet, until PostgreSQL is there."""
    async with aiohttp.ClientSession(url) as session:
        async with asyncio.timeout(60):
            await until_it_lives(session)
        for path in ("/readyz", "/api/v1/agents", "/api/v1/events"):
            async with session.get(path) as answer:
                assert (answer.status, answer.headers["Retry-After"]) == (503, "2"), path
                assert "PostgreSQL" in (await answer.json(content_type="application/problem+json"))["detail"]
        async with session.post("/orchestrate", json={"workflow": "pipeline"}) as answer:
            assert (answer.status, answer.headers["X-Content-Type-Options"]) == (503, "nosniff")
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await session.ws_connect("/api/v1/events")
        assert refusal.value.status == 503
        await until_it_lives(session)
    await asyncio.to_thread(postgres.start)


async def until_it_lives(session: aiohttp.ClientSession) -> None:
    while True:
        with suppress(aiohttp.ClientConnectionError):
            async with session.get("/healthz") as answer:
                assert answer.status == 200
                return
        await asyncio.sleep(0.1)


async def it_serves(session: aiohttp.ClientSession, cluster: Cluster) -> None:
    body = {"namespace": "lab", "workflow": "pipeline"}
    async with session.post("/orchestrate", json=body) as answer:
        assert answer.status == 202
        told = await answer.json()
    assert [item["metadata"]["name"] for item in cluster.executions()] == [told["execution"]]
    for path, status in (("/readyz", 200), ("/api/v1/namespaces/lab/agents", 200), ("/api/v1/auth/whoami", 200)):
        async with session.get(path) as answer:
            assert answer.status == status, path
    async with session.get("/openapi.json") as answer:
        assert {"/orchestrate", "/api/v1/auth/login"} <= (await answer.json())["paths"].keys()
    async with session.get("/readyz", headers={"Authorization": "Bearer forged"}) as answer:
        assert answer.status == 200
    async with session.get("/api/v1/agents", headers={"Authorization": "Bearer forged"}) as answer:
        assert answer.status == 401


async def it_ends_after_its_last_answer(session: aiohttp.ClientSession, held: Gateway, cluster: Cluster) -> None:
    """What was begun is answered, and what was answered is written down."""
    begun = asyncio.Event()
    original = cluster.admit

    def slow(item: dict[str, Any]) -> web.Response | None:
        begun.set()
        return original(item)

    cluster.admit = slow
    asking = asyncio.create_task(session.post("/orchestrate", json={"namespace": "lab", "workflow": "last"}))
    await begun.wait()
    held.process.terminate()
    answer = await asking
    assert answer.status == 202
    assert await asyncio.to_thread(held.process.wait, 30) == 0
