"""POST /orchestrate with all checks against what the API server itself takes, and reads against a bare route.

Runs against the cluster of the current kubeconfig with a gateway of its own. Each load and its ceiling take turns, so
that the machine's moods meet both.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from uuid import uuid4

import aiohttp

from hack.dev import account_token, kubeconfig
from ossa.api.base import JSONObject
from ossa.api.gateway import NAMESPACE_AGENTS
from ossa.gateway.orchestrate.wanted import execution_of
from ossa.kube import paths
from ossa.kube.client import ApiClient, ApiError, Conflict, NotFound
from ossa.kube.config import load_config
from ossa.store.records.requests import Request
from tests.bench.gateway.running import Gateway, bare_route, gateway

# Whose rights the gateway has, and who may name an author.
ACCOUNT = "ossa-gateway"

ORCHESTRATE = "/api/v1/orchestrate"
CLIENTS, ROUND_SECONDS, ROUNDS = 16, 4.0, 4
HALF_SECONDS, HALF_ROUNDS = 8.0, 3
# The machine is at rest when so much of it was idle for so long; it is waited for, but not for ever.
IDLE, IDLE_SECONDS, SETTLE_SECONDS = 0.7, 3.0, 120.0
# The limits of a user and an address are for people; one client stands for many here.
UNLIMITED = {f"OSSA_GATEWAY_{name}_{kind}": "1000000" for name in ("USER", "ADDRESS") for kind in ("RATE", "BURST")}
Send = Callable[[int], Awaitable[None]]


@dataclass
class Load:
    """Seconds of each request that was answered well."""

    seconds: list[float] = field(default_factory=list)
    took: float = 0.0

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.seconds) / self.took

    def quantile(self, share: float) -> float:
        """Milliseconds within which this share was answered."""
        held = sorted(self.seconds)
        return 1000 * held[min(len(held) - 1, int(share * len(held)))]


async def flat_out(send: Send, *, seconds: float = ROUND_SECONDS, first: int = 0) -> Load:
    """As fast as so many clients can, each waiting for its answer."""
    load, began = Load(), time.perf_counter()
    number = first

    async def client() -> None:
        nonlocal number
        while time.perf_counter() - began < seconds:
            number += 1
            sent = time.perf_counter()
            await send(number)
            load.seconds.append(time.perf_counter() - sent)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    load.took = time.perf_counter() - began
    return load


async def paced(send: Send, *, rate: float, seconds: float, first: int = 0) -> Load:
    """At a rate, whether answers come or not; a request's time begins when it was due."""
    load, began = Load(), time.perf_counter()

    async def one(number: int) -> None:
        due = began + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await send(first + number)
        load.seconds.append(time.perf_counter() - due)

    await asyncio.gather(*(one(number) for number in range(int(rate * seconds))))
    load.took = time.perf_counter() - began
    return load


def spec() -> dict[str, object]:
    """Of every Execution, with or without the gateway."""
    return {"workflow": "bench", "inputs": {"dataset": "wine", "limit": 100, "tags": ["a", "b", "c"]}}


@asynccontextmanager
async def namespace(api: ApiClient) -> AsyncIterator[str]:
    """A namespace in which the first user may do everything; gone afterwards."""
    name = "ossa-bench-gateway"
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "bench"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ossa:admin"}],
    }
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    await _made(api, paths.core("namespaces"), body)
    await _made(api, f"/apis/rbac.authorization.k8s.io/v1/namespaces/{name}/rolebindings", binding)
    try:
        yield name
    finally:
        await _emptied(api, name)
        with suppress(NotFound):
            await api.delete(paths.core("namespaces", name=name))


async def _made(api: ApiClient, path: str, body: JSONObject) -> None:
    """Once the one of an earlier run is gone."""
    ends = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            await api.post(path, body)
        except Conflict:
            if time.monotonic() > ends:
                raise
            await asyncio.sleep(0.5)
        else:
            return


async def _emptied(api: ApiClient, name: str) -> None:
    while (await api.get(paths.ossa("executions", name), {"limit": "1"}))["items"]:
        # A collection takes longer than one request may.
        with suppress(ApiError):
            await api.delete(paths.ossa("executions", name))


async def settled(api: ApiClient, where: str) -> None:
    """Until the namespace is empty, and the reconciler and the monitor are done with what came before."""
    await _emptied(api, where)
    ends, before = time.monotonic() + SETTLE_SECONDS, _cpu()
    while time.monotonic() < ends:
        await asyncio.sleep(IDLE_SECONDS)
        now = _cpu()
        if (now[0] - before[0]) / (now[1] - before[1]) >= IDLE:
            return
        before = now


def _cpu() -> tuple[int, int]:
    """Ticks of all processors since the start: idle ones, and all."""
    ticks = [int(text) for text in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def direct(api: ApiClient, where: str) -> Send:
    """Creates of the same Execution without a gateway, by the client that the gateway uses."""
    text = json.dumps(spec())

    async def send(number: int) -> None:
        request = Request(
            id=uuid4(),
            user="ossa:admin",
            identity="",
            namespace=where,
            name=f"direct-{number:016x}",
            key=None,
            spec=text,
            traceparent=f"00-{uuid4().hex}-{uuid4().hex[:16]}-01",
            source="api",
        )
        await api.post(paths.ossa("executions", where), execution_of(request))

    return send


def orchestrated(session: aiohttp.ClientSession, held: Gateway, where: str) -> Send:
    """The same through the gateway, each with a key of its own."""
    body = json.dumps({**spec(), "namespace": where}).encode()

    async def send(number: int) -> None:
        headers = {"Content-Type": "application/json", "Idempotency-Key": f"key-{number}"}
        async with session.post(held.url + ORCHESTRATE, data=body, headers=headers) as answer:
            text = await answer.text()
            if answer.status != 202:
                raise ApiError(answer.status, "Bench", text)

    return send


def getting(session: aiohttp.ClientSession, url: str) -> Send:
    """A read."""

    async def send(_: int) -> None:
        async with session.get(url) as answer:
            await answer.read()
            if answer.status != 200:
                raise ApiError(answer.status, "Bench", await answer.text())

    return send


async def rounds(of: Send, ceiling: Send, *, first: int) -> tuple[float, float]:
    """Rates of both, by turns and without a rest: what a rate leaves to be worked off belongs to what is sustained."""
    loads: tuple[list[Load], list[Load]] = ([], [])
    for number in range(ROUNDS):
        for send, into in zip((ceiling, of), loads, strict=True):
            into.append(await flat_out(send, first=first + 1_000_000 * number))
    below, above = (sum(len(load.seconds) for load in held) / sum(load.took for load in held) for held in loads)
    return above, below


async def halves(of: Send, ceiling: Send, *, rate: float, rest: Callable[[], Awaitable[None]]) -> dict[str, float]:
    """Milliseconds of both at a rate, by turns, each on a machine at rest: medians of the rounds."""
    loads: tuple[list[Load], list[Load]] = ([], [])
    for number in range(HALF_ROUNDS):
        for send, into in zip((ceiling, of), loads, strict=True):
            await rest()
            into.append(await paced(send, rate=rate, seconds=HALF_SECONDS, first=800_000_000 + 1_000_000 * number))
    figures = {
        f"{name}_p{int(100 * share)}_ms": statistics.median(load.quantile(share) for load in held)
        for name, held in zip(("half_load_direct", "half_load"), loads, strict=True)
        for share in (0.5, 0.99)
    }
    return figures | {"half_load_p99_ratio": figures["half_load_p99_ms"] / figures["half_load_direct_p99_ms"]}


async def run() -> dict[str, dict[str, float]]:
    """The figures by scenario."""
    own = await asyncio.to_thread(kubeconfig, ACCOUNT)
    token = await asyncio.to_thread(partial(account_token, account=ACCOUNT))
    account = replace(load_config(), token=lambda: token, cert_file=None, key_file=None)
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(ApiClient(load_config()))
        api = await stack.enter_async_context(ApiClient(account))
        where = await stack.enter_async_context(namespace(admin))
        held = await stack.enter_async_context(gateway(KUBECONFIG=str(own), **UNLIMITED))
        authorization = {"Authorization": f"Bearer {held.token}"}
        async with aiohttp.ClientSession(headers=authorization) as session, bare_route() as bare:
            creating, creates = direct(api, where), orchestrated(session, held, where)
            for warm in (creating, creates):
                await flat_out(warm, seconds=1.0, first=900_000_000)
            rest = partial(settled, admin, where)
            rate, ceiling = await rounds(creates, creating, first=0)
            half = await halves(creates, creating, rate=rate / 2, rest=rest)
            await rest()
            reads = getting(session, held.url + NAMESPACE_AGENTS.format(namespace=where))
            read, bare_rate = await rounds(reads, getting(session, bare), first=0)
    return {
        "gateway-orchestrate": {
            "requests_per_s": rate,
            "ceiling_per_s": ceiling,
            "ceiling_ratio": rate / ceiling,
            **half,
        },
        "gateway-read": {"requests_per_s": read, "bare_per_s": bare_rate, "ceiling_ratio": read / bare_rate},
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run()), indent=1))
