"""What a reconciler does until its turn comes, and what stops it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
from prometheus_client import generate_latest

from controllers import leading
from controllers.leading import LEASE, fenced, health, turn_to_lead
from controllers.metrics import Metrics
from ossa.kube import paths
from ossa.kube.client import ApiClient
from ossa.kube.config import KubeConfig
from ossa.kube.elector import Elector, LeaseClient
from ossa.kube.lease import Pace
from tests.ports import free_port
from tests.unit.controllers.apiserver import ApiServer
from tests.unit.waiting import until

LEASES = paths.leases("ossa-system")
PODS = paths.core("pods", "lab")
# No renewal within the test: the time is over 0.8 s after the acquisition.
ONCE = Pace(lease=1.0, hold=0.8, renew=60.0, look=0.05, again=0.05)


@pytest.fixture
async def server() -> AsyncIterator[tuple[ApiServer, KubeConfig]]:
    server = ApiServer()
    async with server.served() as config:
        yield server, config


class Ended(BaseException):
    """In place of the process's end."""


def elector_of(config: KubeConfig) -> Elector:
    return Elector(LeaseClient(config, "ossa-system", LEASE), identity="me", pace=ONCE, end=lambda _: None)


def metric(metrics: Metrics, name: str) -> float:
    lines = generate_latest(metrics.registry).decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


async def test_it_waits_for_what_is_under_way_and_then_leads(
    server: tuple[ApiServer, KubeConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leading, "SETTLE_SECONDS", 0.3)
    api, config = server
    metrics = Metrics()
    spec = {"holderIdentity": "dead", "leaseTransitions": 4, "leaseDurationSeconds": 1}
    api.create(LEASES, {"metadata": {"name": LEASE}, "spec": spec})
    elector = elector_of(config)
    turn = asyncio.create_task(turn_to_lead(elector, metrics))
    assert (metric(metrics, "ossa_leader"), metric(metrics, "ossa_leader_epoch")) == (0, 0)
    async with asyncio.timeout(3):
        await asyncio.wrap_future(elector.elected)
        loop = asyncio.get_running_loop()
        elected = loop.time()
        assert await turn == 5
    assert loop.time() - elected > 0.25
    assert (metric(metrics, "ossa_leader"), metric(metrics, "ossa_leader_epoch")) == (1, 5)
    await asyncio.to_thread(elector.resign)


async def test_no_request_leaves_once_the_time_is_over(server: tuple[ApiServer, KubeConfig]) -> None:
    """Even where the thread that ends the process has not run yet."""
    api, config = server

    def end(reason: str) -> None:
        if threading.current_thread() is threading.main_thread():
            raise Ended(reason)
        time.sleep(0.05)

    elector = Elector(LeaseClient(config, "ossa-system", LEASE), identity="me", pace=ONCE, end=end)
    elector.start()
    await asyncio.wrap_future(elector.elected)
    async with ApiClient(fenced(config, elector)) as client:
        await client.post(PODS, {"metadata": {"name": "first"}})
        await asyncio.sleep(ONCE.hold + 0.1)
        with pytest.raises(Ended, match=r"was not renewed for 0\.8 s"):
            await client.post(PODS, {"metadata": {"name": "second"}})
    assert [pod["metadata"]["name"] for pod in api.of(PODS)] == ["first"]
    await asyncio.to_thread(elector.resign)


async def test_one_that_waits_is_ready_while_the_api_server_answers(server: tuple[ApiServer, KubeConfig]) -> None:
    api, config = server
    spec = {"holderIdentity": "other", "leaseTransitions": 4, "leaseDurationSeconds": 60}
    api.create(LEASES, {"metadata": {"name": LEASE}, "spec": spec})
    elector = elector_of(config)
    url = f"http://127.0.0.1:{free_port()}"

    async def answers(http: aiohttp.ClientSession, path: str) -> int:
        async with http.get(url + path) as answer:
            return answer.status

    async with health(f"{url}/healthz", elector), aiohttp.ClientSession() as http:
        assert (await answers(http, "/healthz"), await answers(http, "/readyz")) == (200, 503)
        elector.start()
        await until(elector.in_touch)
        assert (await answers(http, "/healthz"), await answers(http, "/readyz")) == (200, 200)
        assert not elector.elected.done()
        await asyncio.to_thread(elector.resign)
