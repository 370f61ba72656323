"""Replicas of the gateway whose sockets are guarded by what guards them in the cluster.

Sign-in and sessions over a real PostgreSQL and a real Redis, and the question to the API server, which a test answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from redis.asyncio import Redis
from websockets.asyncio.client import connect

from ossa.api.gateway import EVENTS, SIGN_IN
from ossa.bus.connection import connect as connect_bus
from ossa.bus.messages import EVENTS as STREAM
from ossa.bus.publisher import Posting, Publisher
from ossa.bus.reader import Reader
from ossa.gateway.events.checking import Checker
from ossa.gateway.events.commands import RestCommands
from ossa.gateway.events.hub import Hub
from ossa.gateway.events.limits import Limits
from ossa.gateway.events.metrics import Metrics as SocketMetrics
from ossa.gateway.events.routes import follow, routes
from ossa.gateway.events.snapshots import Standings
from ossa.gateway.identity import Access
from ossa.gateway.metrics import Metrics
from ossa.gateway.orchestrate.accepting import Acceptor
from ossa.gateway.signin.assembly import security
from ossa.gateway.signin.settings import SignInSettings
from ossa.httppool import LIMITS
from ossa.kube.client import ApiClient
from ossa.kube.config import KubeConfig
from ossa.store.records.pool import Records
from tests.unit.gateway.events.serving import Socket, event
from tests.unit.gateway.installed import Permissive
from tests.unit.gateway.serving import Book, served
from tests.unit.gateway.signin.site import FIRST, THEIRS, collaborating, settings_in
from tests.unit.waiting import until

ADMIN = "admin"
# Each socket's turn comes each second.
OFTEN = Limits(recheck=1.0, heartbeat=1.0, drain=0.1, close=1.0)
Right = tuple[str, str, str, str]  # user, verb, resource, namespace


class Cluster(Permissive):
    """An API server that knows who may do what, and can be told to say nothing (`answering`)."""

    def __init__(self) -> None:
        super().__init__()
        self.rights: set[Right] = {(f"ossa:{ADMIN}", verb, "users", "") for verb in ("create", "update", "delete")}
        self.allowed = self._allows

    def _allows(self, user: str, access: Access) -> bool:
        return (user, access.verb, access.resource, access.namespace) in self.rights


@dataclass
class Replica:
    """One process of the gateway, and a client of it."""

    client: httpx.AsyncClient
    hub: Hub
    book: Book
    url: str

    async def signed_in(self, name: str, password: str = THEIRS) -> dict[str, str]:
        """Tokens of a new session."""
        answer = await self.client.post(SIGN_IN, json={"name": name, "password": password})
        assert answer.status_code == httpx.codes.OK, answer.text
        return dict(answer.json())

    async def ask(self, method: str, path: str, token: str, body: Any = None) -> None:
        """A request that has to be carried out."""
        answer = await self.client.request(method, path, json=body, headers={"Authorization": f"Bearer {token}"})
        assert answer.is_success, answer.text

    @asynccontextmanager
    async def socket(self, token: str, namespace: str = "team") -> AsyncIterator[Socket]:
        """One that follows the events of a namespace."""
        async with connect(self.url.replace("http", "ws") + EVENTS, compression=None) as connection:
            socket = Socket(connection)
            await socket.send({"type": "start", "token": token, "namespace": namespace})
            await socket.of("hello")
            yield socket


@dataclass
class Guarded:
    """Two replicas over the same servers: what is asked of one holds at the other."""

    cluster: Cluster
    publisher: Publisher
    replicas: list[Replica] = field(default_factory=list)
    admin: str = field(default="", repr=False)  # a token

    async def add(self, name: str, *namespaces: str) -> str:
        """A token of a new user, who may follow what happens in these namespaces."""
        body = {"name": name, "password": THEIRS, "groups": []}
        await self.replicas[0].ask("POST", "/api/v1/users", self.admin, body)
        self.cluster.rights |= {(f"ossa:{name}", "watch", "executions", namespace) for namespace in namespaces}
        return (await self.replicas[0].signed_in(name))["access_token"]

    async def lives(self, socket: Socket, namespace: str = "team") -> None:
        """Asserts that a socket is told what happens now."""
        told = event(namespace=namespace)
        await self.publisher.send([Posting(told, STREAM)])
        while (await socket.of("event"))["event"]["id"] != told.id:
            pass


@asynccontextmanager
async def guarded(
    folder: Path, *, records_url: str, redis_url: str, limits: Limits = OFTEN, **more: Any
) -> AsyncIterator[Guarded]:
    """more: of the settings of sign-in."""
    settings = settings_in(folder, **more)
    cluster = Cluster()
    async with AsyncExitStack() as stack:
        config = await stack.enter_async_context(cluster.served())
        bus = connect_bus(redis_url, name="test")
        stack.push_async_callback(bus.aclose)
        made = Guarded(cluster, Publisher(bus))
        for _ in range(2):
            made.replicas.append(
                await stack.enter_async_context(_replica(settings, config, records_url, redis_url, limits))
            )
        made.admin = (await _first(made.replicas[0]))["access_token"]
        stack.callback(cluster.answering.set)
        yield made


async def _first(replica: Replica) -> dict[str, str]:
    """Tokens of the first user, once it is there."""
    async with asyncio.timeout(30):
        while True:
            answer = await replica.client.post(SIGN_IN, json={"name": ADMIN, "password": FIRST})
            if answer.is_success:
                return dict(answer.json())
            await asyncio.sleep(0.1)


@asynccontextmanager
async def _replica(
    settings: SignInSettings, config: KubeConfig, records_url: str, redis_url: str, limits: Limits
) -> AsyncIterator[Replica]:
    book, metrics = Book(), Metrics()
    redis, quick = connect_bus(redis_url, name="gateway"), Redis.from_url(redis_url)
    async with (
        ApiClient(config) as api,
        Records(records_url, application="test") as records,
        security(settings, records=records, redis=quick, api=api, metrics=metrics) as safe,
        asyncio.TaskGroup() as tasks,
    ):
        c = collaborating(safe, api=api, records=records, book=book, metrics=metrics)
        hub = Hub(
            reader=Reader(redis, STREAM),
            snapshots=Standings(api),
            metrics=SocketMetrics(metrics.registry),
            limits=limits,
        )
        checker = Checker(hub, c.authenticator, c.authorizer)
        sockets = routes(hub, checker, limiter=c.limiter, commands=RestCommands(c, Acceptor(c)))
        following = tasks.create_task(follow(hub, checker))
        await until(lambda: hub.ready)
        async with served([safe.router(c), sockets], settings=c.settings, metrics=metrics) as port:
            url = f"http://127.0.0.1:{port}"
            async with httpx.AsyncClient(base_url=url, timeout=20, limits=LIMITS) as client:
                yield Replica(client, hub, book, url)
            await hub.drain()
        following.cancel()
    await redis.aclose()
    await quick.aclose()
