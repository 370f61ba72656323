"""What is served before there is a gateway: that the process lives, and that it does not work yet."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from ossa.gateway.answers import answer_of
from ossa.gateway.arrival import arrival_of
from ossa.gateway.frame import Frame
from ossa.gateway.health import HEALTHZ, Health
from ossa.gateway.metrics import Metrics
from ossa.gateway.problems import Problem
from ossa.gateway.server import server, serving
from ossa.gateway.settings import Settings
from ossa.gateway.tracing import Traced

NOT_YET: Final = Problem(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "this replica waits for PostgreSQL, without which it cannot begin; ask another, or try again in a few seconds",
    headers={"Retry-After": "2"},
)


@asynccontextmanager
async def living(settings: Settings, metrics: Metrics, sock: socket.socket) -> AsyncIterator[None]:
    """Answers on a listening socket, which goes on listening after the block: who comes in between waits.

    /healthz is as ever, since whoever waits is not to be killed; everything else is `NOT_YET`, WebSockets too.
    """
    health = Health()
    app = Traced(Frame(_answer, metrics=metrics, health=health), tracing=None)
    async with serving(server(app, settings, metrics), sock.dup(), health=health, drain_delay=0.0):
        yield


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    lives = scope["type"] == "http" and scope["path"] == HEALTHZ
    answer = PlainTextResponse("ok") if lives else answer_of(NOT_YET, arrival_of(scope).id)
    await answer(scope, receive, send)
