"""What the gateway plugs in: the route of events, and the tasks behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from fastapi import APIRouter
from starlette.routing import WebSocketRoute

from ossa.api.gateway import EVENTS
from ossa.gateway.events.checking import Checker
from ossa.gateway.events.hub import Hub
from ossa.gateway.events.socket import Commands, Events
from ossa.gateway.identity import RateLimiter


def routes(
    hub: Hub,
    checker: Checker,
    *,
    limiter: RateLimiter,
    commands: Commands,
    origins: Collection[str] = (),
) -> APIRouter:
    """The WebSocket of events.

    `origins` are those whose pages may open sockets, e.g. https://ossa.example.com; without any no browser can.
    `follow` has to run meanwhile.
    """
    app = Events(hub=hub, checker=checker, limiter=limiter, commands=commands, origins=origins)
    router = APIRouter()
    router.routes.append(WebSocketRoute(EVENTS, app, name="events"))
    return router


async def follow(hub: Hub, checker: Checker) -> None:
    """Read the stream, and look after the sockets; until cancelled. `hub.drain` closes them before."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(hub.run())
        tasks.create_task(checker.run())
