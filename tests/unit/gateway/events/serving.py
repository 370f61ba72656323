"""The events' route, served by uvicorn on a port, over a real Redis; and a client's side of it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import uvicorn
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from ossa.api.gateway import EVENTS, ExecutionView
from ossa.bus.connection import connect as connect_bus
from ossa.bus.frames import SUBPROTOCOL, Command, Snapshot, Standing, Start
from ossa.bus.messages import EVENTS as STREAM
from ossa.bus.messages import Event
from ossa.bus.publisher import FIELD
from ossa.bus.reader import Reader
from ossa.gateway.events.checking import Checker
from ossa.gateway.events.hub import Hub
from ossa.gateway.events.limits import Limits
from ossa.gateway.events.metrics import Metrics
from ossa.gateway.events.protocol import Sockets
from ossa.gateway.events.routes import follow, routes
from ossa.gateway.identity import Access, Identity
from ossa.gateway.problems import Problem
from tests.ports import free_port
from tests.unit.waiting import until

Frame = dict[str, Any]
ALICE = "alice"
_numbers = itertools.count(1)


def event(execution: str = "run-1", *, namespace: str = "team", **more: Any) -> Event:
    """An event of an Execution."""
    number = next(_numbers)
    told = {"type": "execution", "phase": "Running", "sequence": number, **more}
    return Event(
        id=f"e{number}",
        time=datetime.now(UTC),
        source="resource",
        namespace=namespace,
        execution=execution,
        uid="u",
        **told,
    )


@dataclass
class People:
    """Who may sign in and what they may follow, in memory: tokens are user names with whatever behind a colon."""

    namespaces: dict[str, set[str]] = field(default_factory=lambda: {"alice": {"team"}, "root": {"", "team", "other"}})
    revoked: set[str] = field(default_factory=set)  # tokens
    away: bool = False  # nothing can be known

    async def identify(self, token: str) -> Identity:
        if self.away:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "sessions cannot be read")
        user, _, session = token.partition(":")
        if user not in self.namespaces or token in self.revoked:
            raise Problem(HTTPStatus.UNAUTHORIZED, "sign in again")
        return Identity(user=f"ossa:{user}", session=session or None)

    async def require(self, identity: Identity, access: Access) -> None:
        if self.away:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "permissions cannot be read")
        assert (access.verb, access.resource) == ("watch", "executions")
        allowed = self.namespaces[identity.user.removeprefix("ossa:")]
        if access.namespace not in allowed and "" not in allowed:
            raise Problem(
                HTTPStatus.FORBIDDEN, f"{identity.user} may not watch executions in {access.namespace or 'all'}"
            )

    def seen_lately(self, identity: Identity, access: Access) -> bool:
        raise NotImplementedError(identity, access)

    async def take(self, identity: Identity | None, address: str, cost: int = 1) -> None:
        assert address
        if identity is not None and identity.user == "ossa:busy":
            raise Problem(HTTPStatus.TOO_MANY_REQUESTS, f"{cost} too many", headers={"Retry-After": "1"})


@dataclass
class World:
    """What the rest of the gateway would know."""

    standing: list[ExecutionView] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    seconds: float = 0.0  # that a command takes
    done: int = 0
    broken: bool = False  # snapshots cannot be made, by a defect
    refusals: list[tuple[str, str, int]] = field(default_factory=list)

    async def snapshots(self, start: Start) -> AsyncGenerator[Snapshot, None]:
        if self.broken:
            raise RuntimeError("a defect")
        asked = [
            Standing(execution=view)
            for view in self.standing
            if start.namespace in ("", view.namespace) and start.execution in ("", view.name)
        ]
        yield Snapshot(executions=asked[:1], last=len(asked) < 2)
        if len(asked) > 1:
            yield Snapshot(executions=asked[1:], last=True)

    async def refused(self, identity: Identity | None, address: str, asked: Start | Command, problem: Problem) -> None:
        assert address
        self.refusals.append((identity.user if identity else "", asked.namespace, int(problem.status)))

    async def __call__(self, identity: Identity, address: str, command: Command) -> tuple[int, Mapping[str, Any]]:
        assert address
        self.commands.append(command)
        await asyncio.sleep(self.seconds)
        self.done += 1
        if command.execution == "missing":
            raise Problem(HTTPStatus.NOT_FOUND, f"{identity.user} sees no such execution")
        return 202, {"name": command.execution}


@dataclass
class Gateway:
    """One replica."""

    port: int
    hub: Hub
    people: People
    world: World
    redis: Redis
    server: uvicorn.Server

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}{EVENTS}"

    async def publish(self, *events: Event) -> list[str]:
        """Ids of the stream's entries."""
        return [str(await self.redis.xadd(STREAM, {FIELD: told.model_dump_json()})) for told in events]

    @contextlib.asynccontextmanager
    async def socket(self, *, token: str = ALICE, **start: Any) -> AsyncIterator[Socket]:
        """A client that said `start` and was greeted."""
        async with self.raw() as connection:
            socket = Socket(connection)
            await socket.send({"type": "start", "token": token, "namespace": "team", **start})
            yield socket

    def raw(self, query: str = "", **options: Any) -> connect:
        """A client that said nothing yet."""
        return connect(self.url + query, **{"subprotocols": [SUBPROTOCOL], "compression": None, **options})


@dataclass
class Socket:
    """A client's side."""

    connection: ClientConnection

    async def send(self, frame: Frame) -> None:
        await self.connection.send(json.dumps(frame))

    async def next(self, *, seconds: float = 10.0) -> Frame:
        """The next frame that is no heartbeat."""
        async with asyncio.timeout(seconds):
            while True:
                frame: Frame = json.loads(await self.connection.recv())
                if frame["type"] != "ping":
                    return frame

    async def of(self, kind: str) -> Frame:
        """The next frame, which has to be of this type."""
        frame = await self.next()
        assert frame["type"] == kind, frame
        return frame

    async def rest(self, *, seconds: float = 10.0) -> list[Frame]:
        """All that comes until it is closed."""
        frames: list[Frame] = []
        async with asyncio.timeout(seconds):
            with contextlib.suppress(ConnectionClosed):
                while True:
                    frames.append(json.loads(await self.connection.recv()))
        return frames

    async def closed(self, *, seconds: float = 10.0) -> tuple[int, str]:
        """Code and reason with which the gateway closes it; what comes before is skipped."""
        await self.rest(seconds=seconds)
        return self.connection.close_code or 0, self.connection.close_reason or ""


@contextlib.asynccontextmanager
async def serving(
    redis_url: str, *, port: int = 0, origins: tuple[str, ...] = (), **limits: Any
) -> AsyncIterator[Gateway]:
    """A replica that reads the stream, until the context ends: then it drains."""
    people, world = People(), World()
    bus, redis = (
        connect_bus(redis_url, name="gateway"),
        Redis.from_url(redis_url, decode_responses=True, retry=Retry(NoBackoff(), 1)),
    )
    bounds = Limits(**{"drain": 0.1, "close": 1.0, "start": 2.0, **limits})
    hub = Hub(
        reader=Reader(bus, STREAM), snapshots=world.snapshots, metrics=Metrics(CollectorRegistry()), limits=bounds
    )
    checker = Checker(hub, people, people)
    app = FastAPI()
    app.include_router(routes(hub, checker, limiter=people, commands=world, origins=origins))
    port = port or free_port()
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, ws=Sockets, ws_per_message_deflate=False, lifespan="off", log_level="warning",
        backlog=8192, timeout_graceful_shutdown=3,
    )  # fmt: skip
    server = uvicorn.Server(config)
    tasks = [asyncio.create_task(server._serve()), asyncio.create_task(follow(hub, checker))]
    try:
        await until(lambda: server.started and hub.ready, seconds=30)
        yield Gateway(port, hub, people, world, redis, server)
    finally:
        await hub.drain()
        tasks[1].cancel()
        server.should_exit = True
        await asyncio.gather(*tasks, return_exceptions=True)
        await bus.aclose()
        await redis.aclose()
