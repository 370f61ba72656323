"""The gateway put together: the application, and what works beside it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from redis.asyncio import Redis

from ossa.bus.messages import EVENTS
from ossa.bus.reader import Reader
from ossa.gateway.app import create
from ossa.gateway.context import Collaborators
from ossa.gateway.events import routes as events
from ossa.gateway.events.checking import Checker
from ossa.gateway.events.commands import RestCommands
from ossa.gateway.events.hub import Hub
from ossa.gateway.events.metrics import Metrics as SocketMetrics
from ossa.gateway.events.snapshots import Standings
from ossa.gateway.health import Health
from ossa.gateway.orchestrate.accepting import Acceptor
from ossa.gateway.orchestrate.carrier import Carrier
from ossa.gateway.registry import Registry
from ossa.gateway.routers import rest
from ossa.tracing import Tracing


@asynccontextmanager
async def assembled(
    c: Collaborators,
    redis: Redis,
    others: Sequence[APIRouter],
    *,
    health: Health,
    tracing: Tracing | None = None,
) -> AsyncIterator[tuple[FastAPI, Callable[[], Awaitable[None]]]]:
    """The application, and what tells WebSockets to come again elsewhere.

    Beside it work the carrier, the registry's watches and the reader of events, until the block ends. That one of these
    ends by itself is a defect, and ends the block. On the way out what is to be written is.
    """
    acceptor, registry = Acceptor(c), Registry()
    hub = Hub(reader=Reader(redis, EVENTS), snapshots=Standings(c.api), metrics=SocketMetrics(c.metrics.registry))
    checker = Checker(hub, c.authenticator, c.authorizer)
    sockets = events.routes(
        hub, checker, limiter=c.limiter, commands=RestCommands(c, acceptor), origins=c.settings.origins
    )
    routers = [*rest(c, acceptor, registry), sockets, *others]
    app = create(c.settings, c.metrics, routers, health=health, tracing=tracing)
    async with asyncio.TaskGroup() as group:
        works = (Carrier(c).run(), registry.run(c.api), events.follow(hub, checker))
        tasks = [group.create_task(work) for work in works]
        try:
            yield app, hub.drain
        finally:
            for task in tasks:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await acceptor.drained()
