"""What the monitor says of itself over HTTP: /healthz and /readyz on one port, /metrics on another."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from ossa.kube.probes import probes, served
from ossa.monitor.metrics import Metrics

HOST = "0.0.0.0"
TEXT = "text/plain; version=0.0.4; charset=utf-8"


@asynccontextmanager
async def health(*, port: int, metrics_port: int, metrics: Metrics, ready: Callable[[], bool]) -> AsyncIterator[None]:
    """Serves while the event loop runs.

    ready: whether the API server answers. With PostgreSQL or Redis away the monitor is ready too: it takes up where it
    was when they are back.
    """

    async def told(_: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": TEXT})

    figures = web.Application()
    figures.router.add_get("/metrics", told)
    async with probes(HOST, port, ready=ready), served(figures, HOST, metrics_port):
        yield
